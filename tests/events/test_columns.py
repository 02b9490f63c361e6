from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartbkg_tf.errors import InputError
from smartbkg_tf.events.columns import integers, labels_from, texts


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(-(2**31), 2**31 - 1)),
    st.sampled_from([np.int64, np.float64, object, np.int32]),
)
def test_whole_numbers_survive_any_type(values: list[int], kind: Any) -> None:
    found = integers(np.array(values, dtype=kind), np.int32, where="a")
    assert found.dtype == np.int32
    assert found.tolist() == values


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (np.array([0, 2**31]), np.int32),
        (np.array([0, -(2**31) - 1]), np.int32),
        (np.array([0, 2**63], dtype=np.uint64), np.int64),
        (np.array([0, 2.0**63]), np.int64),
        (np.array([0, 0.5]), np.int32),
        (np.array([0, np.nan]), np.int32),
        (np.array([0, -np.inf]), np.int64),
        (np.array([0, None], dtype=object), np.int64),
    ],
)
def test_what_does_not_fit_is_named_by_its_row(values: np.ndarray, dtype: Any) -> None:
    with pytest.raises(InputError, match="file: PDG: row 11 holds"):
        integers(values, dtype, where="file: PDG", first_row=10)


@pytest.mark.parametrize("values", [np.array(["1"]), np.array(["x"], dtype=object), np.array([1j])])
def test_texts_are_no_integers(values: np.ndarray) -> None:
    with pytest.raises(InputError, match="holds no numbers"):
        integers(values, np.int64, where="a")


def test_largest_numbers_are_kept() -> None:
    limits = [-(2**63), 2**63 - 1]
    assert integers(np.array(limits), np.int64, where="a").tolist() == limits
    big = np.array([2**63 - 1], dtype=np.uint64)
    assert integers(big, np.int64, where="a").tolist() == [2**63 - 1]
    assert integers(np.array([True, False]), np.int32, where="a").tolist() == [1, 0]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([1, 0, -1]), [1, 0, -1]),
        (np.array([1.0, 0.0, np.nan]), [1, 0, -1]),
        (np.array([True, False]), [1, 0]),
        (np.array([1, 0], dtype=np.uint8), [1, 0]),
        (np.array([True, None, 0], dtype=object), [1, -1, 0]),
    ],
)
def test_labels(values: np.ndarray, expected: list[int]) -> None:
    found = labels_from(values, where="a")
    assert found.dtype == np.int8
    assert found.tolist() == expected


@pytest.mark.parametrize(
    "values", [np.array([0, 2]), np.array([0, 0.5]), np.array([0, 255], dtype=np.uint8)]
)
def test_other_numbers_are_no_labels(values: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"row 6 holds .*: a label is 1"):
        labels_from(values, where="a", first_row=5)


@pytest.mark.parametrize("values", [np.array(["yes"]), np.array(["yes"], dtype=object)])
def test_texts_are_no_labels(values: np.ndarray) -> None:
    with pytest.raises(InputError, match="holds no labels"):
        labels_from(values, where="a")


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(alphabet=st.characters(blacklist_characters="\0", codec="utf-8"))))
def test_texts_come_back(values: list[str]) -> None:
    as_bytes = np.array([v.encode() for v in values] or [b""], dtype="S")[: len(values)]
    for given_values in (np.array(values, dtype=object), as_bytes):
        found = texts(given_values, where="a")
        assert found.dtype == object
        assert found.tolist() == values


def test_what_is_no_text_is_named() -> None:
    with pytest.raises(InputError, match="row 8 holds nan, which is not a text"):
        texts(np.array(["a", np.nan], dtype=object), where="a", first_row=7)
    with pytest.raises(InputError, match="not UTF-8"):
        texts(np.array([b"\xff"]), where="a")
