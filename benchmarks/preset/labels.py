"""What the backbone of the preset learns: generic questions about what the detector found.

No cut of an analysis is in them, and every event answers each: how many tracks, kaons and photons
were found, how much energy is missing, is there a pair near a resonance. A network that knows the
answers knows which particles a detector finds, which every skim needs.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from smartbkg_tf.generation.arrays import Floats, Integers
from smartbkg_tf.generation.observables import Cleaning, EventView
from smartbkg_tf.generation.reconstruction import PION, SPECIES
from smartbkg_tf.generation.skims.base import Skim, SkimResult
from smartbkg_tf.generation.skims.modes import MASSES
from smartbkg_tf.generation.skims.pairs import invariant_mass, pairs_by_event
from smartbkg_tf.settings.base import Field, settings

_SKIMS = "smartbkg_tf.generation.skims"

Kind = Literal["track", "electron", "muon", "pion", "kaon", "proton", "photon", "displaced"]

#: Displaced pions miss the beams by at least so much, cm.
_FAR = 0.1


@settings
class Observable(Skim):
    """An event-level observable is above a threshold.

    Parameters
    ----------
    name : str
        Name of the observable (`smartbkg_tf.generation.observables.Summary.observables`).
    above : float
        In its unit (GeV, GeV^2).
    """

    name: str = Field(min_length=1)
    above: float

    def select(self, events: EventView) -> SkimResult:
        """Choose events above the threshold."""
        values = events.summary(Cleaning()).observables()[self.name]
        return SkimResult(np.nan_to_num(values, nan=-np.inf) > self.above)


@settings
class Objects(Skim):
    """There are so many tracks or clusters of a kind.

    Parameters
    ----------
    kind : str
        "track", "electron", "muon", "pion", "kaon", "proton", "photon" or "displaced" (pions that
        miss the beams by a millimetre).
    minimum : int
        At least so many.
    momentum : float
        Of this momentum in the CMS or more, GeV. Default 0.
    """

    kind: Kind
    minimum: int = Field(default=1, ge=1)
    momentum: float = Field(default=0.0, ge=0)

    def select(self, events: EventView) -> SkimResult:
        """Choose events with enough of them."""
        event, vectors, _ = objects(events, self.kind)
        size = np.linalg.norm(vectors[:, :3], axis=1)
        n = np.bincount(event[size >= self.momentum], minlength=len(events))
        return SkimResult(n >= self.minimum)


@settings
class Pairs(Skim):
    """There are so many pairs in a window of mass.

    Parameters
    ----------
    first, second : str
        Kinds, as of `Objects`.
    mass, half_window : float
        GeV.
    charge : int
        Sum of the charges; both signs count. Default 0.
    momentum : float
        Smallest momentum of the pair in the CMS, GeV. Default 0.
    minimum : int
        At least so many pairs. Default 1.
    """

    first: Kind
    second: Kind
    mass: float = Field(gt=0)
    half_window: float = Field(gt=0)
    charge: int = Field(default=0, ge=0, le=2)
    momentum: float = Field(default=0.0, ge=0)
    minimum: int = Field(default=1, ge=1)

    def select(self, events: EventView) -> SkimResult:
        """Choose events with enough of them."""
        event_a, a, charge_a = objects(events, self.first)
        event_b, b, charge_b = objects(events, self.second)
        i, j = pairs_by_event(event_a, event_b, len(events))
        good = np.abs(charge_a[i] + charge_b[j]) == self.charge
        if self.first == self.second:
            good &= i < j
        i, j = i[good], j[good]
        pair = a[i] + b[j]
        good = np.abs(invariant_mass(pair) - self.mass) < self.half_window
        good &= np.linalg.norm(pair[:, :3], axis=1) >= self.momentum
        n = np.bincount(event_a[i[good]], minlength=len(events))
        return SkimResult(n >= self.minimum)


def objects(events: EventView, kind: Kind) -> tuple[Integers, Floats, Integers]:
    """Give event, four-momentum in the CMS [n, 4] (GeV) and charge of objects of a kind."""
    summary = events.summary(Cleaning())
    if kind == "photon":
        clusters = events.reconstruction.clusters
        rows = np.flatnonzero(summary.good_clusters)
        inside = events.collision.to_centre_of_mass(clusters.vectors()[rows])
        return clusters.event[rows], inside, np.zeros(len(rows), dtype=np.int64)
    tracks = events.reconstruction.tracks
    if kind == "displaced":
        chosen, species = (tracks.species == PION) & (np.abs(tracks.d0) > _FAR), PION
    elif kind == "track":
        chosen, species = summary.good_tracks, PION
    else:
        species = SPECIES.index(kind)
        chosen = summary.good_tracks & (tracks.species == species)
    rows = np.flatnonzero(chosen)
    inside = events.collision.to_centre_of_mass(tracks.vectors(species)[rows])
    return tracks.event[rows], inside, tracks.charge[rows]


def _thresholds(name: str, *values: float) -> dict[str, dict[str, Any]]:
    return {
        f"{name}_{i}": {"_target_": f"{__name__}.Observable", "name": name, "above": value}
        for i, value in enumerate(values)
    }


def _objects(kind: Kind, *choices: tuple[int, float]) -> dict[str, dict[str, Any]]:
    return {
        f"{kind}_{n}_above_{round(1000 * p)}": {
            **{"_target_": f"{__name__}.Objects", "kind": kind, "minimum": n, "momentum": p}
        }
        for n, p in choices
    }


def _pairs(
    name: str, first: Kind, second: Kind, mass: float, half_window: float, **more: float
) -> dict[str, dict[str, Any]]:
    settings = {"first": first, "second": second, "mass": mass, "half_window": half_window}
    return {f"pair_{name}": {"_target_": f"{__name__}.Pairs", **settings, **more}}


#: The questions: class and settings by name.
LABELS: dict[str, dict[str, Any]] = {
    **_thresholds("nTracks", 2.5, 4.5, 6.5, 7.5, 8.5, 9.5, 11.5),
    **_thresholds("nClusters", 3.5, 6.5, 9.5, 13.5),
    **_thresholds("visibleEnergyCMS", 5.0, 6.0, 7.0, 8.0, 9.0),
    **_thresholds("clusterEnergy", 2.5, 3.5, 4.5, 5.5),
    **_thresholds("photonEnergy", 1.0, 2.0, 3.5),
    **_thresholds("missingMass2", 1.5, 4.0, 8.0, 14.0, 25.0),
    **_thresholds("missingMomentumCMS", 0.5, 0.8, 1.2, 2.0),
    **_thresholds("R2", 0.1, 0.2, 0.3, 0.4),
    **_thresholds("thrust", 0.75, 0.85, 0.92),
    **_objects("electron", (1, 0.3), (1, 0.8), (1, 1.4)),
    **_objects("muon", (1, 0.6), (1, 1.0), (1, 1.5)),
    **_objects("kaon", (1, 0.0), (2, 0.0), (3, 0.0), (1, 1.0), (1, 2.0)),
    **_objects("proton", (1, 0.0), (1, 1.0)),
    **_objects("track", (1, 1.2), (1, 1.7), (1, 2.2)),
    **_objects("photon", (1, 0.8), (1, 1.2), (1, 1.6), (3, 0.5)),
    **_objects("displaced", (1, 0.0), (2, 0.0)),
    **_pairs("d0", "kaon", "pion", MASSES["D0"], 0.02),
    **_pairs("fast_d0", "kaon", "pion", MASSES["D0"], 0.02, momentum=1.5),
    **_pairs("k_star", "kaon", "pion", 0.8955, 0.05),
    **_pairs("short_kaon", "displaced", "displaced", MASSES["K_S0"], 0.01),
    **_pairs("fast_short_kaon", "displaced", "displaced", MASSES["K_S0"], 0.01, momentum=1.0),
    **_pairs("pi0", "photon", "photon", MASSES["pi0"], 0.012),
    **_pairs("three_pi0", "photon", "photon", MASSES["pi0"], 0.012, minimum=3),
    **_pairs("fast_pi0", "photon", "photon", MASSES["pi0"], 0.015, momentum=1.0),
    **_pairs("fast_eta", "photon", "photon", 0.5479, 0.025, momentum=0.7),
    **_pairs("phi", "kaon", "kaon", 1.0195, 0.01),
    **_pairs("fast_rho", "pion", "pion", 0.775, 0.1, momentum=1.0),
    # The package's tags, looser and tighter: how nearly can a B be reconstructed?
    "loose_hadronic_b0": {
        **{"_target_": f"{_SKIMS}.fei_hadronic.FeiHadronic", "tag": "B0"},
        **{"minimum_probability": 3e-7, "minimum_tracks": 3, "maximum_r2": 0.6},
    },
    "tight_hadronic_b0": {
        **{"_target_": f"{_SKIMS}.fei_hadronic.FeiHadronic", "tag": "B0"},
        "minimum_probability": 1e-3,
    },
    "loose_semileptonic": {
        "_target_": f"{_SKIMS}.fei_semileptonic.FeiSemileptonic",
        **{"minimum_probability": 4e-4, "minimum_tracks": 3, "maximum_r2": 0.6},
    },
}
