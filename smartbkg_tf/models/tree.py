"""The decay tree inside a model: who is whose mother, and layers that use it.

Everything is computed from ``mother_index_input`` by comparisons and matrix products.
``one_hot(-1)`` and gathers are avoided: ONNX wraps an index of -1 to the last particle.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from smartbkg_tf.models.configurable import ConfigurableLayer, activation_layer
from smartbkg_tf.models.pooling import masked_softmax


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class MotherMatrix(ConfigurableLayer):
    """Matrix with 1 at (particle, its mother), else 0.

    Padding, missing mothers (-1) and particles that are their own mother give zeros.
    Input: int [batch, n] and ``mask`` [batch, n]. Output: [batch, n, n].
    """

    def call(self, mothers: Any, mask: Any = None) -> Any:
        """Compare every mother's position with every particle's, [batch, n, n]."""
        places = ops.arange(ops.shape(mothers)[1], dtype="int32")
        mothers = ops.cast(mothers, "int32")
        matrix = ops.logical_and(
            ops.equal(ops.expand_dims(mothers, -1), places),
            ops.not_equal(ops.expand_dims(places, -1), places),
        )
        both = ops.logical_and(ops.expand_dims(mask, -1), ops.expand_dims(mask, 1))
        return ops.cast(ops.logical_and(matrix, both), self.compute_dtype)


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class NormalisedAdjacency(ConfigurableLayer):
    """The symmetric adjacency with self-loops, normalised by the degrees.

    ``D^-1/2 (M + M^T + 1) D^-1/2`` with the mother matrix M and D the row sums of the bracket
    (Kipf and Welling, arXiv:1609.02907, equation 2).
    Input: [batch, n, n] and ``mask`` [batch, n]. Output: [batch, n, n].
    """

    def call(self, matrix: Any, mask: Any = None) -> Any:
        """Normalise, [batch, n, n]."""
        adjacency = ops.cast(neighbours(matrix, mask), "float32")
        # Rows of padding have no neighbours, not even themselves.
        degree = ops.maximum(ops.sum(adjacency, axis=-1), 1.0)
        scale = ops.rsqrt(degree)
        adjacency = adjacency * ops.expand_dims(scale, -1) * ops.expand_dims(scale, 1)
        return ops.cast(adjacency, self.compute_dtype)


def neighbours(matrix: Any, mask: Any) -> Any:
    """Join mother, daughters and the particle itself, [batch, n, n]."""
    eye = ops.eye(ops.shape(matrix)[1], dtype=matrix.dtype)
    eye = eye * ops.cast(ops.expand_dims(mask, -1), matrix.dtype)
    # At most 1, also where two particles claim to be each other's mother.
    return ops.minimum(matrix + ops.transpose(matrix, (0, 2, 1)) + eye, 1)


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class TreeRelations(ConfigurableLayer):
    """What each particle is to each other one, as channels of zeros and ones.

    For d = 1..`distance`: j is the ancestor of i at distance d (the last d: at d or
    further, up to twice `distance`), then the same for i and j exchanged, and last: i and j
    have the same mother. Input: [batch, n, n] from `MotherMatrix`.
    Output: [batch, n, n, 2 distance + 1].
    """

    def __init__(self, distance: int = 4, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.distance = distance

    def call(self, matrix: Any) -> Any:
        """Multiply, [batch, n, n, 2 distance + 1]."""
        powers = [matrix]
        for _ in range(2 * self.distance - 1):
            powers.append(ops.matmul(powers[-1], matrix))
        last = powers[self.distance - 1]
        for further in powers[self.distance :]:
            last = ops.maximum(last, further)
        up = [*powers[: self.distance - 1], last]
        down = [ops.transpose(one, (0, 2, 1)) for one in up]
        siblings = ops.matmul(matrix, ops.transpose(matrix, (0, 2, 1)))
        siblings = siblings * (1 - ops.eye(ops.shape(matrix)[1], dtype=matrix.dtype))
        return ops.stack([*up, *down, siblings], axis=-1)


def tree_shape(matrix: Any, steps: int = 12) -> tuple[Any, Any]:
    """Count ancestors (at most `steps`) and daughters, [batch, n] each."""
    depth = ops.zeros_like(matrix[..., :1])
    has_mother = ops.sum(matrix, axis=-1, keepdims=True)
    for _ in range(steps):
        depth = has_mother + ops.matmul(matrix, depth)
    return depth[..., 0], ops.sum(matrix, axis=1)


def under_a_head(matrix: Any, heads: Any, steps: int = 12) -> Any:
    """Find who is one of k heads [batch, n, k] or descends from it, as zeros and ones."""
    members = heads
    for _ in range(steps):
        members = ops.maximum(heads, ops.matmul(matrix, members))
    return members


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class GraphConvolution(ConfigurableLayer):
    """``activation(A X W + b)`` with a normalised adjacency A (arXiv:1609.02907).

    Input: [batch, n, channels], [batch, n, n]. Output: [batch, n, `units`].
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

    def call(self, x: Any, adjacency: Any) -> Any:
        """Average over neighbours, then one dense layer, [batch, n, units]."""
        x = ops.matmul(ops.cast(adjacency, self.compute_dtype), self.dense(x))
        return self.activate(x + ops.cast(self.bias, self.compute_dtype))


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class GraphAttention(ConfigurableLayer):
    """Attention over neighbours in the tree (Velickovic et al., arXiv:1710.10903).

    Each head weighs the neighbours j of i by a softmax of ``leaky(a.Wx_i + b.Wx_j)`` with
    slope 0.2 and adds their ``Wx_j``; the heads stand side by side. Input: [batch, n, channels],
    [batch, n, n]. Output: [batch, n, `heads` * `units`].
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
