"""Batch normalisation that leaves padding out, cheaply."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from smartbkg_tf.models.configurable import ConfigurableLayer
from smartbkg_tf.models.replicas import over_replicas


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class MaskedBatchNormalization(ConfigurableLayer):
    """Batch normalisation over what there is (Ioffe and Szegedy, arXiv:1502.03167).

    Mean and variance of a batch are taken over unmasked rows; padding gets whatever comes
    out and is masked by the next layer. The result equals `keras.layers.BatchNormalization`
    with a mask, whose moments take a large share of a training step on a CPU; here they are two
    products with the row of weights. The arithmetic is float32 under every precision.

    Where several devices share a batch, the moments are those of the whole batch: sums and
    counts are added up over the devices, forwards and backwards, so that a network learns the same
    on any number of them. `momentum` is the share of the old moving averages kept at each step:
    0.99 lags behind at a few hundred steps an epoch, and the validation loss jumps.
    """

    def __init__(self, momentum: float = 0.9, epsilon: float = 1e-3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.momentum = momentum
        self.epsilon = epsilon

    def build(self, input_shape: Any) -> None:
        """Make the weights."""
        shape = (input_shape[-1],)
        options: dict[str, Any] = {"shape": shape, "autocast": False}
        self.gamma = self.add_weight(name="gamma", initializer="ones", **options)
        self.beta = self.add_weight(name="beta", initializer="zeros", **options)
        options["trainable"] = False
        self.moving_mean = self.add_weight(name="moving_mean", initializer="zeros", **options)
        self.moving_variance = self.add_weight(
            name="moving_variance", initializer="ones", **options
        )

    def call(self, x: Any, mask: Any = None, training: bool | None = None) -> Any:
        """Normalise, [batch, length, channels]."""
        x = ops.cast(x, "float32")
        if training and self.trainable:
            rows = ops.reshape(x, (-1, x.shape[-1]))
            weights = ops.ones_like(rows[:, :1])
            if mask is not None:
                weights = ops.reshape(ops.cast(mask, "float32"), (-1, 1))
            y, mean, variance = _normalised(rows, weights, self.gamma, self.beta, self.epsilon)
            for average, value in (
                (self.moving_mean, mean),
                (self.moving_variance, variance),
            ):
                average.assign(average * self.momentum + value * (1.0 - self.momentum))
            return ops.cast(ops.reshape(y, ops.shape(x)), self.compute_dtype)
        scale = self.gamma * ops.rsqrt(self.moving_variance + self.epsilon)
        y = x * scale + (self.beta - self.moving_mean * scale)
        return ops.cast(y, self.compute_dtype)


def _normalised(
    rows: Any, weights: Any, gamma: Any, beta: Any, epsilon: float
) -> tuple[Any, Any, Any]:
    """Normalise rows by their own weighted moments."""

    @ops.custom_gradient
    def normalise(rows: Any, weights: Any, gamma: Any, beta: Any) -> Any:
        across = ops.transpose(weights)
        # A batch of events without particles has no moments: zero mean, zero variance.
        count, first = over_replicas([ops.sum(weights), ops.matmul(across, rows)[0]])
        count = ops.maximum(count, 1.0)
        mean = first / count
        centred = rows - mean
        variance = over_replicas(ops.matmul(across, ops.square(centred))[0]) / count
        inverse = ops.rsqrt(variance + epsilon)
        scale = gamma * inverse

        def gradient(upstream: Any, *_: Any) -> tuple[Any, Any, Any, Any]:
            ones = ops.ones_like(across)
            of_beta = ops.matmul(ones, upstream)[0]
            of_gamma = ops.matmul(ones, upstream * centred)[0] * inverse
            # Moments depend on all devices' rows; gamma's and beta's gradients of the devices
            # are added up by the optimiser.
            every_gamma, every_beta = over_replicas([of_gamma, of_beta])
            by_moments = (
                centred * (every_gamma * inverse * scale / count) + every_beta * scale / count
            )
            of_rows = upstream * scale - by_moments * weights
            return of_rows, ops.zeros_like(weights), of_gamma, of_beta

        return (centred * scale + beta, mean, variance), gradient

    # Products are tensors: a custom gradient takes no variables.
    return normalise(rows, weights, gamma * 1.0, beta * 1.0)  # type: ignore[no-any-return]
