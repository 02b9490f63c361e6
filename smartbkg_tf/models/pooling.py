"""Where an event ends: masks, and shorter rows and single vectors that leave padding out."""

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


def everything(x: Any) -> Any:
    """Give the mask of rows [batch, length, channels] without padding."""
    return ops.ones_like(x[..., 0], dtype="bool")


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


#: Stands for minus infinity in masked maxima and softmaxes; always in float32.
MINUS = -1e9


def _pairs(x: Any) -> tuple[Any, Any]:
    """Split rows into first and second of each pair; an odd row gets an empty partner."""
    rest = [[0, 0]] * (len(x.shape) - 2)
    return x[:, 0::2], ops.pad(x, [[0, 0], [0, 1], *rest])[:, 1::2]


def masked_softmax(logits: Any, mask: Any, axis: int) -> Any:
    """Softmax over what there is; zero where there is nothing at all."""
    logits = ops.where(mask, ops.cast(logits, "float32"), MINUS)
    largest = ops.stop_gradient(ops.max(logits, axis=axis, keepdims=True))
    # Written out: Keras' own warns about rows of one particle, and keeps empty rows.
    weights = ops.exp(logits - largest) * ops.cast(mask, "float32")
    return weights / ops.maximum(ops.sum(weights, axis=axis, keepdims=True), 1e-9)


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class PairMask(Float32Layer):
    """Say which pairs of neighbours hold anything.

    Input: bool [batch, length]. Output: bool [batch, (length + 1) // 2].
    """

    def call(self, filled: Any) -> Any:
        """Join neighbours, [batch, (length + 1) // 2]."""
        first, second = _pairs(ops.cast(filled, "int32"))
        return ops.not_equal(first + second, 0)


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class MaskedPairPooling(ConfigurableLayer):
    """The "average" or "max" (`mode`) of each pair of neighbours, over what there is.

    Input: [batch, length, channels] and ``mask``. Output: [batch, (length + 1) // 2,
    channels]. A pair of which one half is padding gives the other half.
    """

    def __init__(self, mode: str = "average", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if mode not in ("average", "max"):
            raise ValueError(f"mode is 'average' or 'max', not {mode!r}")
        self.mode = mode

    def call(self, x: Any, mask: Any = None) -> Any:
        """Join neighbours, [batch, (length + 1) // 2, channels]."""
        mask = everything(x) if mask is None else mask
        first, second = _pairs(apply_mask(x, mask))
        one, two = (ops.expand_dims(m, -1) for m in _pairs(ops.cast(mask, x.dtype)))
        if self.mode == "average":
            return (first + second) / ops.maximum(one + two, 1)
        # A missing partner is as small as the other: it never wins.
        larger = ops.maximum(ops.where(one > 0, first, second), ops.where(two > 0, second, first))
        return larger


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class FixedLength(ConfigurableLayer):
    """Cut rows to a length, or fill them with zeros; padding becomes zero.

    Input: [batch, length, channels] and ``mask``. Output: [batch, `length`, channels].
    """

    def __init__(self, length: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.length = length

    def call(self, x: Any, mask: Any = None) -> Any:
        """Cut or fill, [batch, self.length, channels]."""
        filled = ops.pad(apply_mask(x, mask), [[0, 0], [0, self.length], [0, 0]])
        return ops.reshape(filled[:, : self.length], (-1, self.length, x.shape[-1]))


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class AttentionPooling(ConfigurableLayer):
    """Mean over particles with learned weights (global attention pooling).

    Each head weighs the particles by a softmax of a linear function of them and averages
    its share of the channels: Li et al., arXiv:1511.05493, section 3.3, without the second
    gate. `heads` divides the number of channels. Zero for an event without particles.
    """

    def __init__(self, heads: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.heads = heads
        # A bias would shift all logits alike and change nothing.
        self.gate = keras.layers.Dense(heads, use_bias=False, dtype=self.dtype_policy, name="gate")

    def build(self, x_shape: Any) -> None:
        """Make the weights."""
        if x_shape[-1] % self.heads:
            raise ValueError(f"{self.heads} heads do not divide {x_shape[-1]} channels")
        self.gate.build(x_shape)

    def call(self, x: Any, mask: Any = None) -> Any:
        """Average, [batch, channels]."""
        logits = self.gate(x)
        mask = everything(x) if mask is None else mask
        weights = masked_softmax(logits, ops.expand_dims(mask, -1), axis=1)
        values = ops.cast(apply_mask(x, mask), "float32")
        share = x.shape[-1] // self.heads
        values = ops.reshape(values, (-1, ops.shape(x)[1], self.heads, share))
        pooled = ops.sum(values * ops.expand_dims(weights, -1), axis=1)
        return ops.cast(ops.reshape(pooled, (-1, x.shape[-1])), self.compute_dtype)
