"""Masks, pooling, fixed lengths, attention and recurrence, against numbers that NumPy makes."""

from __future__ import annotations

from typing import Any, ClassVar

import keras
import numpy as np
import numpy.typing as npt
import pytest

from smartbkg_tf.models.attention import AdditiveSelfAttention
from smartbkg_tf.models.configurable import Gelu
from smartbkg_tf.models.convolutions import MaskedGroupedConv1D, MaskedLSTM
from smartbkg_tf.models.pooling import (
    AttentionPooling,
    FixedLength,
    MaskedAveragePooling,
    MaskedPairPooling,
    PaddingMask,
    PairMask,
    apply_mask,
    masked_softmax,
)
from tests.models.layer_test_case import LENGTHS, LayerTestCase, batch


class TestGroupedConvolution(LayerTestCase):
    layer_class: ClassVar[type[Any]] = MaskedGroupedConv1D
    arguments: ClassVar[dict[str, Any]] = {"filters": 6, "kernel_size": 3, "groups": 2}
    channels = 4
    output_shape = (None, None, 6)


class TestAdditiveAttention(LayerTestCase):
    layer_class: ClassVar[type[Any]] = AdditiveSelfAttention
    arguments: ClassVar[dict[str, Any]] = {"units": 4}
    output_shape = (None, None, 3)


class TestAttentionPooling(LayerTestCase):
    layer_class: ClassVar[type[Any]] = AttentionPooling
    arguments: ClassVar[dict[str, Any]] = {"heads": 2}
    channels = 4
    output_shape = (None, 4)
    per_particle = False


class TestLSTM(LayerTestCase):
    layer_class: ClassVar[type[Any]] = MaskedLSTM
    arguments: ClassVar[dict[str, Any]] = {"units": 2}
    output_shape = (None, 2)
    per_particle = False


class TestFixedLength(LayerTestCase):
    layer_class: ClassVar[type[Any]] = FixedLength
    arguments: ClassVar[dict[str, Any]] = {"length": 9}
    output_shape = (None, 9, 3)
    per_particle = False


@pytest.mark.parametrize("mode", ["average", "max"])
@pytest.mark.parametrize("length", [1, 2, 7, 8])
def test_pairs(mode: str, length: int) -> None:
    x, mask = batch(length=length)
    mask = mask[:, :length]
    found = np.asarray(MaskedPairPooling(mode)(x, mask=mask))
    found_mask = np.asarray(PairMask()(mask))
    assert found.shape[1] == found_mask.shape[1] == (length + 1) // 2
    reduce: Any = np.mean if mode == "average" else np.max
    for event in range(5):
        for pair in range(found.shape[1]):
            rows = x[event, 2 * pair : 2 * pair + 2][mask[event, 2 * pair : 2 * pair + 2]]
            assert found_mask[event, pair] == (len(rows) > 0)
            expected = reduce(rows, axis=0) if len(rows) else np.zeros(3)
            np.testing.assert_allclose(found[event, pair], expected, rtol=1e-6)


def test_pairs_of_another_kind_are_refused() -> None:
    with pytest.raises(ValueError, match="'average' or 'max', not 'sum'"):
        MaskedPairPooling("sum")


def test_softmax_over_nothing_is_zero_and_large_logits_stay_finite() -> None:
    logits = np.array([[1e4, 0.0, 5.0], [1.0, 2.0, 3.0], [0.0, 1.0, 99.0]], np.float32)
    mask = np.array([[True, True, True], [False, False, False], [True, True, False]])
    found = np.asarray(masked_softmax(logits, mask, axis=-1))
    np.testing.assert_allclose(found[0], [1, 0, 0])
    np.testing.assert_allclose(found[1], 0)
    np.testing.assert_allclose(found[2], [1 / (1 + np.e), np.e / (1 + np.e), 0], rtol=1e-6)


def test_pooling_attends_by_its_gate() -> None:
    x, mask = batch(4)
    layer = AttentionPooling(heads=2)
    found = np.asarray(layer(x, mask=mask))
    logits = x @ np.asarray(layer.gate.kernel)
    for event, n in enumerate(LENGTHS):
        expected = np.zeros(4)
        if n:
            weights = np.exp(logits[event, :n] - logits[event, :n].max(axis=0))
            weights /= weights.sum(axis=0)
            expected = (np.repeat(weights, 2, axis=1) * x[event, :n]).sum(axis=0)
        np.testing.assert_allclose(found[event], expected, atol=1e-5)


def test_additive_attention_by_hand() -> None:
    x, mask = batch()
    layer = AdditiveSelfAttention(4)
    found = np.asarray(layer(x, mask=mask))
    receive = x @ np.asarray(layer.receiver.kernel) + np.asarray(layer.receiver.bias)
    send = x @ np.asarray(layer.sender.kernel)
    for event, n in enumerate(LENGTHS):
        for i in range(n):
            hidden = np.tanh(receive[event, i] + send[event, :n])
            weights = np.exp(hidden @ np.asarray(layer.score.kernel)[:, 0])
            expected = weights @ x[event, :n] / weights.sum()
            np.testing.assert_allclose(found[event, i], expected, atol=1e-5)


def test_lstm_equals_keras_on_each_event_alone() -> None:
    keras.utils.set_random_seed(3)
    x, mask = batch()
    layer = MaskedLSTM(4)
    found = np.asarray(layer(x, mask=mask))
    alone = keras.layers.LSTM(4)
    alone.build((None, None, 3))
    alone.set_weights(layer.lstm.get_weights())
    for event, n in enumerate(LENGTHS):
        expected = np.asarray(alone(x[event : event + 1, :n]))[0] if n else np.zeros(4)
        np.testing.assert_allclose(found[event], expected, atol=1e-6)


def test_grouped_convolution_is_one_convolution_for_each_group() -> None:
    keras.utils.set_random_seed(3)
    x, mask = batch(4)
    layer = MaskedGroupedConv1D(6, 3, 2)
    found = np.asarray(layer(x, mask=mask))
    kernel = np.asarray(layer.kernel)
    zeroed: npt.NDArray[Any] = x * mask[..., None]
    for group in range(2):
        one = keras.layers.Conv1D(3, 3, padding="same", use_bias=False)
        one.build((None, None, 2))
        one.set_weights([kernel[:, :, group]])
        expected = np.asarray(one(zeroed[..., 2 * group : 2 * group + 2]))
        np.testing.assert_allclose(found[..., 3 * group : 3 * group + 3], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("layer", "channels"),
    [(MaskedGroupedConv1D(6, 3, 4), 4), (AttentionPooling(3), 4)],
)
def test_groups_that_do_not_divide_the_channels_are_refused(layer: Any, channels: int) -> None:
    with pytest.raises(ValueError, match="do not divide"):
        layer.build((None, None, channels))


def test_gelu_is_that_of_keras() -> None:
    x = np.linspace(-4, 4, 41).astype(np.float32)
    np.testing.assert_allclose(Gelu()(x), keras.ops.gelu(x, approximate=False), atol=1e-6)


class TestMaskedAveragePooling(LayerTestCase):
    layer_class: ClassVar[type[Any]] = MaskedAveragePooling
    output_shape = (None, 3)
    per_particle = False


def test_pooling_is_the_mean_of_what_is_there_and_zero_for_nothing() -> None:
    x, mask = batch()
    got = np.asarray(MaskedAveragePooling()(x, mask=mask))
    for event in range(5):
        inside = x[event][mask[event]].astype(np.float64)
        expected = inside.mean(axis=0) if len(inside) else np.zeros(3)
        np.testing.assert_allclose(got[event], expected, rtol=1e-5, atol=1e-6)


def test_pooling_without_mask_takes_everything() -> None:
    x, _ = batch()
    np.testing.assert_allclose(MaskedAveragePooling()(x), x.mean(axis=1), rtol=1e-4, atol=1e-6)


def test_pooling_in_float16_does_not_overflow() -> None:
    x = np.full((1, 100, 1), 2000.0, np.float16)
    got = np.asarray(MaskedAveragePooling(dtype="mixed_float16")(x, mask=np.ones((1, 100), bool)))
    assert got[0, 0] == 2000.0


def test_padding_mask_is_false_at_token_zero_only() -> None:
    mask = np.asarray(PaddingMask()(np.array([[5, 1, 0], [0, 0, 0]], np.int32)))
    np.testing.assert_array_equal(mask, [[True, True, False], [False, False, False]])
    assert mask.dtype == np.bool_


def test_apply_mask_sets_padding_to_zero() -> None:
    x, mask = batch()
    got = np.asarray(apply_mask(x, mask))
    np.testing.assert_array_equal(got[mask], x[mask])
    assert not got[~mask].any()
