"""Where the events of a training table begin and end, and what they are called.

A few numbers per event are kept in memory; particles and texts stay in the file. An event
is a contiguous block of rows: equal event numbers alone never join anything.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.events.columns import integers, labels_from, texts
from smartbkg_tf.events.pandas_layout import Frame
from smartbkg_tf.events.table import EVENT_TYPES, KEY_COLUMNS, UNKNOWN_EVENT_TYPE, EventTable
from smartbkg_tf.settings.errors import InputError, OutputError, did_you_mean

#: Rows of the particle table that are looked at together to find where events begin.
_BLOCK_ROWS = 2**18

#: The skim of a file that names none.
UNNAMED_SKIM = "label"

#: How an unknown event type is written in ``events``.
UNKNOWN_TEXT = "unknown"


@dataclass(frozen=True)
class EventIndex:
    """One entry per event of a file, or of a slice of it.

    Parameters
    ----------
    offsets : numpy.ndarray [n_events + 1]
        int64; rows of the particle table relative to `first_row`.
    keys : dict of str to numpy.ndarray [n_events]
        int64: experiment, run, event, production.
    event_type : numpy.ndarray [n_events]
        int8.
    labels : dict of str to numpy.ndarray [n_events]
        int8 per skim.
    observables : dict of str to numpy.ndarray [n_events]
        float64.
    from_events_key : bool
        True if the file has the key ``events``.
    first_row : int, default 0
        Row in the file where the first event begins.
    """

    offsets: npt.NDArray[np.int64]
    keys: dict[str, npt.NDArray[np.int64]]
    event_type: npt.NDArray[np.int8]
    labels: dict[str, npt.NDArray[np.int8]]
    observables: dict[str, npt.NDArray[np.float64]] = field(default_factory=dict)
    from_events_key: bool = False
    first_row: int = 0

    def __len__(self) -> int:
        """Count the events."""
        return len(self.offsets) - 1

    @property
    def first_label(self) -> npt.NDArray[np.int8]:
        """The label in the other two tables: the first skim's; -1 if there is none."""
        for values in self.labels.values():
            return values
        return np.full(len(self), -1, dtype=np.int8)

    def slice(self, start: int, stop: int) -> EventIndex:
        """Give the entries of some consecutive events.

        Parameters
        ----------
        start, stop : int
            Positions.

        Returns
        -------
        EventIndex
            Copies, with offsets that begin with 0.
        """
        return EventIndex(
            offsets=self.offsets[start : stop + 1] - self.offsets[start],
            keys={name: values[start:stop].copy() for name, values in self.keys.items()},
            event_type=self.event_type[start:stop].copy(),
            labels={name: values[start:stop].copy() for name, values in self.labels.items()},
            observables={n: values[start:stop].copy() for n, values in self.observables.items()},
            from_events_key=self.from_events_key,
            first_row=self.first_row + int(self.offsets[start]),
        )

    def describe(self, event: int) -> str:
        """Name an event for a message.

        Parameters
        ----------
        event : int
            Position.

        Returns
        -------
        str
            Such as ``experiment 1003, run 1, event 7, production 0``.
        """
        return ", ".join(f"{name} {self.keys[name][event]}" for name in KEY_COLUMNS)


def index_of_events_key(
    events: Frame, particles: Frame | None, strings: Frame | None, path: Path
) -> EventIndex:
    """Read the key ``events``.

    Parameters
    ----------
    events : Frame
        The key.
    particles : Frame, optional
        The key ``train_events``, if it is read too.
    strings : Frame, optional
        The key ``decay_strings``, if it is read too.
    path : pathlib.Path
        For messages.

    Returns
    -------
    EventIndex
        With offsets from ``n_particles``; without this column from the particle table.

    Raises
    ------
    InputError
        When a column is missing or holds what it cannot hold, or the numbers of
        particles do not add up to the rows of ``train_events``.
    """
    where = f"{path}: events"
    missing = [name for name in KEY_COLUMNS if name not in events.columns]
    if missing:
        raise InputError(
            f"lacks the columns {', '.join(missing)}; {did_you_mean(missing[0], events.columns)}",
            where=where,
        )
    raw = events.read(events.columns, 0, events.n_rows)
    counts = raw.pop("n_particles", None)
    keys, event_type, labels, observables = events_from_columns(raw, events.n_rows, where)
    if counts is not None:
        counts = integers(counts, np.int64, where=f"{where}: n_particles")
        if len(counts) and int(counts.min()) < 0:
            raise InputError(
                f"row {int(np.argmin(counts))} has fewer than 0 particles", where=where
            )
        offsets = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    elif particles is not None:
        offsets = index_of_particles(particles, path).offsets
    else:
        offsets = np.zeros(events.n_rows + 1, dtype=np.int64)
    if particles is not None and (
        len(offsets) != events.n_rows + 1 or offsets[-1] != particles.n_rows
    ):
        raise InputError(
            f"the keys do not belong to each other: 'events' has {events.n_rows} events with "
            f"{offsets[-1]} particles, 'train_events' has {particles.n_rows} rows",
            where=path,
            next_step="the file is not whole or was changed; make it again",
        )
    return EventIndex(offsets, keys, event_type, labels, observables, from_events_key=True)


def event_columns(table: EventTable, path: str | Path) -> dict[str, Any]:
    """Give the columns of ``events``: one entry per event.

    Parameters
    ----------
    table : EventTable
        The events.
    path : str or pathlib.Path
        Where they will be written, for the message.

    Returns
    -------
    dict of str to numpy.ndarray [n_events]
        Key, n_particles, event_type (bytes), ``label_<skim>``, observables.

    Raises
    ------
    OutputError
        When an observable has the name of another column.
    """
    types = np.array([*EVENT_TYPES, UNKNOWN_TEXT], dtype="S")
    columns: dict[str, Any] = {name: table.keys[name] for name in KEY_COLUMNS}
    columns["n_particles"] = np.diff(table.offsets)
    # Code -1, unknown, picks the last entry.
    columns["event_type"] = types[table.event_type]
    for name, values in table.labels.items():
        columns[f"label_{name}"] = values.astype(np.int8)
    for name, observable in table.observables.items():
        if name in columns or name == "decay_str" or name.startswith("label_"):
            raise OutputError(f"an observable cannot be called '{name}'", where=path)
        columns[name] = observable.astype(np.float64)
    return columns


def events_from_columns(
    columns: dict[str, Any], n_events: int, where: str, first_event: int = 0
) -> tuple[
    dict[str, npt.NDArray[np.int64]],
    npt.NDArray[np.int8],
    dict[str, npt.NDArray[np.int8]],
    dict[str, npt.NDArray[np.float64]],
]:
    """Sort the columns of ``events`` into key, event type, labels and observables.

    Parameters
    ----------
    columns : dict of str to numpy.ndarray [n_events]
        All columns but n_particles. Further columns that hold numbers are observables;
        columns of texts are left out.
    n_events : int
        Number of events.
    where : str
        File and key, for messages.
    first_event : int, default 0
        Position in the file, for messages.

    Returns
    -------
    keys : dict of str to numpy.ndarray [n_events]
        int64.
    event_type : numpy.ndarray [n_events]
        int8.
    labels : dict of str to numpy.ndarray [n_events]
        int8 per skim.
    observables : dict of str to numpy.ndarray [n_events]
        float64.

    Raises
    ------
    InputError
        When a column holds what it cannot hold.
    """
    rest = dict(columns)
    keys = {
        name: integers(rest.pop(name), np.int64, where=f"{where}: {name}", first_row=first_event)
        for name in KEY_COLUMNS
    }
    event_type = _event_types(rest.pop("event_type", None), n_events, where)
    labels = {
        name.removeprefix("label_"): labels_from(
            rest.pop(name), where=f"{where}: {name}", first_row=first_event
        )
        for name in list(rest)
        if name.startswith("label_")
    }
    observables = {
        name: values.astype(np.float64)
        for name, values in rest.items()
        if values.dtype.kind in "iufb"
    }
    return keys, event_type, labels, observables


def _event_types(values: Any, n_events: int, where: str) -> npt.NDArray[np.int8]:
    if values is None:
        return np.full(n_events, UNKNOWN_EVENT_TYPE, dtype=np.int8)
    where = f"{where}: event_type"
    if values.dtype.kind in "iufb":
        codes = integers(values, np.int64, where=where)
        wrong = (codes < UNKNOWN_EVENT_TYPE) | (codes >= len(EVENT_TYPES))
        if wrong.any():
            raise InputError(
                f"row {int(np.argmax(wrong))} holds {codes[np.argmax(wrong)]}; codes go from -1 "
                f"(unknown) to {len(EVENT_TYPES) - 1}: {', '.join(EVENT_TYPES)}",
                where=where,
            )
        return codes.astype(np.int8)
    if len(values) == 0:
        return np.empty(0, dtype=np.int8)
    plain = values if values.dtype.kind == "S" else texts(values, where=where).astype("S")
    names, inverse = np.unique(plain, return_inverse=True)
    codes = np.empty(len(names), dtype=np.int8)
    for i, name in enumerate(names.tolist()):
        text = name.decode("utf-8", "replace")
        if text == UNKNOWN_TEXT:
            codes[i] = UNKNOWN_EVENT_TYPE
        elif text in EVENT_TYPES:
            codes[i] = EVENT_TYPES.index(text)
        else:
            row = int(np.argmax(inverse == i))
            choices = (*EVENT_TYPES, UNKNOWN_TEXT)
            raise InputError(
                f"row {row} holds '{text}'; {did_you_mean(text, choices)}", where=where
            )
    return codes[inverse]


def index_of_particles(frame: Frame, path: Path) -> EventIndex:
    """Find the events of a particle table that comes without ``events``.

    Parameters
    ----------
    frame : Frame
        The key ``train_events``.
    path : pathlib.Path
        The file; its content gives the production number.

    Returns
    -------
    EventIndex
        Keys filled as the module `smartbkg_tf.events.hdf5` says.

    Raises
    ------
    InputError
        When the index holds what it cannot hold.

    Notes
    -----
    An event begins where evtNum or label changes, or where arrayIndex does not grow. Two
    neighbours of equal evtNum and label are parted by their arrayIndex; only an event
    without particles leaves no trace.
    """
    where = f"{path}: train_events"
    starts: list[npt.NDArray[np.int64]] = []
    numbers: list[npt.NDArray[np.int64]] = []
    labels: list[npt.NDArray[np.int8]] = []
    last: tuple[int, int, int] | None = None
    for low in range(0, frame.n_rows, _BLOCK_ROWS):
        high = min(low + _BLOCK_ROWS, frame.n_rows)
        raw = frame.read(("label", "evtNum", "arrayIndex"), low, high)
        event = integers(raw["evtNum"], np.int64, where=f"{where}: evtNum", first_row=low)
        label = labels_from(raw["label"], where=f"{where}: label", first_row=low)
        place = integers(raw["arrayIndex"], np.int64, where=f"{where}: arrayIndex", first_row=low)
        begins = np.ones(high - low, dtype=bool)
        begins[1:] = (
            (event[1:] != event[:-1]) | (label[1:] != label[:-1]) | (place[1:] <= place[:-1])
        )
        if last is not None:
            begins[0] = (event[0], label[0]) != last[:2] or place[0] <= last[2]
        last = (int(event[-1]), int(label[-1]), int(place[-1]))
        found = np.flatnonzero(begins)
        starts.append(found + low)
        numbers.append(event[found])
        labels.append(label[found])
    offsets = np.concatenate([*starts, [frame.n_rows]]).astype(np.int64)
    event_numbers = np.concatenate(numbers) if numbers else np.empty(0, dtype=np.int64)
    return EventIndex(
        offsets=offsets if frame.n_rows else np.zeros(1, dtype=np.int64),
        keys=_filled_keys(event_numbers, path),
        event_type=np.full(len(event_numbers), UNKNOWN_EVENT_TYPE, dtype=np.int8),
        labels={UNNAMED_SKIM: np.concatenate(labels) if labels else np.empty(0, dtype=np.int8)},
    )


def index_of_strings(frame: Frame, path: Path) -> EventIndex:
    """Make an index of decay strings that come alone.

    Parameters
    ----------
    frame : Frame
        The key ``decay_strings``.
    path : pathlib.Path
        The file; its content gives the production number.

    Returns
    -------
    EventIndex
        No event has particles.

    Raises
    ------
    InputError
        When a column is missing or holds what it cannot hold.
    """
    where = f"{path}: decay_strings"
    raw = frame.read(("evtNum", "label"), 0, frame.n_rows)
    numbers = integers(raw["evtNum"], np.int64, where=f"{where}: evtNum")
    return EventIndex(
        offsets=np.zeros(len(numbers) + 1, dtype=np.int64),
        keys=_filled_keys(numbers, path),
        event_type=np.full(len(numbers), UNKNOWN_EVENT_TYPE, dtype=np.int8),
        labels={UNNAMED_SKIM: labels_from(raw["label"], where=f"{where}: label")},
    )


def _filled_keys(numbers: npt.NDArray[np.int64], path: Path) -> dict[str, npt.NDArray[np.int64]]:
    n_events = len(numbers)
    return {
        "experiment": np.full(n_events, -1, dtype=np.int64),
        "run": earlier_appearances(numbers),
        "event": numbers,
        "production": np.full(n_events, content_number(path), dtype=np.int64),
    }


def earlier_appearances(numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Count for every entry how often its value stood before.

    Parameters
    ----------
    numbers : numpy.ndarray [n]
        Any integers.

    Returns
    -------
    numpy.ndarray [n]
        int64; 0 for the first appearance.

    Examples
    --------
    >>> earlier_appearances(np.array([5, 7, 5, 5])).tolist()
    [0, 0, 1, 2]
    """
    order = np.argsort(numbers, kind="stable")
    ordered = numbers[order]
    begins = np.ones(len(numbers), dtype=bool)
    begins[1:] = ordered[1:] != ordered[:-1]
    first = np.maximum.accumulate(np.where(begins, np.arange(len(numbers)), 0))
    result = np.empty(len(numbers), dtype=np.int64)
    result[order] = np.arange(len(numbers)) - first
    return result


def content_number(path: str | Path) -> int:
    """Make a number of a file's content that stands in for a production number.

    Parameters
    ----------
    path : str or pathlib.Path
        The file.

    Returns
    -------
    int
        48 bits of SHA-256 over the size and up to 64 blocks of 64 kB, spread evenly over
        the file: a copy has the same number, another file has another.
    """
    blocks, width = 64, 65536
    with open(path, "rb") as stream:
        size = stream.seek(0, 2)
        digest = hashlib.sha256(str(size).encode())
        last = max(size - width, 0)
        places = sorted({last * i // (blocks - 1) for i in range(blocks)})
        for place in places:
            stream.seek(place)
            digest.update(stream.read(width))
    return int.from_bytes(digest.digest()[:6], "big")


def mother_positions(
    mother: npt.NDArray[np.int32],
    mother_pdg: npt.NDArray[np.int32],
    array_index: npt.NDArray[np.int64],
    offsets: npt.NDArray[np.int64],
) -> npt.NDArray[np.int32]:
    """Translate mother links of foreign files into positions within the event.

    Parameters
    ----------
    mother : numpy.ndarray [n_particles]
        arrayIndex of the mother.
    mother_pdg : numpy.ndarray [n_particles]
        0 for a particle without mother.
    array_index : numpy.ndarray [n_particles]
        Place of the particle in the generator's full list; it grows within an event.
    offsets : numpy.ndarray [n_events + 1]
        Where events begin.

    Returns
    -------
    numpy.ndarray [n_particles]
        int32; -1 for a particle without mother, for one that is its own mother (the first
        particle, in basf2's way of counting), and for a mother that was removed.
    """
    n_particles = len(mother)
    event = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    # (event, arrayIndex) grows from row to row, so that one search finds every mother.
    low = min(int(array_index.min(initial=0)), int(mother.min(initial=0)))
    width = max(int(array_index.max(initial=0)), int(mother.max(initial=0))) - low + 1
    row = np.searchsorted(event * width + array_index - low, event * width + mother - low)
    found = row < n_particles
    row[~found] = 0
    found &= (event[row] == event) & (array_index[row] == mother) if n_particles else found
    position = np.where(found, row - offsets[:-1][event], -1)
    own = position == np.arange(n_particles) - offsets[:-1][event]
    return np.where((mother_pdg == 0) | own, -1, position).astype(np.int32)
