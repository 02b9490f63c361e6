"""Layers over the decay tree: graph convolution and graph attention."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from smartbkg_tf.models.activations import activation_layer
from smartbkg_tf.models.configurable import ConfigurableLayer
from smartbkg_tf.models.pooling import masked_softmax


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class GraphConvolution(ConfigurableLayer):
    """``activation(A X W + b)`` with a normalised adjacency A (arXiv:1609.02907).

    Parameters
    ----------
    units : int
        Channels of the output.
    activation : str, default "relu"
        Name of the activation.
    **kwargs
        As any Keras layer.
    """

    def __init__(self, units: int, activation: str = "relu", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.activation = activation
        self.dense = keras.layers.Dense(
            units, use_bias=False, dtype=self.dtype_policy, name="dense"
        )
        self.activate = activation_layer(activation, self.dtype_policy)

    def build(self, x_shape: Any, adjacency_shape: Any = None) -> None:
        """Make the weights."""
        self.dense.build(x_shape)
        self.bias = self.add_weight(name="bias", shape=(self.units,), initializer="zeros")
        self.built = True

    def call(self, x: Any, adjacency: Any) -> Any:
        """Average over neighbours, then one dense layer, [batch, n, units]."""
        x = ops.matmul(ops.cast(adjacency, self.compute_dtype), self.dense(x))
        return self.activate(x + ops.cast(self.bias, self.compute_dtype))


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class GraphAttention(ConfigurableLayer):
    """Attention over neighbours in the tree (Velickovic et al., arXiv:1710.10903).

    Each head weighs the neighbours j of i by a softmax of ``leaky(a.Wx_i + b.Wx_j)`` with
    slope 0.2 and adds their ``Wx_j``; the heads stand side by side.

    Parameters
    ----------
    units : int
        Channels of each head.
    heads : int
        Heads.
    activation : str, default "leaky_relu"
        Name of the activation behind it.
    **kwargs
        As any Keras layer.
    """

    def __init__(
        self, units: int, heads: int, activation: str = "leaky_relu", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.heads = heads
        self.activation = activation
        policy = self.dtype_policy
        self.values = keras.layers.Dense(units * heads, use_bias=False, dtype=policy, name="values")
        self.activate = activation_layer(activation, policy)

    def build(self, x_shape: Any, adjacency_shape: Any = None) -> None:
        """Make the weights."""
        self.values.build(x_shape)
        shape = (self.heads, self.units)
        self.receiver = self.add_weight(name="receiver", shape=shape, initializer="glorot_uniform")
        self.sender = self.add_weight(name="sender", shape=shape, initializer="glorot_uniform")
        self.bias = self.add_weight(
            name="bias", shape=(self.heads * self.units,), initializer="zeros"
        )
        self.built = True

    def call(self, x: Any, adjacency: Any) -> Any:
        """Attend to neighbours, [batch, n, heads * units]."""
        n = ops.shape(x)[1]
        values = ops.transpose(
            ops.reshape(self.values(x), (-1, n, self.heads, self.units)), (0, 2, 1, 3)
        )
        receive = ops.sum(values * ops.cast(self.receiver[:, None], values.dtype), axis=-1)
        send = ops.sum(values * ops.cast(self.sender[:, None], values.dtype), axis=-1)
        logits = ops.expand_dims(receive, -1) + ops.expand_dims(send, -2)
        logits = ops.maximum(logits, 0.2 * logits)
        allowed = ops.expand_dims(ops.not_equal(adjacency, 0), 1)
        weights = masked_softmax(logits, allowed, axis=-1)
        mixed = ops.matmul(ops.cast(weights, values.dtype), values)
        mixed = ops.reshape(ops.transpose(mixed, (0, 2, 1, 3)), (-1, n, self.heads * self.units))
        return self.activate(mixed + ops.cast(self.bias, mixed.dtype))
