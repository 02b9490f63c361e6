"""The 'fixed' layout of pandas in HDF5: one array per block of columns of equal type."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from smartbkg_tf.errors import InputError
from smartbkg_tf.events.compressed import read_rows
from smartbkg_tf.events.pandas_parts import (
    NO_VALUE,
    attribute,
    column_names,
    first_other,
    first_other_code,
    no_column,
    number,
    with_type,
)
from smartbkg_tf.events.plain_pickle import loads
from smartbkg_tf.runtime.scratch import Scratch

Array = npt.NDArray[Any]


class FixedFrame:
    """A frame in the 'fixed' layout.

    Parameters
    ----------
    group : h5py.Group
        The key.
    where : str
        File and key, for messages.
    as_stored : bool, default False
        Give numbers in the type of the file; they hold until the next ones are read.

    Raises
    ------
    InputError
        When a part of the layout is missing.
    """

    def __init__(self, group: h5py.Group, where: str, *, as_stored: bool = False) -> None:
        self._as_stored = as_stored
        self._scratch = Scratch() if as_stored else None
        self._group = group
        self._where = where
        self._pickled: dict[str, Array] = {}
        if "axis1_nlevels" in group.attrs:
            n_levels = number(group, "axis1_nlevels", where)
            self._levels: list[Array] | None = [
                self._whole(f"axis1_level{i}") for i in range(n_levels)
            ]
            names = [self._name(f"axis1_level{i}") for i in range(n_levels)]
            self.n_rows = self._length("axis1_label0")
        else:
            self._levels = None
            names = [self._name("axis1")]
            self.n_rows = self._length("axis1")
        self.index_names = tuple(names)
        self._place: dict[str, tuple[int, int]] = {}
        self._widths: dict[int, int] = {}
        for block in range(number(group, "nblocks", where)):
            items = column_names(self._whole(f"block{block}_items"), where)
            self._widths[block] = len(items)
            self._place.update({name: (block, i) for i, name in enumerate(items)})
            rows = self._length(f"block{block}_values")
            if rows != self.n_rows:
                raise InputError(
                    f"is damaged: block {block} has {rows} rows, the index has {self.n_rows}",
                    where=where,
                )
        self.columns = tuple(self._place)

    def rename_index(self, names: tuple[str, ...]) -> None:
        """Give the index levels other names.

        Parameters
        ----------
        names : tuple of str
            As many as there are levels.
        """
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
            Floats as float64 (unless `as_stored`), all else in the type of the file;
            columns of one type may be views into one array with a row per particle.

        Raises
        ------
        InputError
            When there is no such column.
        """
        result: dict[str, Array] = {}
        wanted: dict[int, list[str]] = {}
        for name in names:
            if name in self.index_names:
                result[name] = self._level(self.index_names.index(name), start, stop)
            elif name in self._place:
                wanted.setdefault(self._place[name][0], []).append(name)
            else:
                raise no_column(name, self, self._where)
        for block, members in wanted.items():
            places = [self._place[name][1] for name in members]
            values = self._block(block, places, start, stop)
            result.update(zip(members, values, strict=True))
        return result

    def _node(self, name: str) -> h5py.Dataset:
        node = self._group.get(name)
        if not isinstance(node, h5py.Dataset):
            raise InputError(
                f"is damaged: the part '{name}' of the table is missing", where=self._where
            )
        return node

    def _empty(self, node: h5py.Dataset) -> tuple[int, ...] | None:
        # pandas writes an empty array as one dummy value and keeps the shape beside it.
        if "shape" not in node.attrs:
            return None
        shape = attribute(node, "shape", self._where)
        return tuple(int(n) for n in np.atleast_1d(np.asarray(shape)))

    def _length(self, name: str) -> int:
        node = self._node(name)
        empty = self._empty(node)
        if empty is not None:
            return max(empty) if 0 not in empty else 0
        if node.dtype.kind == "O" and "PSEUDOATOM" in node.attrs:
            return len(self._unpickled(name))
        return int(node.shape[0])

    def _name(self, node_name: str) -> str:
        name = attribute(self._node(node_name), "name", self._where)
        return "" if name is None else str(name)

    def _unpickled(self, name: str) -> Array:
        """Give a column or block that pandas pickled as one object: it is whole or nothing."""
        if name not in self._pickled:
            node = self._node(name)
            data = bytes(np.asarray(node[0], dtype=np.uint8)) if node.shape[0] else b""
            array = loads(data, where=f"{self._where}/{name}", array=True)
            # The shape is [rows, columns], or [columns, rows] without the mark 'transposed'.
            if array.ndim == 2 and not number(node, "transposed", self._where):
                array = array.T
            self._pickled[name] = array
        return self._pickled[name]

    def _whole(self, name: str) -> Array:
        node = self._node(name)
        empty = self._empty(node)
        if empty is not None:
            return np.empty(empty, dtype=node.dtype)
        if node.dtype.kind == "O" and "PSEUDOATOM" in node.attrs:
            return self._unpickled(name)
        return read_rows(node, 0, int(node.shape[0]))

    def _level(self, level: int, start: int, stop: int) -> Array:
        if self._levels is None:
            node = self._node("axis1")
            if node.dtype.kind == "O" and "PSEUDOATOM" in node.attrs:
                return self._unpickled("axis1")[start:stop]
            return read_rows(node, start, stop)
        codes = read_rows(self._node(f"axis1_label{level}"), start, stop)
        values = self._levels[level]
        if len(codes) and (int(codes.min()) < 0 or int(codes.max()) >= len(values)):
            raise self._no_value(level)
        taken: Array = values[codes]
        return taken

    def _no_value(self, level: int) -> InputError:
        return InputError(
            f"has rows without a value for the index level '{self.index_names[level]}'",
            where=self._where,
        )

    def first_other(self, name: str, start: int, offsets: Array, expected: Array) -> int | None:
        """Find the first row that does not have the value of its event; see `Frame`."""
        level = self.index_names.index(name) if name in self.index_names else -1
        if self._levels is None or level < 0 or self._levels[level].dtype.kind not in "iu":
            return first_other(
                self.read((name,), start, start + int(offsets[-1]))[name], offsets, expected
            )
        codes = read_rows(self._node(f"axis1_label{level}"), start, start + int(offsets[-1]))
        # The common types come as they are; for others no function is compiled.
        if codes.dtype not in (np.int8, np.int16, np.int32):
            codes = codes.astype(np.int64)
        row = first_other_code(
            codes,
            self._levels[level].astype(np.int64, copy=False),
            np.ascontiguousarray(offsets, dtype=np.int64),
            expected.astype(np.int64, copy=False),
        )
        if row == NO_VALUE:
            raise self._no_value(level)
        return None if row < 0 else int(row)

    def _block(self, block: int, places: list[int], start: int, stop: int) -> list[Array]:
        name = f"block{block}_values"
        node = self._node(name)
        if self._empty(node) is not None:
            return [np.empty(0, dtype=node.dtype) for _ in places]
        if node.dtype.kind == "O" and "PSEUDOATOM" in node.attrs:
            whole = self._unpickled(name)
            if whole.ndim == 1:  # pandas 3 keeps a column of texts as one axis
                whole = whole[:, np.newaxis]
            if whole.ndim != 2 or whole.shape[1] != self._widths[block]:
                raise InputError(
                    f"is damaged: '{name}' has the shape {whole.shape}", where=self._where
                )
            return [whole[start:stop, place] for place in places]
        if node.ndim != 2 or node.shape[1] != self._widths[block]:
            raise InputError(f"is damaged: '{name}' has the shape {node.shape}", where=self._where)
        values = read_rows(node, start, stop, scratch=self._scratch)
        if values.dtype.kind == "f" and not self._as_stored:
            values = values.astype(np.float64, copy=False)
        # PyTables marks dates, and stores truth values as bits.
        bits = node.id.get_type().get_class() == h5py.h5t.BITFIELD
        values = with_type(values, "bool" if bits else attribute(node, "value_type", self._where))
        # Views: what reads the columns side by side passes through the memory once.
        return [values[:, place] for place in places]
