"""Masked convolutions and the blocks made of them."""

from __future__ import annotations

from typing import Any

import keras

from smartbkg_tf.models.activations import activation_layer
from smartbkg_tf.models.batch_normalisation import MaskedBatchNormalization
from smartbkg_tf.models.masks import apply_mask


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class MaskedConv1D(keras.layers.Conv1D):
    """A convolution that sees zeros behind the end of an event, whatever stands there.

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
            The padding of the output is NOT zero; every layer here masks its own input.
        """
        return super().call(apply_mask(x, mask))


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class ConvolutionBlock(keras.layers.Layer):
    """Masked convolution, masked batch normalisation, activation.

    Parameters
    ----------
    filters : int
        Channels of the output.
    kernel_size : int
        Width of the convolution.
    activation : str or None, default "leaky_relu"
        Name of the activation; None for none.
    momentum : float, default 0.9
        Of the moving averages of the normalisation.
    **kwargs
        As any Keras layer.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        activation: str | None = "leaky_relu",
        momentum: float = 0.9,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = kernel_size
        self.activation = activation
        self.momentum = momentum
        self.supports_masking = True
        # The normalisation's offset takes the place of a bias.
        self.convolution = MaskedConv1D(
            filters, kernel_size, use_bias=False, dtype=self.dtype_policy, name="convolution"
        )
        self.normalisation = MaskedBatchNormalization(
            momentum=momentum, dtype=self.dtype_policy, name="normalisation"
        )
        self.activate = (
            None if activation is None else activation_layer(activation, self.dtype_policy)
        )

    def build(self, input_shape: Any) -> None:
        """Make the weights.

        Parameters
        ----------
        input_shape : tuple
            Of `x`.
        """
        self.convolution.build(input_shape)
        self.normalisation.build((*input_shape[:-1], self.filters))
        self.built = True

    def call(self, x: Any, mask: Any = None, training: bool | None = None) -> Any:
        """Apply all three.

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
        tensor [batch, length, filters]
            Values.
        """
        x = self.convolution(x, mask=mask)
        x = self.normalisation(x, training=training, mask=mask)
        return x if self.activate is None else self.activate(x)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Give the shape of the output.

        Parameters
        ----------
        input_shape : tuple
            Of `x`.

        Returns
        -------
        tuple
            With `filters` channels.
        """
        return (*input_shape[:-1], self.filters)

    def get_config(self) -> dict[str, Any]:
        """Give the constructor's arguments.

        Returns
        -------
        dict
            Plain values.
        """
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "activation": self.activation,
            "momentum": self.momentum,
        }


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class ResidualBlock(keras.layers.Layer):
    """Two convolution blocks and a way around them.

    ``activation(x' + block2(block1(x)))`` after He et al., arXiv:1512.03385; x' is x, or a
    convolution of width 1 of it when the number of channels changes.

    Parameters
    ----------
    filters : int
        Channels of the output.
    kernel_size : int
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
        filters: int,
        kernel_size: int,
        activation: str = "leaky_relu",
        momentum: float = 0.9,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = kernel_size
        self.activation = activation
        self.momentum = momentum
        self.supports_masking = True
        options: dict[str, Any] = {"momentum": momentum, "dtype": self.dtype_policy}
        self.first = ConvolutionBlock(filters, kernel_size, activation, name="first", **options)
        self.second = ConvolutionBlock(filters, kernel_size, None, name="second", **options)
        self.activate = activation_layer(activation, self.dtype_policy)
        self.shortcut: Any = None

    def build(self, input_shape: Any) -> None:
        """Make the weights.

        Parameters
        ----------
        input_shape : tuple
            Of `x`.
        """
        if input_shape[-1] != self.filters:
            self.shortcut = ConvolutionBlock(
                self.filters,
                1,
                None,
                momentum=self.momentum,
                dtype=self.dtype_policy,
                name="shortcut",
            )
            self.shortcut.build(input_shape)
        self.first.build(input_shape)
        self.second.build((*input_shape[:-1], self.filters))
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
        tensor [batch, length, filters]
            Values.
        """
        around = x
        if self.shortcut is not None:
            around = self.shortcut(x, mask=mask, training=training)
        inside = self.first(x, mask=mask, training=training)
        inside = self.second(inside, mask=mask, training=training)
        return self.activate(around + inside)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Give the shape of the output.

        Parameters
        ----------
        input_shape : tuple
            Of `x`.

        Returns
        -------
        tuple
            With `filters` channels.
        """
        return (*input_shape[:-1], self.filters)

    def get_config(self) -> dict[str, Any]:
        """Give the constructor's arguments.

        Returns
        -------
        dict
            Plain values.
        """
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "activation": self.activation,
            "momentum": self.momentum,
        }
