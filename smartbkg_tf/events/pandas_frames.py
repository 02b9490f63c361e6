"""Read data frames that pandas wrote to HDF5, with h5py alone.

Both layouts of ``DataFrame.to_hdf`` are understood: 'fixed' (one array per block of
columns of equal type) and 'table' (one compound table). Neither pandas nor PyTables takes
part, since both unpickle whatever a file holds; and slices of rows are read at the speed
of the disk, without building an index.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from smartbkg_tf.errors import InputError, did_you_mean
from smartbkg_tf.events.plain_pickle import Refused, loads

Array = npt.NDArray[Any]

MADE_BY = "such files are made by: python -m smartbkg_tf.produce"

#: Registered numbers of HDF5 filters: https://github.com/HDFGroup/hdf5_plugins
_FILTERS = {305: "LZO", 307: "bzip2", 32001: "Blosc", 32026: "Blosc2"}


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what h5py raises on a missing or damaged file into an InputError."""
    try:
        yield
    except FileNotFoundError as error:
        raise InputError("the file does not exist", where=path, next_step=MADE_BY) from error
    except Exception as error:
        # h5py reports damage by nearly any exception; others are faults of ours.
        if not isinstance(error, OSError) and not _raised_by_h5py(error):
            raise
        text = str(error.args[0] if isinstance(error, KeyError) else error)
        if "truncated file" in text:
            message = "is a truncated HDF5 file: it ends before its own table of contents says so"
        elif "signature not found" in text:
            message = "is not an HDF5 file"
        else:
            message = f"cannot be read as HDF5 ({text.splitlines()[0] if text else error!r})"
        raise InputError(
            message, where=path, next_step=f"make or copy it again; {MADE_BY}"
        ) from error


def _raised_by_h5py(error: Exception) -> bool:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and "h5py" in trace.tb_frame.f_code.co_filename


def open_frame(file: h5py.File, key: str, path: Path) -> Frame:
    """Find out how a frame is laid out; nothing but names and index values is read yet."""
    where = f"{path}: {key}"
    group = file[key]
    kind = attribute(group, "pandas_type", where) if isinstance(group, h5py.Group) else None
    if kind == "frame_table":
        return _TableFrame(group, where)
    if kind == "frame":
        return _FixedFrame(group, where)
    raise InputError(
        f"is not a data frame that pandas wrote (its pandas_type is {kind!r})",
        where=where,
        next_step="write it with DataFrame.to_hdf(..., format='table')",
    )


class Frame:
    """Rows of a data frame that stay in the file until they are asked for.

    Attributes
    ----------
    where : str
        File and key, for messages.
    n_rows : int
        Number of rows.
    index_names : tuple of str
        Names of the index levels; ``""`` for a level without name. May be set.
    columns : tuple of str
        Names of all other columns.
    """

    def __init__(self, group: h5py.Group, where: str) -> None:
        self.where = where
        self.n_rows = 0
        self.index_names: tuple[str, ...] = ()
        self.columns: tuple[str, ...] = ()
        self._group = group
        self._opened: dict[str, h5py.Dataset] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Index levels and columns."""
        return (*self.index_names, *self.columns)

    def read(self, names: Sequence[str], start: int, stop: int) -> dict[str, Array]:
        """Read columns or index levels of a slice of rows, in the types of the file.

        Texts are bytes ('S') or objects. InputError when there is no such column.
        """
        for name in names:
            if name not in self.names:
                raise InputError(
                    f"has no column '{name}'; {did_you_mean(name, self.names)}", where=self.where
                )
        return self._read(names, start, stop)

    def _read(self, names: Sequence[str], start: int, stop: int) -> dict[str, Array]:
        raise NotImplementedError

    def _node(self, name: str) -> h5py.Dataset:
        if name not in self._opened:
            node = self._group.get(name)
            if not isinstance(node, h5py.Dataset):
                raise InputError(
                    f"is damaged: the part '{name}' of the table is missing", where=self.where
                )
            self._opened[name] = node
        return self._opened[name]


class _FixedFrame(Frame):
    """The 'fixed' layout: one array [rows, columns] per type, and the index beside it.

    Texts are pickled as one object, which is whole or nothing.
    """

    def __init__(self, group: h5py.Group, where: str) -> None:
        super().__init__(group, where)
        self._pickled: dict[str, Array] = {}
        self._levels: list[Array] | None = None
        index = ["axis1"]
        if "axis1_nlevels" in group.attrs:
            index = [f"axis1_level{i}" for i in range(number(group, "axis1_nlevels", where))]
            self._levels = [self._whole(name) for name in index]
        names = [attribute(self._node(name), "name", where) for name in index]
        self.index_names = tuple("" if name is None else str(name) for name in names)
        self.n_rows = self._length("axis1" if self._levels is None else "axis1_label0")
        self._blocks: list[tuple[str, ...]] = []
        for block in range(number(group, "nblocks", where)):
            self._blocks.append(column_names(self._whole(f"block{block}_items"), where))
            rows = self._length(f"block{block}_values")
            if rows != self.n_rows:
                raise InputError(
                    f"is damaged: block {block} has {rows} rows, the index has {self.n_rows}",
                    where=where,
                )
        self.columns = tuple(name for names in self._blocks for name in names)

    def _read(self, names: Sequence[str], start: int, stop: int) -> dict[str, Array]:
        result = {
            name: self._level(level, start, stop)
            for level, name in enumerate(self.index_names)
            if name in names
        }
        for block, members in enumerate(self._blocks):
            if not set(members).isdisjoint(names):
                values = self._block(block, start, stop)
                # Views: what reads the columns side by side passes through the memory once.
                result |= {n: values[:, i] for i, n in enumerate(members) if n in names}
        return result

    def _rows(self, name: str, start: int, stop: int) -> Array:
        node = self._node(name)
        if node.dtype.kind == "O" and "PSEUDOATOM" in node.attrs:
            return self._unpickled(name, node)[start:stop]
        return _read_rows(node, start, stop)

    def _whole(self, name: str) -> Array:
        node = self._node(name)
        shape = self._shape_of_empty(node)
        if shape is not None:
            return np.empty(shape, dtype=node.dtype)
        return self._rows(name, 0, len(node))

    def _shape_of_empty(self, node: h5py.Dataset) -> tuple[int, ...] | None:
        # pandas writes an empty array as one dummy value and keeps the shape beside it.
        if "shape" not in node.attrs:
            return None
        shape = attribute(node, "shape", self.where)
        return tuple(int(n) for n in np.atleast_1d(np.asarray(shape)))

    def _length(self, name: str) -> int:
        node = self._node(name)
        empty = self._shape_of_empty(node)
        if empty is not None:
            return max(empty) if 0 not in empty else 0
        if node.dtype.kind == "O" and "PSEUDOATOM" in node.attrs:
            return len(self._unpickled(name, node))
        return int(node.shape[0])

    def _unpickled(self, name: str, node: h5py.Dataset) -> Array:
        if name not in self._pickled:
            data = bytes(np.asarray(node[0], dtype=np.uint8)) if node.shape[0] else b""
            array = loads(data, where=f"{self.where}/{name}", array=True)
            # The shape is [rows, columns], or [columns, rows] without the mark 'transposed'.
            if array.ndim == 2 and not number(node, "transposed", self.where):
                array = array.T
            self._pickled[name] = array
        return self._pickled[name]

    def _level(self, level: int, start: int, stop: int) -> Array:
        if self._levels is None:
            return self._rows("axis1", start, stop)
        codes, values = self._rows(f"axis1_label{level}", start, stop), self._levels[level]
        if len(codes) and (int(codes.min()) < 0 or int(codes.max()) >= len(values)):
            raise InputError(
                f"has rows without a value for the index level '{self.index_names[level]}'",
                where=self.where,
            )
        taken: Array = values[codes]
        return taken

    def _block(self, block: int, start: int, stop: int) -> Array:
        """Read one block [rows, columns]."""
        name, width = f"block{block}_values", len(self._blocks[block])
        node = self._node(name)
        if self._shape_of_empty(node) is not None:
            return np.empty((0, width), dtype=node.dtype)
        values = self._rows(name, start, stop)
        if values.dtype.kind == "O" and values.ndim == 1:
            values = values[:, np.newaxis]  # pandas 3 keeps a column of texts as one axis
        if values.ndim != 2 or values.shape[1] != width:
            raise InputError(f"is damaged: '{name}' has the shape {values.shape}", where=self.where)
        # PyTables marks dates, and stores truth values as bits.
        bits = node.id.get_type().get_class() == h5py.h5t.BITFIELD
        return _with_type(values, "bool" if bits else attribute(node, "value_type", self.where))


class _TableFrame(Frame):
    """The 'table' layout: one compound row, with a field [columns] per type."""

    def __init__(self, group: h5py.Group, where: str) -> None:
        super().__init__(group, where)
        self._table = self._node("table")
        if self._table.dtype.names is None:
            raise InputError("is damaged: its 'table' has no columns", where=where)
        self.n_rows = int(self._table.shape[0])
        self._place: dict[str, tuple[str, int]] = {}
        self._types: dict[str, Any] = {}
        for field in self._table.dtype.names:
            if field != "index":
                self._types[field] = attribute(self._table, f"{field}_dtype", where)
                kind = attribute(self._table, f"{field}_kind", where)
                names = column_names(kind, where) if isinstance(kind, list | tuple) else (field,)
                self._place.update({name: (field, i) for i, name in enumerate(names)})
        levels = attribute(group, "levels", where)
        self._levels_are_columns = isinstance(levels, list | tuple)
        if self._levels_are_columns:
            self.index_names = tuple(str(name) for name in levels)
        else:
            info = attribute(group, "info", where)
            entry = info.get("index") if isinstance(info, dict) else None
            name = entry.get("index_name") if isinstance(entry, dict) else None
            self.index_names = ("" if name is None else str(name),)
        self.columns = tuple(name for name in self._place if name not in self.index_names)

    def _read(self, names: Sequence[str], start: int, stop: int) -> dict[str, Array]:
        rows = _read_rows(self._table, start, stop)
        result = {}
        for name in names:
            field, place = self._place.get(name, ("index", 0))
            if name not in self._place and (
                self._levels_are_columns or "index" not in (rows.dtype.names or ())
            ):
                raise InputError(f"is damaged: it has no values of '{name}'", where=self.where)
            values = rows[field]
            # A copy: within the rows numbers are not aligned.
            values = np.array(values[:, place] if values.ndim == 2 else values, order="C")
            result[name] = _with_type(values, self._types.get(field))
        return result


def _read_rows(node: h5py.Dataset, start: int, stop: int) -> Array:
    """Read a slice of the first axis, in the byte order of the machine."""
    properties = node.id.get_create_plist()
    filters = [properties.get_filter(i)[0] for i in range(properties.get_nfilters())]
    if not all(map(h5py.h5z.filter_avail, filters)):
        import hdf5plugin  # noqa: F401  (its import registers the filters that PyTables uses)
    missing = [number for number in filters if not h5py.h5z.filter_avail(number)]
    if missing:
        names = ", ".join(_FILTERS.get(number, str(number)) for number in missing)
        raise InputError(
            f"is compressed with {names}, which cannot be read here",
            where=f"{node.file.filename}: {node.name}",
            next_step="unpack it: ptrepack --complevel=0 --overwrite-nodes IN.h5:/ OUT.h5:/",
        )
    rows: Array = node[start:stop]
    return rows if rows.dtype.isnative else rows.astype(rows.dtype.newbyteorder("="))


def _with_type(values: Array, kind: Any) -> Array:
    """Give dates, spans of time and truth values, stored as plain numbers, their own type."""
    for beginning, stored, dtype in (
        ("datetime64", 8, "M8[ns]"),
        ("timedelta64", 8, "m8[ns]"),
        ("bool", 1, "?"),
    ):
        if str(kind).startswith(beginning) and values.dtype.itemsize == stored:
            return values.view(dtype)
    return values


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return "" if isinstance(value, h5py.Empty) else str(value)


def attribute(node: Any, name: str, where: str) -> Any:
    """Give an attribute, with what PyTables pickled; texts as str; None if it is missing.

    InputError when it is damaged, or pickled and asks for more than plain values.
    """
    try:
        value = node.attrs.get(name)
    except (TypeError, ValueError) as error:  # what h5py raises on an unknown type
        raise InputError(f"is damaged: attribute '{name}' ({error})", where=where) from error
    if isinstance(value, bytes | np.bytes_):
        data = bytes(value)
        # PyTables pickles with protocol 0, which ends in a full stop, or a later one.
        if data.endswith(b".") and data[:1] in b"(cNIVSFL]}lK\x80":
            try:
                return loads(data, where=f"{where}@{name}")
            except InputError as error:
                # Otherwise it was a text that merely looked like a pickle.
                if isinstance(error.__cause__, Refused):
                    raise
        return _text(data)
    return "" if isinstance(value, h5py.Empty) else value


def number(node: Any, name: str, where: str) -> int:
    """Give an attribute that is a whole number; 0 if it is missing."""
    value = attribute(node, name, where)
    try:
        return 0 if value is None else int(value)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"is damaged: attribute '{name}' is {value!r}, not a number", where=where
        ) from error


def column_names(values: Any, where: str) -> tuple[str, ...]:
    """Give the column names of the file as texts."""
    if isinstance(values, np.ndarray | list | tuple):
        return tuple(_text(value) for value in values)
    raise InputError("has no list of column names", where=where)
