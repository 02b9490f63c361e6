"""Radiative B decays: one hard photon."""

from __future__ import annotations

import numpy as np

from smartbkg_tf.generation.observables import Cleaning, EventView
from smartbkg_tf.generation.skims.base import Skim, SkimResult
from smartbkg_tf.settings.base import Field, settings


@settings
class BtoXGamma(Skim):
    """A photon of B -> X gamma, after Belle II's skim ``BtoXgamma``.

    Observable: ``photonEnergyCMS``, the hardest photon's, GeV.

    Parameters
    ----------
    minimum_tracks : int
        Cleaned tracks. Default 3.
    maximum_r2 : float
        Largest Fox-Wolfram R2. Default 0.7.
    minimum_energy, maximum_energy : float
        Of the photon in the CMS, GeV. Defaults 1.4 and 3.4.
    """

    minimum_tracks: int = Field(default=3, ge=0)
    maximum_r2: float = Field(default=0.7, ge=0, le=1)
    minimum_energy: float = Field(default=1.4, ge=0)
    maximum_energy: float = Field(default=3.4, gt=0)

    def select(self, events: EventView) -> SkimResult:
        """Choose events with a hard photon."""
        summary = events.summary(Cleaning())
        clusters = events.reconstruction.clusters
        energy = events.collision.to_centre_of_mass(clusters.vectors())[:, 3]
        inside = (energy > self.minimum_energy) & (energy < self.maximum_energy)
        hardest = np.full(len(events), -np.inf)
        np.maximum.at(hardest, clusters.event[inside], energy[inside])
        found = np.isfinite(hardest)
        passes = (
            found
            & (summary.n_tracks >= self.minimum_tracks)
            & (np.nan_to_num(summary.r2, nan=1.0) < self.maximum_r2)
        )
        return SkimResult(passes, {"photonEnergyCMS": np.where(found, hardest, np.nan)})
