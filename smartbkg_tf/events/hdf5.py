"""Training tables in HDF5: what `pandas.read_hdf` reads, written and read columnar.

Keys of a file
--------------
``train_events``
    One row per particle: MultiIndex (label, evtNum, arrayIndex), the columns of
    `smartbkg_tf.events.table.PARTICLE_COLUMNS`.
``decay_strings``
    One row per event: index evtNum; columns label, decay_str.
``events``
    One row per event, in the order of the other two: experiment, run, event, production,
    n_particles, event_type (text), ``label_<skim>``, and the bias observables.

Files of the original project have no ``events``; what is filled in says
`smartbkg_tf.events.legacy_tables`.

The attribute ``particles`` of a file is ``generator`` where it was made with
``source.particles=generator``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import h5py
import numpy as np
import numpy.typing as npt

from smartbkg_tf.errors import InputError, did_you_mean
from smartbkg_tf.events.columns import (
    events_from_columns,
    integers,
    labels_from,
    particle_column,
    texts,
)
from smartbkg_tf.events.hdf5_writer import write_hdf5
from smartbkg_tf.events.legacy_tables import (
    events_of_particles,
    events_of_strings,
    mother_positions,
)
from smartbkg_tf.events.pandas_frames import MADE_BY, Frame, explained, open_frame
from smartbkg_tf.events.readers import Key, Reader, as_asked, begins_with, check_request
from smartbkg_tf.events.table import KEY_COLUMNS, PARTICLE_COLUMNS, EventTable, offsets_of
from smartbkg_tf.settings.base import settings
from smartbkg_tf.settings.sources import ParticleSet

__all__ = [
    "HDF5Reader",
    "TrainingFile",
    "iterate_hdf5",
    "write_hdf5",
]

Array = npt.NDArray[Any]

_PARTICLE_INDEX = ("label", "evtNum", "arrayIndex")


class TrainingFile:
    """An HDF5 training table that is open for reading slices of events.

    Parameters
    ----------
    path : str or pathlib.Path
        The file.
    key : {"all", "train_events", "decay_strings"}, default "all"
        What to read. ``"all"`` needs particles; decay strings that are not in the file
        are built from them.
    decay_text : bool, default True
        False: no decay strings for events whose tree the mother links tell in full
        (``key="all"``, not for files of the original project with decay strings of their own).

    Raises
    ------
    InputError
        When the file is not an HDF5 file, is damaged or empty, lacks a key or a column, or
        when its tables do not belong to each other.
    ValueError
        When the key is not one of the three.
    """

    def __init__(self, path: str | Path, key: Key = "all", *, decay_text: bool = True) -> None:
        check_request(key)
        self.path = Path(path)
        self.key = key
        self._decay_text = decay_text
        with explained(self.path):
            if self.path.is_dir():
                raise InputError("is a folder, not an HDF5 file", where=self.path)
            self._file = h5py.File(self.path, "r", locking="best-effort")
        try:
            with explained(self.path):
                self._open()
        except BaseException:
            self._file.close()
            raise

    def _open(self) -> None:
        self._n_bytes = self._size()
        self._particles = self._frame("train_events", needed=self.key != "decay_strings")
        self._strings = self._frame("decay_strings", needed=self.key == "decay_strings")
        #: Whether the file says all about its events.
        self._described = "events" in self._file
        if self._particles is not None:
            self._check_particle_columns(self._particles)
        if self._described:
            self._events = self._described_events(open_frame(self._file, "events", self.path))
        elif self._particles is not None:
            self._events = events_of_particles(self._particles, self.path)
        else:
            assert self._strings is not None
            self._events = events_of_strings(self._strings, self.path)
        if len(self) == 0:
            raise InputError("holds no events", where=self.path, next_step=MADE_BY)
        if self._strings is not None and self._strings.n_rows != len(self):
            raise InputError(
                f"the keys do not belong to each other: 'decay_strings' has "
                f"{self._strings.n_rows} events, '{self._other_key}' has {len(self)}",
                where=self.path,
                next_step="make the file again"
                if self._described
                else "read one of them alone with key=train_events or key=decay_strings",
            )
        if self._described and self._particles is not None and not self._decay_text:
            self._strings = None

    def _size(self) -> int:
        return os.fstat(self._file.id.get_vfd_handle()).st_size

    @property
    def _other_key(self) -> str:
        return "events" if self._described else "train_events"

    def _frame(self, key: str, needed: bool) -> Frame | None:
        if key not in self._file:
            if not needed:
                return None
            present = [str(name) for name in self._file]
            there = did_you_mean(key, present) if present else "it holds no keys"
            other = {"train_events": "decay_strings", "decay_strings": "train_events"}[key]
            raise InputError(
                f"has no key '{key}'; {there}",
                where=self.path,
                next_step=f"read it with key={other}" if other in self._file else MADE_BY,
            )
        if not needed and self.key != "all":
            return None
        frame = open_frame(self._file, key, self.path)
        # Index levels without a name are taken in the order in which pandas keeps them.
        if key == "train_events" and len(frame.index_names) == 3 and "" in frame.index_names:
            frame.index_names = _PARTICLE_INDEX
        if key == "decay_strings" and frame.index_names == ("",) and "evtNum" not in frame.columns:
            frame.index_names = ("evtNum",)
        return frame

    def _check_particle_columns(self, frame: Frame) -> None:
        there = frame.names
        missing = [name for name in (*_PARTICLE_INDEX, *PARTICLE_COLUMNS) if name not in there]
        if missing:
            raise InputError(
                f"lacks the columns {', '.join(missing)}; {did_you_mean(missing[0], there, 30)}",
                where=frame.where,
                next_step=MADE_BY,
            )

    def _described_events(self, frame: Frame) -> EventTable:
        """Read the key ``events``: events without particles, offsets into ``train_events``."""
        missing = [name for name in KEY_COLUMNS if name not in frame.columns]
        if missing:
            raise InputError(
                f"lacks the columns {', '.join(missing)}; "
                f"{did_you_mean(missing[0], frame.columns)}",
                where=frame.where,
            )
        columns = frame.read(frame.columns, 0, frame.n_rows)
        offsets = np.zeros(frame.n_rows + 1, dtype=np.int64)
        if "n_particles" in columns:
            where = f"{frame.where}: n_particles"
            counts = integers(columns["n_particles"], np.int64, where=where)
            if (counts < 0).any():
                row = int(np.argmin(counts))
                raise InputError(f"row {row} has fewer than 0 particles", where=where)
            offsets = offsets_of(counts)
        elif self._particles is not None:
            offsets = events_of_particles(self._particles, self.path).offsets
        if self._particles is not None and (
            len(offsets) != frame.n_rows + 1 or offsets[-1] != self._particles.n_rows
        ):
            raise InputError(
                f"the keys do not belong to each other: 'events' has {frame.n_rows} events with "
                f"{offsets[-1]} particles, 'train_events' has {self._particles.n_rows} rows",
                where=self.path,
                next_step="the file is not complete or was changed; make it again",
            )
        return events_from_columns(columns, offsets, frame.where)

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the skims."""
        return tuple(self._events.labels)

    def __len__(self) -> int:
        """Count the events."""
        return len(self._events)

    def __enter__(self) -> TrainingFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def read(self, start: int, stop: int) -> EventTable:
        """Read a slice of events.

        Parameters
        ----------
        start, stop : int
            Positions of events in the file.

        Returns
        -------
        EventTable
            ``particles`` is empty with ``key="decay_strings"``; ``decay_strings`` is None
            with ``key="train_events"``.

        Raises
        ------
        InputError
            When the data are damaged, or the tables disagree in these events.
        """
        start, stop = max(start, 0), min(stop, len(self))
        events = self._events.slice(start, stop)
        particles: dict[str, Array] = {}
        strings = None
        try:
            with explained(self.path):
                if self._particles is not None:
                    particles = self._read_particles(self._particles, events, start)
                if self._strings is not None:
                    strings = self._read_strings(self._strings, events, start)
        finally:
            # HDF5 gives zeros, or anything, for what has been cut off in the meantime.
            if self._size() < self._n_bytes:
                raise InputError(
                    "became shorter while it was read",
                    where=self.path,
                    next_step=f"make or copy it again; {MADE_BY}",
                )
        table = replace(
            events,
            particles=particles,
            offsets=events.offsets if particles else np.zeros_like(events.offsets),
            decay_strings=strings,
        )
        return as_asked(table, self.key, self.path, start, decay_text=self._decay_text)

    def _read_particles(
        self, frame: Frame, events: EventTable, first_event: int
    ) -> dict[str, Array]:
        low = int(self._events.offsets[first_event])
        # Without 'events' the borders were made of these very columns.
        more = ["evtNum", "label"] if self._described else ["arrayIndex"]
        raw = frame.read([*PARTICLE_COLUMNS, *more], low, low + int(events.offsets[-1]))
        if self._described:
            counts = np.diff(events.offsets)
            for name, expected in _repeated_columns(events).items():
                wrong = raw[name] != np.repeat(expected, counts)
                if wrong.any():
                    row = int(np.argmax(wrong))
                    event = int(np.searchsorted(events.offsets, row, side="right")) - 1
                    raise InputError(
                        f"does not agree with 'events': row {low + row} should belong to event "
                        f"{first_event + event} of the file ({_key_of(events, event)}), where "
                        f"{name} is {expected[event]}, but {name} is {raw[name][row]} here",
                        where=frame.where,
                        next_step="the two tables were not written together; make the file again",
                    )
        columns = {
            name: particle_column(name, raw[name], where=f"{frame.where}: {name}", first_row=low)
            for name in PARTICLE_COLUMNS
        }
        if not self._described:
            where = f"{frame.where}: arrayIndex"
            array_index = integers(raw["arrayIndex"], np.int64, where=where, first_row=low)
            columns["motherIndex"] = mother_positions(
                columns["motherIndex"], columns["motherPDG"], array_index, events.offsets
            )
        return columns

    def _read_strings(
        self, frame: Frame, events: EventTable, start: int
    ) -> npt.NDArray[np.object_]:
        labelled = "label" in frame.names
        names = ("evtNum", "decay_str", "label") if labelled else ("evtNum", "decay_str")
        raw = frame.read(names, start, start + len(events))
        found = {
            "evtNum": integers(
                raw["evtNum"], np.int64, where=f"{frame.where}: evtNum", first_row=start
            )
        }
        if labelled:
            where = f"{frame.where}: label"
            found["label"] = labels_from(raw["label"], where=where, first_row=start)
        expected = _repeated_columns(events)
        for name, values in found.items():
            wrong = values != expected[name]
            if wrong.any():
                event = int(np.argmax(wrong))
                raise InputError(
                    f"does not agree with '{self._other_key}': event {start + event} of the file "
                    f"({_key_of(events, event)}) has {name} {expected[name][event]} there and "
                    f"{values[event]} here",
                    where=frame.where,
                    next_step="read one of them alone with key=train_events or "
                    "key=decay_strings, or make the file again",
                )
        strings = texts(raw["decay_str"], where=f"{frame.where}: decay_str", first_row=start)
        missing = strings == "nan"  # how pandas writes a missing text into a table
        if missing.any():
            raise InputError(
                f"row {start + int(np.argmax(missing))} has no decay string", where=frame.where
            )
        return strings


def _repeated_columns(events: EventTable) -> dict[str, Array]:
    """Give what the other tables repeat of an event: its number, and the first skim's label."""
    unknown = np.full(len(events), -1, dtype=np.int8)
    return {"evtNum": events.keys["event"], "label": next(iter(events.labels.values()), unknown)}


def _key_of(events: EventTable, event: int) -> str:
    """Name an event, such as ``experiment 1003, run 1, event 7, production 0``."""
    return ", ".join(f"{name} {events.keys[name][event]}" for name in KEY_COLUMNS)


def iterate_hdf5(
    path: str | Path, *, key: Key = "all", chunk_events: int = 20000, decay_text: bool = True
) -> Iterator[EventTable]:
    """Read one training table piece by piece; arguments are those of `readers.iterate_events`."""
    check_request(key, chunk_events)
    with TrainingFile(path, key, decay_text=decay_text) as file:
        for start in range(0, len(file), chunk_events):
            yield file.read(start, start + chunk_events)


@settings
class HDF5Reader(Reader):
    """Training tables in HDF5, ours and those of the original project.

    Parameters
    ----------
    decay_text : bool, default True
        As for `TrainingFile`.
    """

    name: ClassVar[str] = "hdf5"

    decay_text: bool = True

    def recognises(self, path: Path) -> bool:
        """Tell by the first bytes."""
        return begins_with(path, b"\x89HDF\r\n\x1a\n")

    def count(self, path: Path) -> int:
        """Count the events of whichever key the file has."""
        key: Key = "all"
        with explained(path), h5py.File(path, "r", locking="best-effort") as file:
            if "train_events" not in file and "decay_strings" in file:
                key = "decay_strings"
        with TrainingFile(path, key) as table:
            return len(table)

    def iterate(self, path: Path, *, chunk_events: int, key: Key) -> Iterator[EventTable]:
        """Read the events piece by piece."""
        return iterate_hdf5(path, key=key, chunk_events=chunk_events, decay_text=self.decay_text)

    def particle_set(self, path: Path) -> ParticleSet:
        """Read it from the file's attributes."""
        with explained(path), h5py.File(path, "r", locking="best-effort") as file:
            value = file.attrs.get("particles", "tables")
            text = value.decode() if isinstance(value, bytes) else str(value)
        return "generator" if text == "generator" else "tables"
