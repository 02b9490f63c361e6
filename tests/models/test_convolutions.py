"""Masked convolutions, against numbers that NumPy makes."""

from __future__ import annotations

from typing import Any, ClassVar

import keras
import numpy as np
import numpy.typing as npt
import pytest

from smartbkg_tf.models.layers import MaskedConv1D
from tests.models.layer_test_case import LayerTestCase, batch


class TestOddConvolution(LayerTestCase):
    layer_class: ClassVar[type[Any]] = MaskedConv1D
    arguments: ClassVar[dict[str, Any]] = {"filters": 4, "kernel_size": 3}
    output_shape = (None, None, 4)


class TestEvenConvolution(LayerTestCase):
    layer_class: ClassVar[type[Any]] = MaskedConv1D
    arguments: ClassVar[dict[str, Any]] = {"filters": 4, "kernel_size": 4}
    output_shape = (None, None, 4)


class TestConvolutionWiderThanAnyEvent(LayerTestCase):
    layer_class: ClassVar[type[Any]] = MaskedConv1D
    arguments: ClassVar[dict[str, Any]] = {"filters": 2, "kernel_size": 9, "use_bias": False}
    output_shape = (None, None, 2)


def by_hand(
    x: npt.NDArray[Any], kernel: npt.NDArray[Any], bias: npt.NDArray[Any]
) -> npt.NDArray[np.float64]:
    """Correlate one event with zeros around it; even kernels reach further to the right."""
    width = len(kernel)
    left = (width - 1) // 2
    padded = np.pad(x.astype(np.float64), [(left, width - 1 - left), (0, 0)])
    rows = [np.einsum("kc,kco->o", padded[i : i + width], kernel) for i in range(len(x))]
    return np.asarray(np.stack(rows) + bias, dtype=np.float64)


@pytest.mark.parametrize("width", [1, 2, 3, 4, 9])
def test_convolution_of_an_event_alone(width: int) -> None:
    keras.utils.set_random_seed(1)
    layer = MaskedConv1D(2, width, bias_initializer="ones")
    x, mask = batch()
    got = np.asarray(layer(x, mask=mask))
    kernel, bias = (np.asarray(w.value) for w in layer.weights)
    for event in range(5):
        n = int(mask[event].sum())
        if n:
            expected = by_hand(x[event, :n], kernel, bias)
            np.testing.assert_allclose(got[event, :n], expected, atol=1e-5)


@pytest.mark.parametrize("change", [{"strides": 2}, {"padding": "valid"}])
def test_settings_that_would_move_particles_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        MaskedConv1D(2, 3, **change)
