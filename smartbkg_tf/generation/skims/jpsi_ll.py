"""Charmonium decaying into two leptons."""

from __future__ import annotations

import numpy as np

from smartbkg_tf.generation.observables import EventView
from smartbkg_tf.generation.reconstruction import ELECTRON, MUON
from smartbkg_tf.generation.skims.base import Skim, SkimResult
from smartbkg_tf.generation.skims.pairs import invariant_mass, nearest, pairs_by_event
from smartbkg_tf.settings.base import Field, settings

_JPSI_MASS = 3.0969  # GeV (PDG 2024)


@settings
class JpsiToLeptons(Skim):
    """J/psi -> e+ e- or mu+ mu- candidates, after Belle II's skim ``InclusiveJpsi``.

    Observable: ``mass``, of the pair nearest to the J/psi, GeV.

    Parameters
    ----------
    minimum_mass, maximum_mass : float
        GeV. Defaults 2.85 and 3.25 (electrons lose energy by bremsstrahlung).
    maximum_d0, maximum_z0 : float
        Of both tracks, cm. Defaults 0.5 and 2.
    """

    minimum_mass: float = Field(default=2.85, ge=0)
    maximum_mass: float = Field(default=3.25, gt=0)
    maximum_d0: float = Field(default=0.5, gt=0)
    maximum_z0: float = Field(default=2.0, gt=0)

    def select(self, events: EventView) -> SkimResult:
        """Choose events with a pair of leptons."""
        tracks = events.reconstruction.tracks
        near = (np.abs(tracks.d0) < self.maximum_d0) & (np.abs(tracks.z0) < self.maximum_z0)
        masses, owners = [], []
        for species in (ELECTRON, MUON):
            vectors = tracks.vectors(species)
            chosen = near & (tracks.species == species)
            plus = np.flatnonzero(chosen & (tracks.charge > 0))
            minus = np.flatnonzero(chosen & (tracks.charge < 0))
            i, j = pairs_by_event(tracks.event[plus], tracks.event[minus], len(events))
            masses.append(invariant_mass(vectors[plus[i]] + vectors[minus[j]]))
            owners.append(tracks.event[plus[i]])
        mass, event = np.concatenate(masses), np.concatenate(owners)
        inside = (mass > self.minimum_mass) & (mass < self.maximum_mass)
        best = nearest(mass[inside], _JPSI_MASS, event[inside], len(events))
        return SkimResult(np.isfinite(best), {"mass": best})
