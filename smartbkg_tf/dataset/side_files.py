"""Shape and type of a memory map: text files beside it, or pickles of the original project.

Pickles are read through an unpickler that knows no objects at all: what is left are
tuples, whole numbers and strings.
"""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from smartbkg_tf.errors import InputError

#: Types that a map may hold.
DTYPES = (
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "float32",
    "float64",
)

#: A side file larger than this is none.
_LARGEST_SIDE_FILE = 4096

_MADE_BY = "dataset directories are made by: python -m smartbkg_tf.preprocess"


class _PlainUnpickler(pickle.Unpickler):
    """Refuses every object: what is left are tuples, numbers, strings and containers."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it asks for an outside object")


def read_shape(path: Path) -> tuple[int, ...]:
    """Read ``NAME.memmap.shape``.

    Parameters
    ----------
    path : pathlib.Path
        The map.

    Returns
    -------
    tuple of int
        Shape.

    Raises
    ------
    InputError
        When the file is missing or holds anything but whole numbers.
    """
    values = _read_side_file(path, "shape")
    if isinstance(values, int) and not isinstance(values, bool):
        values = (values,)
    sound = isinstance(values, (list, tuple)) and all(
        isinstance(n, int) and not isinstance(n, bool) and 0 <= n < 2**48 for n in values
    )
    if not sound or not values:
        raise InputError(f"is no shape: {_short(values)}", where=side_file(path, "shape"))
    return tuple(values)


def read_dtype(path: Path) -> np.dtype[Any]:
    """Read ``NAME.memmap.dtype``.

    Parameters
    ----------
    path : pathlib.Path
        The map.

    Returns
    -------
    numpy.dtype
        One of `DTYPES`.

    Raises
    ------
    InputError
        When the file is missing or names another type.
    """
    value = _read_side_file(path, "dtype")
    # '<f4' and 'float32' are two names of one type.
    try:
        name = np.dtype(value).name if isinstance(value, str) else None
    except TypeError:
        name = None
    if name not in DTYPES or np.dtype(value) != np.dtype(value).newbyteorder("<"):
        raise InputError(
            f"is no type that a map may have: {_short(value)} (possible: {', '.join(DTYPES)})",
            where=side_file(path, "dtype"),
        )
    dtype: np.dtype[Any] = np.dtype(value)
    return dtype


def side_file(path: Path, kind: str) -> Path:
    """Give the file beside a map.

    Parameters
    ----------
    path : pathlib.Path
        The map.
    kind : str
        ``shape`` or ``dtype``.

    Returns
    -------
    pathlib.Path
        ``NAME.memmap.shape`` or ``NAME.memmap.dtype``.
    """
    return path.with_name(f"{path.name}.{kind}")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _read_side_file(path: Path, kind: str) -> Any:
    side = side_file(path, kind)
    try:
        with open(side, "rb") as stream:
            data = stream.read(_LARGEST_SIDE_FILE + 1)
    except FileNotFoundError as error:
        raise InputError(
            f"the {kind} of {path.name} is missing", where=side, next_step=_MADE_BY
        ) from error
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", where=side) from error
    if len(data) > _LARGEST_SIDE_FILE:
        raise InputError(f"is too long to be the {kind} of a map", where=side)
    if data.lstrip()[:1] in (b"[", b'"'):
        try:
            return json.loads(data)
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InputError(f"is damaged ({error})", where=side) from error
    try:
        return _PlainUnpickler(io.BytesIO(data)).load()
    except Exception as error:  # a damaged pickle raises nearly anything
        raise InputError(
            f"is neither JSON nor a plain pickle of the original project "
            f"({type(error).__name__}: {error}); it was not executed",
            where=side,
            next_step="pickles can run code: only tuples, whole numbers and strings are read",
        ) from error
