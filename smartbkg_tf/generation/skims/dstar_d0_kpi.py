"""Flavour-tagged charm: D*+ -> D0 pi+, D0 -> K- pi+."""

from __future__ import annotations

import numpy as np

from smartbkg_tf.generation.observables import EventView
from smartbkg_tf.generation.reconstruction import KAON, PION
from smartbkg_tf.generation.skims.base import Skim, SkimResult
from smartbkg_tf.generation.skims.modes import MASSES
from smartbkg_tf.generation.skims.pairs import invariant_mass, nearest, pairs_by_event
from smartbkg_tf.settings.base import Field, settings


@settings
class DstarToD0Pi(Skim):
    """D*+ -> D0 (-> K- pi+) pi+ and its conjugate, after Belle II's skim of that name.

    Observables: ``massD0`` of the D0 and ``massDifference`` of the candidate whose mass difference
    is nearest to the D*'s, GeV.

    Parameters
    ----------
    half_window : float
        Largest distance of the D0's mass from its nominal value, GeV. Default 0.04.
    maximum_difference : float
        Largest mass difference of D* and D0, GeV. Default 0.16.
    minimum_momentum : float
        Of the D* in the CMS, GeV. Default 2.2; D* from B decays have less than 2.5.
    maximum_d0, maximum_z0 : float
        Of the tracks, cm. Defaults 1 and 3.
    """

    half_window: float = Field(default=0.04, gt=0)
    maximum_difference: float = Field(default=0.16, gt=0.14)
    minimum_momentum: float = Field(default=2.2, ge=0)
    maximum_d0: float = Field(default=1.0, gt=0)
    maximum_z0: float = Field(default=3.0, gt=0)

    def select(self, events: EventView) -> SkimResult:
        """Choose events with a D*."""
        tracks = events.reconstruction.tracks
        near = (np.abs(tracks.d0) < self.maximum_d0) & (np.abs(tracks.z0) < self.maximum_z0)
        as_pion, as_kaon = tracks.vectors(PION), tracks.vectors(KAON)
        pions = np.flatnonzero(near & (tracks.species == PION))
        kaons = np.flatnonzero(near & (tracks.species == KAON))
        i, j = pairs_by_event(tracks.event[kaons], tracks.event[pions], len(events))
        kaon, pion = kaons[i], pions[j]
        d0 = as_kaon[kaon] + as_pion[pion]
        mass = invariant_mass(d0)
        good = (tracks.charge[kaon] != tracks.charge[pion]) & (
            np.abs(mass - MASSES["D0"]) < self.half_window
        )
        kaon, pion, d0, mass = kaon[good], pion[good], d0[good], mass[good]

        i, j = pairs_by_event(tracks.event[kaon], tracks.event[pions], len(events))
        slow = pions[j]
        d_star = d0[i] + as_pion[slow]
        difference = invariant_mass(d_star) - mass[i]
        momentum = np.linalg.norm(events.collision.to_centre_of_mass(d_star)[:, :3], axis=1)
        good = (
            (slow != pion[i])
            & (tracks.charge[slow] == tracks.charge[pion[i]])
            & (difference < self.maximum_difference)
            & (momentum > self.minimum_momentum)
        )
        i, difference = i[good], difference[good]
        event = tracks.event[kaon[i]]
        target = MASSES["D*+"] - MASSES["D0"]
        best = nearest(difference, target, event, len(events))
        mass_d0 = np.full(len(events), np.nan)
        chosen = difference == best[event]
        mass_d0[event[chosen]] = mass[i[chosen]]
        return SkimResult(
            np.isfinite(best),
            {"massD0": mass_d0, "massDifference": best},
        )
