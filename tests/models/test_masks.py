"""Masks and pooling."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from smartbkg_tf.models.layers import MaskedAveragePooling, PaddingMask, apply_mask
from tests.models.layer_test_case import LayerTestCase, batch


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
