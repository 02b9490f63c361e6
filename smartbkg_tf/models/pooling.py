"""Shorter rows and single vectors out of rows of particles, padding left out."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from smartbkg_tf.models.configurable import ConfigurableLayer, Float32Layer
from smartbkg_tf.models.masks import apply_mask

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
    """Mean or maximum of each pair of neighbours, over what there is.

    Input: [batch, length, channels] and ``mask``. Output: [batch, (length + 1) // 2,
    channels]. A pair of which one half is padding gives the other half.

    Parameters
    ----------
    mode : {"average", "max"}
        What to take.
    **kwargs
        As any Keras layer.

    Raises
    ------
    ValueError
        For another mode.
    """

    def __init__(self, mode: str = "average", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if mode not in ("average", "max"):
            raise ValueError(f"mode is 'average' or 'max', not {mode!r}")
        self.mode = mode

    def call(self, x: Any, mask: Any = None) -> Any:
        """Join neighbours, [batch, (length + 1) // 2, channels]."""
        if mask is None:
            mask = ops.ones_like(x[..., 0], dtype="bool")
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

    Parameters
    ----------
    length : int
        The length of every row of the output.
    **kwargs
        As any Keras layer.
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
    gate. Zero for an event without particles.

    Parameters
    ----------
    heads : int, default 1
        Sets of weights; divides the number of channels.
    **kwargs
        As any Keras layer.
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
        self.built = True

    def call(self, x: Any, mask: Any = None) -> Any:
        """Average, [batch, channels]."""
        logits = self.gate(x)
        if mask is None:
            mask = ops.ones_like(x[..., 0], dtype="bool")
        weights = masked_softmax(logits, ops.expand_dims(mask, -1), axis=1)
        values = ops.cast(apply_mask(x, mask), "float32")
        share = x.shape[-1] // self.heads
        values = ops.reshape(values, (-1, ops.shape(x)[1], self.heads, share))
        pooled = ops.sum(values * ops.expand_dims(weights, -1), axis=1)
        return ops.cast(ops.reshape(pooled, (-1, x.shape[-1])), self.compute_dtype)
