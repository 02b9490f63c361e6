"""A recurrent layer that stops where an event ends."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from smartbkg_tf.models.configurable import ConfigurableLayer
from smartbkg_tf.models.masks import apply_mask


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class MaskedLSTM(ConfigurableLayer):
    """The last state of an LSTM (Hochreiter and Schmidhuber, 1997), padding left out.

    Input: [batch, length, channels] and ``mask``; padding stands behind everything else.
    Output: [batch, units]: the state behind the last row that is there, zero for an event
    without any. The layer runs over padding, too, and keeps the right state; a mask inside
    the recurrence would leave cuDNN and ONNX out.

    Parameters
    ----------
    units : int
        Size of the state.
    **kwargs
        As any Keras layer.
    """

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.lstm = keras.layers.LSTM(
            units, return_sequences=True, dtype=self.dtype_policy, name="lstm"
        )

    def build(self, x_shape: Any) -> None:
        """Make the weights."""
        self.lstm.build(x_shape)
        self.built = True

    def call(self, x: Any, mask: Any = None) -> Any:
        """Run over the rows, [batch, units]."""
        states = self.lstm(apply_mask(x, mask))
        if mask is None:
            return states[:, -1]
        there = ops.cast(mask, states.dtype)
        after = ops.pad(there, [[0, 0], [0, 1]])[:, 1:]
        last = ops.expand_dims(there * (1 - after), -1)
        return ops.sum(states * last, axis=1)
