"""Blocks of layers: shapes, padding, and what a skip connection is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest

from smartbkg_tf.models.blocks import Blocks
from tests.models.layer_test_case import batch

CASES: dict[str, tuple[Callable[[Any, Any], Any], int]] = {
    "convolution": (lambda x, mask: Blocks(mask).convolution(x, 4, 5, "b"), 4),
    "residual": (lambda x, mask: Blocks(mask).residual(x, 3, 4, "b"), 3),
    "residual_that_widens": (lambda x, mask: Blocks(mask, "silu").residual(x, 6, 3, "b"), 6),
    "bottleneck": (lambda x, mask: Blocks(mask).bottleneck(x, 5, [1, 3, 1], "b"), 3),
    "preactivation": (lambda x, mask: Blocks(mask).preactivation(x, 3, "b"), 3),
    "resnext": (lambda x, mask: Blocks(mask).resnext(x, 3, 2, [1, 3, 1], "b"), 3),
}


def model(build: Callable[[Any, Any], Any]) -> keras.Model:
    """Put a block into a model, with random weights."""
    keras.utils.set_random_seed(2)
    x = keras.Input((None, 3), name="x")
    mask = keras.Input((None,), dtype="bool", name="mask")
    result = keras.Model([x, mask], build(x, mask))
    random = np.random.default_rng(1)
    for weight in result.weights:
        weight.assign(np.abs(random.normal(0.5, 0.5, weight.shape)) + 0.1)
    return result


@pytest.mark.parametrize("name", CASES)
def test_padding_changes_nothing(name: str) -> None:
    build, channels = CASES[name]
    block = model(build)
    assert block.output_shape == (None, None, channels)
    x, mask = batch()
    for training in (False, True):

        def run(x: npt.NDArray[Any], mask: npt.NDArray[Any], training: bool = training) -> Any:
            # Averages that have moved in training are those of before again.
            before = block.get_weights()
            found = np.asarray(block([x, mask], training=training))
            block.set_weights(before)
            return found

        expected = run(x, mask)[mask]
        for extra in (1, 2, 40):
            more = np.pad(x, [(0, 0), (0, extra), (0, 0)], constant_values=77.0)
            more[:, :7][~mask] = -50.0
            wide = np.pad(mask, [(0, 0), (0, extra)])
            found = run(more, wide)[:, :7][mask]
            np.testing.assert_allclose(found, expected, atol=2e-5, rtol=1e-5)


def test_residual_block_with_zero_weights_is_its_activation() -> None:
    block = model(CASES["residual"][0])
    for weight in block.weights:
        if weight.name in ("gamma", "beta"):
            weight.assign(np.zeros(weight.shape))
    x, mask = batch()
    expected = np.where(x > 0, x, 0.3 * x)
    np.testing.assert_allclose(np.asarray(block([x, mask]))[mask], expected[mask], atol=1e-6)


def test_groups_that_do_not_divide_the_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="do not divide"):
        model(lambda x, mask: Blocks(mask).resnext(x, 2, 2, [1], "b"))
