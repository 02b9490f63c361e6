"""Blocks of layers, as functions of the functional graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras

from smartbkg_tf.models.batch_normalisation import MaskedBatchNormalization
from smartbkg_tf.models.configurable import activation_layer
from smartbkg_tf.models.convolutions import MaskedConv1D, MaskedGroupedConv1D
from smartbkg_tf.models.pooling import MaskedPairPooling, PairMask


def dense(x: Any, units: int, activation: str, name: str) -> Any:
    """Apply a dense layer and an activation."""
    x = keras.layers.Dense(units, name=name)(x)
    return activation_layer(activation, name=f"{name}_activation")(x)


@dataclass
class Blocks:
    """Blocks for rows [batch, length, channels]; the last argument begins the names of the layers.

    `mask` [batch, length] is true where there is something; `momentum` and `epsilon` are those of
    the normalisation.
    """

    mask: Any
    activation: str = "leaky_relu"
    momentum: float = 0.9
    epsilon: float = 1e-3

    def normalise(self, x: Any, name: str) -> Any:
        """Apply masked batch normalisation."""
        layer = MaskedBatchNormalization(self.momentum, self.epsilon, name=name)
        return layer(x, mask=self.mask)

    def activate(self, x: Any, name: str) -> Any:
        """Apply the activation."""
        return activation_layer(self.activation, name=name)(x)

    def convolution(
        self, x: Any, filters: int, kernel_size: int, name: str, *, activate: bool = True
    ) -> Any:
        """Apply a masked convolution, masked batch normalisation, and the activation if wanted."""
        # The normalisation's offset takes the place of a bias.
        convolve = MaskedConv1D(filters, kernel_size, use_bias=False, name=f"{name}_convolution")
        x = self.normalise(convolve(x, mask=self.mask), f"{name}_normalisation")
        return self.activate(x, f"{name}_activation") if activate else x

    def residual(self, x: Any, filters: int, kernel_size: int, name: str) -> Any:
        """Apply two convolutions and a skip connection (He et al., arXiv:1512.03385).

        ``activation(x' + second(first(x)))``; x' is x, or a convolution of width 1 of it when the
        number of channels changes.
        """
        inside = self.convolution(x, filters, kernel_size, f"{name}_first")
        inside = self.convolution(inside, filters, kernel_size, f"{name}_second", activate=False)
        if x.shape[-1] != filters:
            x = self.convolution(x, filters, 1, f"{name}_shortcut", activate=False)
        return self._skip(x, inside, name)

    def bottleneck(self, x: Any, filters: int, kernel_sizes: Sequence[int], name: str) -> Any:
        """Apply convolutions, the last with the channels of x, and a skip connection.

        ``activation(x + last(... first(x)))`` (He et al., arXiv:1512.03385), as in the original.
        """
        inside = x
        for number, kernel_size in enumerate(kernel_sizes, 1):
            last = number == len(kernel_sizes)
            channels = x.shape[-1] if last else filters
            inside = self.convolution(
                inside, channels, kernel_size, f"{name}_convolution_{number}", activate=not last
            )
        return self._skip(x, inside, name)

    def preactivation(self, x: Any, kernel_size: int, name: str) -> Any:
        """Normalise, activate, convolve, twice; a bare skip connection (arXiv:1603.05027)."""
        inside = x
        for number in (1, 2):
            inside = self.normalise(inside, f"{name}_normalisation_{number}")
            inside = self.activate(inside, f"{name}_activation_{number}")
            # Every later normalisation would take a bias away again.
            inside = MaskedConv1D(
                x.shape[-1], kernel_size, use_bias=False, name=f"{name}_convolution_{number}"
            )(inside, mask=self.mask)
        return keras.layers.Add(name=f"{name}_sum")([inside, x])

    def resnext(
        self, x: Any, cardinality: int, group_filters: int, kernel_sizes: Sequence[int], name: str
    ) -> Any:
        """Apply grouped convolutions and a skip connection (Xie et al., arXiv:1611.05431).

        As in the original the channels are split into `cardinality` groups, each goes through its
        own narrow convolutions with normalisation and activation, and the results are joined.
        """
        inside = x
        for number, kernel_size in enumerate(kernel_sizes, 1):
            last = number == len(kernel_sizes)
            filters = x.shape[-1] if last else cardinality * group_filters
            convolve = MaskedGroupedConv1D(
                filters, kernel_size, cardinality, name=f"{name}_convolution_{number}"
            )
            inside = convolve(inside, mask=self.mask)
            inside = self.normalise(inside, f"{name}_normalisation_{number}")
            inside = self.activate(inside, f"{name}_activation_{number}")
        return self._skip(x, inside, name)

    def _skip(self, x: Any, inside: Any, name: str) -> Any:
        """Add the skip connection, then activate."""
        return self.activate(keras.layers.Add(name=f"{name}_sum")([inside, x]), f"{name}_output")

    def pool_pairs(self, x: Any, mode: str, name: str) -> Any:
        """Join pairs of neighbours by "average" or "max"; half as many rows are left, masked so."""
        x = MaskedPairPooling(mode, name=name)(x, mask=self.mask)
        self.mask = PairMask(name=f"{name}_mask")(self.mask)
        return x
