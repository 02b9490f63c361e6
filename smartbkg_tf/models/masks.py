"""Where an event ends: masks, and means that leave padding out."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


def apply_mask(x: Any, mask: Any) -> Any:
    """Set padding to zero.

    Parameters
    ----------
    x : tensor [batch, length, channels]
        Values.
    mask : tensor [batch, length] or None
        True where there is something; None changes nothing.

    Returns
    -------
    tensor [batch, length, channels]
        Zero where there is nothing.
    """
    if mask is None:
        return x
    return x * ops.cast(ops.expand_dims(mask, -1), x.dtype)


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class PaddingMask(keras.layers.Layer):
    """True where a token is no padding (token 0).

    Input: int [batch, length]. Output: bool [batch, length].
    """

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)

    def call(self, tokens: Any) -> Any:
        """Compare with 0.

        Parameters
        ----------
        tokens : tensor [batch, length]
            Tokens.

        Returns
        -------
        tensor [batch, length]
            bool.
        """
        return ops.not_equal(tokens, 0)

    def compute_output_spec(self, tokens: Any) -> keras.KerasTensor:
        """Describe the output.

        Parameters
        ----------
        tokens : KerasTensor
            The input.

        Returns
        -------
        KerasTensor
            bool, same shape.
        """
        return keras.KerasTensor(tokens.shape, dtype="bool")


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class MaskedAveragePooling(keras.layers.Layer):
    """Mean over what there is; zero for an event without anything.

    Input: [batch, length, channels] and ``mask`` [batch, length]. Output: [batch, channels].
    The sum is taken in float32: float16 overflows over a long event.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, x: Any, mask: Any = None) -> Any:
        """Average over the length.

        Parameters
        ----------
        x : tensor [batch, length, channels]
            Values.
        mask : tensor [batch, length], optional
            True where there is something; without it everything counts.

        Returns
        -------
        tensor [batch, channels]
            Means.
        """
        wide = ops.cast(x, "float32")
        if mask is None:
            return ops.cast(ops.mean(wide, axis=1), self.compute_dtype)
        weights = ops.cast(mask, "float32")
        total = ops.sum(wide * ops.expand_dims(weights, -1), axis=1)
        count = ops.maximum(ops.sum(weights, axis=1, keepdims=True), 1.0)
        return ops.cast(total / count, self.compute_dtype)

    def compute_mask(self, x: Any, mask: Any = None) -> None:
        """Nothing is left to be masked.

        Parameters
        ----------
        x : tensor
            The input.
        mask : tensor, optional
            Its mask.
        """
        return

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Give the shape of the output.

        Parameters
        ----------
        input_shape : tuple
            Of `x`.

        Returns
        -------
        tuple
            Without the length.
        """
        return (input_shape[0], input_shape[-1])
