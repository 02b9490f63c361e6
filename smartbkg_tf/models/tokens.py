"""Vectors for the event as a whole: learned tokens and the event type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from smartbkg_tf.models.plain import PlainLayer

#: Event types that have an embedding; their order is that of the data.
N_EVENT_TYPES = 7


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class EventTypeOneHot(PlainLayer):
    """The event type as a one-hot vector; zeros for a type that is not known.

    Input: int [batch]. Output: [batch, 7].
    """

    def call(self, kinds: Any) -> Any:
        """Compare.

        Parameters
        ----------
        kinds : tensor [batch]
            Positions of the event types.

        Returns
        -------
        tensor [batch, 7]
            0 or 1.
        """
        places = ops.arange(N_EVENT_TYPES, dtype="int32")
        kinds = ops.expand_dims(ops.cast(kinds, "int32"), -1)
        return ops.cast(ops.equal(kinds, places), self.compute_dtype)

    def compute_output_spec(self, kinds: Any) -> keras.KerasTensor:
        """Describe the output.

        Parameters
        ----------
        kinds : KerasTensor
            The input.

        Returns
        -------
        KerasTensor
            One row for each event.
        """
        return keras.KerasTensor((kinds.shape[0], N_EVENT_TYPES), dtype=self.compute_dtype)


def event_type_features(
    inputs: Mapping[str, Any], units: int, name: str = "event_type_embedding"
) -> Any:
    """Embed the event type.

    Parameters
    ----------
    inputs : mapping of str to KerasTensor
        With ``event_type_input``.
    units : int
        Dimensions.
    name : str, default "event_type_embedding"
        Name of the layer with the weights.

    Returns
    -------
    KerasTensor [batch, units]
        The embedding; zero for a type that is not known.
    """
    row = EventTypeOneHot(name=f"{name}_one_hot")(inputs["event_type_input"])
    return keras.layers.Dense(units, use_bias=False, name=name)(row)


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class EventToken(PlainLayer):
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
        """Make the weights.

        Parameters
        ----------
        like_shape : tuple
            Of the input.
        """
        self.token = self.add_weight(
            name="token", shape=(1, self.units), initializer=keras.initializers.RandomNormal(0, 0.1)
        )
        self.built = True

    def call(self, like: Any) -> Any:
        """Repeat.

        Parameters
        ----------
        like : tensor [batch, ...]
            Tells the size of the batch.

        Returns
        -------
        tensor [batch, units]
            The vector.
        """
        token = ops.cast(self.token, self.compute_dtype)
        return ops.broadcast_to(token, (ops.shape(like)[0], self.units))

    def compute_output_spec(self, like: Any) -> keras.KerasTensor:
        """Describe the output.

        Parameters
        ----------
        like : KerasTensor
            The input.

        Returns
        -------
        KerasTensor
            One row for each event.
        """
        return keras.KerasTensor((like.shape[0], self.units), dtype=self.compute_dtype)


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class WithToken(PlainLayer):
    """Put a token in front of the particles; it is related to none of them.

    Input: ``x`` [batch, n, channels], ``token`` [batch, channels], ``relations``
    [batch, n, n, relation], ``filled`` [batch, n]. Output: the same three with n + 1.
    """

    def call(self, x: Any, token: Any, relations: Any, filled: Any) -> tuple[Any, Any, Any]:
        """Join.

        Parameters
        ----------
        x : tensor [batch, n, channels]
            Particles.
        token : tensor [batch, channels]
            The token.
        relations : tensor [batch, n, n, relation]
            From `smartbkg_tf.models.tree.TreeRelations`.
        filled : tensor [batch, n]
            True where there is a particle.

        Returns
        -------
        x, filled, relations : tensor
            With the token as the first row.
        """
        x = ops.concatenate([ops.expand_dims(token, 1), x], axis=1)
        relations = ops.pad(relations, [[0, 0], [1, 0], [1, 0], [0, 0]])
        there = ops.concatenate([ops.ones_like(filled[:, :1]), filled], axis=1)
        return x, there, relations

    def compute_output_spec(self, x: Any, token: Any, relations: Any, filled: Any) -> Any:
        """Describe the output.

        Parameters
        ----------
        x, token, relations, filled : KerasTensor
            The inputs.

        Returns
        -------
        tuple of KerasTensor
            Three.
        """
        batch, n, channels = x.shape
        n = None if n is None else n + 1
        return (
            keras.KerasTensor((batch, n, channels), dtype=x.dtype),
            keras.KerasTensor((batch, n), dtype="bool"),
            keras.KerasTensor((batch, n, n, relations.shape[-1]), dtype=relations.dtype),
        )
