"""Memory that is lent again and again."""

from __future__ import annotations

import numpy as np

from smartbkg_tf.runtime.scratch import Scratch


def test_arrays_of_one_name_share_memory_and_others_do_not() -> None:
    scratch = Scratch()
    first = scratch.empty("a", (100, 3), "float32")
    other = scratch.empty("b", (100, 3), "float32")
    again = scratch.empty("a", (7,), "int16")
    assert (first.shape, first.dtype) == ((100, 3), np.float32)
    assert first.flags.c_contiguous
    assert (again.shape, again.dtype) == ((7,), np.int16)
    assert np.shares_memory(first, again)
    assert not np.shares_memory(first, other)


def test_it_grows_when_more_is_needed() -> None:
    scratch = Scratch()
    scratch.empty("a", (2,), "int64")
    large = scratch.empty("a", (1000,), "int64")
    large[:] = 1
    assert large.sum() == 1000


def test_nothing_is_an_array_too() -> None:
    assert Scratch().empty("a", (0, 8), "float32").shape == (0, 8)
    assert Scratch().empty("a", (4, 0), "float32").shape == (4, 0)
