"""Read data frames that pandas wrote to HDF5, with h5py alone.

Both layouts of ``DataFrame.to_hdf`` are understood: 'fixed' (one array per block of
columns of equal type) and 'table' (one compound table). Neither pandas nor PyTables takes
part, since both unpickle whatever a file holds; and slices of rows are read at the speed
of the disk, without an index being put together.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
import numpy.typing as npt

from smartbkg_tf.events.compressed import read_rows
from smartbkg_tf.events.plain_pickle import load_array, load_values
from smartbkg_tf.settings.errors import InputError, did_you_mean

Array = npt.NDArray[Any]

#: Rows that are copied at a time from a block to its columns: a piece that fits the cache.
_PIECE = 8192


class Frame(Protocol):
    """Rows of a data frame that stay in the file until they are asked for.

    Attributes
    ----------
    n_rows : int
        Number of rows.
    index_names : tuple of str
        Names of the index levels; ``""`` for a level without name.
    columns : tuple of str
        Names of all other columns.
    """

    n_rows: int
    index_names: tuple[str, ...]
    columns: tuple[str, ...]

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
            Contiguous, in the type of the file; texts as bytes ('S') or objects.

        Raises
        ------
        InputError
            When there is no such column.
        """
        ...

    def rename_index(self, names: tuple[str, ...]) -> None:
        """Give the index levels other names.

        Parameters
        ----------
        names : tuple of str
            As many as there are levels.
        """
        ...


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return "" if isinstance(value, h5py.Empty) else str(value)


def _attribute(node: Any, name: str, where: str) -> Any:
    """Give an attribute, unpickled where PyTables pickled it; None if it is missing."""
    value = node.attrs.get(name)
    if isinstance(value, bytes | np.bytes_):
        data = bytes(value)
        # PyTables pickles with protocol 0, which ends in a full stop, or a later one.
        if data.endswith(b".") and data[:1] in b"(cNIVSFL]}lK\x80":
            try:
                return load_values(data, where=f"{where}@{name}")
            except InputError as error:
                if isinstance(error.__cause__, pickle.UnpicklingError):
                    raise
        return _text(data)
    if isinstance(value, h5py.Empty):
        return ""
    return value


def _names(values: Any, where: str) -> tuple[str, ...]:
    """Give column names as texts."""
    if isinstance(values, np.ndarray | list | tuple):
        return tuple(_text(value) for value in values)
    raise InputError("has no list of column names", where=where)


class FixedFrame:
    """A frame in the 'fixed' layout.

    Parameters
    ----------
    group : h5py.Group
        The key.
    where : str
        File and key, for messages.

    Raises
    ------
    InputError
        When a part of the layout is missing.
    """

    def __init__(self, group: h5py.Group, where: str) -> None:
        self._group = group
        self._where = where
        self._pickled: dict[str, Array] = {}
        if "axis1_nlevels" in group.attrs:
            n_levels = int(group.attrs["axis1_nlevels"])
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
        for block in range(int(group.attrs.get("nblocks", 0))):
            items = _names(self._whole(f"block{block}_items"), where)
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
            Contiguous, in the type of the file.

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
                raise _no_column(name, self, self._where)
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
        shape = _attribute(node, "shape", self._where)
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
        name = _attribute(self._node(node_name), "name", self._where)
        return "" if name is None else str(name)

    def _unpickled(self, name: str) -> Array:
        """Give a column or block that pandas pickled as one object: it is whole or nothing."""
        if name not in self._pickled:
            node = self._node(name)
            data = bytes(np.asarray(node[0], dtype=np.uint8)) if node.shape[0] else b""
            array = load_array(data, where=f"{self._where}/{name}")
            # The shape is [rows, columns], or [columns, rows] without the mark 'transposed'.
            if array.ndim == 2 and not node.attrs.get("transposed", 0):
                array = array.T
            self._pickled[name] = array
        return self._pickled[name]

    def _whole(self, name: str) -> Array:
        node = self._node(name)
        empty = self._empty(node)
        if empty is not None:
            return np.empty(empty, dtype=object)
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
            raise InputError(
                f"has rows without a value for the index level '{self.index_names[level]}'",
                where=self._where,
            )
        taken: Array = values[codes]
        return taken

    def _block(self, block: int, places: list[int], start: int, stop: int) -> list[Array]:
        name = f"block{block}_values"
        node = self._node(name)
        if self._empty(node) is not None:
            return [np.empty(0, dtype=object) for _ in places]
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
        columns = np.empty((len(places), stop - start), dtype=node.dtype.newbyteorder("="))
        every = places == list(range(self._widths[block]))
        for first in range(start, stop, _PIECE):
            last = min(first + _PIECE, stop)
            piece = read_rows(node, first, last)
            columns[:, first - start : last - start] = piece.T if every else piece.T[places]
        return list(columns)


class TableFrame:
    """A frame in the 'table' layout.

    Parameters
    ----------
    group : h5py.Group
        The key.
    where : str
        File and key, for messages.

    Raises
    ------
    InputError
        When a part of the layout is missing or is not understood.
    """

    def __init__(self, group: h5py.Group, where: str) -> None:
        self._where = where
        node = group.get("table")
        if not isinstance(node, h5py.Dataset) or node.dtype.names is None:
            raise InputError("is damaged: the part 'table' is missing", where=where)
        self._node = node
        self.n_rows = int(node.shape[0])
        self._place: dict[str, tuple[str, int]] = {}
        for field in node.dtype.names:
            if field == "index":
                continue
            kind = _attribute(node, f"{field}_kind", where)
            names = _names(kind, where) if isinstance(kind, list | tuple) else (field,)
            self._place.update({name: (field, i) for i, name in enumerate(names)})
        levels = _attribute(group, "levels", where)
        if isinstance(levels, list | tuple):
            self.index_names = tuple("" if name is None else str(name) for name in levels)
            self._index: str | None = None
        else:
            self.index_names = (self._index_name(group),)
            self._index = "index" if "index" in node.dtype.names else None
        self.columns = tuple(name for name in self._place if name not in self.index_names)

    def _index_name(self, group: h5py.Group) -> str:
        info = _attribute(group, "info", self._where)
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
            Contiguous, in the type of the file.

        Raises
        ------
        InputError
            When there is no such column.
        """
        rows = read_rows(self._node, start, stop)
        result: dict[str, Array] = {}
        for name in names:
            if self._index is not None and name == self.index_names[0]:
                field, place = self._index, 0
            elif name in self._place:
                field, place = self._place[name]
            else:
                raise _no_column(name, self, self._where)
            values = rows[field]
            result[name] = np.ascontiguousarray(values[:, place] if values.ndim == 2 else values)
        return result


def _no_column(name: str, frame: Frame, where: str) -> InputError:
    choices = (*frame.index_names, *frame.columns)
    return InputError(f"has no column '{name}'; {did_you_mean(name, choices)}", where=where)


def open_frame(file: h5py.File, key: str, path: Path) -> Frame:
    """Find out how a frame is laid out and prepare to read it.

    Parameters
    ----------
    file : h5py.File
        The open file.
    key : str
        The key that was given to ``to_hdf``.
    path : pathlib.Path
        Name of the file, for messages.

    Returns
    -------
    Frame
        Nothing but names and the values of index levels has been read yet.

    Raises
    ------
    InputError
        When the key is no data frame of pandas.
    """
    where = f"{path}: {key}"
    group = file[key]
    kind = _attribute(group, "pandas_type", where) if isinstance(group, h5py.Group) else None
    if kind == "frame_table":
        return TableFrame(group, where)
    if kind == "frame":
        return FixedFrame(group, where)
    raise InputError(
        f"is no data frame that pandas wrote (its pandas_type is {kind!r})",
        where=where,
        next_step="write it with DataFrame.to_hdf(..., format='table')",
    )
