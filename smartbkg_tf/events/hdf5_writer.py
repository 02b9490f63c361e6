"""Write training tables in the layouts of pandas, without the detour through pandas.

``train_events`` has the 'fixed' layout, the two tables with texts have the 'table' layout,
which pickles no data. `pandas.read_hdf` reads all three.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.errors import OutputError
from smartbkg_tf.events.columns import event_columns
from smartbkg_tf.events.decay_strings import strings_to_write
from smartbkg_tf.events.table import PARTICLE_COLUMNS, EventTable
from smartbkg_tf.runtime.files import atomic_file
from smartbkg_tf.settings.sources import ParticleSet

Array = npt.NDArray[Any]

#: Older pandas takes a file without this mark for one that is older still.
_PANDAS_VERSION = "0.15.2"


#: Bytes of a table that are stored, and packed, together.
_CHUNK_BYTES = 2**18


def write_hdf5(path: str | Path, table: EventTable, *, particles: ParticleSet = "tables") -> None:
    """Write a training table, whole or not at all.

    Parameters
    ----------
    path : str or pathlib.Path
        The file; one of that name is replaced.
    table : EventTable
        With particles, decay strings or both; decay strings that are missing are built.
        Without particles the key ``train_events`` is left out. ``label`` in the first two
        keys is the first skim's, -1 if there is none.
    particles : {"tables", "generator"}, default "tables"
        Which generated particles they are; recorded in the file.

    Raises
    ------
    OutputError
        When the table has neither particles nor decay strings, a label or observable has
        the name of another column, or the file cannot be written.
    InputError
        When decay strings must be built and mother links are broken.

    Notes
    -----
    A float column whose values all fit into float32 is stored as float32; what is read
    back is equal in every bit. Integers are stored as int32.
    """
    import tables

    strings = strings_to_write(table, path)
    label = next(iter(table.labels.values()), np.full(len(table), -1, dtype=np.int8))
    events = event_columns(table, path)
    with atomic_file(path) as partial, warnings.catch_warnings():
        # The rows of a table may be wide: decay strings of hundreds of letters.
        warnings.simplefilter("ignore", tables.PerformanceWarning)
        try:
            with tables.open_file(str(partial), "w") as file:
                if particles != "tables":
                    file.root._v_attrs.particles = np.bytes_(particles)
                if table.particles:
                    _write_particles(file, table, label)
                _write_table(
                    file,
                    "decay_strings",
                    {"label": label.astype(np.int64), "decay_str": _encoded(strings)},
                    index=("evtNum", table.keys["event"]),
                )
                rows = np.arange(len(table), dtype=np.int64)
                _write_table(file, "events", events, index=(None, rows))
        except tables.HDF5ExtError as error:
            # The HDF5 library does not say why a write failed.
            free = shutil.disk_usage(Path(path).resolve().parent).free
            raise OutputError(
                f"cannot be written: the HDF5 library failed ({str(error).splitlines()[0]}), with "
                f"{free / 1e9:.1f} GB free; what was half written has been removed",
                where=path,
                next_step="look for a full disk, a quota or a limit on the size of files",
            ) from error


def _encoded(strings: Array) -> Array:
    """Give texts as fixed-width bytes; at least one byte, as HDF5 knows no empty type."""
    encoded = [str(text).encode() for text in strings]
    width = max(map(len, encoded), default=0)
    return np.array(encoded, dtype=f"S{max(width, 1)}")


def _compact(values: Array) -> Array:
    """Give floats as float32 if that changes none of them."""
    with np.errstate(over="ignore", invalid="ignore"):
        small = values.astype(np.float32)
    # Compared bit by bit, so that NaN stays NaN and -0 stays -0.
    same = np.array_equal(small.astype(np.float64).view(np.int64), values.view(np.int64))
    return small if same else values


def _write_particles(file: Any, table: EventTable, label: Array) -> None:
    group = file.create_group("/", "train_events")
    event = table.event_of_particle()
    position = np.arange(table.n_particles) - table.offsets[:-1][event]
    columns = {
        name: _compact(np.ascontiguousarray(table.particles[name], dtype=dtype))
        if np.dtype(dtype).kind == "f"
        else np.ascontiguousarray(table.particles[name], dtype=dtype)
        for name, dtype in PARTICLE_COLUMNS.items()
    }
    attributes = {
        "pandas_type": "frame",
        "pandas_version": _PANDAS_VERSION,
        "encoding": "UTF-8",
        "errors": "strict",
        "ndim": 2,
        "axis0_variety": "regular",
        "axis1_variety": "multi",
        "axis1_nlevels": 3,
    }
    _write_names(file, group, "axis0", list(columns))
    numbers, number_codes = np.unique(table.keys["event"], return_inverse=True)
    labels, label_codes = np.unique(label, return_inverse=True)
    longest = int(np.diff(table.offsets).max(initial=0))
    levels = {
        "label": (labels.astype(np.int64), label_codes[event]),
        "evtNum": (numbers, number_codes[event]),
        "arrayIndex": (np.arange(longest, dtype=np.int64), position),
    }
    for i, (name, (values, codes)) in enumerate(levels.items()):
        node = _write_array(file, group, f"axis1_level{i}", values)
        node.attrs.kind = "integer"
        node.attrs.name = name
        setattr(node.attrs, f"axis1_name{name}", name)
        _write_array(
            file, group, f"axis1_label{i}", codes.astype(np.min_scalar_type(-len(values) - 1))
        )
    blocks: dict[np.dtype[Any], list[str]] = {}
    for name, values in columns.items():
        blocks.setdefault(values.dtype, []).append(name)
    attributes["nblocks"] = len(blocks)
    for i, (dtype, names) in enumerate(blocks.items()):
        _write_names(file, group, f"block{i}_items", names)
        block = np.empty((table.n_particles, len(names)), dtype=dtype)
        for j, name in enumerate(names):
            block[:, j] = columns[name]
        _write_array(file, group, f"block{i}_values", block)
        attributes[f"block{i}_items_variety"] = "regular"
    for name, value in attributes.items():
        setattr(group._v_attrs, name, value)


def _write_array(file: Any, group: Any, name: str, values: Array) -> Any:
    if values.size == 0:
        # HDF5 keeps no array without entries: pandas puts a dummy and the shape there.
        dummy = np.empty((1,) * values.ndim, dtype=values.dtype)
        node = file.create_array(group, name, dummy, track_times=False)
        node.attrs.value_type = str(values.dtype)
        node.attrs.shape = values.shape
    else:
        node = file.create_array(group, name, values, track_times=False)
    node.attrs.transposed = True
    return node


def _write_names(file: Any, group: Any, name: str, names: Sequence[str]) -> None:
    node = _write_array(file, group, name, np.array([n.encode() for n in names]))
    node.attrs.kind = "string"
    node.attrs.name = None
    node.attrs.nan_rep = ""


def _write_table(
    file: Any, key: str, columns: Mapping[str, Array], *, index: tuple[str | None, Array]
) -> None:
    """Write one compound table: a field for the index and one per type of column."""
    import tables

    index_name, index_values = index
    blocks: dict[np.dtype[Any], list[str]] = {}
    for name, values in columns.items():
        # Texts of different width are different types, each in a field of its own.
        blocks.setdefault(values.dtype, []).append(name)
    fields = [f"values_block_{i}" for i in range(len(blocks))]
    dtype = np.dtype(
        [("index", "<i8")]
        + [
            (field, kind, (len(names),))
            for field, (kind, names) in zip(fields, blocks.items(), strict=True)
        ]
    )
    rows = np.zeros(len(index_values), dtype=dtype)
    rows["index"] = index_values
    for field, names in zip(fields, blocks.values(), strict=True):
        for i, name in enumerate(names):
            rows[field][:, i] = columns[name]
    group = file.create_group("/", key)
    # One long decay string makes all rows wide: then the blanks are worth packing.
    packed = _is_mostly_blank(columns)
    filters = tables.Filters(complevel=1, complib="zlib") if packed else None
    chunk = min(max(_CHUNK_BYTES // dtype.itemsize, 1), max(len(rows), 1))
    node = file.create_table(
        group,
        "table",
        description=dtype,
        filters=filters,
        chunkshape=(chunk,),
        track_times=False,
    )
    node.append(rows)
    node.attrs.index_kind = "integer"
    info: dict[Any, Any] = {
        1: {"names": [None], "type": "Index"},
        "index": {} if index_name is None else {"index_name": index_name},
    }
    for field, (kind, names) in zip(fields, blocks.items(), strict=True):
        text = kind.kind == "S"
        setattr(node.attrs, f"{field}_kind", list(names))
        setattr(node.attrs, f"{field}_dtype", f"bytes{8 * kind.itemsize}" if text else kind.name)
        setattr(node.attrs, f"{field}_meta", "str" if text else None)
        info[field] = {}
    attributes = {
        "pandas_type": "frame_table",
        "pandas_version": _PANDAS_VERSION,
        "table_type": "appendable_frame",
        "index_cols": [(0, "index")],
        "values_cols": fields,
        "non_index_axes": [(1, list(columns))],
        "data_columns": [],
        # A text that pandas would turn into a missing value; no decay string looks like it.
        "nan_rep": "nan",
        "encoding": "UTF-8",
        "errors": "strict",
        "levels": 1,
        "info": info,
    }
    for name, value in attributes.items():
        setattr(group._v_attrs, name, value)
    node.flush()


def _is_mostly_blank(columns: Mapping[str, Array]) -> bool:
    for values in columns.values():
        if values.dtype.kind == "S" and len(values) and values.dtype.itemsize > 1024:
            return bool(np.strings.str_len(values).mean() * 8 < values.dtype.itemsize)
    return False
