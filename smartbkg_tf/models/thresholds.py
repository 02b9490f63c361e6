"""Soft thresholds: where a value lies between some places, as numbers for a dense layer to add up.

A dense layer learns slopes first and edges late. Thresholds, edges of an acceptance and cuts are
edges; a sum over steps at fixed places is any curve through them from the start.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from smartbkg_tf.models.configurable import Float32Layer


def soft_thresholds(values: Any, places: Sequence[float], steepness: float) -> Any:
    """Compute ``tanh(steepness (value - place))``, [..., column] -> [..., place * column]."""
    return ops.concatenate([ops.tanh(steepness * (values - place)) for place in places], axis=-1)


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class SoftThresholds(Float32Layer):
    """The values, and `soft_thresholds` of them; float32, because thresholds are steep."""

    def __init__(self, places: Sequence[float], steepness: float = 3.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.places = [float(place) for place in places]
        self.steepness = steepness

    def call(self, x: Any) -> Any:
        """Give [..., column * (1 + places)], the numbers of order one themselves first."""
        return ops.concatenate([x, soft_thresholds(x, self.places, self.steepness)], axis=-1)


def logarithms(*places: float) -> list[float]:
    """Take natural logarithms, for thresholds of logarithms at places that people read."""
    return [float(np.log(place)) for place in places]
