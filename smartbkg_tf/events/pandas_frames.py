"""Read data frames that pandas wrote to HDF5, with h5py alone.

Both layouts of ``DataFrame.to_hdf`` are understood: 'fixed' (one array [rows, columns] per type,
and the index beside it) and 'table' (one compound table, with a field [columns] per type). Neither
pandas nor PyTables takes part, since both unpickle whatever a file holds; and slices of rows are
read at the speed of the disk, without building an index.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
    """Turn what h5py raises on a damaged file into an InputError."""
    try:
        yield
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


@dataclass
class _FrameArray:
    """An array of a frame: in the file, or in memory where it was empty or pickled."""

    node: h5py.Dataset
    where: str
    held: Array | None = None

    def __len__(self) -> int:
        return len(self.node if self.held is None else self.held)

    def attribute(self, name: str) -> Any:
        return _attribute(self.node, name, self.where)

    def read(self, start: int, stop: int) -> Array:
        """Read a slice of the first axis, in the byte order of the machine."""
        if self.held is not None:
            return self.held[start:stop]
        properties = self.node.id.get_create_plist()
        filters = [properties.get_filter(i)[0] for i in range(properties.get_nfilters())]
        if not all(map(h5py.h5z.filter_avail, filters)):
            import hdf5plugin  # noqa: F401  (its import registers the filters that PyTables uses)
        missing = [number for number in filters if not h5py.h5z.filter_avail(number)]
        if missing:
            names = ", ".join(_FILTERS.get(number, str(number)) for number in missing)
            raise InputError(
                f"is compressed with {names}, which cannot be read here",
                where=f"{self.node.file.filename}: {self.node.name}",
                next_step="unpack it: ptrepack --complevel=0 --overwrite-nodes IN.h5:/ OUT.h5:/",
            )
        rows: Array = self.node[start:stop]
        return rows if rows.dtype.isnative else rows.astype(rows.dtype.newbyteorder("="))


def _frame_array(group: h5py.Group, name: str, where: str) -> _FrameArray:
    node = group.get(name)
    if not isinstance(node, h5py.Dataset):
        raise InputError(f"is damaged: the part '{name}' of the table is missing", where=where)
    stored = _FrameArray(node, where)
    shape = stored.attribute("shape")
    if shape is not None:
        # pandas writes an empty array as one dummy value and keeps the shape beside it.
        lengths = np.atleast_1d(np.asarray(shape)).tolist()
        stored.held = np.empty((0, *[max(lengths)] * (len(lengths) - 1)), dtype=node.dtype)
    elif node.dtype.kind == "O" and "PSEUDOATOM" in node.attrs:
        data = bytes(np.asarray(node[0], dtype=np.uint8)) if node.shape[0] else b""
        array = loads(data, where=f"{where}/{name}", array=True)
        # The shape is [rows, columns], or [columns, rows] without the mark 'transposed'.
        if array.ndim == 2 and not _number(node, "transposed", where):
            array = array.T
        # pandas 3 keeps a column of texts as one axis.
        stored.held = array[:, np.newaxis] if array.ndim == 1 and "values" in name else array
    return stored


@dataclass(frozen=True)
class _Place:
    """Where a column stands: in an array, in a field of its rows, at a position in that field.

    `kind` is the type that PyTables recorded; of an index level, the rows are positions in
    `values`.
    """

    array: _FrameArray
    field: str | None = None
    position: int | None = None
    kind: Any = None
    values: Array | None = None


class Frame:
    """Rows of a data frame that stay in the file until they are asked for.

    `where` names file and key, for messages; an index level without a name is ``""``.
    """

    def __init__(
        self, where: str, n_rows: int, levels: dict[str, _Place], columns: dict[str, _Place]
    ) -> None:
        self.where = where
        self.n_rows = n_rows
        self.index_names, self.columns = tuple(levels), tuple(columns)
        self._places = levels | columns

    @property
    def names(self) -> tuple[str, ...]:
        """Index levels and columns."""
        return (*self.index_names, *self.columns)

    def read(self, names: Sequence[str], start: int, stop: int) -> dict[str, Array]:
        """Read columns or index levels of a slice of rows, in the types of the file.

        Texts are bytes ('S') or objects. InputError when there is no such column.
        """
        rows: dict[int, Array] = {}
        result = {}
        for name in names:
            if name not in self._places:
                raise InputError(
                    f"has no column '{name}'; {did_you_mean(name, self.names)}", where=self.where
                )
            place = self._places[name]
            if id(place.array) not in rows:
                rows[id(place.array)] = place.array.read(start, stop)
            values = rows[id(place.array)]
            if place.field is not None:
                values = values[place.field]
            if place.position is not None and values.ndim > 1:
                values = values[:, place.position]
            if place.field is not None:
                values = np.array(values, order="C")  # within the rows numbers are not aligned
            if place.values is not None:
                if len(values) and not 0 <= values.min() <= values.max() < len(place.values):
                    raise InputError(
                        f"has rows without a value for the index level '{name}'", where=self.where
                    )
                values = place.values[values]
            result[name] = _with_type(values, place.kind)
        return result


def open_frame(file: h5py.File, key: str, path: Path, unnamed: Sequence[str] = ()) -> Frame:
    """Find out how a frame is laid out; nothing but names and index values is read yet.

    Index levels without a name are called `unnamed`, in the order in which pandas keeps them.
    """
    where = f"{path}: {key}"
    group = file[key]
    kind = _attribute(group, "pandas_type", where) if isinstance(group, h5py.Group) else None
    if kind not in ("frame_table", "frame"):
        raise InputError(
            f"is not a data frame that pandas wrote (its pandas_type is {kind!r})",
            where=where,
            next_step="write it with DataFrame.to_hdf(..., format='table')",
        )
    return (_table_frame if kind == "frame_table" else _fixed_frame)(group, where, unnamed)


def _fixed_frame(group: h5py.Group, where: str, unnamed: Sequence[str]) -> Frame:
    found: list[tuple[Any, _Place]] = []
    if "axis1_nlevels" in group.attrs:
        for i in range(_number(group, "axis1_nlevels", where)):
            level = _frame_array(group, f"axis1_level{i}", where)
            codes = _frame_array(group, f"axis1_label{i}", where)
            place = _Place(codes, values=level.read(0, len(level)))
            found.append((level.attribute("name"), place))
    else:
        axis = _frame_array(group, "axis1", where)
        found.append((axis.attribute("name"), _Place(axis)))
    if not found:
        raise InputError("is damaged: its index has no levels", where=where)
    n_rows = len(found[0][1].array)
    columns: dict[str, _Place] = {}
    for block in range(_number(group, "nblocks", where)):
        items = _frame_array(group, f"block{block}_items", where)
        names = _column_names(items.read(0, len(items)), where)
        values = _frame_array(group, f"block{block}_values", where)
        shape = (values.node if values.held is None else values.held).shape
        if shape != (n_rows, len(names)):
            raise InputError(
                f"is damaged: block {block} has the shape {shape}, for an index of {n_rows} rows "
                f"and {len(names)} names",
                where=where,
            )
        # PyTables marks dates, and stores truth values as bits.
        bits = values.node.id.get_type().get_class() == h5py.h5t.BITFIELD
        kind = "bool" if bits else values.attribute("value_type")
        columns |= {name: _Place(values, position=i, kind=kind) for i, name in enumerate(names)}
    return _frame(where, n_rows, found, columns, unnamed)


def _table_frame(group: h5py.Group, where: str, unnamed: Sequence[str]) -> Frame:
    table = _frame_array(group, "table", where)
    if table.node.dtype.names is None:
        raise InputError("is damaged: its 'table' has no columns", where=where)
    places: dict[str, _Place] = {}
    for field in table.node.dtype.names:
        kind = table.attribute(f"{field}_dtype")
        names = table.attribute(f"{field}_kind")
        names = _column_names(names, where) if isinstance(names, list | tuple) else (field,)
        places |= {name: _Place(table, field, i, kind) for i, name in enumerate(names)}
    index = places.pop("index", None)
    levels = _attribute(group, "levels", where)
    if isinstance(levels, list | tuple):
        found = [(name, places.pop(str(name), None)) for name in levels]
    else:
        info = _attribute(group, "info", where)
        entry = info.get("index") if isinstance(info, dict) else None
        found = [(entry.get("index_name") if isinstance(entry, dict) else None, index)]
    sound = [(name, place) for name, place in found if place is not None]
    if len(sound) < len(found):
        raise InputError("is damaged: it has no values of its index", where=where)
    return _frame(where, len(table), sound, places, unnamed)


def _frame(
    where: str,
    n_rows: int,
    levels: Sequence[tuple[Any, _Place]],
    columns: dict[str, _Place],
    unnamed: Sequence[str],
) -> Frame:
    names = ["" if name is None else str(name) for name, _ in levels]
    if "" in names and len(names) == len(unnamed) and set(unnamed).isdisjoint(columns):
        names = list(unnamed)
    places = (place for _, place in levels)
    return Frame(where, n_rows, dict(zip(names, places, strict=True)), columns)


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


def _attribute(node: Any, name: str, where: str) -> Any:
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


def _number(node: Any, name: str, where: str) -> int:
    """Give an attribute that is a whole number; 0 if it is missing."""
    value = _attribute(node, name, where)
    try:
        return 0 if value is None else int(value)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"is damaged: attribute '{name}' is {value!r}, not a number", where=where
        ) from error


def _column_names(values: Any, where: str) -> tuple[str, ...]:
    if isinstance(values, np.ndarray | list | tuple):
        return tuple(_text(value) for value in values)
    raise InputError("has no list of column names", where=where)
