"""Events of a dataset read from its files, without mapping them.

A memory map reads a page when it is touched: on a cold disk that is one small read after the
other, and every page that was touched counts as memory of the process. Here neighbouring events
are read together into arrays of their own, also where some of them are not wanted.
"""

from __future__ import annotations

import os
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.dataset.store import map_path
from smartbkg_tf.dataset.writer import offsets_name
from smartbkg_tf.encoding.events import Events, Schema, concatenate, flat_bytes
from smartbkg_tf.errors import InputError
from smartbkg_tf.settings.encoding import EVENT

#: Events that nobody wants are read along up to so many between two that are wanted: to skip them
#: would cost another access to the disk.
GAP = 64

#: At most so many events are read at a time, so that what is not wanted takes little memory.
STRETCH = 4096


class StoredEvents:
    """Read events of a dataset into memory.

    Parameters
    ----------
    directory : pathlib.Path
        The dataset directory.
    schema : Schema
        Columns that are needed.

    Raises
    ------
    InputError
        When a map cannot be opened.
    """

    def __init__(self, directory: Path, schema: Schema) -> None:
        self.schema = schema
        names = [*schema.by_name, *(offsets_name(axis) for axis in schema.axes)]
        self._paths = {name: map_path(directory, name) for name in names}
        self._files: dict[str, int] = {}
        try:
            for name, path in self._paths.items():
                self._files[name] = os.open(path, os.O_RDONLY)
        except OSError as error:
            _close(self._files)
            raise InputError(f"cannot be read ({error.strerror})", where=path) from error
        # Closed with the reader, whoever holds it last.
        weakref.finalize(self, _close, self._files)

    def read(self, rows: npt.NDArray[np.int64]) -> Events:
        """Read events at increasing positions; InputError when a map has become too short."""
        apart = np.diff(rows) > GAP
        apart |= np.diff(rows // STRETCH) > 0
        parts = []
        for mine in np.split(rows, np.flatnonzero(apart) + 1):
            events = self._stretch(int(mine[0]), int(mine[-1]) + 1)
            parts.append(events if len(events) == len(mine) else events.take(mine - mine[0]))
        return concatenate(parts)

    def _stretch(self, begin: int, end: int) -> Events:
        borders = {
            axis: self._rows(offsets_name(axis), "int64", (), begin, end + 1)
            for axis in self.schema.axes
        }
        columns = {}
        for column in self.schema.columns:
            first, last = begin, end
            if column.axis != EVENT:
                first, last = (int(borders[column.axis][i]) for i in (0, -1))
            columns[column.name] = self._rows(column.name, column.dtype, column.shape, first, last)
        offsets = {axis: values - values[0] for axis, values in borders.items()}
        return Events(self.schema, columns, offsets, end - begin)

    def _rows(
        self, name: str, dtype: str, shape: tuple[int, ...], first: int, last: int
    ) -> npt.NDArray[Any]:
        values = np.empty((last - first, *shape), dtype=dtype)
        if not values.nbytes:
            return values
        room = flat_bytes(values).data
        place = first * (values.nbytes // len(values))
        while len(room):
            n_bytes = os.preadv(self._files[name], [room], place)
            if not n_bytes:
                raise InputError(
                    "the map ends too early: it was changed while it was read",
                    where=self._paths[name],
                )
            room, place = room[n_bytes:], place + n_bytes
        return values


def _close(files: dict[str, int]) -> None:
    while files:
        os.close(files.popitem()[1])
