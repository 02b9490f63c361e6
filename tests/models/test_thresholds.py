"""Soft thresholds, against plain arithmetic."""

from __future__ import annotations

import keras
import numpy as np

from smartbkg_tf.models.thresholds import (
    PiecewiseLinear,
    SoftThresholds,
    soft_thresholds,
)


def test_thresholds_are_ordered_by_place() -> None:
    values = np.array([[0.5, -1.0]], np.float32)
    found = np.asarray(soft_thresholds(values, [0.0, 2.0], 3.0))
    expected = np.tanh([[1.5, -3.0, -4.5, -9.0]])
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_layer_keeps_the_values() -> None:
    layer = SoftThresholds([-1.0, 1.0], steepness=2.0)
    x = np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)
    found = np.asarray(layer(x))
    assert found.shape == (4, 9)
    assert layer(keras.Input((3,))).shape == (None, 9)
    np.testing.assert_array_equal(found[:, :3], x)
    np.testing.assert_allclose(found[:, 3:6], np.tanh(2.0 * (x + 1.0)), atol=1e-6)
    again = SoftThresholds.from_config(layer.get_config())
    np.testing.assert_array_equal(again(x), found)


def test_thresholds_stay_float32_in_mixed_precision() -> None:
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_float16")
    try:
        assert SoftThresholds([0.0])(np.ones((1, 1), np.float32)).dtype == "float32"
    finally:
        keras.mixed_precision.set_dtype_policy(before)


def test_piecewise_linear_parts_add_up_to_the_value_between_its_extremes() -> None:
    random = np.random.default_rng(4)
    x = np.stack([random.normal(size=500), random.integers(0, 3, 500)], axis=1).astype(np.float32)
    layer = PiecewiseLinear(bins=5)
    layer.build((None, 2))
    layer.adapt(x)
    parts = np.asarray(layer(x)).reshape(500, 2, 5)
    assert parts.min() == 0.0
    assert parts.max() == 1.0
    edges = np.quantile(x[:, 0], np.linspace(0, 1, 6))
    np.testing.assert_allclose(edges[0] + parts[:, 0] @ np.diff(edges), x[:, 0], atol=1e-5)
    # A count: its values differ in the bins.
    assert len(np.unique(parts[:, 1].sum(axis=1).round(6))) == 3
