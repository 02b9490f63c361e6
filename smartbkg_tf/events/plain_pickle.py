"""Read pickles of plain values without running what is in them.

pandas and PyTables pickle lists of names and, in the 'fixed' format, whole columns of text; the
original project pickled the shapes of its memory maps. Unpickling a file from elsewhere can run
any code; here only plain values and arrays of plain values are built, by classes of our
own, and everything else is refused.
"""

from __future__ import annotations

import io
import math
import pickle
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.errors import InputError

_PLAIN = (str, bytes, bool, int, float, type(None))


class Refused(pickle.UnpicklingError):
    """A pickle asks for a class or function that is not allowed."""


class _Array:
    """Stands for a numpy.ndarray while its pickle is read."""

    def __init__(self, *_: object) -> None:
        self.state: Any = ()

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Dtype:
    """Stands for a numpy.dtype; its state says nothing that we need."""

    def __init__(self, name: str, *_: object) -> None:
        self.name = name

    def __setstate__(self, state: object) -> None:
        """Ignore byte order and flags."""


def _encode(text: str, encoding: str = "latin1") -> bytes:
    # How bytes look in the oldest pickle protocols; other encodings could unpack bombs.
    if encoding not in ("latin1", "latin-1"):
        raise Refused(f"_codecs.encode with {encoding}")
    return text.encode("latin1")


#: What the pickle of an array of objects asks for, and what it gets.
_ARRAY_PARTS = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, allowed: dict[tuple[str, str], Any]) -> None:
        super().__init__(io.BytesIO(data))
        self.allowed = allowed

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.allowed:
            raise Refused(f"{module}.{name}")
        return self.allowed[module, name]

    def persistent_load(self, pid: object) -> Any:
        raise Refused("a reference to something outside the file")


def loads(data: bytes, *, where: str, array: bool = False) -> Any:
    """Read a pickle of nested lists, tuples, dicts, texts and numbers.

    With `array` it must be a numpy object array (NumPy 1 or 2) of such texts and numbers, and
    comes back as one. `where` names the file for the message. InputError when the pickle is
    damaged, is something else, or asks for any other class or function.
    """
    try:
        value = _Unpickler(data, _ARRAY_PARTS if array else {}).load()
    except Refused as error:
        raise InputError(
            f"holds a pickle that asks for more than plain values ({error}); "
            "it is not opened, since a pickle can run any code",
            where=where,
            next_step="if you trust the file: read it with the program that wrote it, and write "
            "it again without pickles (pandas: to_hdf(..., format='table'))",
        ) from error
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise InputError(
            f"holds a pickle that is damaged ({type(error).__name__}: {error})", where=where
        ) from error
    return _object_array(value, where) if array else value


def _object_array(value: Any, where: str) -> npt.NDArray[np.object_]:
    # The state is (version, shape, dtype, is_fortran, values), the values always in C order.
    state = value.state if isinstance(value, _Array) else ()
    if not isinstance(state, tuple) or len(state) != 5:
        raise InputError("holds a pickle that is not an array of texts", where=where)
    _, shape, dtype, _, values = state
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
