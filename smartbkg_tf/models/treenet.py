"""The layers of TreeNet: sides, messages, pooling of groups; docs/models.md has the design."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from smartbkg_tf.models.codes import CODE_COLUMNS
from smartbkg_tf.models.configurable import ConfigurableLayer, Float32Layer, activation_layer
from smartbkg_tf.models.pooling import MINUS, apply_mask, masked_softmax
from smartbkg_tf.models.tree import under_a_head

_BOTTOM, _CHARM, _TAU = (CODE_COLUMNS.index(name) for name in ("bottom", "charm", "tau"))


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class Sides(Float32Layer):
    """Find the two sides of an event.

    Heads are hadrons with a bottom quark, taus and charmed hadrons that descend from no other
    such particle. The two of largest energy lead the sides; in an event of two B mesons
    these are the B. Input: ``energy`` [batch, n, 1], ``properties``, ``matrix``, ``mask``.
    Output: float32 [batch, n, 4]: head of side 1 and of side 2, member of side 1 and of
    side 2, the head included.
    """

    def call(self, energy: Any, properties: Any, matrix: Any, mask: Any = None) -> Any:
        """Find heads, then all that descends from them, [batch, n, 4]."""
        matrix = ops.cast(matrix, "float32")
        able = ops.maximum(
            properties[..., _BOTTOM], ops.maximum(properties[..., _TAU], properties[..., _CHARM])
        )
        able = ops.expand_dims(able * ops.cast(mask, "float32"), -1)
        below = ops.matmul(matrix, under_a_head(matrix, able))
        free = (able * (1.0 - ops.minimum(below, 1.0)))[..., 0]
        energy = ops.cast(energy[..., 0], "float32")
        heads = []
        for _ in range(2):
            # No argmax: Keras' own compares bits, for which ONNX has no operation.
            left = ops.where(free > 0, energy, MINUS)
            largest = ops.max(left, axis=1, keepdims=True)
            head = ops.cast(ops.equal(left, largest), "float32") * free
            heads.append(head)
            free = free - head
        both = ops.stack(heads, axis=-1)
        return ops.concatenate([both, under_a_head(matrix, both)], axis=-1)


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class SliceFeatures(Float32Layer):
    """Some neighbouring features of its input."""

    def __init__(self, first: int, count: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.first = first
        self.count = count

    def call(self, x: Any) -> Any:
        """Choose, [..., count]."""
        return x[..., self.first : self.first + self.count]


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class TreeLayer(ConfigurableLayer):
    """One round of messages along the decay tree.

    ``x + dense(drop(activation(dense([y, daughters, mother, siblings, side]))))`` with
    ``y = norm(x)``: the sum of y over the daughters, y of the mother, the sum over all
    daughters of the mother, and the mean over the particle's side.
    """

    def __init__(
        self, hidden: int, dropout: float = 0.0, activation: str = "silu", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.hidden = hidden
        self.dropout = dropout
        self.activation = activation
        policy = self.dtype_policy
        self.norm = keras.layers.LayerNormalization(epsilon=1e-5, dtype=policy, name="norm")
        self.inner = keras.layers.Dense(hidden, dtype=policy, name="inner")
        self.activate = activation_layer(activation, policy)
        self.drop = keras.layers.Dropout(dropout, dtype=policy)

    def build(self, x_shape: Any, matrix_shape: Any = None, sides_shape: Any = None) -> None:
        """Make the weights."""
        channels = x_shape[-1]
        self.norm.build((None, None, channels))
        self.inner.build((None, None, 5 * channels))
        self.outer = keras.layers.Dense(channels, dtype=self.dtype_policy, name="outer")
        self.outer.build((None, None, self.hidden))

    def call(
        self, x: Any, matrix: Any, sides: Any, mask: Any = None, training: bool | None = None
    ) -> Any:
        """Send and take messages, [batch, n, channels]."""
        y = apply_mask(self.norm(x), mask)
        matrix = ops.cast(matrix, y.dtype)
        daughters = ops.matmul(ops.transpose(matrix, (0, 2, 1)), y)
        # The mean in float32: a side may have more particles than float16 can add up.
        members = ops.cast(sides[..., 2:], "float32")
        total = ops.matmul(ops.transpose(members, (0, 2, 1)), ops.cast(y, "float32"))
        count = ops.maximum(ops.sum(members, axis=1), 1.0)
        mean = ops.cast(total / ops.expand_dims(count, -1), y.dtype)
        messages = [
            y,
            daughters,
            ops.matmul(matrix, y),
            ops.matmul(matrix, daughters),
            ops.matmul(ops.cast(members, y.dtype), mean),
        ]
        inside = self.activate(self.inner(ops.concatenate(messages, axis=-1)))
        return x + self.outer(self.drop(inside, training=training))


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class GroupPooling(ConfigurableLayer):
    """One vector for each group of particles.

    Side by side: weighted means (each head weighs by a softmax within the group), a tenth
    of the sum, and the head particle of the group, where it has one. Input: ``x``
    [batch, n, channels], ``groups`` [batch, n, group], ``heads`` [batch, n, group].
    Output: [batch, group, 3 channels]; zero for an empty group.
    """

    def __init__(self, heads: int = 4, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.heads = heads
        self.gate = keras.layers.Dense(heads, use_bias=False, dtype=self.dtype_policy, name="gate")

    def build(self, x_shape: Any, groups_shape: Any = None, leaders_shape: Any = None) -> None:
        """Make the weights."""
        if x_shape[-1] % self.heads:
            raise ValueError(f"{self.heads} heads do not divide {x_shape[-1]} channels")
        self.gate.build((None, None, x_shape[-1]))

    def call(self, x: Any, groups: Any, leaders: Any) -> Any:
        """Pool, [batch, group, 3 channels]."""
        channels = x.shape[-1]
        share = channels // self.heads
        logits = self.gate(x)
        wide, groups, leaders = (ops.cast(one, "float32") for one in (x, groups, leaders))
        # Padding holds whatever the layers made of it; no product with it may count.
        anyone = ops.max(groups, axis=-1, keepdims=True)
        wide = ops.where(anyone > 0, wide, 0.0)
        vectors = []
        for group in range(groups.shape[-1]):
            members = groups[..., group : group + 1]
            weights = masked_softmax(logits, members > 0, axis=1)
            values = ops.reshape(wide, (-1, ops.shape(x)[1], self.heads, share))
            means = ops.sum(values * ops.expand_dims(weights, -1), axis=1)
            vectors.append(
                ops.concatenate(
                    [
                        ops.reshape(means, (-1, channels)),
                        0.1 * ops.sum(wide * members, axis=1),
                        ops.sum(wide * leaders[..., group : group + 1], axis=1),
                    ],
                    axis=-1,
                )
            )
        return ops.cast(ops.stack(vectors, axis=1), self.compute_dtype)


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class BothSides(ConfigurableLayer):
    """Sum and maximum of the two sides, so that their order does not matter.

    Input: [batch, 2, channels]. Output: [batch, 2 channels].
    """

    def call(self, x: Any) -> Any:
        """Join, [batch, 2 channels]."""
        return ops.concatenate([x[:, 0] + x[:, 1], ops.maximum(x[:, 0], x[:, 1])], axis=-1)
