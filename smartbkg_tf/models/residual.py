"""Further residual blocks of the original: bottlenecks, pre-activation, groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from smartbkg_tf.models.activations import activation_layer
from smartbkg_tf.models.batch_normalisation import MaskedBatchNormalization
from smartbkg_tf.models.convolutions import ConvolutionBlock, MaskedConv1D
from smartbkg_tf.models.masks import apply_mask
from smartbkg_tf.models.plain import PlainLayer


class _SameShape(PlainLayer):
    """A layer whose output has the shape of its input."""

    def compute_output_shape(self, x_shape: Any) -> Any:
        """Give the shape of the output.

        Parameters
        ----------
        x_shape : tuple
            Of `x`.

        Returns
        -------
        tuple
            The same.
        """
        return x_shape


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class BottleneckBlock(_SameShape):
    """Convolutions with any number of filters inside, and a way around them.

    ``activation(x + last(... first(x)))`` (He et al., arXiv:1512.03385). All convolutions
    but the last have `filters` filters; the last has as many as the input has channels, as
    in the original's files, so that the way around needs no weights.

    Parameters
    ----------
    filters : int
        Channels inside.
    kernel_sizes : sequence of int, default (3, 3)
        Width of each convolution.
    activation : str, default "leaky_relu"
        Name of the activation.
    momentum : float, default 0.9
        Of the moving averages of the normalisations.
    **kwargs
        As any Keras layer.
    """

    def __init__(
        self,
        filters: int,
        kernel_sizes: Sequence[int] = (3, 3),
        activation: str = "leaky_relu",
        momentum: float = 0.9,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_sizes = list(kernel_sizes)
        self.activation = activation
        self.momentum = momentum
        self.activate = activation_layer(activation, self.dtype_policy)
        self.blocks: list[Any] = []

    def build(self, x_shape: Any) -> None:
        """Make the weights.

        Parameters
        ----------
        x_shape : tuple
            Of `x`.
        """
        last = len(self.kernel_sizes)
        shape = tuple(x_shape)
        for number, kernel_size in enumerate(self.kernel_sizes, 1):
            filters = x_shape[-1] if number == last else self.filters
            block = ConvolutionBlock(
                filters,
                kernel_size,
                None if number == last else self.activation,
                self.momentum,
                dtype=self.dtype_policy,
                name=f"convolution_{number}",
            )
            block.build(shape)
            self.blocks.append(block)
            shape = (*x_shape[:-1], filters)
        self.built = True

    def call(self, x: Any, mask: Any = None, training: bool | None = None) -> Any:
        """Apply the block.

        Parameters
        ----------
        x : tensor [batch, length, channels]
            Values.
        mask : tensor [batch, length], optional
            True where there is something.
        training : bool, optional
            Normalise by the batch instead of the moving averages.

        Returns
        -------
        tensor [batch, length, channels]
            Values.
        """
        inside = x
        for block in self.blocks:
            inside = block(inside, mask=mask, training=training)
        return self.activate(x + inside)


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class PreactivationBlock(_SameShape):
    """Normalise, activate, convolve, twice; nothing on the way around (arXiv:1603.05027).

    Parameters
    ----------
    kernel_size : int, default 3
        Width of both convolutions.
    activation : str, default "leaky_relu"
        Name of the activation.
    momentum : float, default 0.9
        Of the moving averages of the normalisations.
    **kwargs
        As any Keras layer.
    """

    def __init__(
        self,
        kernel_size: int = 3,
        activation: str = "leaky_relu",
        momentum: float = 0.9,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.kernel_size = kernel_size
        self.activation = activation
        self.momentum = momentum
        self.activate = activation_layer(activation, self.dtype_policy)

    def build(self, x_shape: Any) -> None:
        """Make the weights.

        Parameters
        ----------
        x_shape : tuple
            Of `x`.
        """
        for number in (1, 2):
            normalisation = MaskedBatchNormalization(
                momentum=self.momentum, dtype=self.dtype_policy, name=f"normalisation_{number}"
            )
            convolution = MaskedConv1D(
                x_shape[-1],
                self.kernel_size,
                # Every later normalisation would take a bias away again.
                use_bias=False,
                dtype=self.dtype_policy,
                name=f"convolution_{number}",
            )
            setattr(self, f"normalisation_{number}", normalisation)
            setattr(self, f"convolution_{number}", convolution)
            normalisation.build(x_shape)
            convolution.build(x_shape)
        self.built = True

    def call(self, x: Any, mask: Any = None, training: bool | None = None) -> Any:
        """Apply the block.

        Parameters
        ----------
        x : tensor [batch, length, channels]
            Values.
        mask : tensor [batch, length], optional
            True where there is something.
        training : bool, optional
            Normalise by the batch instead of the moving averages.

        Returns
        -------
        tensor [batch, length, channels]
            Values.
        """
        inside = x
        for number in (1, 2):
            normalise = getattr(self, f"normalisation_{number}")
            inside = self.activate(normalise(inside, training=training, mask=mask))
            inside = getattr(self, f"convolution_{number}")(inside, mask=mask)
        return x + inside


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class MaskedGroupedConv1D(PlainLayer):
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
        """Make the weights.

        Parameters
        ----------
        x_shape : tuple
            Of `x`.
        """
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
        """Mask, then convolve.

        Parameters
        ----------
        x : tensor [batch, length, channels]
            Values.
        mask : tensor [batch, length], optional
            True where there is something.

        Returns
        -------
        tensor [batch, length, filters]
            Values.
        """
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

    def compute_output_shape(self, x_shape: Any) -> Any:
        """Give the shape of the output.

        Parameters
        ----------
        x_shape : tuple
            Of `x`.

        Returns
        -------
        tuple
            With `filters` channels.
        """
        return (*x_shape[:-1], self.filters)


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class ResNeXtBlock(_SameShape):
    """Grouped convolutions and a way around them (Xie et al., arXiv:1611.05431).

    As in the original the channels are split into groups, each group goes through its own
    narrow convolutions with normalisation and activation, and the results are joined.

    Parameters
    ----------
    cardinality : int, default 16
        Groups; divides the channels.
    group_filters : int, default 4
        Filters inside each group.
    kernel_sizes : sequence of int, default (1, 3, 1)
        Width of each convolution.
    activation : str, default "leaky_relu"
        Name of the activation.
    momentum : float, default 0.9
        Of the moving averages of the normalisations.
    **kwargs
        As any Keras layer.
    """

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
        self.cardinality = cardinality
        self.group_filters = group_filters
        self.kernel_sizes = list(kernel_sizes)
        self.activation = activation
        self.momentum = momentum
        self.activate = activation_layer(activation, self.dtype_policy)

    def build(self, x_shape: Any) -> None:
        """Make the weights.

        Parameters
        ----------
        x_shape : tuple
            Of `x`.
        """
        last = len(self.kernel_sizes)
        shape = tuple(x_shape)
        for number, kernel_size in enumerate(self.kernel_sizes, 1):
            filters = x_shape[-1] if number == last else self.cardinality * self.group_filters
            convolution = MaskedGroupedConv1D(
                filters,
                kernel_size,
                self.cardinality,
                dtype=self.dtype_policy,
                name=f"convolution_{number}",
            )
            normalisation = MaskedBatchNormalization(
                momentum=self.momentum, dtype=self.dtype_policy, name=f"normalisation_{number}"
            )
            convolution.build(shape)
            shape = (*x_shape[:-1], filters)
            normalisation.build(shape)
            setattr(self, f"convolution_{number}", convolution)
            setattr(self, f"normalisation_{number}", normalisation)
        self.built = True

    def call(self, x: Any, mask: Any = None, training: bool | None = None) -> Any:
        """Apply the block.

        Parameters
        ----------
        x : tensor [batch, length, channels]
            Values.
        mask : tensor [batch, length], optional
            True where there is something.
        training : bool, optional
            Normalise by the batch instead of the moving averages.

        Returns
        -------
        tensor [batch, length, channels]
            Values.
        """
        inside = x
        for number in range(1, len(self.kernel_sizes) + 1):
            inside = getattr(self, f"convolution_{number}")(inside, mask=mask)
            normalise = getattr(self, f"normalisation_{number}")
            inside = self.activate(normalise(inside, training=training, mask=mask))
        return self.activate(x + inside)
