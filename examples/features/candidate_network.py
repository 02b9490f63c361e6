"""A network that reads the further columns of `candidate_features.WithCandidates`."""

from __future__ import annotations

from typing import Any

import keras

from smartbkg_tf.models.base import NNBaseClass


class CandidateNetwork(NNBaseClass):
    """The largest response to any candidate, beside the quantities of the event."""

    def __init__(self, units: int = 32, **common: Any) -> None:
        super().__init__(**common)
        self.units = units

    def build_model(self) -> keras.Model:
        """Build the network from the further inputs; `event` has those of particles."""
        event = self.event()
        inputs = {
            "visible_input": keras.Input((2,), name="visible_input"),
            "candidate_input": keras.Input((None, 2), name="candidate_input"),
            "candidate_kind_input": keras.Input(
                (None,), dtype="int32", name="candidate_kind_input"
            ),
        }
        kind = keras.layers.Embedding(2, 4)(inputs["candidate_kind_input"])
        x = keras.layers.Concatenate()([inputs["candidate_input"], kind])
        x = keras.layers.Dense(self.units, activation="relu")(x)
        # A mass of 0 is padding.
        there = inputs["candidate_input"][:, :, :1] > 0
        x = keras.layers.GlobalMaxPooling1D()(keras.ops.where(there, x, 0.0))
        x = keras.layers.Concatenate()([x, inputs["visible_input"]])
        x = keras.layers.Dense(self.units, activation="relu")(x)
        return keras.Model(inputs, event.output(x))
