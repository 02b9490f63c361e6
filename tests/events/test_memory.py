"""Numbers at any place of an array of bytes, against Python's own reading."""

from __future__ import annotations

import struct
from typing import Any

import numba
import numpy as np
import pytest

from smartbkg_tf.events.memory import (
    bytes_of_array,
    copy_bytes,
    float64_at,
    int32_at,
    trailing_zeros,
    uint64_at,
)

DATA = np.random.default_rng(0).bytes(64)


@numba.njit
def read(data: Any, place: int) -> Any:
    return uint64_at(data, place), float64_at(data, place), int32_at(data, place)


@numba.njit
def copied(data: Any, place: int, n: int) -> Any:
    out = np.zeros(64, np.uint8)
    copy_bytes(out, 3, data, place, n)
    return out


@numba.njit
def zeros_below(value: Any) -> Any:
    return trailing_zeros(value)


@pytest.mark.parametrize("place", [0, 1, 5, 8, 13, 56])
def test_numbers_at_any_place(place: int) -> None:
    whole, real, short = read(np.frombuffer(DATA, np.uint8), place)
    assert whole == struct.unpack_from("<Q", DATA, place)[0]
    assert struct.pack("<d", real) == DATA[place : place + 8]
    assert short == struct.unpack_from("<i", DATA, place)[0]


@pytest.mark.parametrize(("place", "n"), [(0, 0), (7, 1), (9, 33), (5, 59)])
def test_copies(place: int, n: int) -> None:
    found = copied(np.frombuffer(DATA, np.uint8), place, n).tobytes()
    assert found == b"\0" * 3 + DATA[place : place + n] + b"\0" * (61 - n)


def test_zero_bits_are_counted() -> None:
    values = [0, 1, 2, 80, 2**63]
    assert [zeros_below(np.uint64(v)) for v in values] == [64, 0, 1, 4, 63]


def test_arrays_as_bytes() -> None:
    values = np.arange(12, dtype=np.int16).reshape(3, 4)
    for array in (values, values[:, ::2], values.T, values[:0]):
        assert bytes_of_array(array).tobytes() == array.tobytes()
