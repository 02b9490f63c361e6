"""Tau pairs by event shape."""

from __future__ import annotations

import numpy as np

from smartbkg_tf.generation.observables import Cleaning, EventView
from smartbkg_tf.generation.skims.base import Skim, SkimResult
from smartbkg_tf.settings.base import Field, settings


@settings
class TauThrust(Skim):
    """Two narrow hemispheres with few tracks, after Belle II's skim ``TauThrust``.

    Parameters
    ----------
    minimum_tracks, maximum_tracks : int
        Cleaned tracks. Defaults 2 and 6.
    maximum_net_charge : float
        Largest absolute sum of their charges. Default 1.
    minimum_thrust, maximum_thrust : float
        Defaults 0.8 and 0.99 (two-body events are narrower).
    maximum_visible_energy : float
        In the CMS, GeV. Default 10.4 (neutrinos carry some away).
    """

    minimum_tracks: int = Field(default=2, ge=0)
    maximum_tracks: int = Field(default=6, ge=0)
    maximum_net_charge: float = Field(default=1.0, ge=0)
    minimum_thrust: float = Field(default=0.8, ge=0, le=1)
    maximum_thrust: float = Field(default=0.99, ge=0, le=1)
    maximum_visible_energy: float = Field(default=10.4, gt=0)

    def select(self, events: EventView) -> SkimResult:
        """Choose events by their shape."""
        summary = events.summary(Cleaning())
        thrust = np.nan_to_num(summary.thrust, nan=-1.0)
        return SkimResult(
            (summary.n_tracks >= self.minimum_tracks)
            & (summary.n_tracks <= self.maximum_tracks)
            & (np.abs(summary.net_charge) <= self.maximum_net_charge)
            & (thrust > self.minimum_thrust)
            & (thrust < self.maximum_thrust)
            & (summary.visible_energy < self.maximum_visible_energy)
        )
