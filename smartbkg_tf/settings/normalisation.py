"""Constants by which the model normalises physical values."""

from __future__ import annotations

from typing import Literal

from smartbkg_tf.settings.base import Field, settings


@settings
class FeatureScale:
    """How one feature becomes a number of order one.

    With ``relative`` the value of the event's first particle is subtracted first: in Belle
    II's files all times of an event share an offset of several bunch spacings, and vertices
    that of the interaction point, which say nothing about the event.

    The normalised value is ``clip((t(value / scale) - centre) / spread, -limit, limit)``
    with t the identity or asinh. asinh is linear for small values and logarithmic for
    large ones, so that micrometres and metres are both resolved.

    Parameters
    ----------
    transform : {"linear", "asinh"}
        The function t.
    scale : float, default 1
        In the feature's unit (GeV, cm, ns); must be positive.
    centre : float, default 0
        Mean of the transformed values.
    spread : float, default 1
        Standard deviation of the transformed values; must be positive.
    limit : float, default 10
        Largest absolute normalised value; must be positive.
    relative : bool, default False
        Count from the event's first particle.
    """

    transform: Literal["linear", "asinh"] = "linear"
    scale: float = Field(default=1.0, gt=0)
    centre: float = 0.0
    spread: float = Field(default=1.0, gt=0)
    limit: float = Field(default=10.0, gt=0)
    relative: bool = False


@settings
class NormalisationSettings:
    """Constants of all features; a model reads physical values and applies them itself.

    Parameters
    ----------
    name : str
        Name of the set of constants.
    features : dict of str to FeatureScale
        One entry per feature column (energy, prodTime, x, y, z, px, py, pz).
    """

    name: str
    features: dict[str, FeatureScale]
