"""Masked convolutions."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from smartbkg_tf.models.configurable import ConfigurableLayer
from smartbkg_tf.models.masks import apply_mask


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class MaskedConv1D(keras.layers.Conv1D):
    """A convolution that sees zeros behind the end of an event, whatever the padding holds.

    Stride 1 and ``padding="same"``: position i of the output belongs to particle i, and the
    zeros that Keras adds at the end equal the padding of a longer batch, so that the length
    of a batch does not matter. Even kernels reach one further to the right.

    Parameters
    ----------
    filters : int
        Channels of the output.
    kernel_size : int
        Width.
    **kwargs
        As `keras.layers.Conv1D`; ``strides``, ``padding`` and ``data_format`` are fixed.

    Raises
    ------
    ValueError
        When a fixed argument is given another value.
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
    faster than sixteen small ones.

    Parameters
    ----------
    filters : int
        Channels of the output; divisible by `groups`, as the input's are.
    kernel_size : int
        Width.
    groups : int
        Groups.
    **kwargs
        As any Keras layer.
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
        self.built = True

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
