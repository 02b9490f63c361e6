"""Check every byte of a dataset directory against its hashes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from smartbkg_tf.dataset.dataset import open_dataset
from smartbkg_tf.dataset.hashing import HASH, hash_file
from smartbkg_tf.dataset.information import read_information
from smartbkg_tf.dataset.store import map_path, open_map
from smartbkg_tf.errors import InputError, Problems
from smartbkg_tf.runtime.progress import Progress, say


def verify_dataset(path: str | Path) -> None:
    """Check every byte of a dataset directory, and that its parts fit together.

    InputError names every map that is missing, truncated, swapped or changed.
    """
    path = Path(path)
    information = read_information(path)
    problems = Problems()
    n_bytes = sum(entry["bytes"] for entry in information["maps"].values())
    with Progress("verify", total=n_bytes, unit="byte") as progress:
        for name, entry in information["maps"].items():
            try:
                values = open_map(path, name, entry)
            except InputError as error:
                problems.add(error)
                continue
            if HASH not in entry:
                problems.add(
                    f"{map_path(path, name)}: dataset.json holds no {HASH} of it (an earlier "
                    "version made it: run preprocess again)"
                )
            elif hash_file(map_path(path, name)) != entry[HASH]:
                problems.add(
                    f"{map_path(path, name)}: the content has changed since it was written"
                )
            elif name.endswith("_offsets") and (values[0] != 0 or np.any(np.diff(values) < 0)):
                problems.add(f"{map_path(path, name)}: the offsets do not increase")
            progress.add(entry["bytes"])
    problems.raise_if_any(
        "the dataset is damaged",
        kind=InputError,
        where=path,
        next_step="copy it again from its source, or run preprocess again",
    )
    dataset = open_dataset(path)
    say(f"verify: {path} is whole: {len(dataset)} events, {n_bytes} bytes, digest {dataset.digest}")
