"""Vectors for the event as a whole: learned tokens and the event type."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from smartbkg_tf.models.configurable import ConfigurableLayer

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

    Input: anything with a batch axis. Output: [batch, units].

    Parameters
    ----------
    units : int
        Its length.
    **kwargs
        As any Keras layer.
    """

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units

    def build(self, like_shape: Any) -> None:
        """Make the weights."""
        self.token = self.add_weight(
            name="token", shape=(1, self.units), initializer=keras.initializers.RandomNormal(0, 0.1)
        )
        self.built = True

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
