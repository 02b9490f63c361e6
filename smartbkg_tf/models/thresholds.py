"""Soft thresholds: where a value lies between some places, as numbers for a dense layer to add up.

A dense layer learns slopes first and edges late. Thresholds, edges of an acceptance and cuts are
edges; a sum over steps at fixed places is any curve through them from the start.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
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


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class PiecewiseLinear(Float32Layer):
    """Where each column lies between its own quantiles: one number per bin, from 0 to 1.

    A dense layer behind it adds up any piecewise linear curve of each column (Gorishniy et al.,
    arXiv:2203.05556). The places of the `bins` bins are taken from the data by `adapt`, before the
    first step. Input: [batch, column]. Output: float32 [batch, column * bins].
    """

    def __init__(self, bins: int = 12, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bins = bins

    def build(self, x_shape: Any) -> None:
        """Make the variables; no gradient changes them."""
        shape = (int(x_shape[-1]), self.bins)
        self.low = self.add_weight(name="low", shape=shape, initializer="zeros", trainable=False)
        self.slope = self.add_weight(name="slope", shape=shape, initializer="ones", trainable=False)

    def adapt(self, values: npt.NDArray[np.float32]) -> None:
        """Put the edges of the bins at quantiles of `values` [n, column]."""
        places = np.quantile(values.astype(np.float64), np.linspace(0, 1, self.bins + 1), axis=0).T
        width = np.diff(places, axis=1)
        # Equal quantiles of a count: its bin is a step.
        self.low.assign(places[:, :-1])
        self.slope.assign(1.0 / np.maximum(width, 1e-3))

    def call(self, x: Any) -> Any:
        """Compute the parts of the bins that lie below each value, [batch, column * bins]."""
        part = (ops.expand_dims(ops.cast(x, "float32"), -1) - self.low) * self.slope
        columns, bins = self.low.shape
        return ops.reshape(ops.clip(part, 0.0, 1.0), (-1, columns * bins))
