"""An open HDF5 training table, of which slices of events are read.

What the keys hold and how missing parts are filled: `smartbkg_tf.events.hdf5`.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import h5py
import numpy as np
import numpy.typing as npt

from smartbkg_tf.errors import InputError, did_you_mean
from smartbkg_tf.events.columns import integers, labels_from, particle_column, texts
from smartbkg_tf.events.decay_strings import with_strings
from smartbkg_tf.events.event_index import (
    EventIndex,
    index_of_events_key,
    index_of_particles,
    index_of_strings,
)
from smartbkg_tf.events.foreign import mother_positions
from smartbkg_tf.events.hdf5_errors import MADE_BY, explained
from smartbkg_tf.events.pandas_layout import Frame, open_frame
from smartbkg_tf.events.table import PARTICLE_COLUMNS, EventTable

Array = npt.NDArray[Any]

Key = Literal["all", "train_events", "decay_strings"]
KEYS: tuple[Key, ...] = ("all", "train_events", "decay_strings")

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
    as_stored : bool, default False
        Give columns in the type of the file, float32 too, and decay strings as bytes ('S')
        where it holds such: for compiled code. A slice then holds until the next one is read.

    Attributes
    ----------
    path : pathlib.Path
        The file.
    label_names : tuple of str
        The skims.

    Raises
    ------
    InputError
        When the file is no HDF5 file, is damaged or empty, lacks a key or a column, or
        when its tables do not belong to each other.
    ValueError
        When the key is not one of the three.
    """

    def __init__(self, path: str | Path, key: Key = "all", *, as_stored: bool = False) -> None:
        if key not in KEYS:
            raise ValueError(f"key={key!r}: {did_you_mean(str(key), KEYS)}")
        self.path = Path(path)
        self.key = key
        self._as_stored = as_stored
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
        present = [str(name) for name in self._file]
        self._particles = self._frame("train_events", needed=self.key != "decay_strings")
        self._strings = self._frame("decay_strings", needed=self.key == "decay_strings")
        events = open_frame(self._file, "events", self.path) if "events" in present else None
        if self._particles is not None:
            self._check_particle_columns(self._particles)
        self._index = self._make_index(events)
        if len(self) == 0:
            raise InputError("holds no events", where=self.path, next_step=MADE_BY)
        if self._strings is not None and self._strings.n_rows != len(self):
            raise InputError(
                f"the keys do not belong to each other: 'decay_strings' has "
                f"{self._strings.n_rows} events, "
                f"{'events' if events is not None else 'train_events'} has {len(self)}",
                where=self.path,
                next_step="read one of them alone with key=train_events or key=decay_strings"
                if events is None
                else "make the file again",
            )

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
        frame = open_frame(self._file, key, self.path, as_stored=self._as_stored)
        # Index levels without a name are taken in the order in which pandas keeps them.
        if key == "train_events" and len(frame.index_names) == 3 and "" in frame.index_names:
            frame.rename_index(_PARTICLE_INDEX)
        unnamed = "evtNum" not in frame.columns + frame.index_names
        if key == "decay_strings" and unnamed and len(frame.index_names) == 1:
            frame.rename_index(("evtNum",))
        return frame

    def _check_particle_columns(self, frame: Frame) -> None:
        there = (*frame.index_names, *frame.columns)
        missing = [name for name in (*_PARTICLE_INDEX, *PARTICLE_COLUMNS) if name not in there]
        if missing:
            raise InputError(
                f"lacks the columns {', '.join(missing)}; {did_you_mean(missing[0], there, 30)}",
                where=f"{self.path}: train_events",
                next_step=MADE_BY,
            )

    def _make_index(self, events: Frame | None) -> EventIndex:
        if events is not None:
            return index_of_events_key(events, self._particles, self.path)
        if self._particles is not None:
            return index_of_particles(self._particles, self.path)
        assert self._strings is not None
        return index_of_strings(self._strings, self.path)

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the skims."""
        return tuple(self._index.labels)

    def __len__(self) -> int:
        """Count the events."""
        return len(self._index)

    def __enter__(self) -> TrainingFile:
        """Give the open file."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        self._particles = self._strings = None  # and the memory of their rows

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
        part = self._index.slice(start, stop)
        with explained(self.path):
            particles = self._read_particles(part, start) if self._particles is not None else {}
            strings = self._read_strings(part, start) if self._strings is not None else None
        offsets = part.offsets if particles else np.zeros(len(part) + 1, dtype=np.int64)
        table = EventTable(
            particles=particles,
            offsets=offsets,
            keys=part.keys,
            event_type=part.event_type,
            labels=part.labels,
            observables=part.observables,
            decay_strings=strings,
        )
        if self.key == "all" and strings is None:
            table = with_strings(table, self.path, start)
        return table

    def _read_particles(self, part: EventIndex, first_event: int) -> dict[str, Any]:
        frame = self._particles
        assert frame is not None
        low = part.first_row
        high = low + int(part.offsets[-1])
        where = f"{self.path}: train_events"
        # Without 'events' the boundaries were made of these very columns.
        check = self._index.from_events_key
        names = [*PARTICLE_COLUMNS, "arrayIndex"] if not check else list(PARTICLE_COLUMNS)
        raw = frame.read(names, low, high)
        if check:
            for name, expected in (("evtNum", part.keys["event"]), ("label", part.first_label)):
                row = frame.first_other(name, low, part.offsets, expected)
                if row is not None:
                    found = frame.read((name,), low + row, low + row + 1)[name][0]
                    raise self._other(row, found, expected, part, name, first_event, where)
        columns: dict[str, Any] = {}
        for name in PARTICLE_COLUMNS:
            columns[name] = particle_column(
                name,
                raw.pop(name),
                where=f"{where}: {name}",
                first_row=low,
                as_stored=self._as_stored,
            )
        if not check:
            array_index = integers(
                raw.pop("arrayIndex"), np.int64, where=f"{where}: arrayIndex", first_row=low
            )
            columns["motherIndex"] = mother_positions(
                columns["motherIndex"], columns["motherPDG"], array_index, part.offsets
            )
        return columns

    def _other(
        self,
        row: int,
        found: Any,
        expected: npt.NDArray[Any],
        part: EventIndex,
        name: str,
        first_event: int,
        where: str,
    ) -> InputError:
        """Say that a row does not belong to its event."""
        event = int(np.searchsorted(part.offsets, row, side="right")) - 1
        return InputError(
            f"does not agree with 'events': row {part.first_row + row} should belong to event "
            f"{first_event + event} of the file ({part.describe(event)}), where {name} is "
            f"{expected[event]}, but {name} is {found} here",
            where=where,
            next_step="the two tables were not written together; make the file again",
        )

    def _read_strings(self, part: EventIndex, start: int) -> npt.NDArray[Any]:
        frame = self._strings
        assert frame is not None
        where = f"{self.path}: decay_strings"
        has_label = "label" in (*frame.columns, *frame.index_names)
        names = ["evtNum", "decay_str", *(["label"] if has_label else [])]
        raw = frame.read(names, start, start + len(part))
        numbers = integers(raw["evtNum"], np.int64, where=f"{where}: evtNum", first_row=start)
        found: list[tuple[str, Array, Array]] = [("evtNum", numbers, part.keys["event"])]
        if has_label:
            labels = labels_from(raw["label"], where=f"{where}: label", first_row=start)
            found.append(("label", labels, part.first_label))
        for name, values, expected in found:
            wrong = values != expected
            if wrong.any():
                event = int(np.argmax(wrong))
                other = "events" if self._index.from_events_key else "train_events"
                raise InputError(
                    f"does not agree with '{other}': event {start + event} of the file "
                    f"({part.describe(event)}) has {name} {expected[event]} there and "
                    f"{values[event]} here",
                    where=where,
                    next_step="read one of them alone with key=train_events or "
                    "key=decay_strings, or make the file again",
                )
        strings = raw["decay_str"]
        if self._as_stored and strings.dtype.kind == "S":
            missing = strings == b"nan"
        else:
            strings = texts(strings, where=f"{where}: decay_str", first_row=start)
            missing = strings == "nan"  # how pandas writes a missing text into a table
        if missing.any():
            raise InputError(
                f"row {start + int(np.argmax(missing))} has no decay string", where=where
            )
        return strings
