"""What the B tags share: event cuts, and the particles that they are built from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from smartbkg_tf.generation.arrays import Floats, Integers, Mask
from smartbkg_tf.generation.observables import Cleaning, EventView, Summary
from smartbkg_tf.generation.reconstruction import ELECTRON, KAON, MUON, PION, offsets_of
from smartbkg_tf.generation.skims.base import Skim
from smartbkg_tf.generation.skims.modes import BASE, Reactions
from smartbkg_tf.settings.base import Field, settings

if TYPE_CHECKING:
    from smartbkg_tf.generation.skims.combiner import Base, Best


@settings
class TagSkim(Skim):
    """Cuts that every B tag has, and what it is built from.

    Parameters
    ----------
    minimum_tracks, minimum_clusters : int
        Cleaned tracks and clusters. Defaults 4 and 3.
    minimum_visible_energy : float
        Of the event in the CMS, GeV. Default 4.
    minimum_ecl_energy, maximum_ecl_energy : float
        Energy in the calorimeter, matched clusters included, GeV. Defaults 2 and 7.
    maximum_r2 : float
        Largest Fox-Wolfram R2. Default 0.4.
    minimum_track_pt, maximum_d0, maximum_z0, minimum_cluster_energy : float
        What counts as cleaned, GeV and cm. Defaults 0.1, 0.5, 2, 0.1.
    minimum_photon_energy : float
        Of the photons of a pi0 or D*0, GeV. Default 0.05.
    displacement : float
        Pions of K_S candidates miss the beams by at least so much (|d0|), cm. Default 0.02.
    capacity : int
        So many candidates of each particle are kept. Default 40.
    """

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
    minimum_photon_energy: float = Field(default=0.05, ge=0)
    displacement: float = Field(default=0.02, ge=0)
    capacity: int = Field(default=40, ge=32, le=1000)

    def cleaned(self, events: EventView) -> Summary:
        """Sum up the cleaned tracks and clusters of events."""
        return events.summary(
            Cleaning(
                minimum_track_pt=self.minimum_track_pt,
                maximum_d0=self.maximum_d0,
                maximum_z0=self.maximum_z0,
                minimum_cluster_energy=self.minimum_cluster_energy,
            )
        )

    def preselection(self, summary: Summary) -> Mask:
        """Apply the event cuts of the Belle II FEI skims [n_events]."""
        result: Mask = (
            (summary.n_tracks >= self.minimum_tracks)
            & (summary.n_clusters >= self.minimum_clusters)
            & (summary.visible_energy > self.minimum_visible_energy)
            & (summary.cluster_energy > self.minimum_ecl_energy)
            & (summary.cluster_energy < self.maximum_ecl_energy)
            & (np.nan_to_num(summary.r2, nan=1.0) < self.maximum_r2)
        )
        return result

    def best(
        self,
        events: EventView,
        reactions: Reactions,
        minimum_probability: float,
        *,
        minimum_lepton_momentum: float | None = None,
        **limits: float,
    ) -> tuple[Best, Mask, Floats]:
        """Find the best candidates of the events that pass the event cuts.

        Also tells which events have one, and its probability [n_events], NaN for none. `limits` are
        further fields of `Cuts`.
        """
        from smartbkg_tf.generation.skims.combiner import Cuts, find_best

        beam_energy = 0.5 * float(events.collision.mass)
        cuts = Cuts(float(np.log(minimum_probability)), self.capacity, beam_energy, **limits)
        selected = self.preselection(self.cleaned(events))
        base = self.base_particles(events, minimum_lepton_momentum)
        best = find_best(base, reactions, cuts, selected)
        found = np.isfinite(best.weight)
        return best, found, np.where(found, np.exp(best.weight), np.nan)

    def base_particles(
        self, events: EventView, minimum_lepton_momentum: float | None = None
    ) -> Base:
        """Choose the particles that the combiner begins with, sorted by event.

        Species are positions in `BASE`; no hypothesis is marked. With
        `minimum_lepton_momentum` (CMS, GeV) electrons and muons are added.
        """
        from smartbkg_tf.generation.skims.combiner import MOST_CLUSTERS, MOST_TRACKS, Base

        tracks, clusters = events.reconstruction.tracks, events.reconstruction.clusters
        numbers = {name: i for i, name in enumerate(BASE)}
        positive = tracks.charge > 0
        near = (np.abs(tracks.d0) < self.maximum_d0) & (np.abs(tracks.z0) < self.maximum_z0)
        far = np.abs(tracks.d0) > self.displacement
        track_bit = ranks(tracks.event, np.linalg.norm(tracks.momentum, axis=1), len(events))
        visible = track_bit < MOST_TRACKS
        parts: list[tuple[Integers, Floats, Integers, Integers]] = []

        def add(chosen: Mask, names: tuple[str, str], species: int) -> None:
            rows = np.flatnonzero(chosen & visible & (tracks.species == species))
            kinds = np.where(positive[rows], numbers[names[0]], numbers[names[1]])
            inside = events.collision.to_centre_of_mass(tracks.vectors(species)[rows])
            parts.append((tracks.event[rows], inside, kinds, track_bit[rows]))

        add(near, ("pi+", "pi-"), PION)
        add(near, ("K+", "K-"), KAON)
        add(far, ("pi+far", "pi-far"), PION)
        if minimum_lepton_momentum is not None:
            for names, species in ((("e+", "e-"), ELECTRON), (("mu+", "mu-"), MUON)):
                inside = events.collision.to_centre_of_mass(tracks.vectors(species))
                add(
                    near & (np.linalg.norm(inside[:, :3], axis=1) > minimum_lepton_momentum),
                    names,
                    species,
                )
        cluster_bit = ranks(clusters.event, clusters.energy, len(events))
        rows = np.flatnonzero(
            (clusters.energy > self.minimum_photon_energy) & (cluster_bit < MOST_CLUSTERS)
        )
        parts.append(
            (
                clusters.event[rows],
                events.collision.to_centre_of_mass(clusters.vectors()[rows]),
                np.full(len(rows), numbers["gamma"]),
                cluster_bit[rows] + MOST_TRACKS,
            )
        )
        columns = zip(*parts, strict=True)
        event, vectors, kinds, bits = (np.concatenate(column) for column in columns)
        order = np.argsort(event, kind="stable")
        return Base(
            np.ascontiguousarray(vectors[order]),
            kinds[order].astype(np.int64),
            bits[order].astype(np.int64),
            offsets_of(event[order], len(events)),
            np.zeros(len(order), dtype=np.int64),
        )


def ranks(event: Integers, size: Floats, n_events: int) -> Integers:
    """Rank of objects [n] within their event, 0 for the largest `size`."""
    order = np.lexsort((-size, event))
    starts = offsets_of(event, n_events)[:-1]
    rank = np.empty(len(event), dtype=np.int64)
    rank[order] = np.arange(len(event)) - starts[event[order]]
    return rank
