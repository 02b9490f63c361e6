"""Read bias observables of predicted events: tables, ntuples, or the training tables themselves."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.errors import InputError, did_you_mean
from smartbkg_tf.events.columns import integers
from smartbkg_tf.events.keys import KeyIndex
from smartbkg_tf.events.passing_keys import KEY_ALIASES
from smartbkg_tf.events.readers import begins_with
from smartbkg_tf.events.table import KEY_COLUMNS, PARTICLE_COLUMNS
from smartbkg_tf.filtering.predictions import Predictions
from smartbkg_tf.filtering.score_counts import Floats
from smartbkg_tf.runtime.files import expand_inputs

#: Squares and sums of larger values overflow.
_LARGEST = 1e100
#: Columns that tell several candidates of one event apart, in ntuples of basf2.
_CANDIDATE = "__candidate__"
_MADE_BY = "python -m smartbkg_tf.produce (observables/all.parquet, or its tables)"

Array = npt.NDArray[Any]


@dataclass
class Observables:
    """Bias observables of the events that pass any skim."""

    rows: npt.NDArray[np.int64]  # [m] which of the predicted events they are, rising
    found: npt.NDArray[np.bool_]  # [m] whether a file has the event
    values: dict[str, Floats]  # [m] each; NaN where unknown
    notes: list[str] = field(default_factory=list)  # what was left out

    def of(self, passing: npt.NDArray[np.bool_]) -> Observables:
        """Take the events that pass one skim; `passing` [predicted events]."""
        chosen = passing[self.rows]
        values = {name: column[chosen] for name, column in self.values.items()}
        return Observables(self.rows[chosen], self.found[chosen], values)


@dataclass(frozen=True)
class _Table:
    """Columns of a file that are read when asked for."""

    path: Path
    names: Sequence[str]
    read: Callable[[str], Array]
    text: Sequence[str] = ()  # columns that hold no numbers


def read_observables(files: str | Sequence[str], predictions: Predictions) -> Observables:
    """Read the observables of predicted events that pass any skim, by event key.

    `files` are names and patterns of Parquet tables, flat ROOT trees or training tables. Columns of
    the key, labels and numbers of particles are no observables.
    """
    passes = [skim.label == 1 for skim in predictions.skims.values()]
    rows = np.flatnonzero(np.any(passes, axis=0))
    index = KeyIndex({name: keys[rows] for name, keys in predictions.keys.items()})
    result = Observables(rows, np.zeros(len(rows), dtype=np.bool_), {})
    repeated = 0
    text: dict[str, None] = {}
    paths = expand_inputs(files, option="observables", made_by=_MADE_BY)
    for path in paths:
        for table in _open(path):
            repeated += _add(table, index, result)
            text |= dict.fromkeys(table.text)
    if not result.found.any():
        raise InputError(
            "holds none of the predicted events that pass a skim",
            where=", ".join(map(str, paths[:3])),
            next_step="the four-part event key must be that of the predictions",
        )
    if not result.values:
        raise InputError(
            "holds no column of numbers beside the event key",
            where=", ".join(map(str, paths[:3])),
        )
    missing = int((~result.found).sum())
    if missing:
        result.notes.append(
            f"observables: {missing} of {len(rows)} passing events have no row and are left out"
        )
    if repeated:
        result.notes.append(
            f"observables: of events with several candidates the first one counts ({repeated} "
            "further ones were left out)"
        )
    if text:
        result.notes.append(f"observables: without numbers and left out: {', '.join(text)}")
    return result


def _add(table: _Table, index: KeyIndex, result: Observables) -> int:
    """Take the rows of wanted events; give the number of further candidates."""
    place = index.find(_keys(table))
    chosen = np.flatnonzero(place >= 0)
    # The first row of an event counts.
    _, first = np.unique(place[chosen], return_index=True)
    further = len(chosen) - len(first)
    first_rows = chosen[first]
    events = place[first_rows]
    again = int(result.found[events].sum())
    if (further and _CANDIDATE not in table.names) or again:
        raise InputError(
            f"holds {further + again} events more than once"
            + (" (or another file holds them, too)" if again else ""),
            where=table.path,
            next_step="one row for each event, or a column __candidate__ as in ntuples of basf2",
        )
    result.found[events] = True
    for name in table.names:
        if _is_other(name):
            continue
        column = result.values.setdefault(name, np.full(len(result.rows), np.nan))
        values = table.read(name).astype(np.float64)
        huge = np.isfinite(values) & (np.abs(values) > _LARGEST)
        if huge.any():
            raise InputError(
                f"row {int(np.argmax(huge))} of {name} holds {values[np.argmax(huge)]:g}, which "
                "no histogram can show",
                where=table.path,
                next_step="leave such values empty (NaN): the event is left out for this column",
            )
        column[events] = values[first_rows]
    return further


def _keys(table: _Table) -> dict[str, npt.NDArray[np.int64]]:
    keys = {}
    for key in KEY_COLUMNS:
        name = next((n for n in (key, *KEY_ALIASES[key]) if n in table.names), None)
        if name is None:
            raise InputError(
                f"lacks the column {key}; {did_you_mean(key, table.names)}", where=table.path
            )
        keys[key] = integers(table.read(name), where=f"{table.path}: {name}")
    return keys


_KEY_NAMES = {*KEY_COLUMNS, *(alias for aliases in KEY_ALIASES.values() for alias in aliases)}


def _is_other(name: str) -> bool:
    """Whether a column is a part of the key, a label, or another one that is no observable."""
    return (
        name in _KEY_NAMES
        or name in ("event_type", "n_particles", "decay_str")
        or name.startswith(("label_", "__"))
    )


def _open(path: Path) -> Iterator[_Table]:
    """Open a file as what its first bytes say."""
    if path.is_dir():
        raise InputError(
            "is a folder", where=path, next_step=f"name the files in it: observables='{path}/*.h5'"
        )
    if begins_with(path, b"PAR1"):
        yield _parquet(path)
    elif begins_with(path, b"root"):
        yield _ntuple(path)
    elif begins_with(path, b"\x89HDF"):
        yield from _training_table(path)
    else:
        raise InputError(
            "is not a complete parquet file, ROOT file or training table",
            where=path,
            next_step=f"such files are made by: {_MADE_BY}",
        )


def _sorted_by_kind(kinds: Mapping[str, bool]) -> tuple[list[str], list[str]]:
    """Part columns into those of numbers and those to be told of."""
    numbers = [name for name, number in kinds.items() if number]
    # Training tables in Parquet hold the particles as lists.
    rest = kinds.keys() - {*numbers, *PARTICLE_COLUMNS}
    return numbers, [name for name in kinds if name in rest and not _is_other(name)]


def _parquet(path: Path) -> _Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    def explained(error: Exception) -> InputError:
        reason = str(error).splitlines()[0]
        return InputError(f"is not a complete parquet file ({reason})", where=path)

    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        raise explained(error) from error
    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean)
    kinds = {column.name: any(test(column.type) for test in tests) for column in schema}
    names, text = _sorted_by_kind(kinds)

    def read(name: str) -> Array:
        try:
            column = pq.read_table(path, columns=[name]).column(0)
        except (pa.ArrowException, OSError) as error:
            raise explained(error) from error
        return np.asarray(column.to_numpy())

    return _Table(path, names, read, text)


def _ntuple(path: Path) -> _Table:
    """Open the tree of a ROOT file that has the event key; others may lie beside it."""
    import uproot

    try:
        # uproot would keep trees and arrays of a hundred closed files.
        file = uproot.open(path, object_cache=None, array_cache=None)
        kinds = file.classnames(recursive=True, cycle=False)
        trees = {name: file[name] for name, kind in kinds.items() if kind == "TTree"}
        columns = {name: tree.typenames(recursive=True) for name, tree in trees.items()}
    except Exception as error:
        raise _damaged(path, error) from error
    known = [name for name, there in columns.items() if _KEY_NAMES & set(there)]
    if len(known) != 1:
        raise InputError(
            f"has {len(known) or 'no'} trees with the event key; its trees are "
            f"{', '.join(trees) or 'none'}",
            where=path,
            next_step="write one flat tree with experiment, run, event, production for each event",
        )
    tree = trees[known[0]]
    names, text = _sorted_by_kind(
        {
            name: re.fullmatch(r"u?int\d+_t|bool|float|double", kind) is not None
            for name, kind in columns[known[0]].items()
        }
    )

    def read(name: str) -> Array:
        try:
            return np.asarray(tree[name].array(library="np"))
        except Exception as error:
            raise _damaged(f"{path}: {name}", error) from error

    return _Table(path, names, read, text)


def _damaged(where: str | Path, error: Exception) -> InputError:
    """Put what uproot raises on a damaged file into one sentence."""
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    return InputError(f"cannot be read; it is probably damaged ({reason})", where=where)


def _training_table(path: Path) -> Iterator[_Table]:
    import h5py

    from smartbkg_tf.events.pandas_frames import explained, open_frame

    with explained(path), h5py.File(path, "r", locking="best-effort") as file:
        if "events" not in file:
            raise InputError(
                f"has no key 'events'; {did_you_mean('events', [str(name) for name in file])}",
                where=path,
                next_step=f"training tables with observables are made by: {_MADE_BY}",
            )
        frame = open_frame(file, "events", path)
        kinds = {
            name: frame.read([name], 0, min(1, frame.n_rows))[name].dtype.kind in "iufb"
            for name in frame.columns
        }
        names, text = _sorted_by_kind(kinds)
        yield _Table(path, names, lambda name: frame.read([name], 0, frame.n_rows)[name], text)
