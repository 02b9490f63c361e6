"""Attention over all particles of an event, and tokens that stand for the whole event."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from smartbkg_tf.models.configurable import ConfigurableLayer, activation_layer
from smartbkg_tf.models.pooling import everything, masked_softmax


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class AdditiveSelfAttention(ConfigurableLayer):
    """Means over particles, weighted by ``v . tanh(A x_i + B x_j + b)``.

    The self-attention of the original (package keras-self-attention): Bahdanau et al.,
    arXiv:1409.0473. It holds `units` numbers for every pair of particles.
    """

    def __init__(self, units: int = 32, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        policy = self.dtype_policy
        self.receiver = keras.layers.Dense(units, dtype=policy, name="receiver")
        self.sender = keras.layers.Dense(units, use_bias=False, dtype=policy, name="sender")
        # A bias would shift all logits alike and change nothing.
        self.score = keras.layers.Dense(1, use_bias=False, dtype=policy, name="score")

    def build(self, x_shape: Any) -> None:
        """Make the weights."""
        self.receiver.build(x_shape)
        self.sender.build(x_shape)
        self.score.build((*x_shape[:-1], self.units))

    def call(self, x: Any, mask: Any = None) -> Any:
        """Attend, [batch, length, channels]."""
        mask = everything(x) if mask is None else mask
        hidden = ops.tanh(ops.expand_dims(self.receiver(x), 2) + ops.expand_dims(self.sender(x), 1))
        logits = self.score(hidden)[..., 0]
        weights = masked_softmax(logits, ops.expand_dims(mask, 1), axis=-1)
        return ops.matmul(ops.cast(weights, x.dtype), x)


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class TreeAttentionBlock(ConfigurableLayer):
    """A pre-norm encoder block whose attention knows the decay tree.

    ``x + attention(norm(x))``, then ``x + dense(activation(dense(norm(x))))`` (Vaswani et al.,
    arXiv:1706.03762; normalisation in front: Xiong et al., arXiv:2002.04745). To the logits
    of each head a learned number is added for each relation of the two particles, as
    Graphormer does for distances in a graph (Ying et al., arXiv:2106.05234).

    Parameters
    ----------
    heads : int
        Heads; divides the channels.
    hidden : int
        Width of the feed-forward part.
    dropout : float, default 0
        Share of the outputs of both parts dropped in training.
    activation : str, default "gelu"
        Inside the feed-forward part.
    """

    def __init__(
        self,
        heads: int,
        hidden: int,
        dropout: float = 0.0,
        activation: str = "gelu",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.heads = heads
        self.hidden = hidden
        self.dropout = dropout
        self.activation = activation
        self.activate = activation_layer(activation, self.dtype_policy)
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy)

    def build(self, x_shape: Any, relations_shape: Any) -> None:
        """Make the weights."""
        channels = x_shape[-1]
        if channels % self.heads:
            raise ValueError(f"{self.heads} heads do not divide {channels} channels")
        policy, row = self.dtype_policy, (None, None, channels)

        def dense(units: int, name: str, shape: Any, use_bias: bool = True) -> Any:
            layer = keras.layers.Dense(units, use_bias=use_bias, dtype=policy, name=name)
            layer.build(shape)
            return layer

        self.norm_1 = keras.layers.LayerNormalization(epsilon=1e-5, dtype=policy, name="norm_1")
        self.norm_2 = keras.layers.LayerNormalization(epsilon=1e-5, dtype=policy, name="norm_2")
        self.norm_1.build(row)
        self.norm_2.build(row)
        # A bias of the keys would shift all logits of a row alike.
        self.query = dense(channels, "query", row)
        self.key = dense(channels, "key", row, use_bias=False)
        self.value = dense(channels, "value", row)
        self.joined = dense(channels, "joined", row)
        self.tree = dense(self.heads, "tree", (None, None, None, relations_shape[-1]), False)
        self.inner = dense(self.hidden, "inner", row)
        self.outer = dense(channels, "outer", (None, None, self.hidden))

    def call(self, x: Any, relations: Any, mask: Any = None, training: bool | None = None) -> Any:
        """Apply both parts, [batch, n, channels]."""
        mask = everything(x) if mask is None else mask
        n, channels = ops.shape(x)[1], x.shape[-1]
        share = channels // self.heads

        def split(values: Any) -> Any:
            values = ops.reshape(values, (-1, n, self.heads, share))
            return ops.transpose(values, (0, 2, 1, 3))

        inside = self.norm_1(x)
        query, key, value = (split(layer(inside)) for layer in (self.query, self.key, self.value))
        logits = ops.matmul(query * share**-0.5, ops.transpose(key, (0, 1, 3, 2)))
        bias = ops.transpose(self.tree(ops.cast(relations, x.dtype)), (0, 3, 1, 2))
        allowed = ops.expand_dims(ops.expand_dims(mask, 1), 1)
        weights = masked_softmax(logits + bias, allowed, axis=-1)
        mixed = ops.matmul(ops.cast(weights, value.dtype), value)
        mixed = ops.reshape(ops.transpose(mixed, (0, 2, 1, 3)), (-1, n, channels))
        x = x + self.drop(self.joined(mixed), training=training)
        inside = self.outer(self.activate(self.inner(self.norm_2(x))))
        return x + self.drop(inside, training=training)


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class ClassAttention(ConfigurableLayer):
    """One token attends to all particles (Touvron et al., arXiv:2103.17239, section 3).

    Input: ``x`` [batch, n, channels], ``token`` [batch, channels], ``mask`` [batch, n].
    Output: [batch, channels]; the token itself for an event without particles, up to a
    constant. `heads` divides the channels.
    """

    def __init__(self, heads: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.heads = heads

    def build(self, x_shape: Any, token_shape: Any) -> None:
        """Make the weights."""
        channels = x_shape[-1]
        if channels % self.heads:
            raise ValueError(f"{self.heads} heads do not divide {channels} channels")
        for name in ("query", "key", "value", "joined"):
            layer = keras.layers.Dense(
                channels, use_bias=name != "key", dtype=self.dtype_policy, name=name
            )
            layer.build((None, None, channels))
            setattr(self, name, layer)

    def call(self, x: Any, token: Any, mask: Any = None) -> Any:
        """Attend, [batch, channels]."""
        mask = everything(x) if mask is None else mask
        n, channels = ops.shape(x)[1], x.shape[-1]
        share = channels // self.heads
        query = ops.reshape(self.query(token) * share**-0.5, (-1, 1, self.heads, share))
        key = ops.reshape(self.key(x), (-1, n, self.heads, share))
        value = ops.reshape(self.value(x), (-1, n, self.heads, share))
        logits = ops.sum(query * key, axis=-1)
        weights = masked_softmax(logits, ops.expand_dims(mask, -1), axis=1)
        found = ops.sum(ops.cast(ops.expand_dims(weights, -1), value.dtype) * value, axis=1)
        return token + self.joined(ops.reshape(found, (-1, channels)))


#: Event types that have an embedding; their order is that of the data.
N_EVENT_TYPES = 7


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class EventTypeOneHot(ConfigurableLayer):
    """The event type as a one-hot vector; zeros for a type that is not known.

    Input: int [batch]. Output: [batch, 7].
    """

    def call(self, kinds: Any) -> Any:
        """Compare, [batch, 7]."""
        places = ops.arange(N_EVENT_TYPES, dtype="int32")
        kinds = ops.expand_dims(ops.cast(kinds, "int32"), -1)
        return ops.cast(ops.equal(kinds, places), self.compute_dtype)


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class EventToken(ConfigurableLayer):
    """A learned vector, the same for every event.

    Input: anything with a batch axis. Output: [batch, `units`].
    """

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units

    def build(self, like_shape: Any) -> None:
        """Make the weights."""
        self.token = self.add_weight(
            name="token", shape=(1, self.units), initializer=keras.initializers.RandomNormal(0, 0.1)
        )

    def call(self, like: Any) -> Any:
        """Repeat, [batch, units]."""
        token = ops.cast(self.token, self.compute_dtype)
        return ops.broadcast_to(token, (ops.shape(like)[0], self.units))


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class WithToken(ConfigurableLayer):
    """Put a token in front of the particles; it is related to none of them.

    Input: ``x`` [batch, n, channels], ``token`` [batch, channels], ``relations``
    [batch, n, n, relation], ``filled`` [batch, n]. Output: the same three with n + 1.
    """

    def call(self, x: Any, token: Any, relations: Any, filled: Any) -> tuple[Any, Any, Any]:
        """Join."""
        x = ops.concatenate([ops.expand_dims(token, 1), x], axis=1)
        relations = ops.pad(relations, [[0, 0], [1, 0], [1, 0], [0, 0]])
        there = ops.concatenate([ops.ones_like(filled[:, :1]), filled], axis=1)
        return x, there, relations
