"""What efficiencies depend on: momenta, energies, angles near the acceptance's edges, displacement.

`PhysicalVariables` describe particles smoothly; a detector has edges. Without these columns what
the network learned of rare particles, such as slow kaons, and of those near the edges of the
acceptance was what holds for the many others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from smartbkg_tf.models.configurable import Float32Layer
from smartbkg_tf.models.physics import ACCEPTANCE, checked_acceptance, needed_columns
from smartbkg_tf.models.thresholds import logarithms, soft_thresholds

#: Steps of transverse momentum, energy and momentum, GeV: a generic tracker and calorimeter reach
#: their full efficiency between 0.05 and 0.5 GeV.
STEPS = (0.05, 0.07, 0.1, 0.14, 0.2, 0.4, 0.8, 2.0)
#: Steps of the transverse displacement, cm: resolution of a vertex detector to a drift chamber.
DISPLACEMENTS = (0.01, 0.03, 0.1, 1.0, 10.0)
#: Near to an edge of the acceptance, degrees.
NEAR_EDGE = 5.0

_TINY = 1e-4


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class DetectorVariables(Float32Layer):
    """Columns of particles on which the response of a detector depends.

    Input: ``x`` [batch, n, feature], ``mask``. Output: float32 [batch, n, column]:
    ``exp(-d / 5 degrees)`` for the distances d of the polar angle from both edges of the
    acceptance, 1 beyond them; soft steps of the logarithms of transverse momentum, energy and
    momentum at `STEPS`, and of the transverse displacement at `DISPLACEMENTS`. In the laboratory.
    Zero in padding.

    Parameters
    ----------
    feature_names : sequence of str
        Columns of ``x``.
    acceptance : sequence of float, default `smartbkg_tf.models.physics.ACCEPTANCE`
        Edges of the acceptance, degrees.
    **kwargs
        As any Keras layer.

    Raises
    ------
    ConfigurationError
        When a column is missing (`smartbkg_tf.models.physics.NEEDED`).
    """

    def __init__(
        self,
        feature_names: Sequence[str],
        acceptance: Sequence[float] = ACCEPTANCE,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.feature_names = [str(name) for name in feature_names]
        self.acceptance = checked_acceptance(acceptance)
        self._places = needed_columns(self.feature_names)

    def call(self, x: Any, mask: Any = None) -> Any:
        """Compute the columns, [batch, n, column]."""
        filled = ops.expand_dims(mask, -1)
        x = ops.where(filled, ops.cast(x, "float32"), 0.0)
        column = {name: x[..., i : i + 1] for name, i in self._places.items()}
        squared = ops.square(column["px"]) + ops.square(column["py"])
        transverse = ops.sqrt(squared + _TINY**2)
        momentum = ops.sqrt(squared + ops.square(column["pz"]) + _TINY**2)
        radius = ops.sqrt(ops.square(column["x"]) + ops.square(column["y"]) + _TINY**2)
        degrees = ops.arctan2(transverse, column["pz"]) * (180.0 / math.pi)
        low, high = self.acceptance
        distances = ops.concatenate([degrees - low, high - degrees], axis=-1)
        energy = ops.maximum(column["energy"], _TINY)
        result = ops.concatenate(
            [
                ops.exp(-ops.clip(distances, 0.0, 60.0) / NEAR_EDGE),
                *(
                    soft_thresholds(ops.log(size), logarithms(*STEPS), 3.0)
                    for size in (transverse, energy, momentum)
                ),
                soft_thresholds(ops.log(radius), logarithms(*DISPLACEMENTS), 1.5),
            ],
            axis=-1,
        )
        return ops.where(filled, result, 0.0)
