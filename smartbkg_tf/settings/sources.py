"""What the settings of several sources share: event types, beams, which particles tables keep."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from smartbkg_tf.settings.base import Field, settings

__all__ = ["EVENT_TYPES", "BeamSettings", "EventType", "ParticleSet"]

EventType = Literal["mixed", "charged", "uubar", "ddbar", "ssbar", "ccbar", "taupair"]

#: The position in this tuple is the event type's code.
EVENT_TYPES: tuple[str, ...] = get_args(EventType)

#: Which generated particles tables keep: those of the training tables of old, or all that
#: basf2's SmartBackground module sees.
ParticleSet = Literal["tables", "generator"]

_Size = Annotated[float, Field(ge=0)]


@settings
class BeamSettings:
    """SuperKEKB's beams and where they meet.

    The electrons fly towards +z and +x, the positrons towards -z and +x.

    Parameters
    ----------
    energy_her : float
        Energy of the electrons (high energy ring), GeV. Default 7.004 (SuperKEKB: TDR,
        arXiv:1011.0352).
    energy_ler : float
        Energy of the positrons (low energy ring), GeV. Default 4.002.
    half_crossing_angle : float
        Angle of either beam to the z axis, rad. Default 0.0415.
    spread_her, spread_ler : float
        Gaussian energy spread of either beam, GeV. Defaults 0.00513 and 0.002375;
        0 switches it off. It moves the Y(4S) of mixed and charged events; continuum
        events are made at the nominal energy.
    vertex : tuple of three float
        Mean interaction point (x, y, z), cm. Default 0.
    vertex_spread : tuple of three float
        Gaussian size of the interaction region (x, y, z), cm, default
        (6.2e-4, 5.9e-6, 0.0154): half the overlap of the two nano-beams.
    """

    energy_her: float = Field(default=7.004, gt=0, lt=20)
    energy_ler: float = Field(default=4.002, gt=0, lt=20)
    half_crossing_angle: float = Field(default=0.0415, ge=0, lt=0.5)
    spread_her: float = Field(default=0.00513, ge=0, lt=0.1)
    spread_ler: float = Field(default=0.002375, ge=0, lt=0.1)
    vertex: tuple[float, float, float] = (0.0, 0.0, 0.0)
    vertex_spread: tuple[_Size, _Size, _Size] = (6.2e-4, 5.9e-6, 0.0154)
