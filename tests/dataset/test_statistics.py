"""Streamed statistics equal those of all values at once."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays

from smartbkg_tf.dataset.statistics import PIECE, FeatureStatistics, StreamedStatistics

blocks = arrays(
    np.float64, st.tuples(st.integers(0, 9), st.just(2)), elements=st.floats(-1e3, 1e3, width=32)
)


def describe(values: np.ndarray) -> FeatureStatistics:
    stream = StreamedStatistics(values.shape[1])
    stream.add(values)
    return stream.result()


def assert_describes(result: FeatureStatistics, values: np.ndarray) -> None:
    assert result.count == len(values)
    if len(values):
        np.testing.assert_allclose(result.mean, values.mean(axis=0), rtol=1e-12, atol=1e-9)
        np.testing.assert_allclose(result.spread, values.std(axis=0), rtol=1e-9, atol=1e-9)
        np.testing.assert_array_equal(result.minimum, values.min(axis=0))
        np.testing.assert_array_equal(result.maximum, values.max(axis=0))


@settings(deadline=None)
@given(st.lists(blocks, max_size=9))
def test_many_blocks(parts: list[np.ndarray]) -> None:
    stream = StreamedStatistics(2)
    for part in parts:
        stream.add(part)
    assert_describes(stream.result(), np.concatenate([np.empty((0, 2)), *parts]))


def test_a_large_offset_does_not_eat_the_spread() -> None:
    # The naive formula, mean of squares minus square of mean, gives 0 here.
    values = 1e9 + np.tile([0.0, 1.0], 500)[:, None]
    stream = StreamedStatistics(1)
    for i in range(0, 1000, 10):
        stream.add(values[i : i + 10])
    np.testing.assert_allclose(stream.result().spread, [0.5], rtol=1e-9)


def test_float32_is_summed_in_float64() -> None:
    values = np.full((200_000, 1), 0.1, dtype=np.float32)
    np.testing.assert_allclose(
        describe(values).mean, [np.float64(np.float32(0.1))], rtol=1e-11, atol=0
    )


@settings(deadline=None)
@given(
    st.integers(1, 70),
    st.sampled_from([1, 2, 600, PIECE - 1, PIECE, PIECE + 1, 9000]),
    st.sampled_from([np.float32, np.float64]),
)
def test_any_width_and_number_of_rows(width: int, rows: int, dtype: type) -> None:
    values = np.random.default_rng(width).normal(3, 2, (rows, width)).astype(dtype)
    assert_describes(describe(values), values.astype(np.float64))


def test_no_columns() -> None:
    assert describe(np.empty((3, 0), dtype=np.float32)).count == 3


def test_no_rows() -> None:
    result = StreamedStatistics(3).result()
    assert result.count == 0
    np.testing.assert_array_equal(result.spread, np.zeros(3))


@settings(deadline=None)
@given(st.lists(st.integers(0, 700), max_size=6), st.integers(0, 2**32 - 1))
def test_how_rows_are_cut_changes_no_bit(lengths: list[int], seed: int) -> None:
    random = np.random.default_rng(seed)
    values = random.normal(size=(sum(lengths) + PIECE * (seed % 3), 3)).astype(np.float32)
    stream = StreamedStatistics(3)
    for part in np.split(values, np.cumsum(lengths)):
        stream.add(part)
    first, second = describe(values), stream.result()
    assert first.count == second.count == len(values)
    for name in ("mean", "spread", "minimum", "maximum"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
