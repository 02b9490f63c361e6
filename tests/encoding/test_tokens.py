"""The compiled look-up equals the vocabulary's own."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from smartbkg_tf.encoding.tokens import look_up
from smartbkg_tf.events.vocabulary import default_vocabulary

VOCABULARY = default_vocabulary()
codes = st.one_of(
    st.sampled_from(VOCABULARY.codes.tolist()), st.integers(-(2**31), 2**31 - 1), st.just(0)
)


@settings(deadline=None)
@given(st.lists(codes, max_size=30), st.sampled_from([np.int32, np.int64, np.float64]))
def test_as_the_vocabulary(values: list[int], dtype: type) -> None:
    column = np.array(values, dtype=dtype)
    unknown: dict[str, int] = {}
    tokens = look_up(column, VOCABULARY, unknown)
    assert tokens.dtype == np.int16
    np.testing.assert_array_equal(tokens, VOCABULARY.tokens(column))
    known = set(VOCABULARY.codes.tolist())
    missing = [code for code in values if code not in known]
    assert unknown == {str(code): missing.count(code) for code in missing}


def test_counts_add_up_and_broken_numbers_have_no_code() -> None:
    unknown = {"99999999": 2}
    column = np.array([99999999.0, np.nan, 211.5, 211.0])
    tokens = look_up(column, VOCABULARY, unknown)
    assert tokens[:3].tolist() == [1, 1, 1]
    assert tokens[3] > 1
    assert unknown == {"99999999": 3}


@pytest.mark.parametrize("step", [2, -1])
def test_strided_columns(step: int) -> None:
    column = np.array([211, 22, 511, 13], dtype=np.int32)[::step]
    np.testing.assert_array_equal(look_up(column, VOCABULARY, {}), VOCABULARY.tokens(column))
