"""Times and vertices as networks see them: counted from the event's first particle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from smartbkg_tf.models.configurable import Float32Layer

#: Columns with an offset that all particles of an event share: in Belle II's files times are off by
#: multiples of the bunch spacing (3.93 ns), and vertices by the place of the interaction.
RELATIVE = ("prodTime", "x", "y", "z")


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class RelativeToFirst(Float32Layer):
    """Particles whose times and vertices count from the event's first particle.

    The first thing that a network does with particles, so that no layer behind it can learn from
    an offset of the whole event. Columns that are relative already stay as they are. Input: ``x``
    [batch, particle, feature] in ns and cm, events at the left. Output: the same, float32.

    Parameters
    ----------
    feature_names : sequence of str
        Columns of ``x``.
    names : sequence of str, default `RELATIVE`
        Columns to count from the first particle; those that ``x`` lacks are left out.
    **kwargs
        As any Keras layer.
    """

    def __init__(
        self, feature_names: Sequence[str], names: Sequence[str] = RELATIVE, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.feature_names = [str(name) for name in feature_names]
        self.names = [str(name) for name in names]
        self._chosen = np.array([name in self.names for name in self.feature_names])

    def call(self, x: Any) -> Any:
        """Subtract the first particle's values, [batch, particle, feature]."""
        x = ops.cast(x, "float32")
        # `where`, not a product: another column may hold what is not finite.
        return x - ops.where(self._chosen, x[:, :1, :], 0.0)
