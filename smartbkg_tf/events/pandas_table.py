"""The 'table' layout of pandas in HDF5: one compound table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import h5py
import numpy.typing as npt

from smartbkg_tf.errors import InputError
from smartbkg_tf.events.compressed import read_rows
from smartbkg_tf.events.pandas_parts import (
    attribute,
    column_names,
    first_other,
    no_column,
    with_type,
)
from smartbkg_tf.runtime.scratch import Scratch

Array = npt.NDArray[Any]


class TableFrame:
    """A frame in the 'table' layout.

    Parameters
    ----------
    group : h5py.Group
        The key.
    where : str
        File and key, for messages.
    lend : bool, default False
        Rows hold until the next ones are read: their memory is used again.

    Raises
    ------
    InputError
        When a part of the layout is missing or is not understood.
    """

    def __init__(self, group: h5py.Group, where: str, *, lend: bool = False) -> None:
        self._where = where
        self._scratch = Scratch() if lend else None
        # A row holds all columns, and some are asked for one by one.
        self._last: tuple[int, int, Array] | None = None
        node = group.get("table")
        if not isinstance(node, h5py.Dataset) or node.dtype.names is None:
            raise InputError("is damaged: the part 'table' is missing", where=where)
        self._node = node
        self.n_rows = int(node.shape[0])
        self._place: dict[str, tuple[str, int]] = {}
        self._types: dict[str, Any] = {}
        for field in node.dtype.names:
            if field == "index":
                continue
            self._types[field] = attribute(node, f"{field}_dtype", where)
            kind = attribute(node, f"{field}_kind", where)
            names = column_names(kind, where) if isinstance(kind, list | tuple) else (field,)
            self._place.update({name: (field, i) for i, name in enumerate(names)})
        levels = attribute(group, "levels", where)
        if isinstance(levels, list | tuple):
            self.index_names = tuple("" if name is None else str(name) for name in levels)
            self._index: str | None = None
        else:
            self.index_names = (self._index_name(group),)
            self._index = "index" if "index" in node.dtype.names else None
        self.columns = tuple(name for name in self._place if name not in self.index_names)

    def _index_name(self, group: h5py.Group) -> str:
        info = attribute(group, "info", self._where)
        entry = info.get("index") if isinstance(info, dict) else None
        name = entry.get("index_name") if isinstance(entry, dict) else None
        return "" if name is None else str(name)

    def rename_index(self, names: tuple[str, ...]) -> None:
        """Give the index levels other names.

        Parameters
        ----------
        names : tuple of str
            As many as there are levels.
        """
        for old, new in zip(self.index_names, names, strict=True):
            if old in self._place:
                self._place[new] = self._place.pop(old)
        self.index_names = names

    def read(self, names: Iterable[str], start: int, stop: int) -> dict[str, Array]:
        """Read some columns or index levels of a slice of rows.

        Parameters
        ----------
        names : iterable of str
            Columns or index levels.
        start, stop : int
            The rows.

        Returns
        -------
        dict of str to numpy.ndarray [stop - start]
            In the type of the file; views into the rows.

        Raises
        ------
        InputError
            When there is no such column.
        """
        if self._last is None or self._last[:2] != (start, stop):
            self._last = None
            self._last = start, stop, read_rows(self._node, start, stop, scratch=self._scratch)
        rows = self._last[2]
        result: dict[str, Array] = {}
        for name in names:
            if self._index is not None and name == self.index_names[0]:
                field, place = self._index, 0
            elif name in self._place:
                field, place = self._place[name]
            else:
                raise no_column(name, self, self._where)
            values = rows[field]
            values = values[:, place] if values.ndim == 2 else values
            result[name] = with_type(values, self._types.get(field))
        return result

    def first_other(self, name: str, start: int, offsets: Array, expected: Array) -> int | None:
        """Find the first row that does not have the value of its event; see `Frame`."""
        values = self.read((name,), start, start + int(offsets[-1]))[name]
        return first_other(values, offsets, expected)
