"""Layers along a row of particles or tokens, padding left out: convolutions and an LSTM."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from smartbkg_tf.models.configurable import ConfigurableLayer
from smartbkg_tf.models.pooling import apply_mask


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class MaskedConv1D(keras.layers.Conv1D):
    """A convolution that sees zeros behind the end of an event, whatever the padding holds.

    As `keras.layers.Conv1D` with stride 1 and ``padding="same"``, which are fixed: position i of
    the output belongs to particle i, and the zeros that Keras adds at the end equal the padding of
    a longer batch, so that the length of a batch does not matter. Even kernels reach one further
    to the right.
    """

    def __init__(self, filters: int, kernel_size: int, **kwargs: Any) -> None:
        # A saved configuration holds them; anything but these values is refused.
        fixed = {
            "strides": (1, (1,), [1]),
            "padding": ("same",),
            "data_format": ("channels_last", None),
        }
        for name, allowed in fixed.items():
            value = kwargs.pop(name, allowed[0])
            if value not in allowed:
                raise ValueError(f"MaskedConv1D: {name} is {allowed[0]!r}, not {value!r}")
        super().__init__(
            filters, kernel_size, strides=1, padding="same", data_format="channels_last", **kwargs
        )
        self.supports_masking = True

    def call(self, x: Any, mask: Any = None) -> Any:
        """Mask, then convolve, [batch, length, filters]."""
        return super().call(apply_mask(x, mask))


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class MaskedGroupedConv1D(ConfigurableLayer):
    """A convolution within groups of channels, padding left out.

    The kernel is kept small and laid out as one block-diagonal kernel: TensorFlow has no
    gradient of grouped convolutions on a CPU, and at 64 channels one dense convolution is
    faster than sixteen small ones. `groups` divides `filters` and the channels of the input.
    """

    def __init__(self, filters: int, kernel_size: int, groups: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = kernel_size
        self.groups = groups

    def build(self, x_shape: Any) -> None:
        """Make the weights."""
        if x_shape[-1] % self.groups or self.filters % self.groups:
            raise ValueError(
                f"{self.groups} groups do not divide {x_shape[-1]} and {self.filters} channels"
            )
        inside, outside = x_shape[-1] // self.groups, self.filters // self.groups
        limit = (6.0 / (self.kernel_size * (inside + outside))) ** 0.5
        self.kernel = self.add_weight(
            name="kernel",
            shape=(self.kernel_size, inside, self.groups, outside),
            initializer=keras.initializers.RandomUniform(-limit, limit),
        )

    def call(self, x: Any, mask: Any = None) -> Any:
        """Mask, then convolve, [batch, length, filters]."""
        inside, outside = self.kernel.shape[1], self.kernel.shape[3]
        kernel = ops.transpose(self.kernel, (0, 2, 1, 3))[:, :, :, None, :]
        diagonal = ops.reshape(
            ops.eye(self.groups, dtype=self.compute_dtype), (1, self.groups, 1, self.groups, 1)
        )
        dense = ops.reshape(
            ops.cast(kernel, self.compute_dtype) * diagonal,
            (self.kernel_size, self.groups * inside, self.groups * outside),
        )
        return ops.conv(apply_mask(x, mask), dense, strides=1, padding="same")


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class MaskedLSTM(ConfigurableLayer):
    """The last state of an LSTM (Hochreiter and Schmidhuber, 1997), padding left out.

    Input: [batch, length, channels] and ``mask``; padding stands behind everything else.
    Output: [batch, units]: the state behind the last row that is there, zero for an event
    without any. The layer runs over padding, too, and keeps the right state; a mask inside
    the recurrence would leave cuDNN and ONNX out.

    Parameters
    ----------
    units : int
        Size of the state.
    """

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.lstm = keras.layers.LSTM(
            units, return_sequences=True, dtype=self.dtype_policy, name="lstm"
        )

    def build(self, x_shape: Any) -> None:
        """Make the weights."""
        self.lstm.build(x_shape)

    def call(self, x: Any, mask: Any = None) -> Any:
        """Run over the rows, [batch, units]."""
        states = self.lstm(apply_mask(x, mask))
        if mask is None:
            return states[:, -1]
        there = ops.cast(mask, states.dtype)
        after = ops.pad(there, [[0, 0], [0, 1]])[:, 1:]
        last = ops.expand_dims(there * (1 - after), -1)
        return ops.sum(states * last, axis=1)
