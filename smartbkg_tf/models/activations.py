"""Activations by name, each as a layer that every export format knows."""

from __future__ import annotations

from typing import Any

import keras

from smartbkg_tf.settings.errors import did_you_mean

#: Slope of the leaky ReLU for negative values: Keras' default, as in the original.
NEGATIVE_SLOPE = 0.3

ACTIVATIONS = ("leaky_relu", "relu", "silu")


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
    if activation in ACTIVATIONS:
        return keras.layers.Activation(activation, dtype=dtype, **kwargs)
    raise ValueError(
        f"activation '{activation}' is not known; {did_you_mean(activation, ACTIVATIONS)}"
    )
