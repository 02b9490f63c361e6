"""Activations by name, each as a layer that every export format knows."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from smartbkg_tf.errors import did_you_mean
from smartbkg_tf.models.configurable import ConfigurableLayer

#: Slope of the leaky ReLU for negative values: Keras' default, as in the original.
NEGATIVE_SLOPE = 0.3

ACTIVATIONS = ("leaky_relu", "relu", "silu", "gelu")


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class Gelu(ConfigurableLayer):
    """``x (1 + erf(x / sqrt 2)) / 2`` (Hendrycks and Gimpel, arXiv:1606.08415).

    Written with erf: Keras' own uses erfc, which ONNX Runtime cannot load.
    """

    def call(self, x: Any) -> Any:
        """Activate."""
        return 0.5 * x * (1.0 + ops.erf(x * 0.7071067811865476))


def activation_layer(activation: str, dtype: Any = None, **kwargs: Any) -> keras.layers.Layer:
    """Make the layer of an activation."""
    if activation == "leaky_relu":
        return keras.layers.LeakyReLU(negative_slope=NEGATIVE_SLOPE, dtype=dtype, **kwargs)
    if activation == "gelu":
        return Gelu(dtype=dtype, **kwargs)
    if activation in ACTIVATIONS:
        return keras.layers.Activation(activation, dtype=dtype, **kwargs)
    raise ValueError(
        f"activation '{activation}' is not known; {did_you_mean(activation, ACTIVATIONS)}"
    )
