"""Masked batch normalisation, against NumPy and against Keras' own."""

from __future__ import annotations

from typing import Any, ClassVar

import keras
import numpy as np
import pytest
import tensorflow as tf

from smartbkg_tf.models.layers import MaskedBatchNormalization
from tests.models.layer_test_case import LayerTestCase, batch


class TestMaskedBatchNormalization(LayerTestCase):
    layer_class: ClassVar[type[Any]] = MaskedBatchNormalization
    output_shape = (None, None, 3)
    takes_training = True


def test_training_uses_the_moments_of_what_is_there() -> None:
    layer = MaskedBatchNormalization(momentum=0.8)
    x, mask = batch()
    got = np.asarray(layer(x, mask=mask, training=True))[mask]
    inside = x[mask].astype(np.float64)
    mean, variance = inside.mean(axis=0), inside.var(axis=0)
    np.testing.assert_allclose(got, (inside - mean) / np.sqrt(variance + 1e-3), atol=1e-5)
    np.testing.assert_allclose(layer.moving_mean, 0.2 * mean, rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance, 0.8 + 0.2 * variance, rtol=1e-5)


@pytest.mark.parametrize("with_mask", [True, False])
def test_equals_keras_values_averages_and_gradients(with_mask: bool) -> None:
    x, every = batch(channels=4)
    mask = every if with_mask else None
    ours = MaskedBatchNormalization(momentum=0.9)
    theirs = keras.layers.BatchNormalization(momentum=0.9)
    target = np.random.default_rng(0).normal(size=x.shape).astype(np.float32)
    results = []
    for layer in (ours, theirs):
        value = tf.constant(x)
        with tf.GradientTape() as tape:
            tape.watch(value)
            out = layer(value, mask=mask, training=True)
            weight = 1.0 if mask is None else mask[..., None].astype(np.float32)
            loss = tf.reduce_sum(out * target * weight)
        gradients = tape.gradient(loss, [value, layer.gamma.value, layer.beta.value])
        still = layer(value, mask=mask, training=False)
        results.append([out * weight, still, layer.moving_mean.value, *gradients])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5, rtol=1e-4)


def test_frozen_layer_keeps_its_averages() -> None:
    layer = MaskedBatchNormalization()
    layer.trainable = False
    x, mask = batch()
    layer(x, mask=mask, training=True)
    np.testing.assert_array_equal(layer.moving_mean, np.zeros(3))


def test_averages_follow_within_an_epoch() -> None:
    # 60 steps are an epoch of a small sample; with Keras' momentum 0.99 the average has
    # then made 45 % of the way.
    layer = MaskedBatchNormalization()
    x, mask = batch()
    for _ in range(60):
        layer(x, mask=mask, training=True)
    np.testing.assert_allclose(layer.moving_mean, x[mask].mean(axis=0), rtol=0.01)


def test_large_mean_does_not_spoil_the_variance() -> None:
    random = np.random.default_rng(1)
    x = (1000.0 + random.normal(0, 0.1, (4, 50, 2))).astype(np.float32)
    out = np.asarray(MaskedBatchNormalization(epsilon=1e-6)(x, training=True))
    np.testing.assert_allclose(out.std(axis=(0, 1)), 1.0, rtol=0.01)
