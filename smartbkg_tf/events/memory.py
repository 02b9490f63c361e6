"""Read numbers at any place of an array of bytes, in compiled code.

Columns of files stand in rows, and often at odd addresses. Compiled functions that take bytes
exist once, not once for every layout of an array.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core.cgutils import raw_memcpy
from numba.extending import intrinsic


class _Bytes:
    """Memory of an array, as long as its owners live."""

    def __init__(self, first: npt.NDArray[Any], n_bytes: int, keep: Any) -> None:
        self._owners = (first, keep)
        self.__array_interface__ = {
            # Marked as writable although maps of files are not: one compiled function serves
            # both, and none of them writes.
            "data": (first.__array_interface__["data"][0], False),
            "shape": (n_bytes,),
            "typestr": "|u1",
            "version": 3,
        }


def bytes_of_array(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """See an array as bytes.

    Parameters
    ----------
    values : numpy.ndarray [...]
        Copied unless it is C-contiguous.

    Returns
    -------
    numpy.ndarray [n_bytes]
        uint8; to be written to only if the array is.
    """
    packed = np.ascontiguousarray(values)
    return flat_bytes(packed, packed.nbytes)


def flat_bytes(first: npt.NDArray[Any], n_bytes: int, keep: Any = None) -> npt.NDArray[np.uint8]:
    """See memory as bytes, whatever stands between the elements of an array.

    Parameters
    ----------
    first : numpy.ndarray
        Where the bytes begin.
    n_bytes : int
        How many; they must belong to the same piece of memory.
    keep : object, optional
        Further owners of the memory.

    Returns
    -------
    numpy.ndarray [n_bytes]
        uint8; not to be written to.
    """
    return np.asarray(_Bytes(first, n_bytes, keep))


def _reader(of: Any, numba_type: Any) -> Any:
    def make(context: Any, data: Any, place: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            array = context.make_array(signature.args[0])(context, builder, arguments[0])
            pointer = builder.gep(array.data, [arguments[1]])
            value = builder.load(builder.bitcast(pointer, of.as_pointer()))
            value.align = 1
            return value

        return numba_type(data, types.int64), generate

    return make


@intrinsic
def uint64_at(context: Any, data: Any, place: Any) -> Any:
    """Read the eight bytes from `place` on as uint64; the lowest comes first."""
    return _reader(ir.IntType(64), types.uint64)(context, data, place)


@intrinsic
def float64_at(context: Any, data: Any, place: Any) -> Any:
    """Read the eight bytes from `place` on as float64."""
    return _reader(ir.DoubleType(), types.float64)(context, data, place)


@intrinsic
def int32_at(context: Any, data: Any, place: Any) -> Any:
    """Read the four bytes from `place` on as int32."""
    return _reader(ir.IntType(32), types.int32)(context, data, place)


@intrinsic
def copy_bytes(context: Any, out: Any, out_place: Any, data: Any, place: Any, n: Any) -> Any:
    """Copy `n` bytes from one array of bytes to another one."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target = context.make_array(signature.args[0])(context, builder, arguments[0])
        source = context.make_array(signature.args[2])(context, builder, arguments[2])
        raw_memcpy(
            builder,
            builder.gep(target.data, [arguments[1]]),
            builder.gep(source.data, [arguments[3]]),
            arguments[4],
            1,
        )
        return context.get_dummy_value()

    return types.void(out, types.int64, data, types.int64, types.int64), generate


@intrinsic
def trailing_zeros(context: Any, value: Any) -> Any:
    """Count the zero bits below the lowest one; 64 for the number 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate
