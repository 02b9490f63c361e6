"""Shape and type of a memory map: text files beside it, or pickles of the original project.

Pickles are read through an unpickler that knows no objects: what is left are tuples, whole
numbers and strings.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from smartbkg_tf.errors import InputError
from smartbkg_tf.events.plain_pickle import loads

#: Types that a map may hold.
DTYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64"),
)

#: A metadata file is never larger than this.
_LARGEST = 4096

_MADE_BY = "dataset directories are made by: python -m smartbkg_tf.preprocess"


def read_shape(path: Path) -> tuple[int, ...]:
    """Read ``NAME.memmap.shape`` of the map NAME.memmap; InputError if it is not a shape."""
    values = _read(path, "shape")
    if isinstance(values, int) and not isinstance(values, bool):
        values = (values,)
    sound = isinstance(values, (list, tuple)) and all(
        isinstance(n, int) and not isinstance(n, bool) and 0 <= n < 2**48 for n in values
    )
    if not sound or not values:
        raise InputError(f"is not a shape: {_short(values)}", where=metadata_file(path, "shape"))
    return tuple(values)


def read_dtype(path: Path) -> np.dtype[Any]:
    """Read ``NAME.memmap.dtype`` of the map NAME.memmap; InputError if it is none of `DTYPES`."""
    value = _read(path, "dtype")
    # '<f4' and 'float32' are two names of one type.
    try:
        name = np.dtype(value).name if isinstance(value, str) else None
    except TypeError:
        name = None
    if name not in DTYPES or np.dtype(value) != np.dtype(value).newbyteorder("<"):
        raise InputError(
            f"is not a type that a map may have: {_short(value)} (possible: {', '.join(DTYPES)})",
            where=metadata_file(path, "dtype"),
        )
    dtype: np.dtype[Any] = np.dtype(value)
    return dtype


def metadata_file(path: Path, kind: str) -> Path:
    """Give the file beside a map that holds its ``shape`` or ``dtype``."""
    return path.with_name(f"{path.name}.{kind}")


def write_metadata(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Write shape and type beside a map."""
    metadata_file(path, "shape").write_text(json.dumps(list(shape)) + "\n")
    metadata_file(path, "dtype").write_text(json.dumps(dtype.name) + "\n")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _read(path: Path, kind: str) -> Any:
    file = metadata_file(path, kind)
    try:
        with open(file, "rb") as stream:
            data = stream.read(_LARGEST + 1)
    except FileNotFoundError as error:
        raise InputError(
            f"the {kind} of {path.name} is missing", where=file, next_step=_MADE_BY
        ) from error
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", where=file) from error
    if len(data) > _LARGEST:
        raise InputError(f"is too long to be the {kind} of a map", where=file)
    if data.lstrip()[:1] in (b"[", b'"'):
        try:
            return json.loads(data)
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InputError(f"is damaged ({error})", where=file) from error
    return loads(data, where=str(file))
