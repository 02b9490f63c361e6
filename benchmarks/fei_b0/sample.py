"""Choose the benchmark's events: balanced for training, natural for validation and test.

The package's own split decides by the hash of an event's key which part an event belongs to, with
the fractions of `FRACTIONS`. Of the training part `N_EACH` passing and `N_EACH` failing
events are kept, of the test part `N_TEST` at their natural mixture, in the order of another
hash of the key; the validation part stays whole. Labels of other skims that the tables have stay
there. So one dataset directory holds all three parts, and ``data.fractions`` of the experiments
takes them apart again.

Run: ``python -m benchmarks.fei_b0.sample --tables 'GLOB' ... --output DIRECTORY``
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from smartbkg_tf.dataset.split import split_events
from smartbkg_tf.errors import InputError
from smartbkg_tf.events.hdf5_writer import write_hdf5
from smartbkg_tf.events.keys import hash_keys
from smartbkg_tf.events.readers import iterate_events
from smartbkg_tf.events.table import KEY_COLUMNS, EventTable, concatenate
from smartbkg_tf.runtime.command import guarded
from smartbkg_tf.runtime.files import atomic_directory, expand_inputs, write_json

SKIM = "fei_hadronic_b0"
#: As in the experiments' ``data.fractions``.
FRACTIONS = {"train": 0.905, "validation": 0.0685, "test": 0.0265}
#: Passing, and failing, training events.
N_EACH = 30_000
N_TEST = 20_000
#: Salt of the hash that orders the events of a part.
SALT = "fei_b0_benchmark"
_MADE_BY = (
    "python -m smartbkg_tf.produce event_type=mixed n_events=780000 chunk_size=2000 seed=1 "
    "output=DIRECTORY"
)

Keys = Mapping[str, npt.NDArray[np.int64]]
Positions = npt.NDArray[np.int64]


def choose(
    keys: Keys,
    labels: npt.NDArray[np.int8],
    *,
    n_each: int = N_EACH,
    n_test: int = N_TEST,
    fractions: Mapping[str, float] = FRACTIONS,
) -> dict[str, Positions]:
    """Choose events of every part.

    Parameters
    ----------
    keys : mapping of str to numpy.ndarray [n]
        int64 columns experiment, run, event, production; no two events alike.
    labels : numpy.ndarray [n]
        int8: 1 passes, 0 does not.
    n_each : int, default 30000
        Passing, and failing, training events.
    n_test : int, default 20000
        Test events.
    fractions : mapping of str to float
        Of the split.

    Returns
    -------
    dict of str to numpy.ndarray
        Positions of train, validation and test events, rising.

    Raises
    ------
    InputError
        When a label is unknown, a key occurs twice, or there are too few events of a kind.
    """
    if not np.isin(labels, (0, 1)).all():
        raise InputError(f"{int((~np.isin(labels, (0, 1))).sum())} events have no label of {SKIM}")
    order = hash_keys(keys, SALT)
    rows = np.stack([keys[name] for name in KEY_COLUMNS], axis=1)
    if len(np.unique(rows, axis=0)) < len(rows):
        raise InputError("two events share one key", next_step="produce them with other seeds")
    parts = split_events(keys, fractions)

    def first(of: Positions, n: int, what: str) -> Positions:
        if len(of) < n:
            raise InputError(
                f"{len(of)} {what} events, but {n} are needed",
                next_step=f"produce more events: {_MADE_BY}",
            )
        return of[np.argsort(order[of], kind="stable")[:n]]

    train, test = parts["train"], parts["test"]
    chosen = [
        first(train[labels[train] == value], n_each, f"{name} training")
        for value, name in ((1, "passing"), (0, "failing"))
    ]
    return {
        "train": np.sort(np.concatenate(chosen)),
        "validation": parts["validation"],
        "test": np.sort(first(test, n_test, "test")),
    }


def _keys_and_labels(paths: Sequence[Path]) -> tuple[Keys, npt.NDArray[np.int8]]:
    keys: dict[str, list[npt.NDArray[np.int64]]] = {name: [] for name in KEY_COLUMNS}
    labels = []
    for path, table in iterate_events(paths, key="train_events"):
        if SKIM not in table.labels:
            raise InputError(
                f"has no label {SKIM} (there are: {', '.join(table.labels) or 'none'})", where=path
            )
        for name in KEY_COLUMNS:
            keys[name].append(table.keys[name])
        labels.append(table.labels[SKIM])
    return {name: np.concatenate(values) for name, values in keys.items()}, np.concatenate(labels)


def _chosen(paths: Sequence[Path], positions: Positions) -> Iterator[EventTable]:
    begin = 0
    for _, table in iterate_events(paths):
        end = begin + len(table)
        low, high = np.searchsorted(positions, (begin, end))
        if high > low:
            yield table.take(positions[low:high] - begin)
        begin = end


def write_sample(paths: Sequence[Path], output: Path, *, overwrite: bool = False) -> dict[str, int]:
    """Write ``train.h5``, ``validation.h5``, ``test.h5`` and ``sample.json``.

    Parameters
    ----------
    paths : sequence of pathlib.Path
        Training tables of natural events.
    output : pathlib.Path
        The folder.
    overwrite : bool, default False
        Replace a folder that stands there.

    Returns
    -------
    dict of str to int
        Events and passing events of every part.

    Raises
    ------
    InputError
        When tables lack the label or there are too few events.
    OutputError
        When the folder exists.
    """
    with atomic_directory(
        output, overwrite=overwrite, own=("sample.json", "*.h5"), inputs=paths
    ) as partial:
        keys, labels = _keys_and_labels(paths)
        counts = {"all": len(labels), "all_passing": int(labels.sum())}
        for part, positions in choose(keys, labels).items():
            write_hdf5(partial / f"{part}.h5", concatenate(list(_chosen(paths, positions))))
            counts[part] = len(positions)
            counts[f"{part}_passing"] = int(labels[positions].sum())
        write_json(partial / "sample.json", {"skim": SKIM, "fractions": FRACTIONS, **counts})
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", nargs="+", required=True, help="natural events, glob patterns")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--overwrite", action="store_true")
    options = parser.parse_args()
    paths = expand_inputs(options.tables, made_by=_MADE_BY)
    for name, n in write_sample(paths, options.output, overwrite=options.overwrite).items():
        print(f"{name:20s} {n:8d}")


if __name__ == "__main__":
    guarded(main, debug=False)
