"""Events of a dataset read from its files, without mapping them.

A memory map reads a page when it is touched: on a cold disk that is one small read after the
other, and every page that was touched counts as memory of the process. Here neighbouring events
are read together into arrays of their own, also where some of them are not wanted.
"""

from __future__ import annotations

import math
import os
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.dataset.store import map_path
from smartbkg_tf.dataset.writer import offsets_name
from smartbkg_tf.encoding.events import Events, Schema, concatenate, flat_bytes, offsets_of
from smartbkg_tf.errors import InputError
from smartbkg_tf.settings.encoding import EVENT

#: Events that nobody wants are read along up to so many between two that are wanted: to skip them
#: would cost another access to the disk.
GAP = 64

#: At most so many events are read at a time, so that what is not wanted takes little memory.
STRETCH = 4096


class StoredEvents:
    """Read the columns of a schema of events of a dataset into memory."""

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
        if not len(rows):
            return self._read([(0, 0)])
        apart = np.diff(rows) > GAP
        apart |= np.diff(rows // STRETCH) > 0
        wanted = np.split(rows, np.flatnonzero(apart) + 1)
        stretches = [(int(mine[0]), int(mine[-1]) + 1) for mine in wanted]
        if sum(end - begin for begin, end in stretches) == len(rows):
            return self._read(stretches)
        return concatenate(
            [
                self._read([stretch]).take(mine - mine[0])
                for stretch, mine in zip(stretches, wanted, strict=True)
            ]
        )

    def _read(self, stretches: Sequence[tuple[int, int]]) -> Events:
        """Read all events of some stretches, put one after the other."""
        spans = {EVENT: stretches}
        offsets = {}
        for axis in self.schema.axes:
            name = offsets_name(axis)
            borders = [self._rows(name, "int64", (), [(a, b + 1)]) for a, b in stretches]
            spans[axis] = [(int(one[0]), int(one[-1])) for one in borders]
            offsets[axis] = offsets_of(np.concatenate([np.diff(one) for one in borders]))
        columns = {
            column.name: self._rows(column.name, column.dtype, column.shape, spans[column.axis])
            for column in self.schema.columns
        }
        return Events(self.schema, columns, offsets, sum(b - a for a, b in stretches))

    def _rows(
        self, name: str, dtype: str, shape: tuple[int, ...], spans: Sequence[tuple[int, int]]
    ) -> npt.NDArray[Any]:
        values = np.empty((sum(b - a for a, b in spans), *shape), dtype=dtype)
        width = values.dtype.itemsize * math.prod(shape)
        room = flat_bytes(values).data
        for first, last in spans:
            place, end = first * width, last * width
            while place < end:
                n_bytes = os.preadv(self._files[name], [room[: end - place]], place)
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
