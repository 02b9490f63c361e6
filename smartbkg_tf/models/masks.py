"""Where an event ends: masks, and means that leave padding out."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from smartbkg_tf.models.configurable import ConfigurableLayer, Float32Layer


def apply_mask(x: Any, mask: Any) -> Any:
    """Set padding to zero, [batch, length, channels]."""
    if mask is None:
        return x
    return x * ops.cast(ops.expand_dims(mask, -1), x.dtype)


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class PaddingMask(Float32Layer):
    """True where a token is not padding (token 0).

    Input: int [batch, length]. Output: bool [batch, length].
    """

    def call(self, tokens: Any) -> Any:
        """Compare with 0, [batch, length]."""
        return ops.not_equal(tokens, 0)


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class MaskedAveragePooling(ConfigurableLayer):
    """Mean over what there is; zero for an event without anything.

    Input: [batch, length, channels] and ``mask`` [batch, length]. Output: [batch, channels].
    The sum is taken in float32: float16 overflows over a long event.
    """

    def call(self, x: Any, mask: Any = None) -> Any:
        """Average over the length, [batch, channels]."""
        wide = ops.cast(x, "float32")
        if mask is None:
            return ops.cast(ops.mean(wide, axis=1), self.compute_dtype)
        weights = ops.cast(mask, "float32")
        total = ops.sum(wide * ops.expand_dims(weights, -1), axis=1)
        count = ops.maximum(ops.sum(weights, axis=1, keepdims=True), 1.0)
        return ops.cast(total / count, self.compute_dtype)
