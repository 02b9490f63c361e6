"""Packed batches: all events in one row while a network is trained, no time is spent on padding.

Between two events are as many zeros as a convolution can see, so that convolutions, batch
normalisation and averages give the same numbers as on padded events. Inference, and thus every
exported model, reads padded events.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from smartbkg_tf.models.configurable import ConfigurableLayer
from smartbkg_tf.models.keras_internals import every_layer

#: The row's length is a multiple of this: libraries prepare themselves for each length anew.
ROUND = 512


def gap_of(kernel_sizes: Sequence[int], halvings: int = 0) -> int:
    """Tell how many zeros keep neighbours apart.

    A convolution of width k sees k // 2 positions to its right; behind `halvings` pools of pairs
    it sees as many pairs.
    """
    return int(max(kernel_sizes) // 2 * 2**halvings)


class _Packing(ConfigurableLayer):
    """A layer that treats a batch in training differently from inference."""

    #: False leaves events as they are in training as well: XLA compiles fixed shapes only.
    active = True

    @property
    def supports_jit(self) -> bool:
        """Tell Keras, which compiles with XLA by default, whether it may."""
        return not self.active

    @supports_jit.setter
    def supports_jit(self, value: bool) -> None:
        """Ignore what Keras's constructor sets."""


def set_packing(model: keras.Model, active: bool) -> None:
    """Let a network pack events in training, or not: XLA compiles fixed shapes only."""
    for layer in every_layer(model):
        if isinstance(layer, _Packing):
            layer.active = active


def packs(model: keras.Model) -> bool:
    """Tell whether a network packs events in training."""
    return any(isinstance(layer, _Packing) and layer.active for layer in every_layer(model))


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class PackedRows(_Packing):
    """Pack the events of a batch into one row; without ``training`` leave them as they are.

    Input: a dictionary of arrays [batch, length, ...]. Output: the same arrays [1, n, ...],
    and ``segments`` int32 [1, n]: 2 i for the particles of event i, 2 i + 1 for the gap behind
    it. What is between events is zero in all arrays.
    """

    def __init__(self, leader: str, gap: int, align: int = 1, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.leader = leader
        self.gap = gap
        self.align = align

    def call(self, arrays: Mapping[str, Any], training: bool | None = None) -> dict[str, Any]:
        """Pack, [1, n, ...]."""
        tokens = arrays[self.leader]
        if not training or not self.active:
            return {**arrays, "segments": ops.zeros_like(tokens)}
        batch, length = ops.shape(tokens)[0], ops.shape(tokens)[1]
        places = ops.arange(1, length + 1, dtype="int32")
        lengths = ops.max(ops.where(ops.not_equal(tokens, 0), places, 0), axis=1)
        slots = -(-ops.maximum(lengths + self.gap, 1) // self.align) * self.align
        total = ops.sum(slots)
        # One slot more, for the zeros that round the length up.
        rest = -(-total // ROUND) * ROUND - total
        slots = ops.concatenate([slots, ops.reshape(rest, (1,))], axis=0)
        lengths = ops.concatenate([lengths, ops.zeros((1,), "int32")], axis=0)
        begins = ops.cumsum(slots) - slots
        events = ops.repeat(ops.arange(batch + 1, dtype="int32"), slots)
        place = ops.arange(ops.shape(events)[0], dtype="int32") - ops.take(begins, events)
        filled = place < ops.take(lengths, events)
        source = ops.where(filled, events * length + place, 0)
        packed = {}
        for name, array in arrays.items():
            flat = ops.reshape(array, (-1, *array.shape[2:]))
            taken = ops.take(flat, source, axis=0)
            there = ops.reshape(filled, (-1, *[1] * (len(array.shape) - 2)))
            packed[name] = ops.expand_dims(ops.where(there, taken, ops.zeros_like(taken)), 0)
        segments = 2 * events + ops.cast(ops.logical_not(filled), "int32")
        return {**packed, "segments": ops.expand_dims(segments, 0)}


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class PackedAveragePooling(_Packing):
    """Mean of each event over what there is, of events that `PackedRows` has packed.

    Input: values [1, n, channels], ``mask`` and ``segments`` [1, n], ``tokens`` [batch,
    length] as before packing. Output: [batch, channels]; zero for an event without anything.
    Without ``training``: of padded events, values [batch, length, channels].
    """

    def __init__(self, stride: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stride = stride

    def call(
        self, x: Any, mask: Any, segments: Any, tokens: Any, training: bool | None = None
    ) -> Any:
        """Average, [batch, channels]."""
        # The sum is taken in float32: float16 overflows over a long event.
        x, weights = ops.cast(x, "float32"), ops.cast(mask, "float32")
        if training and self.active:
            n_events = ops.shape(tokens)[0]
            ids = ops.reshape(segments, (-1,))[:: self.stride]
            # Gaps have segments of their own, which are left out.
            total = ops.segment_sum(ops.reshape(x, (-1, x.shape[-1])), ids, sorted=True)
            count = ops.segment_sum(ops.reshape(weights, (-1, 1)), ids, sorted=True)
            total, count = total[: 2 * n_events : 2], count[: 2 * n_events : 2]
        else:
            weights = ops.expand_dims(weights, -1)
            total, count = ops.sum(x * weights, axis=1), ops.sum(weights, axis=1)
        return ops.cast(total / ops.maximum(count, 1.0), self.compute_dtype)
