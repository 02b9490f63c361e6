"""Where the events of a training table begin and end, and what they are called.

A few numbers per event are kept in memory; particles and texts stay in the file. An event
is a contiguous block of rows: equal event numbers alone never join anything.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from smartbkg_tf.errors import InputError, did_you_mean
from smartbkg_tf.events.columns import integers, labels_from
from smartbkg_tf.events.event_columns import events_from_columns
from smartbkg_tf.events.foreign import content_number, earlier_appearances
from smartbkg_tf.events.pandas_layout import Frame
from smartbkg_tf.events.table import KEY_COLUMNS, UNKNOWN_EVENT_TYPE

#: Rows of the particle table that are looked at together to find where events begin.
_BLOCK_ROWS = 2**18

#: The skim of a file that names none.
UNNAMED_SKIM = "label"


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
            Copies, but for the observables, with offsets that begin with 0.
        """
        return EventIndex(
            offsets=self.offsets[start : stop + 1] - self.offsets[start],
            keys={name: values[start:stop].copy() for name, values in self.keys.items()},
            event_type=self.event_type[start:stop].copy(),
            labels={name: values[start:stop].copy() for name, values in self.labels.items()},
            observables={n: values[start:stop] for n, values in self.observables.items()},
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


def index_of_events_key(events: Frame, particles: Frame | None, path: Path) -> EventIndex:
    """Read the key ``events``.

    Parameters
    ----------
    events : Frame
        The key.
    particles : Frame, optional
        The key ``train_events``, if it is read too.
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
        No event has particles; no labels if the table has none.

    Raises
    ------
    InputError
        When a column is missing or holds what it cannot hold.
    """
    where = f"{path}: decay_strings"
    labelled = "label" in (*frame.columns, *frame.index_names)
    raw = frame.read(("evtNum", "label") if labelled else ("evtNum",), 0, frame.n_rows)
    # A copy: the rows may hold only until the next ones are read.
    numbers = integers(raw["evtNum"], np.int64, where=f"{where}: evtNum").copy()
    return EventIndex(
        offsets=np.zeros(len(numbers) + 1, dtype=np.int64),
        keys=_filled_keys(numbers, path),
        event_type=np.full(len(numbers), UNKNOWN_EVENT_TYPE, dtype=np.int8),
        labels={UNNAMED_SKIM: labels_from(raw["label"], where=f"{where}: label")}
        if labelled
        else {},
    )


def _filled_keys(numbers: npt.NDArray[np.int64], path: Path) -> dict[str, npt.NDArray[np.int64]]:
    n_events = len(numbers)
    return {
        "experiment": np.full(n_events, -1, dtype=np.int64),
        "run": earlier_appearances(numbers),
        "event": numbers,
        "production": np.full(n_events, content_number(path), dtype=np.int64),
    }
