"""Reading, writing and tokenising training tables against pandas, h5py and plain Python.

Run: ``python benchmarks/events.py [n_events]``. Both sides of each pair run in turn in this
process, on files in the page cache; printed are the best rates and their ratio.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from common import sample

from smartbkg_tf.events.decay_strings import decay_tokens, tokenise
from smartbkg_tf.events.hdf5 import write_hdf5
from smartbkg_tf.events.readers import iterate_events
from smartbkg_tf.events.table import EventTable
from smartbkg_tf.events.vocabulary import default_vocabulary

REPEATS = 5


def pair(
    what: str, n_events: int, ours: Callable[[], object], name: str, other: Callable[[], object]
) -> None:
    best = [np.inf, np.inf]
    for _ in range(REPEATS):
        for i, function in enumerate((ours, other)):
            start = time.perf_counter()
            function()
            best[i] = min(best[i], time.perf_counter() - start)
    rates = [n_events / seconds for seconds in best]
    print(
        f"{what}: {rates[0]:,.0f} events/s; {name}: {rates[1]:,.0f} events/s; "
        f"ratio {rates[0] / rates[1]:.2f}",
        flush=True,
    )


def with_pandas(path: Path, table: EventTable) -> None:
    event = table.event_of_particle()
    label = next(iter(table.labels.values())).astype(np.int64)
    place = np.arange(table.n_particles) - table.offsets[:-1][event]
    index = pd.MultiIndex.from_arrays(
        [label[event], table.keys["event"][event], place], names=["label", "evtNum", "arrayIndex"]
    )
    pd.DataFrame(dict(table.particles), index=index).to_hdf(path, key="train_events", mode="w")
    assert table.decay_strings is not None
    pd.DataFrame(
        {"label": label, "decay_str": table.decay_strings.tolist()},
        index=pd.Index(table.keys["event"], name="evtNum"),
    ).to_hdf(path, key="decay_strings", format="table")


def raw(path: Path) -> None:
    with h5py.File(path) as file:
        for node in file["train_events"].values():
            node[:]


def main(n_events: int) -> None:
    table = sample(n_events)
    print(f"{n_events} events, {table.n_particles / n_events:.1f} particles an event")
    vocabulary = default_vocabulary()
    words = {str(code): 2 + i for i, code in enumerate(vocabulary.codes.tolist())}
    words |= {"(-->": vocabulary.opener, "<--)": vocabulary.closer}
    strings = table.decay_strings
    assert strings is not None
    frame = pd.DataFrame({"decay_str": strings.tolist()})

    def by_row() -> object:
        return frame.apply(
            lambda row: np.array([words.get(w, 1) for w in row["decay_str"].split()], np.int16),
            axis=1,
        )

    def by_comprehension() -> object:
        return [[words.get(word, 1) for word in string.split()] for string in strings]

    def from_trees() -> object:
        tokens = vocabulary.tokens(table.particles["PDG"])
        return decay_tokens(tokens, table.particles["motherIndex"], table.offsets, vocabulary)

    def read(key: str) -> Callable[[], object]:
        return lambda: [len(piece) for _, piece in iterate_events(path, key=key)]  # type: ignore[arg-type]

    with tempfile.TemporaryDirectory() as folder:
        path, other = Path(folder) / "ours.h5", Path(folder) / "pandas.h5"
        write_hdf5(path, table)
        tokenise(strings, vocabulary)
        from_trees()
        pair(
            "write both keys and 'events'", n_events, lambda: write_hdf5(path, table),
            "pandas.to_hdf of the two", lambda: with_pandas(other, table),
        )  # fmt: skip
        pair(
            "read train_events", n_events, read("train_events"),
            "raw blocks with h5py", lambda: raw(path),
        )  # fmt: skip
        pair(
            "read train_events", n_events, read("train_events"),
            "pandas.read_hdf", lambda: pd.read_hdf(path, "train_events"),
        )  # fmt: skip
        pair(
            "read all keys", n_events, read("all"), "pandas.read_hdf of all",
            lambda: [pd.read_hdf(path, k) for k in ("train_events", "decay_strings", "events")],
        )  # fmt: skip
        pair("tokenise", n_events, lambda: tokenise(strings, vocabulary), "row by row", by_row)
        pair(
            "tokenise", n_events, lambda: tokenise(strings, vocabulary),
            "list comprehension", by_comprehension,
        )  # fmt: skip
        pair("tokens from trees", n_events, from_trees, "row by row", by_row)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10000)
