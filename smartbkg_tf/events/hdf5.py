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
from collections.abc import Iterator, Sequence
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
from smartbkg_tf.events.readers import Key, Reader, begins_with
from smartbkg_tf.events.table import KEY_COLUMNS, PARTICLE_COLUMNS, EventTable, offsets_of
from smartbkg_tf.settings.base import settings
from smartbkg_tf.settings.sources import ParticleSet

__all__ = ["HDF5Reader", "TrainingFile", "write_hdf5"]

Array = npt.NDArray[Any]

_PARTICLE_INDEX = ("label", "evtNum", "arrayIndex")


class TrainingFile:
    """An HDF5 training table that is open for reading slices of events.

    `key` is that of `readers.iterate_events`. InputError when the file is not an
    HDF5 file, is damaged or empty, lacks a key or a column, or when its tables do not belong to
    each other.
    """

    def __init__(self, path: str | Path, key: Key = "all") -> None:
        self.path = Path(path)
        self.key = key
        with explained(self.path):
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
            _require(self._particles, (*_PARTICLE_INDEX, *PARTICLE_COLUMNS))
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
        if self._described and self._particles is not None:
            # Of our own files the mother links tell the same.
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
        unnamed = _PARTICLE_INDEX if key == "train_events" else ("evtNum",)
        return open_frame(self._file, key, self.path, unnamed)

    def _described_events(self, frame: Frame) -> EventTable:
        """Read the key ``events``: events without particles, offsets into ``train_events``."""
        _require(frame, KEY_COLUMNS if self._particles is None else (*KEY_COLUMNS, "n_particles"))
        columns = frame.read(frame.columns, 0, frame.n_rows)
        if self._particles is None:
            offsets = np.zeros(frame.n_rows + 1, dtype=np.int64)
            return events_from_columns(columns, offsets, frame.where)
        where = f"{frame.where}: n_particles"
        counts = integers(columns["n_particles"], np.int64, where=where)
        if (counts < 0).any():
            raise InputError(
                f"row {int(np.argmin(counts))} has fewer than 0 particles", where=where
            )
        offsets = offsets_of(counts)
        if offsets[-1] != self._particles.n_rows:
            raise InputError(
                f"the keys do not belong to each other: 'events' has {frame.n_rows} events with "
                f"{offsets[-1]} particles, 'train_events' has {self._particles.n_rows} rows",
                where=self.path,
                next_step="the file is not complete or was changed; make it again",
            )
        return events_from_columns(columns, offsets, frame.where)

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
        """Read a slice of events, by position.

        ``particles`` is empty with ``key="decay_strings"``; ``decay_strings`` is None with
        ``key="train_events"``. InputError when the data are damaged, or the tables disagree.
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
        return replace(
            events,
            particles=particles,
            offsets=events.offsets if particles else np.zeros_like(events.offsets),
            decay_strings=strings,
        )

    def _read_particles(
        self, frame: Frame, events: EventTable, first_event: int
    ) -> dict[str, Array]:
        low = int(self._events.offsets[first_event])
        # Without 'events' the borders were made of these very columns.
        more = ["evtNum", "label"] if self._described else ["arrayIndex"]
        raw = frame.read([*PARTICLE_COLUMNS, *more], low, low + int(events.offsets[-1]))
        columns = {
            name: particle_column(name, raw[name], where=f"{frame.where}: {name}", first_row=low)
            for name in PARTICLE_COLUMNS
        }
        if self._described:
            counts = np.diff(events.offsets)
            self._check_agreement(frame, {n: raw[n] for n in more}, events, counts, first_event)
        else:
            where = f"{frame.where}: arrayIndex"
            array_index = integers(raw["arrayIndex"], np.int64, where=where, first_row=low)
            columns["motherIndex"] = mother_positions(
                columns["motherIndex"], columns["motherPDG"], array_index, events.offsets
            )
        return columns

    def _read_strings(
        self, frame: Frame, events: EventTable, start: int
    ) -> npt.NDArray[np.object_]:
        repeated = ["evtNum", *(["label"] if "label" in frame.names else [])]
        raw = frame.read([*repeated, "decay_str"], start, start + len(events))
        found = {}
        for name in repeated:
            made = labels_from if name == "label" else integers
            found[name] = made(raw[name], where=f"{frame.where}: {name}", first_row=start)
        self._check_agreement(frame, found, events, np.ones(len(events), np.int64), start)
        strings = texts(raw["decay_str"], where=f"{frame.where}: decay_str", first_row=start)
        missing = strings == "nan"  # how pandas writes a missing text into a table
        if missing.any():
            raise InputError(
                f"row {start + int(np.argmax(missing))} has no decay string", where=frame.where
            )
        return strings

    def _check_agreement(
        self,
        frame: Frame,
        found: dict[str, Array],
        events: EventTable,
        counts: npt.NDArray[np.int64],
        first_event: int,
    ) -> None:
        """Refuse a table whose event numbers and first labels, `counts` rows each, are others."""
        unknown = np.full(len(events), -1, dtype=np.int8)
        expected: dict[str, Array] = {
            "evtNum": events.keys["event"],
            "label": next(iter(events.labels.values()), unknown),
        }
        for name, values in found.items():
            wrong = values != np.repeat(expected[name], counts)
            if wrong.any():
                row = int(np.argmax(wrong))
                i = int(np.searchsorted(np.cumsum(counts), row, side="right"))
                key = ", ".join(f"{part} {events.keys[part][i]}" for part in KEY_COLUMNS)
                raise InputError(
                    f"does not agree with '{self._other_key}': event {first_event + i} of the file "
                    f"({key}) has {name} {expected[name][i]} there and {values[row]} here",
                    where=frame.where,
                    next_step="read one of them alone with key=train_events or "
                    "key=decay_strings, or make the file again",
                )


def _require(frame: Frame, names: Sequence[str]) -> None:
    """Refuse a table without some columns."""
    missing = [name for name in names if name not in frame.names]
    if missing:
        raise InputError(
            f"lacks the columns {', '.join(missing)}; {did_you_mean(missing[0], frame.names, 30)}",
            where=frame.where,
            next_step=MADE_BY,
        )


@settings
class HDF5Reader(Reader):
    """Training tables in HDF5, ours and those of the original project."""

    divisible: ClassVar[bool] = True

    def recognises(self, path: Path) -> bool:
        """Tell by the first bytes."""
        return begins_with(path, b"\x89HDF\r\n\x1a\n")

    def count(self, path: Path) -> int:
        """Count the rows of a table that has one for each event; else find where events begin."""
        with explained(path), h5py.File(path, "r", locking="best-effort") as file:
            for key in ("events", "decay_strings"):
                if key in file:
                    return open_frame(file, key, path).n_rows
        with TrainingFile(path, "train_events") as table:
            return len(table)

    def iterate(
        self, path: Path, *, chunk_events: int, key: Key, begin: int = 0, end: int | None = None
    ) -> Iterator[EventTable]:
        """Read the events piece by piece."""
        with TrainingFile(path, key) as file:
            end = len(file) if end is None else min(end, len(file))
            for start in range(begin, end, chunk_events):
                yield file.read(start, min(start + chunk_events, end))

    def particle_set(self, path: Path) -> ParticleSet:
        """Read it from the file's attributes."""
        with explained(path), h5py.File(path, "r", locking="best-effort") as file:
            value = file.attrs.get("particles", "tables")
            text = value.decode() if isinstance(value, bytes) else str(value)
        return "generator" if text == "generator" else "tables"
