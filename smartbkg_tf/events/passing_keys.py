"""Read lists of the events that passed a skim.

A key has four parts (experiment, run, event, production); an event number alone
identifies nothing. Lists come as NumPy, CSV or Parquet files, or as the file that the skim
wrote itself, whose EventMetaData is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.errors import InputError, did_you_mean
from smartbkg_tf.events.columns import integers
from smartbkg_tf.events.table import KEY_COLUMNS

Keys = npt.NDArray[np.int64]

#: Other names under which the parts of a key appear in files.
KEY_ALIASES = {
    "experiment": ("exp", "m_experiment", "__experiment__", "expNo", "EventMetaData.m_experiment"),
    "run": ("m_run", "__run__", "runNo", "EventMetaData.m_run"),
    "event": ("evt", "evtNum", "m_event", "__event__", "evtNo", "EventMetaData.m_event"),
    "production": ("prod", "m_production", "__production__", "EventMetaData.m_production"),
}

_KNOWN = {*KEY_COLUMNS, *(alias for aliases in KEY_ALIASES.values() for alias in aliases)}

_FORMATS = (
    "a passing-events file is one of: .npy (fields or columns experiment, run, event, production), "
    ".csv with these column names, .parquet, or the skim's own ROOT file"
)


def read_passing_keys(path: str | Path, *, fill: Mapping[str, int] | None = None) -> Keys:
    """Read the keys of the events that passed a skim.

    Parameters
    ----------
    path : str or pathlib.Path
        NumPy array (fields experiment, run, event, production, or [n, 4] in this order),
        CSV with a header, Parquet, or a basf2 ROOT file with EventMetaData; recognised by content.
    fill : mapping of str to int, optional
        Parts of the key that the file lacks and that are the same for all events, as
        ``{"experiment": 0, "run": 0, "production": 0}`` for a bare list of event numbers
        of a single run. Parts that the file has are not changed.

    Returns
    -------
    numpy.ndarray [n, 4]
        int64: experiment, run, event, production. May be empty: nothing passed.

    Raises
    ------
    InputError
        When the file is missing, damaged, of another format, needs unpickling, or lacks a
        part of the key that `fill` does not give.
    """
    path = Path(path)
    fill = dict(fill or {})
    unknown = sorted(set(fill) - set(KEY_COLUMNS))
    if unknown:
        raise InputError(
            f"fill: a key has no part '{unknown[0]}'; {did_you_mean(unknown[0], KEY_COLUMNS)}",
            where=path,
        )
    try:
        if path.is_dir():
            raise InputError("is a folder, not a list of passing events", where=path)
        with open(path, "rb") as stream:
            begin = stream.read(8)
    except FileNotFoundError as error:
        raise InputError("the file does not exist", where=path, next_step=_FORMATS) from error
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", where=path) from error
    if not begin:
        raise InputError("is empty (0 bytes)", where=path, next_step=_FORMATS)
    if begin.startswith(b"\x93NUMPY"):
        columns = _from_npy(path, fill)
    elif begin.startswith(b"PAR1"):
        columns = _from_table(path, "Parquet")
    elif begin.startswith(b"root"):
        columns = _from_root(path)
    elif begin.startswith((b"\x89HDF", b"PK\x03\x04", b"\x1f\x8b", b"\x80")):
        raise InputError("is not a list of passing events", where=path, next_step=_FORMATS)
    else:
        columns = _from_table(path, "CSV")
    return _ordered(columns, fill, path)


def _ordered(columns: Mapping[str, npt.NDArray[Any]], fill: Mapping[str, int], path: Path) -> Keys:
    """Put the parts of the key in order; complain about all that are missing."""
    found: dict[str, npt.NDArray[Any]] = {}
    missing = []
    length = len(next(iter(columns.values()))) if columns else 0
    for part in KEY_COLUMNS:
        name = next((n for n in (part, *KEY_ALIASES[part]) if n in columns), None)
        if name is not None:
            found[part] = integers(columns[name], np.int64, where=f"{path}: {name}")
        elif part in fill:
            found[part] = np.full(length, fill[part], dtype=np.int64)
        else:
            missing.append(part)
    if missing:
        raise InputError(
            f"lacks {', '.join(missing)} of the event key; {did_you_mean(missing[0], columns)}",
            where=path,
            next_step="an event number alone identifies nothing: write all four parts, or give "
            "the missing ones if they are the same for all events (fill)",
        )
    return np.stack([found[part] for part in KEY_COLUMNS], axis=1).reshape(-1, len(KEY_COLUMNS))


def _from_npy(path: Path, fill: Mapping[str, int]) -> dict[str, npt.NDArray[Any]]:
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        text = str(error)
        if "pickle" in text.lower():
            raise InputError(
                "holds pickled objects; they are not opened, since a pickle can run any code",
                where=path,
                next_step="save plain integers: np.save(name, np.array(keys, dtype=np.int64))",
            ) from error
        raise InputError(f"is a damaged NumPy file ({text})", where=path) from error
    if array.dtype.names:
        flat = array.reshape(-1)
        return {name: flat[name] for name in array.dtype.names}
    if array.ndim == 2 and array.shape[1] == len(KEY_COLUMNS):
        return {part: array[:, i] for i, part in enumerate(KEY_COLUMNS)}
    if array.ndim == 1 and array.size == 0:
        return {part: array.astype(np.int64) for part in KEY_COLUMNS}
    if array.ndim == 1 and {"experiment", "run", "production"} <= set(fill):
        return {"event": array}
    if array.ndim == 1:
        raise InputError(
            f"holds {array.size} bare event numbers: they do not say of which run, and events of "
            "equal number in other runs would be taken for passing ones",
            where=path,
            next_step="save an array [n, 4] of experiment, run, event, production, or, for a "
            "single run, give fill={'experiment': ..., 'run': ..., 'production': ...}",
        )
    raise InputError(
        f"holds an array of the shape {array.shape}, not [n, 4] ({', '.join(KEY_COLUMNS)})",
        where=path,
        next_step=_FORMATS,
    )


def _from_table(path: Path, kind: str) -> dict[str, npt.NDArray[Any]]:
    """Read the columns of the key out of a CSV or Parquet table."""
    import pandas as pd
    import pyarrow as pa

    try:
        if kind == "CSV":
            frame = pd.read_csv(path, comment="#", skipinitialspace=True)
        else:
            frame = pd.read_parquet(path, dtype_backend="numpy_nullable")
    except (ValueError, OSError, pa.ArrowException) as error:  # pandas' own are ValueErrors
        reason = (str(error).splitlines() or [""])[0][:200]
        raise InputError(
            f"is not a {kind} table, or damaged ({reason})", where=path, next_step=_FORMATS
        ) from error
    frame.columns = [str(name).strip() for name in frame.columns]
    columns: dict[str, npt.NDArray[Any]] = {}
    for name in [name for name in frame.columns if name in _KNOWN]:
        column, where = frame[name], f"{path}: {name}"
        if column.isna().any():
            raise InputError(f"{int(column.isna().sum())} entries are missing", where=where)
        if len(column) and not pd.api.types.is_numeric_dtype(column):
            raise InputError(f"holds no numbers (as {column.iloc[0]!r})", where=where)
        columns[name] = column.to_numpy() if len(column) else np.empty(0, dtype=np.int64)
    if not columns:
        raise InputError(
            f"has no column of the event key; {did_you_mean('event', frame.columns)}",
            where=path,
            next_step=_FORMATS,
        )
    return columns


def _from_root(path: Path) -> dict[str, npt.NDArray[Any]]:
    from smartbkg_tf.events.root_files import EVENT_META_DATA, BasfTree, read_event_keys

    with BasfTree(path, EVENT_META_DATA) as tree:
        return dict(read_event_keys(tree, 0, tree.n_events))
