"""The hadronic tag: one B fully reconstructed from hadrons.

After the Belle II skims ``feiHadronicB0`` and ``feiHadronicBplus``: event cuts on cleaned tracks
and clusters, then a B candidate with Mbc > 5.24 GeV, |deltaE| < 0.2 GeV and a signal probability
above a threshold. The probability of the Full Event Interpretation's classifiers is stood
for by the product of the modes' purities and of Gaussian factors for masses and deltaE (see
`smartbkg_tf.generation.skims.modes`).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from smartbkg_tf.generation.observables import Cleaning, EventView, Summary
from smartbkg_tf.generation.reconstruction import Floats, Integers, offsets_of
from smartbkg_tf.generation.skims.base import Skim, SkimResult
from smartbkg_tf.generation.skims.modes import (
    B_MODES,
    BASE,
    D_MODES,
    D_STAR_MODES,
    LIGHT_MODES,
    compile_modes,
)
from smartbkg_tf.settings.base import Field, settings

_PION, _KAON = 2, 3


class FeiHadronic(Skim):
    """Events with a hadronic B tag.

    Observables: ``Mbc_<name>`` and ``deltaE_<name>`` (GeV) and ``sigProb_<name>`` of the best
    candidate.

    Parameters
    ----------
    name : str
        Name of the label.
    settings : FeiHadronic.Settings
        The cuts.
    """

    @settings
    class Settings:
        """Cuts of the hadronic tag.

        Parameters
        ----------
        tag : {"B0", "B+"}
            The B that is reconstructed (with its antiparticle).
        minimum_tracks, minimum_clusters : int
            Cleaned tracks and clusters, defaults 4 and 3.
        minimum_visible_energy : float
            Of the event in the CMS, GeV, default 4.
        minimum_ecl_energy, maximum_ecl_energy : float
            Energy in the calorimeter, matched clusters included, GeV, defaults 2 and 7.
        maximum_r2 : float
            Largest Fox-Wolfram R2, default 0.4.
        minimum_track_pt, maximum_d0, maximum_z0, minimum_cluster_energy : float
            What counts as cleaned, GeV and cm, defaults 0.1, 0.5, 2, 0.1.
        minimum_mbc : float
            Beam-constrained mass, GeV, default 5.24.
        maximum_delta_e : float
            Largest |deltaE|, GeV, default 0.2.
        minimum_probability : float
            Smallest probability of the candidate (product of purities, see `modes`), default 3e-5.
        minimum_photon_energy : float
            Of the photons of a pi0 or D*0, GeV, default 0.05.
        displacement : float
            Pions of K_S candidates miss the beams by at least so much (|d0|), cm, default 0.02.
        capacity : int
            So many candidates of each particle are kept, default 40.
        """

        tag: Literal["B0", "B+"] = "B0"
        minimum_tracks: int = Field(default=4, ge=0)
        minimum_clusters: int = Field(default=3, ge=0)
        minimum_visible_energy: float = Field(default=4.0, ge=0)
        minimum_ecl_energy: float = Field(default=2.0, ge=0)
        maximum_ecl_energy: float = Field(default=7.0, ge=0)
        maximum_r2: float = Field(default=0.4, ge=0, le=1)
        minimum_track_pt: float = Field(default=0.1, ge=0)
        maximum_d0: float = Field(default=0.5, gt=0)
        maximum_z0: float = Field(default=2.0, gt=0)
        minimum_cluster_energy: float = Field(default=0.1, ge=0)
        minimum_mbc: float = Field(default=5.24, ge=0)
        maximum_delta_e: float = Field(default=0.2, gt=0)
        minimum_probability: float = Field(default=3e-5, gt=0, le=1)
        minimum_photon_energy: float = Field(default=0.05, ge=0)
        displacement: float = Field(default=0.02, ge=0)
        capacity: int = Field(default=40, ge=32, le=1000)

    def select(self, events: EventView) -> SkimResult:
        """Choose events.

        Parameters
        ----------
        events : EventView
            Tracks and clusters.

        Returns
        -------
        SkimResult
            Which pass, and the best candidate's observables.
        """
        from smartbkg_tf.generation.skims.combiner import MOST_DAUGHTERS, combine

        cuts = self.settings
        summary = events.summary(
            Cleaning(
                minimum_track_pt=cuts.minimum_track_pt,
                maximum_d0=cuts.maximum_d0,
                maximum_z0=cuts.maximum_z0,
                minimum_cluster_energy=cuts.minimum_cluster_energy,
            )
        )
        selected = self.preselection(summary)
        reactions = compile_modes(
            LIGHT_MODES + D_MODES + D_STAR_MODES + B_MODES[cuts.tag], MOST_DAUGHTERS
        )
        vectors, species, bits, offsets = self._base(events)
        floor = np.full(len(reactions.prior), np.log(cuts.minimum_probability))
        weight, mbc, delta_e, _, _ = combine(
            vectors,
            species,
            bits,
            offsets,
            selected,
            reactions.mothers,
            reactions.daughters,
            reactions.n_daughters,
            reactions.kinds,
            reactions.low,
            reactions.high,
            reactions.centre,
            reactions.width,
            reactions.prior,
            floor,
            reactions.constrain,
            len(reactions.species),
            cuts.capacity,
            0.5 * float(events.collision.mass),
            cuts.minimum_mbc,
            cuts.maximum_delta_e,
        )
        found = np.isfinite(weight)
        return SkimResult(
            passes=selected & found,
            observables={
                f"Mbc_{self.name}": mbc,
                f"deltaE_{self.name}": delta_e,
                f"sigProb_{self.name}": np.where(found, np.exp(weight), np.nan),
            },
        )

    def preselection(self, summary: Summary) -> npt.NDArray[np.bool_]:
        """Apply the event cuts.

        Parameters
        ----------
        summary : Summary
            Event-level quantities.

        Returns
        -------
        numpy.ndarray [n_events]
            bool.
        """
        cuts = self.settings
        result: npt.NDArray[np.bool_] = (
            (summary.n_tracks >= cuts.minimum_tracks)
            & (summary.n_clusters >= cuts.minimum_clusters)
            & (summary.visible_energy > cuts.minimum_visible_energy)
            & (summary.cluster_energy > cuts.minimum_ecl_energy)
            & (summary.cluster_energy < cuts.maximum_ecl_energy)
            & (np.nan_to_num(summary.r2, nan=1.0) < cuts.maximum_r2)
        )
        return result

    def _base(self, events: EventView) -> tuple[Floats, Integers, Integers, Integers]:
        """Particles that the combiner begins with, sorted by event."""
        from smartbkg_tf.generation.skims.combiner import MOST_CLUSTERS, MOST_TRACKS

        cuts = self.settings
        tracks, clusters = events.reconstruction.tracks, events.reconstruction.clusters
        numbers = {name: i for i, name in enumerate(BASE)}
        positive = tracks.charge > 0
        near = (np.abs(tracks.d0) < cuts.maximum_d0) & (np.abs(tracks.z0) < cuts.maximum_z0)
        far = np.abs(tracks.d0) > cuts.displacement
        kaon = tracks.species == _KAON
        pion = tracks.species == _PION
        track_bit = _rank(tracks.event, np.linalg.norm(tracks.momentum, axis=1), len(events))
        visible = track_bit < MOST_TRACKS
        parts: list[tuple[Integers, Floats, Integers, Integers]] = []

        def add(chosen: npt.NDArray[np.bool_], names: tuple[str, str], mass: int) -> None:
            rows = np.flatnonzero(chosen & visible)
            kinds = np.where(positive[rows], numbers[names[0]], numbers[names[1]])
            parts.append((tracks.event[rows], tracks.vectors(mass)[rows], kinds, track_bit[rows]))

        add(pion & near, ("pi+", "pi-"), _PION)
        add(kaon & near, ("K+", "K-"), _KAON)
        add(pion & far, ("pi+far", "pi-far"), _PION)
        cluster_bit = _rank(clusters.event, clusters.energy, len(events))
        rows = np.flatnonzero(
            (clusters.energy > cuts.minimum_photon_energy) & (cluster_bit < MOST_CLUSTERS)
        )
        parts.append(
            (
                clusters.event[rows],
                clusters.vectors()[rows],
                np.full(len(rows), numbers["gamma"]),
                cluster_bit[rows] + MOST_TRACKS,
            )
        )
        columns = zip(*parts, strict=True)
        event, vectors, kinds, bits = (np.concatenate(column) for column in columns)
        order = np.argsort(event, kind="stable")
        inside = events.collision.to_centre_of_mass(vectors[order])
        return (
            np.ascontiguousarray(inside),
            kinds[order].astype(np.int64),
            bits[order].astype(np.int64),
            offsets_of(event[order], len(events)),
        )


def _rank(event: Integers, size: Floats, n_events: int) -> Integers:
    """Rank within the event, the largest first [n]."""
    order = np.lexsort((-size, event))
    starts = offsets_of(event, n_events)[:-1]
    rank = np.empty(len(event), dtype=np.int64)
    rank[order] = np.arange(len(event)) - starts[event[order]]
    return rank
