"""From physical values to numbers of order one, counted from the first particle where needed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from smartbkg_tf.errors import ConfigurationError, did_you_mean
from smartbkg_tf.models.configurable import Float32Layer
from smartbkg_tf.settings.normalisation import FeatureScale

#: Charges that have a column of their own.
CHARGES = (-2, -1, 0, 1, 2)

#: The feature that becomes a one-hot vector.
CHARGE = "charge"

_DEFAULTS: dict[str, Any] = dataclasses.asdict(FeatureScale())


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class ParticleNormalisation(Float32Layer):
    """Normalise physical values; the charge becomes a one-hot vector.

    A value v becomes ``clip((t(v / scale) - centre) / spread, -limit, limit)`` with t the
    identity or asinh; with ``relative`` v is counted from the event's first particle. The
    constants live in the model, so that an exported model reads
    GeV, cm and ns. The arithmetic is float32 under every precision policy: 10.58 GeV in
    float16 would be right to 5 MeV only. A charge beyond +-2 has no column and gives
    zeros. Padding gives zeros.
    """

    def __init__(
        self,
        feature_names: Sequence[str],
        features: Mapping[str, Mapping[str, Any]],
        leave_out: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.feature_names = [str(name) for name in feature_names]
        self.leave_out = [str(name) for name in leave_out]
        read = [name for name in self.feature_names if name not in self.leave_out]
        self.features = {
            name: {**_DEFAULTS, **dict(features[name])} for name in read if name in features
        }
        _check(read, features)
        self._columns = [
            i for i, name in enumerate(self.feature_names) if name in read and name != CHARGE
        ]
        self._charge = [i for i, name in enumerate(self.feature_names) if name == CHARGE]
        chosen = [self.features[self.feature_names[i]] for i in self._columns]

        def constants(key: str) -> Any:
            return np.array([one[key] for one in chosen], dtype=np.float32)

        self._scale, self._centre = constants("scale"), constants("centre")
        self._spread, self._limit = constants("spread"), constants("limit")
        self._relative = constants("relative")
        self._asinh = np.array([one["transform"] == "asinh" for one in chosen])

    def call(self, x: Any, mask: Any = None) -> Any:
        """Normalise, [batch, particle, column]."""
        x = ops.cast(x, "float32")
        columns = []
        if self._columns:
            values = ops.take(x, self._columns, axis=-1)
            if self._relative.any():
                values = values - values[:, :1, :] * self._relative
            values = values / self._scale
            if self._asinh.all():
                values = ops.arcsinh(values)
            elif self._asinh.any():
                values = ops.where(self._asinh, ops.arcsinh(values), values)
            values = (values - self._centre) / self._spread
            columns.append(ops.clip(values, -self._limit, self._limit))
        for position in self._charge:
            charge = ops.round(x[..., position : position + 1])
            columns.append(ops.cast(ops.equal(charge, np.array(CHARGES, np.float32)), "float32"))
        result = columns[0] if len(columns) == 1 else ops.concatenate(columns, axis=-1)
        if mask is not None:
            # `where`, not a product: whatever stands in padding must not come through.
            result = ops.where(ops.expand_dims(mask, -1), result, 0.0)
        return result


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class EventColumns(Float32Layer):
    """Columns that say something of the whole event, taken from its first particle.

    Input: ``x`` [batch, particle, feature], ``mask`` [batch, particle]. Output: float32
    [batch, column], normalised as in `ParticleNormalisation`; zero for an event without particles.
    """

    def __init__(
        self,
        names: Sequence[str],
        feature_names: Sequence[str],
        features: Mapping[str, Mapping[str, Any]],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.names = [str(name) for name in names]
        self.feature_names = [str(name) for name in feature_names]
        known = [name for name in self.feature_names if name != CHARGE]
        for name in self.names:
            if name not in known:
                raise ConfigurationError(
                    f"model.event_columns: the data have no column '{name}'; "
                    + did_you_mean(name, known)
                )
        _check(self.names, features)
        self.features = {name: dict(features[name]) for name in self.names}
        self._places = [self.feature_names.index(name) for name in self.names]
        self._normalise = ParticleNormalisation(
            # What counts from the first particle would be zero there.
            self.names,
            {name: {**one, "relative": False} for name, one in self.features.items()},
            dtype="float32",
            name="constants",
        )

    def build(self, x_shape: Any) -> None:
        """Make the weights."""
        self._normalise.build((*x_shape[:2], len(self.names)))

    def call(self, x: Any, mask: Any = None) -> Any:
        """Take them, [batch, column]."""
        first = ops.take(x[:, :1, :], self._places, axis=-1)
        return self._normalise(first, mask=mask[:, :1])[:, 0, :]


def _check(feature_names: Sequence[str], features: Mapping[str, Mapping[str, Any]]) -> None:
    if not feature_names:
        raise ConfigurationError("normalisation: there is no feature to normalise")
    for name in feature_names:
        if name == CHARGE:
            continue
        if name not in features:
            raise ConfigurationError(
                f"normalisation: the feature '{name}' has no constants; "
                + did_you_mean(name, features),
                next_step="add them under normalisation.features, or preprocess the data again",
            )
        one = {**_DEFAULTS, **dict(features[name])}
        if one["transform"] not in ("linear", "asinh"):
            raise ConfigurationError(
                f"normalisation: {name}: transform is 'linear' or 'asinh', not {one['transform']!r}"
            )
        for key in ("scale", "centre", "spread", "limit"):
            value = float(one[key])
            if not math.isfinite(value):
                raise ConfigurationError(f"normalisation: {name}: {key} is {value}, not finite")
            if key != "centre" and value <= 0:
                hint = " (is the feature constant?)" if key == "spread" else ""
                raise ConfigurationError(
                    f"normalisation: {name}: {key} is {value:g}, it must be positive{hint}"
                )


#: Columns with an offset that all particles of an event share: in Belle II's files times are off by
#: multiples of the bunch spacing (3.93 ns), and vertices by the place of the interaction.
RELATIVE = ("prodTime", "x", "y", "z")


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class RelativeToFirst(Float32Layer):
    """Particles whose times and vertices count from the event's first particle.

    The first thing that a network does with particles, so that no layer behind it can learn from
    an offset of the whole event. Columns that are relative already stay as they are. Input: ``x``
    [batch, particle, feature] in ns and cm, events at the left. Output: the same, float32.
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
