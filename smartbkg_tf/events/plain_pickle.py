"""Read the pickles that PyTables leaves in HDF5 files without running what is in them.

pandas and PyTables store lists of names, and in the 'fixed' format whole columns of text,
as pickles. Unpickling a file from elsewhere can run any code; here only plain values and
arrays of plain values are put together, by classes of our own, and all else is refused.
"""

from __future__ import annotations

import io
import math
import pickle
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.errors import InputError

_ARRAY_MAKERS = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
}
_PLAIN = (str, bytes, bool, int, float, type(None))


class Refused(pickle.UnpicklingError):
    """A pickle asks for a class or function that is not allowed."""


class _Array:
    """Stands for a numpy.ndarray while its pickle is read."""

    def __init__(self) -> None:
        self.state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state


class _Dtype:
    """Stands for a numpy.dtype; its state says nothing that we need."""

    def __init__(self, name: str, *_: object) -> None:
        self.name = name

    def __setstate__(self, state: object) -> None:
        """Ignore byte order and flags."""


class _NdarrayClass:
    """Stands for the class numpy.ndarray, which is an argument of the array maker."""


def _make_array(*_: object) -> _Array:
    return _Array()


def _encode(text: str, encoding: str = "latin1") -> bytes:
    # How bytes look in the oldest pickle protocols; other encodings could unpack bombs.
    if encoding not in ("latin1", "latin-1"):
        raise Refused(f"_codecs.encode with {encoding}")
    return text.encode("latin1")


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, *, arrays: bool) -> None:
        super().__init__(io.BytesIO(data))
        self.arrays = arrays

    def find_class(self, module: str, name: str) -> Any:
        if self.arrays:
            if (module, name) in _ARRAY_MAKERS:
                return _make_array
            if (module, name) == ("numpy", "ndarray"):
                return _NdarrayClass
            if (module, name) == ("numpy", "dtype"):
                return _Dtype
            if (module, name) == ("_codecs", "encode"):
                return _encode
        raise Refused(f"{module}.{name}")

    def persistent_load(self, pid: object) -> Any:
        raise Refused("a reference to something outside the file")


def _load(data: bytes, where: str, *, arrays: bool) -> Any:
    try:
        return _Unpickler(data, arrays=arrays).load()
    except Refused as error:
        raise InputError(
            f"holds a pickle that asks for more than plain values ({error}); "
            "it is not opened, since a pickle can run any code",
            where=where,
            next_step="if you trust the file: read it with pandas and write it again with "
            "to_hdf(..., format='table')",
        ) from error
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise InputError(
            f"holds a pickle that is damaged ({type(error).__name__}: {error})", where=where
        ) from error


def load_values(data: bytes, *, where: str) -> Any:
    """Read a pickle of nested lists, tuples, dicts, texts and numbers.

    Parameters
    ----------
    data : bytes
        The pickle.
    where : str
        File and place in it, for the message.

    Returns
    -------
    object
        The values.

    Raises
    ------
    InputError
        When the pickle is damaged or asks for any class or function.
    """
    return _load(data, where, arrays=False)


def load_array(data: bytes, *, where: str) -> npt.NDArray[np.object_]:
    """Read a pickled array of texts, numbers, booleans or None.

    Parameters
    ----------
    data : bytes
        The pickle of a numpy object array, from NumPy 1 or 2.
    where : str
        File and place in it, for the message.

    Returns
    -------
    numpy.ndarray
        Object array of the stored shape.

    Raises
    ------
    InputError
        When the pickle is damaged, is no object array, or holds or asks for anything
        else than plain values.
    """
    record = _load(data, where, arrays=True)
    if not isinstance(record, _Array) or len(record.state) != 5:
        raise InputError("holds a pickle that is no array of texts", where=where)
    # NumPy lists objects in C order, whatever the order in memory was.
    _, shape, dtype, _, values = record.state
    sound = (
        isinstance(dtype, _Dtype)
        and dtype.name.startswith(("O", "|O"))
        and isinstance(values, list)
        and isinstance(shape, tuple)
        and all(isinstance(n, int) and n >= 0 for n in shape)
        and math.prod(shape) == len(values)
    )
    if not sound:
        raise InputError("holds a pickled array that is not one of texts", where=where)
    strange = {type(value).__name__ for value in values if not isinstance(value, _PLAIN)}
    if strange:
        raise InputError(
            f"holds a pickled array of {', '.join(sorted(strange))}, not of texts", where=where
        )
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array.reshape(shape)
