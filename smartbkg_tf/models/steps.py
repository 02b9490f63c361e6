"""Soft steps: where a value lies between some places, as numbers that a dense layer can add up.

A dense layer learns slopes first and edges late. Thresholds, edges of an acceptance and cuts are
edges; a sum over steps at fixed places is any curve through them from the start.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from smartbkg_tf.models.plain import PlainLayer


def soft_steps(values: Any, places: Sequence[float], steepness: float) -> Any:
    """Compute ``tanh(steepness (value - place))`` for every place.

    Parameters
    ----------
    values : tensor [..., column]
        Numbers.
    places : sequence of float
        Where the steps are.
    steepness : float
        Their slopes there.

    Returns
    -------
    tensor [..., column * places]
        All columns at the first place, then at the second one, and so on.
    """
    return ops.concatenate([ops.tanh(steepness * (values - place)) for place in places], axis=-1)


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class SoftSteps(PlainLayer):
    """The values, and soft steps of them (`soft_steps`).

    Parameters
    ----------
    places : sequence of float
        Where the steps are.
    steepness : float, default 3
        Their slopes there.
    **kwargs
        As any Keras layer; float32 by default, because steps are steep.
    """

    def __init__(self, places: Sequence[float], steepness: float = 3.0, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.places = [float(place) for place in places]
        self.steepness = steepness

    def call(self, x: Any) -> Any:
        """Step.

        Parameters
        ----------
        x : tensor [..., column]
            Numbers of order one.

        Returns
        -------
        tensor [..., column * (1 + places)]
            The numbers first.
        """
        return ops.concatenate([x, soft_steps(x, self.places, self.steepness)], axis=-1)

    def compute_output_shape(self, x_shape: Any) -> Any:
        """Give the shape of the output.

        Parameters
        ----------
        x_shape : tuple
            Of `x`.

        Returns
        -------
        tuple
            With more columns.
        """
        return (*x_shape[:-1], x_shape[-1] * (1 + len(self.places)))


def logarithms(*places: float) -> list[float]:
    """Take natural logarithms, for steps of logarithms at places that people read.

    Parameters
    ----------
    *places : float
        Positive numbers.

    Returns
    -------
    list of float
        Their logarithms.
    """
    return [float(np.log(place)) for place in places]
