"""Activations by name, each as a layer that every export format knows."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from smartbkg_tf.errors import did_you_mean

#: Slope of the leaky ReLU for negative values: Keras' default, as in the original.
NEGATIVE_SLOPE = 0.3

ACTIVATIONS = ("leaky_relu", "relu", "silu", "gelu")


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class Gelu(keras.layers.Layer):
    """``x (1 + erf(x / sqrt 2)) / 2`` (Hendrycks and Gimpel, arXiv:1606.08415).

    Written with erf: Keras' own uses erfc, which ONNX Runtime cannot load.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, x: Any) -> Any:
        """Activate.

        Parameters
        ----------
        x : tensor
            Values.

        Returns
        -------
        tensor
            Same shape.
        """
        return 0.5 * x * (1.0 + ops.erf(x * 0.7071067811865476))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Give the shape of the output.

        Parameters
        ----------
        input_shape : tuple
            Of `x`.

        Returns
        -------
        tuple
            The same.
        """
        return input_shape


def activation_layer(activation: str, dtype: Any = None, **kwargs: Any) -> keras.layers.Layer:
    """Make the layer of an activation.

    Parameters
    ----------
    activation : str
        One of `ACTIVATIONS`.
    dtype : str or keras.DTypePolicy, optional
        Precision; the global policy by default.
    **kwargs
        As any Keras layer.

    Returns
    -------
    keras.layers.Layer
        The activation.

    Raises
    ------
    ValueError
        For an unknown name.
    """
    if activation == "leaky_relu":
        return keras.layers.LeakyReLU(negative_slope=NEGATIVE_SLOPE, dtype=dtype, **kwargs)
    if activation == "gelu":
        return Gelu(dtype=dtype, **kwargs)
    if activation in ACTIVATIONS:
        return keras.layers.Activation(activation, dtype=dtype, **kwargs)
    raise ValueError(
        f"activation '{activation}' is not known; {did_you_mean(activation, ACTIVATIONS)}"
    )
