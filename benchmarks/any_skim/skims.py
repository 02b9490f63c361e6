"""Two skims of other kinds than the package's own, for the benchmark of many skims."""

from __future__ import annotations

import numpy as np

from smartbkg_tf.generation.observables import Cleaning, EventView
from smartbkg_tf.generation.reconstruction import ELECTRON, KAON, MUON, PION
from smartbkg_tf.generation.skims.base import Skim, SkimResult
from smartbkg_tf.generation.skims.modes import MASSES
from smartbkg_tf.generation.skims.pairs import invariant_mass, nearest, pairs_by_event
from smartbkg_tf.settings.base import Field, settings


@settings
class ThreeTrackCharm(Skim):
    """D+ -> K- pi+ pi+ and its conjugate.

    Observable: ``massDplus`` of the candidate nearest to the D+, GeV.

    Parameters
    ----------
    half_window : float
        Largest distance of the mass from the D+'s, GeV. Default 0.02.
    minimum_momentum : float
        Of the D+ in the CMS, GeV. Default 1.0.
    maximum_d0, maximum_z0 : float
        Of the tracks, cm. Defaults 1 and 3.
    """

    half_window: float = Field(default=0.02, gt=0)
    minimum_momentum: float = Field(default=1.0, ge=0)
    maximum_d0: float = Field(default=1.0, gt=0)
    maximum_z0: float = Field(default=3.0, gt=0)

    def select(self, events: EventView) -> SkimResult:
        """Choose events with a D+."""
        tracks = events.reconstruction.tracks
        near = (np.abs(tracks.d0) < self.maximum_d0) & (np.abs(tracks.z0) < self.maximum_z0)
        as_pion, as_kaon = tracks.vectors(PION), tracks.vectors(KAON)
        kaons = np.flatnonzero(near & (tracks.species == KAON))
        pions = np.flatnonzero(near & (tracks.species == PION))
        i, j = pairs_by_event(tracks.event[kaons], tracks.event[pions], len(events))
        kaon, pion = kaons[i], pions[j]
        opposite = tracks.charge[kaon] != tracks.charge[pion]
        kaon, pion = kaon[opposite], pion[opposite]
        i, j = pairs_by_event(tracks.event[kaon], tracks.event[pions], len(events))
        second = pions[j]
        # Both pions of equal charge, each pair once.
        pair = (tracks.charge[second] == tracks.charge[pion[i]]) & (second > pion[i])
        i, second = i[pair], second[pair]
        four = as_kaon[kaon[i]] + as_pion[pion[i]] + as_pion[second]
        mass = invariant_mass(four)
        momentum = np.linalg.norm(events.collision.to_centre_of_mass(four)[:, :3], axis=1)
        good = (np.abs(mass - MASSES["D+"]) < self.half_window) & (momentum > self.minimum_momentum)
        best = nearest(mass[good], MASSES["D+"], tracks.event[kaon[i[good]]], len(events))
        return SkimResult(np.isfinite(best), {"massDplus": best})


@settings
class MissingEnergy(Skim):
    """A lepton and much missing energy.

    Parameters
    ----------
    minimum_energy : float
        Missing energy in the CMS, GeV. Default 4.0.
    minimum_lepton : float
        Momentum of an electron or muon in the CMS, GeV. Default 0.8.
    minimum_tracks, maximum_tracks : int
        Cleaned tracks. Defaults 3 and 8.
    """

    minimum_energy: float = Field(default=4.0, ge=0)
    minimum_lepton: float = Field(default=0.8, ge=0)
    minimum_tracks: int = Field(default=3, ge=0)
    maximum_tracks: int = Field(default=8, ge=0)

    def select(self, events: EventView) -> SkimResult:
        """Choose events with missing energy and a lepton."""
        summary = events.summary(Cleaning())
        tracks = events.reconstruction.tracks
        lepton = np.zeros(len(events))
        for species in (ELECTRON, MUON):
            chosen = summary.good_tracks & (tracks.species == species)
            inside = events.collision.to_centre_of_mass(tracks.vectors(species)[chosen])
            momentum = np.linalg.norm(inside[:, :3], axis=1)
            np.maximum.at(lepton, tracks.event[chosen], momentum)
        passes = (
            (summary.missing_energy > self.minimum_energy)
            & (lepton > self.minimum_lepton)
            & (summary.n_tracks >= self.minimum_tracks)
            & (summary.n_tracks <= self.maximum_tracks)
        )
        return SkimResult(passes)
