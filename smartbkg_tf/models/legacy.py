"""Layers of models that were saved when blocks were layers (version 0.1): such files still load.

They are no part of new networks (`smartbkg_tf.models.blocks`), and go with the next version.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from smartbkg_tf.models.activations import activation_layer
from smartbkg_tf.models.batch_normalisation import MaskedBatchNormalization
from smartbkg_tf.models.configurable import ConfigurableLayer
from smartbkg_tf.models.convolutions import MaskedConv1D, MaskedGroupedConv1D
from smartbkg_tf.models.thresholds import SoftThresholds
from smartbkg_tf.models.treenet import SliceFeatures

#: Names under which files know layers that have another name now.
RENAMED = {"Columns": SliceFeatures, "SoftSteps": SoftThresholds}

for _name, _layer in RENAMED.items():
    keras.saving.get_custom_objects()[f"smartbkg_tf>{_name}"] = _layer


class _Block(ConfigurableLayer):
    """Layers inside a layer, each under the name that files have it by."""

    def _make(self, name: str, kind: Any, shape: Any, *arguments: Any, **options: Any) -> Any:
        layer = kind(*arguments, dtype=self.dtype_policy, name=name, **options)
        layer.build(shape)
        setattr(self, name, layer)
        return layer


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class ConvolutionBlock(_Block):
    """Masked convolution, masked batch normalisation, activation."""

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        activation: str | None = "leaky_relu",
        momentum: float = 0.9,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filters, self.kernel_size = filters, kernel_size
        self.activation, self.momentum = activation, momentum

    def build(self, shape: Any) -> None:
        """Make the weights."""
        inner = (*shape[:-1], self.filters)
        size = (self.filters, self.kernel_size)
        self._make("convolution", MaskedConv1D, shape, *size, use_bias=False)
        self._make("normalisation", MaskedBatchNormalization, inner, self.momentum)
        if self.activation is not None:
            self.activate = activation_layer(self.activation, self.dtype_policy)
        self.built = True

    def call(self, x: Any, mask: Any = None, training: bool | None = None) -> Any:
        """Apply all three, [batch, length, filters]."""
        x = self.normalisation(self.convolution(x, mask=mask), training=training, mask=mask)
        return x if self.activation is None else self.activate(x)


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class ResidualBlock(_Block):
    """Two convolution blocks and a skip connection."""

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        activation: str = "leaky_relu",
        momentum: float = 0.9,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filters, self.kernel_size = filters, kernel_size
        self.activation, self.momentum = activation, momentum
        self.activate = activation_layer(activation, self.dtype_policy)

    def build(self, shape: Any) -> None:
        """Make the weights."""
        inner = (*shape[:-1], self.filters)
        size, options = (self.filters, self.kernel_size), {"momentum": self.momentum}
        self.shortcut = None
        self._make("first", ConvolutionBlock, shape, *size, self.activation, **options)
        self._make("second", ConvolutionBlock, inner, *size, None, **options)
        if shape[-1] != self.filters:
            self._make("shortcut", ConvolutionBlock, shape, self.filters, 1, None, **options)
        self.built = True

    def call(self, x: Any, mask: Any = None, training: bool | None = None) -> Any:
        """Apply the block, [batch, length, filters]."""
        options = {"mask": mask, "training": training}
        inside = self.second(self.first(x, **options), **options)
        return self.activate((x if self.shortcut is None else self.shortcut(x, **options)) + inside)


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class BottleneckBlock(_Block):
    """Convolution blocks and a skip connection."""

    def __init__(
        self,
        filters: int,
        kernel_sizes: Sequence[int] = (3, 3),
        activation: str = "leaky_relu",
        momentum: float = 0.9,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filters, self.kernel_sizes = filters, list(kernel_sizes)
        self.activation, self.momentum = activation, momentum
        self.activate = activation_layer(activation, self.dtype_policy)

    def build(self, shape: Any) -> None:
        """Make the weights."""
        self.blocks, inner = [], shape
        for number, width in enumerate(self.kernel_sizes, 1):
            last = number == len(self.kernel_sizes)
            filters = shape[-1] if last else self.filters
            block = ConvolutionBlock(
                filters,
                width,
                None if last else self.activation,
                self.momentum,
                dtype=self.dtype_policy,
                name=f"convolution_{number}",
            )
            block.build(inner)
            self.blocks.append(block)
            inner = (*shape[:-1], filters)
        self.built = True

    def call(self, x: Any, mask: Any = None, training: bool | None = None) -> Any:
        """Apply the block, [batch, length, channels]."""
        inside = x
        for block in self.blocks:
            inside = block(inside, mask=mask, training=training)
        return self.activate(x + inside)


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class PreactivationBlock(_Block):
    """Normalise, activate, convolve, twice, and a skip connection."""

    def __init__(
        self,
        kernel_size: int = 3,
        activation: str = "leaky_relu",
        momentum: float = 0.9,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.kernel_size, self.activation, self.momentum = kernel_size, activation, momentum
        self.activate = activation_layer(activation, self.dtype_policy)

    def build(self, shape: Any) -> None:
        """Make the weights."""
        size = (shape[-1], self.kernel_size)
        for number in (1, 2):
            normalisation, convolution = f"normalisation_{number}", f"convolution_{number}"
            self._make(normalisation, MaskedBatchNormalization, shape, self.momentum)
            self._make(convolution, MaskedConv1D, shape, *size, use_bias=False)
        self.built = True

    def call(self, x: Any, mask: Any = None, training: bool | None = None) -> Any:
        """Apply the block, [batch, length, channels]."""
        inside = x
        for number in (1, 2):
            normalise = getattr(self, f"normalisation_{number}")
            inside = self.activate(normalise(inside, training=training, mask=mask))
            inside = getattr(self, f"convolution_{number}")(inside, mask=mask)
        return x + inside


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class ResNeXtBlock(_Block):
    """Grouped convolutions and a skip connection."""

    def __init__(
        self,
        cardinality: int = 16,
        group_filters: int = 4,
        kernel_sizes: Sequence[int] = (1, 3, 1),
        activation: str = "leaky_relu",
        momentum: float = 0.9,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.cardinality, self.group_filters = cardinality, group_filters
        self.kernel_sizes = list(kernel_sizes)
        self.activation, self.momentum = activation, momentum
        self.activate = activation_layer(activation, self.dtype_policy)

    def build(self, shape: Any) -> None:
        """Make the weights."""
        inner = shape
        for number, width in enumerate(self.kernel_sizes, 1):
            last = number == len(self.kernel_sizes)
            filters = shape[-1] if last else self.cardinality * self.group_filters
            size = (filters, width, self.cardinality)
            self._make(f"convolution_{number}", MaskedGroupedConv1D, inner, *size)
            inner = (*shape[:-1], filters)
            self._make(f"normalisation_{number}", MaskedBatchNormalization, inner, self.momentum)
        self.built = True

    def call(self, x: Any, mask: Any = None, training: bool | None = None) -> Any:
        """Apply the block, [batch, length, channels]."""
        inside = x
        for number in range(1, len(self.kernel_sizes) + 1):
            inside = getattr(self, f"convolution_{number}")(inside, mask=mask)
            normalise = getattr(self, f"normalisation_{number}")
            inside = self.activate(normalise(inside, training=training, mask=mask))
        return self.activate(x + inside)
