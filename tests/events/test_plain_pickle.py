from __future__ import annotations

import collections
import datetime
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartbkg_tf.errors import InputError
from smartbkg_tf.events.plain_pickle import loads

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(plain, st.sampled_from(range(6)))
def test_plain_values_come_back(value: Any, protocol: int) -> None:
    assert loads(pickle.dumps(value, protocol), where="a") == value


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.text() | st.none() | st.booleans() | st.integers(), max_size=6),
    st.sampled_from(range(6)),
)
def test_arrays_of_texts_come_back(values: list[Any], protocol: int) -> None:
    array = np.empty((len(values), 1), dtype=object)
    array[:, 0] = values
    for order in ("C", "F"):
        found = loads(pickle.dumps(np.asarray(array, order=order), protocol), where="a", array=True)
        assert found.dtype == object
        assert found.shape == array.shape
        assert found[:, 0].tolist() == values


def test_shapes_of_memory_maps_come_back() -> None:
    # As the original project wrote them beside its maps, by any protocol.
    for protocol in range(6):
        assert loads(pickle.dumps((1000, 100, 8), protocol), where="a") == (1000, 100, 8)
        assert loads(pickle.dumps("float32", protocol), where="a") == "float32"


def test_a_reference_to_something_outside_is_refused() -> None:
    with pytest.raises(InputError, match="outside the file"):
        loads(b"Poutside\n.", where="a")


def test_fortran_order() -> None:
    array = np.asfortranarray(np.array([["a", "b", "c"], ["d", "e", "f"]], dtype=object))
    assert loads(pickle.dumps(array), where="a", array=True).tolist() == array.tolist()


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (eval, ("1 / 0",))


@pytest.mark.parametrize(
    "value",
    [
        _Evil(), [_Evil()], np.array([_Evil()], dtype=object), datetime.date(2020, 1, 1),
        collections.OrderedDict(a=1), np.float64(1.0), print,
        np.array([np.array(["x"], dtype=object), datetime.date(2020, 1, 1)], dtype=object),
    ],
)  # fmt: skip
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_everything_else_is_refused(value: Any, protocol: int) -> None:
    data = pickle.dumps(value, protocol)
    for array in (False, True):
        with pytest.raises(InputError) as error:
            loads(data, where="file.h5: decay_strings", array=array)
        assert "file.h5: decay_strings" in str(error.value)


@pytest.mark.parametrize(
    "value",
    [
        np.zeros(3),
        np.array(["a", "b"]),
        ["a"],
        "a",
        np.array([[1], ["x"]], dtype=object)[0:0, 0].astype("S1"),
    ],
)
def test_other_arrays_are_refused(value: Any) -> None:
    with pytest.raises(InputError):
        loads(pickle.dumps(value, 2), where="a", array=True)


def test_arrays_inside_arrays_are_refused() -> None:
    inner = np.empty(1, dtype=object)
    inner[0] = np.array(["x"], dtype=object)
    with pytest.raises(InputError, match="not of texts"):
        loads(pickle.dumps(inner), where="a", array=True)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=40))
def test_garbage_gives_one_kind_of_error(data: bytes) -> None:
    with pytest.raises(InputError):
        loads(data, where="a", array=True)


def test_bytes_of_old_protocols_cannot_unpack_anything() -> None:
    # protocol 2 writes bytes as _codecs.encode(text, 'latin1'); another encoding is no such case.
    data = b"c_codecs\nencode\n(Vabc\nVhex\ntR."
    with pytest.raises(InputError, match="encode with hex"):
        loads(data, where="a", array=True)
