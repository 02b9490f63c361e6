"""Blocks of layers, as functions of the functional graph.

Rows are [batch, length, channels], `mask` [batch, length] is true where there is something;
`name` begins the names of the layers.
"""

from __future__ import annotations

from collections.abc import Sequence
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


def convolution_block(
    x: Any,
    mask: Any,
    filters: int,
    kernel_size: int,
    name: str,
    activation: str | None = "leaky_relu",
    momentum: float = 0.9,
) -> Any:
    """Apply a masked convolution, masked batch normalisation, and an activation (None: none)."""
    # The normalisation's offset takes the place of a bias.
    convolve = MaskedConv1D(filters, kernel_size, use_bias=False, name=f"{name}_convolution")
    normalise = MaskedBatchNormalization(momentum, name=f"{name}_normalisation")
    x = normalise(convolve(x, mask=mask), mask=mask)
    return x if activation is None else activation_layer(activation, name=f"{name}_activation")(x)


def _skip(x: Any, inside: Any, activation: str, name: str) -> Any:
    """Add the skip connection, then activate."""
    x = keras.layers.Add(name=f"{name}_sum")([inside, x])
    return activation_layer(activation, name=f"{name}_output")(x)


def residual_block(
    x: Any,
    mask: Any,
    filters: int,
    kernel_size: int,
    name: str,
    activation: str = "leaky_relu",
    momentum: float = 0.9,
) -> Any:
    """Apply two convolution blocks and a skip connection (He et al., arXiv:1512.03385).

    ``activation(x' + block2(block1(x)))``; x' is x, or a convolution of width 1 of it when the
    number of channels changes.
    """
    shortcut = x
    inside = convolution_block(x, mask, filters, kernel_size, f"{name}_first", activation, momentum)
    inside = convolution_block(inside, mask, filters, kernel_size, f"{name}_second", None, momentum)
    if x.shape[-1] != filters:
        shortcut = convolution_block(x, mask, filters, 1, f"{name}_shortcut", None, momentum)
    return _skip(shortcut, inside, activation, name)


def bottleneck_block(
    x: Any,
    mask: Any,
    filters: int,
    kernel_sizes: Sequence[int],
    name: str,
    activation: str = "leaky_relu",
    momentum: float = 0.9,
) -> Any:
    """Apply convolutions with `filters` filters, the last with those of x, and a skip connection.

    ``activation(x + last(... first(x)))`` (He et al., arXiv:1512.03385), as the original has it.
    """
    inside = x
    for number, kernel_size in enumerate(kernel_sizes, 1):
        last = number == len(kernel_sizes)
        inside = convolution_block(
            inside,
            mask,
            x.shape[-1] if last else filters,
            kernel_size,
            f"{name}_convolution_{number}",
            None if last else activation,
            momentum,
        )
    return _skip(x, inside, activation, name)


def preactivation_block(
    x: Any,
    mask: Any,
    kernel_size: int,
    name: str,
    activation: str = "leaky_relu",
    momentum: float = 0.9,
) -> Any:
    """Normalise, activate, convolve, twice; nothing on the skip connection (arXiv:1603.05027)."""
    inside = x
    for number in (1, 2):
        normalise = MaskedBatchNormalization(momentum, name=f"{name}_normalisation_{number}")
        inside = normalise(inside, mask=mask)
        inside = activation_layer(activation, name=f"{name}_activation_{number}")(inside)
        # Every later normalisation would take a bias away again.
        inside = MaskedConv1D(
            x.shape[-1], kernel_size, use_bias=False, name=f"{name}_convolution_{number}"
        )(inside, mask=mask)
    return keras.layers.Add(name=f"{name}_sum")([inside, x])


def resnext_block(
    x: Any,
    mask: Any,
    cardinality: int,
    group_filters: int,
    kernel_sizes: Sequence[int],
    name: str,
    activation: str = "leaky_relu",
    momentum: float = 0.9,
) -> Any:
    """Apply grouped convolutions and a skip connection (Xie et al., arXiv:1611.05431).

    As in the original the channels are split into `cardinality` groups, each goes through its own
    narrow convolutions with normalisation and activation, and the results are joined.
    """
    inside = x
    for number, kernel_size in enumerate(kernel_sizes, 1):
        last = number == len(kernel_sizes)
        filters = x.shape[-1] if last else cardinality * group_filters
        convolve = MaskedGroupedConv1D(
            filters, kernel_size, cardinality, name=f"{name}_convolution_{number}"
        )
        normalise = MaskedBatchNormalization(momentum, name=f"{name}_normalisation_{number}")
        inside = normalise(convolve(inside, mask=mask), mask=mask)
        inside = activation_layer(activation, name=f"{name}_activation_{number}")(inside)
    return _skip(x, inside, activation, name)


def pool_pairs(x: Any, mask: Any, mode: str, name: str) -> tuple[Any, Any]:
    """Join pairs of neighbours by "average" or "max"; give half as many rows and their mask."""
    return MaskedPairPooling(mode, name=name)(x, mask=mask), PairMask(name=f"{name}_mask")(mask)
