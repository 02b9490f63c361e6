"""Which events passed a skim: read lists of event keys, and label events with them.

A key has four parts (experiment, run, event, production); an event number alone
identifies nothing. Lists come as NumPy, CSV or Parquet files, or as the file that the skim
wrote itself, whose EventMetaData is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.events.columns import integers
from smartbkg_tf.events.table import KEY_COLUMNS, EventTable
from smartbkg_tf.settings.errors import InputError, did_you_mean

Keys = npt.NDArray[np.int64]

#: Other names under which the parts of a key appear in files.
_ALIASES = {
    "experiment": ("exp", "m_experiment", "__experiment__", "expNo", "EventMetaData.m_experiment"),
    "run": ("m_run", "__run__", "runNo", "EventMetaData.m_run"),
    "event": ("evt", "evtNum", "m_event", "__event__", "evtNo", "EventMetaData.m_event"),
    "production": ("prod", "m_production", "__production__", "EventMetaData.m_production"),
}

_FORMATS = (
    "a passing-events file is one of: .npy (fields or columns experiment, run, event, production), "
    ".csv with these column names, .parquet, or the skim's own ROOT file"
)


def read_passing_keys(path: str | Path, *, fill: Mapping[str, int] | None = None) -> Keys:
    """Read the keys of the events that passed a skim.

    Parameters
    ----------
    path : str or pathlib.Path
        NumPy array (fields experiment, run, event, production, or [n, 4] in this order),
        CSV with a header, Parquet, or a basf2 ROOT file with EventMetaData. The format is
        told by the content.
    fill : mapping of str to int, optional
        Parts of the key that the file lacks and that are the same for all events, as
        ``{"experiment": 0, "run": 0, "production": 0}`` for a bare list of event numbers
        of a single run. Parts that the file has are not changed.

    Returns
    -------
    numpy.ndarray [n, 4]
        int64: experiment, run, event, production. May be empty: nothing passed.

    Raises
    ------
    InputError
        When the file is missing, damaged, of another format, needs unpickling, or lacks a
        part of the key that `fill` does not give.
    """
    path = Path(path)
    fill = dict(fill or {})
    unknown = sorted(set(fill) - set(KEY_COLUMNS))
    if unknown:
        raise InputError(
            f"fill: a key has no part '{unknown[0]}'; {did_you_mean(unknown[0], KEY_COLUMNS)}",
            where=path,
        )
    try:
        if path.is_dir():
            raise InputError("is a folder, not a list of passing events", where=path)
        with open(path, "rb") as stream:
            begin = stream.read(8)
    except FileNotFoundError as error:
        raise InputError("the file does not exist", where=path, next_step=_FORMATS) from error
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", where=path) from error
    if not begin:
        raise InputError("is empty (0 bytes)", where=path, next_step=_FORMATS)
    if begin.startswith(b"\x93NUMPY"):
        columns = _from_npy(path, fill)
    elif begin.startswith(b"PAR1"):
        columns = _from_parquet(path)
    elif begin.startswith(b"root"):
        columns = _from_root(path)
    elif begin.startswith((b"\x89HDF", b"PK\x03\x04", b"\x1f\x8b", b"\x80")):
        raise InputError("is no list of passing events", where=path, next_step=_FORMATS)
    else:
        columns = _from_csv(path)
    return _ordered(columns, fill, path)


def _ordered(columns: Mapping[str, npt.NDArray[Any]], fill: Mapping[str, int], path: Path) -> Keys:
    """Put the parts of the key in order; complain about all that are missing."""
    found: dict[str, npt.NDArray[Any]] = {}
    missing = []
    length = len(next(iter(columns.values()))) if columns else 0
    for part in KEY_COLUMNS:
        name = next((n for n in (part, *_ALIASES[part]) if n in columns), None)
        if name is not None:
            found[part] = integers(columns[name], np.int64, where=f"{path}: {name}")
        elif part in fill:
            found[part] = np.full(length, fill[part], dtype=np.int64)
        else:
            missing.append(part)
    if missing:
        raise InputError(
            f"lacks {', '.join(missing)} of the event key; {did_you_mean(missing[0], columns)}",
            where=path,
            next_step="an event number alone identifies nothing: write all four parts, or give "
            "the missing ones if they are the same for all events (fill)",
        )
    return np.stack([found[part] for part in KEY_COLUMNS], axis=1).reshape(-1, len(KEY_COLUMNS))


def _from_npy(path: Path, fill: Mapping[str, int]) -> dict[str, npt.NDArray[Any]]:
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        text = str(error)
        if "pickle" in text.lower():
            raise InputError(
                "holds pickled objects; they are not opened, since a pickle can run any code",
                where=path,
                next_step="save plain integers: np.save(name, np.array(keys, dtype=np.int64))",
            ) from error
        raise InputError(f"is a damaged NumPy file ({text})", where=path) from error
    if array.dtype.names:
        flat = array.reshape(-1)
        return {name: flat[name] for name in array.dtype.names}
    if array.ndim == 2 and array.shape[1] == len(KEY_COLUMNS):
        return {part: array[:, i] for i, part in enumerate(KEY_COLUMNS)}
    if array.ndim == 1 and array.size == 0:
        return {part: array.astype(np.int64) for part in KEY_COLUMNS}
    if array.ndim == 1 and {"experiment", "run", "production"} <= set(fill):
        return {"event": array}
    if array.ndim == 1:
        raise InputError(
            f"holds {array.size} bare event numbers: they do not say of which run, and events of "
            "equal number in other runs would be taken for passing ones",
            where=path,
            next_step="save an array [n, 4] of experiment, run, event, production, or, for a "
            "single run, give fill={'experiment': ..., 'run': ..., 'production': ...}",
        )
    raise InputError(
        f"holds an array of the shape {array.shape}, not [n, 4] ({', '.join(KEY_COLUMNS)})",
        where=path,
        next_step=_FORMATS,
    )


def _from_csv(path: Path) -> dict[str, npt.NDArray[Any]]:
    import pandas as pd

    try:
        frame = pd.read_csv(path, comment="#", skipinitialspace=True)
    except (ValueError, UnicodeDecodeError) as error:  # pandas' own errors are ValueErrors
        raise InputError(
            f"is no CSV table ({str(error).splitlines()[0]})", where=path, next_step=_FORMATS
        ) from error
    columns: dict[str, npt.NDArray[Any]] = {}
    for name in frame.columns:
        values = frame[name].to_numpy()
        if values.dtype.kind in "iufb" or len(values) == 0:
            columns[str(name).strip()] = values if len(values) else np.empty(0, dtype=np.int64)
        elif str(name).strip() in {
            *KEY_COLUMNS,
            *(a for names in _ALIASES.values() for a in names),
        }:
            raise InputError(f"holds no numbers (as {values[0]!r})", where=f"{path}: {name}")
    return columns


def _from_parquet(path: Path) -> dict[str, npt.NDArray[Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        names = pq.read_schema(path).names
        known = {*KEY_COLUMNS, *(alias for aliases in _ALIASES.values() for alias in aliases)}
        table = pq.read_table(path, columns=[name for name in names if name in known])
    except (pa.ArrowException, OSError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise InputError(f"is a damaged Parquet file ({reason[:200]})", where=path) from error
    for name in table.column_names:
        if table.column(name).null_count:
            raise InputError(
                f"{table.column(name).null_count} entries are missing", where=f"{path}: {name}"
            )
    columns = {name: table.column(name).to_numpy() for name in table.column_names}
    if not columns:
        raise InputError(
            f"has no column of the event key; {did_you_mean('event', names)}",
            where=path,
            next_step=_FORMATS,
        )
    return columns


def _from_root(path: Path) -> dict[str, npt.NDArray[Any]]:
    from smartbkg_tf.events.root_files import EVENT_META_DATA, BasfTree, read_event_keys

    with BasfTree(path, EVENT_META_DATA) as tree:
        return dict(read_event_keys(tree, 0, tree.n_events))


@dataclass(frozen=True)
class LabelReport:
    """How the passing events of one skim met the events that were labelled.

    Parameters
    ----------
    skim : str
        Its name.
    n_keys : int
        Different keys in the list.
    n_repeated : int
        Keys that the list held once more.
    n_passing : int
        Events that were labelled 1.
    n_failing : int
        Events that were labelled 0.
    n_without_event : int
        Keys of the list for which no event came.
    n_ambiguous : int
        Keys of the list for which more than one event came.
    examples_without_event : list of tuple
        Up to five of these keys.
    """

    skim: str
    n_keys: int
    n_repeated: int
    n_passing: int
    n_failing: int
    n_without_event: int
    n_ambiguous: int
    examples_without_event: list[tuple[int, ...]]

    def text(self) -> str:
        """Tell it in one line.

        Returns
        -------
        str
            Numbers of passing events, and what does not fit, if anything.
        """
        n_events = self.n_passing + self.n_failing
        share = 100.0 * self.n_passing / n_events if n_events else 0.0
        parts = [f"{self.skim}: {self.n_passing} of {n_events} events pass ({share:.2f} %)"]
        if self.n_repeated:
            parts.append(f"{self.n_repeated} keys stand more than once in the list")
        if self.n_ambiguous:
            parts.append(f"{self.n_ambiguous} keys fit more than one event")
        if self.n_without_event:
            parts.append(
                f"{self.n_without_event} of {self.n_keys} keys fit no event, "
                f"as {self.examples_without_event[0]}"
            )
        return "; ".join(parts)


class _KeySet:
    """A set of event keys that is searched by a 64-bit hash and compared in full."""

    def __init__(self, keys: npt.ArrayLike) -> None:
        given = np.asarray(keys, dtype=np.int64).reshape(-1, len(KEY_COLUMNS))
        self.keys = np.unique(given, axis=0) if len(given) else given
        self.n_repeated = len(given) - len(self.keys)
        self.salt = 0
        # Two keys of equal hash would hide each other: then another salt parts them.
        while len(np.unique(_hash(self.keys, self.salt))) < len(self.keys):
            self.salt += 1
        hashes = _hash(self.keys, self.salt)
        order = np.argsort(hashes, kind="stable")
        self.keys = self.keys[order]
        self.hashes = hashes[order]

    def find(self, keys: Keys) -> npt.NDArray[np.int64]:
        """Give the place of each key in the set, -1 if it is not there."""
        if len(self.keys) == 0:
            return np.full(len(keys), -1, dtype=np.int64)
        place = np.searchsorted(self.hashes, _hash(keys, self.salt))
        place[place == len(self.keys)] = 0
        return np.where((self.keys[place] == keys).all(axis=1), place, -1)


def _hash(keys: Keys, salt: int) -> npt.NDArray[np.uint64]:
    """Mix the four parts of a key (finaliser of SplitMix64, Steele et al. 2014)."""
    mixed = np.full(len(keys), salt + 1, dtype=np.uint64)
    for part in range(keys.shape[1]):
        mixed = mixed * np.uint64(0x9E3779B97F4A7C15) + keys[:, part].astype(np.uint64)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed = mixed ^ (mixed >> np.uint64(31))
    return mixed


class Labeller:
    """Label events piece by piece, and tell at the end what did not fit.

    Parameters
    ----------
    passing : mapping of str to array_like [n, 4]
        Skim -> keys of the events that passed it, as `read_passing_keys` gives them. Every
        event that is not among them is labelled 0: the lists must cover all events that
        are labelled.
    """

    def __init__(self, passing: Mapping[str, npt.ArrayLike]) -> None:
        self._sets = {name: _KeySet(keys) for name, keys in passing.items()}
        self._met = {name: np.zeros(len(s.keys), dtype=np.int64) for name, s in self._sets.items()}
        self._n_events = 0

    def label(self, table: EventTable) -> EventTable:
        """Label some events.

        Parameters
        ----------
        table : EventTable
            Events; it is not changed.

        Returns
        -------
        EventTable
            The same events with the skims' labels; labels of the same name are replaced,
            others stay.
        """
        keys = np.stack([table.keys[part] for part in KEY_COLUMNS], axis=1)
        labels = dict(table.labels)
        for name, known in self._sets.items():
            place = known.find(keys)
            met = place >= 0
            labels[name] = met.astype(np.int8)
            self._met[name] += np.bincount(place[met], minlength=len(known.keys))
        self._n_events += len(table)
        return EventTable(
            particles=table.particles,
            offsets=table.offsets,
            keys=table.keys,
            event_type=table.event_type,
            labels=labels,
            observables=table.observables,
            decay_strings=table.decay_strings,
        )

    def reports(self) -> list[LabelReport]:
        """Tell how the lists met all events that were labelled so far.

        Returns
        -------
        list of LabelReport
            One per skim.
        """
        result = []
        for name, known in self._sets.items():
            met = self._met[name]
            lost = known.keys[met == 0]
            lost = lost[np.lexsort(lost.T[::-1])][:5] if len(lost) else lost
            result.append(
                LabelReport(
                    skim=name,
                    n_keys=len(known.keys),
                    n_repeated=known.n_repeated,
                    n_passing=int(met.sum()),
                    n_failing=self._n_events - int(met.sum()),
                    n_without_event=int((met == 0).sum()),
                    n_ambiguous=int((met > 1).sum()),
                    examples_without_event=[tuple(key) for key in lost.tolist()],
                )
            )
        return result


def label_events(table: EventTable, passing: Mapping[str, npt.ArrayLike]) -> EventTable:
    """Label events by the lists of those that passed.

    Parameters
    ----------
    table : EventTable
        Events; it is not changed.
    passing : mapping of str to array_like [n, 4]
        Skim -> keys of the events that passed it (`read_passing_keys`).

    Returns
    -------
    EventTable
        The same events; label 1 if the four-part key is in the list, else 0. For events
        in pieces, and for what did not fit, use `Labeller`.
    """
    return Labeller(passing).label(table)
