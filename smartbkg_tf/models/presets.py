"""Networks that are shipped with the package: run directories in ``smartbkg_tf/presets``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import smartbkg_tf
from smartbkg_tf.errors import ConfigurationError, InputError
from smartbkg_tf.runtime.files import read_yaml
from smartbkg_tf.runtime.run_directory import open_run

_PREFIX = "preset:"


def run_folder(source: str, key: str) -> Path:
    """Give the run directory that ``preset:NAME`` or a path means; `key` is the setting."""
    if not source.startswith(_PREFIX):
        return Path(source)
    folder = Path(smartbkg_tf.__file__).parent / "presets"
    name = source.removeprefix(_PREFIX)
    known = sorted(path.parent.name for path in folder.glob("*/model.keras"))
    if name not in known:
        raise ConfigurationError(
            f"{key}={source}: there is no preset of that name",
            next_step=f"choose one of: {', '.join(known) or 'none in this installation'}",
        )
    return folder / name


def frozen_network(source: str, *, feature_names: Sequence[str], vocabulary: int) -> Any:
    """Load the network of a run for a part of another one; it learns nothing there."""
    from smartbkg_tf.models.loading import load_model, target_of

    run = open_run(run_folder(source, "model.head.answers"))
    information = run.dataset_information()
    for what, ours, theirs in (
        ("features", list(feature_names), information["encoding"]["feature_names"]),
        ("vocabulary sizes", vocabulary, information["vocabulary"]["size"]),
    ):
        if ours != theirs:
            raise InputError(
                f"model.head.answers: its data have other {what} ({theirs}) than those to train "
                f"on ({ours})",
                where=run.path,
                next_step="preprocess the data as those of that run, or leave it out",
            )
    network = load_model(run.model, target_of(read_yaml(run.config)))
    network.name = "answers"
    network.trainable = False
    return network
