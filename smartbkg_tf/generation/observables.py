"""Event-level quantities of the reconstructed event: cuts of skims and bias observables.

Sums over an event are made for all events at once. "CMS" is the centre-of-mass system of
the nominal beams; tracks enter with the pion mass.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from smartbkg_tf.generation.arrays import Floats, Integers
from smartbkg_tf.generation.beams import Collision, mass_squared
from smartbkg_tf.generation.reconstruction import PION, Reconstruction, offsets_of


@dataclass(frozen=True)
class Cleaning:
    """Which tracks and clusters count.

    The defaults are those of the Belle II FEI skims: away from beam background.

    Parameters
    ----------
    minimum_track_pt : float
        GeV.
    maximum_d0, maximum_z0 : float
        Largest absolute impact parameters, cm.
    minimum_cluster_energy : float
        GeV.
    """

    minimum_track_pt: float = 0.1
    maximum_d0: float = 0.5
    maximum_z0: float = 2.0
    minimum_cluster_energy: float = 0.1


def fox_wolfram_r2(momenta: Floats, event: Integers, n_events: int) -> Floats:
    """Ratio R2 = H2 / H0 of Fox-Wolfram moments (PRL 41 (1978) 1581), [n_events].

    Of momenta [n, 3] in the CMS; 0 (isotropic) to 1 (two lines), NaN for events without momentum.
    H_l = sum_ij |p_i| |p_j| P_l(cos theta_ij). With T = sum_i p_i p_i^T / |p_i| the double sum
    becomes H2 = (3 |T|^2 - H0) / 2, H0 = (sum |p|)^2: linear in the number of particles.
    """
    size = np.linalg.norm(momenta, axis=1)
    total = np.bincount(event, size, minlength=n_events)
    inverse = np.divide(1.0, size, out=np.zeros_like(size), where=size > 0)
    square = np.zeros(n_events)
    for a in range(3):
        for b in range(a, 3):
            element = np.bincount(
                event, momenta[:, a] * momenta[:, b] * inverse, minlength=n_events
            )
            square += (1.0 if a == b else 2.0) * element**2
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(total > 0, 1.5 * square / total**2 - 0.5, np.nan)


def sphericity_aplanarity(momenta: Floats, event: Integers, n_events: int) -> tuple[Floats, Floats]:
    """Sphericity 3/2 (l2 + l3) and aplanarity 3/2 l3 (Bjorken and Brodsky, PR D1 (1970) 1416).

    l1 >= l2 >= l3 are the eigenvalues of sum p p^T / sum |p|^2, of momenta [n, 3] in the CMS. Both
    [n_events], NaN for events without momentum.
    """
    tensor = np.zeros((n_events, 3, 3))
    for a in range(3):
        for b in range(3):
            tensor[:, a, b] = np.bincount(event, momenta[:, a] * momenta[:, b], minlength=n_events)
    trace = np.trace(tensor, axis1=1, axis2=2)
    values = np.linalg.eigvalsh(tensor) / np.where(trace > 0, trace, np.nan)[:, None]
    return 1.5 * (values[:, 0] + values[:, 1]), 1.5 * values[:, 0]


class EventView:
    """Reconstructed events, and what several skims want to know about them."""

    def __init__(self, reconstruction: Reconstruction, collision: Collision) -> None:
        self.reconstruction = reconstruction
        self.collision = collision
        self._summaries: dict[Cleaning, Summary] = {}

    def __len__(self) -> int:
        """Count events."""
        return self.reconstruction.n_events

    def summary(self, cleaning: Cleaning) -> Summary:
        """Sum up events, once for each choice of tracks and clusters."""
        if cleaning not in self._summaries:
            self._summaries[cleaning] = Summary(self, cleaning)
        return self._summaries[cleaning]


class Summary:
    """Event-level quantities [n_events] of cleaned tracks and clusters."""

    def __init__(self, view: EventView, cleaning: Cleaning) -> None:
        tracks, clusters = view.reconstruction.tracks, view.reconstruction.clusters
        self._n = len(view)
        pt = np.hypot(tracks.momentum[:, 0], tracks.momentum[:, 1])
        #: Which tracks count [n_tracks].
        self.good_tracks = (
            (pt > cleaning.minimum_track_pt)
            & (np.abs(tracks.d0) < cleaning.maximum_d0)
            & (np.abs(tracks.z0) < cleaning.maximum_z0)
        )
        #: Which clusters count [n_clusters].
        self.good_clusters = clusters.energy > cleaning.minimum_cluster_energy
        collision = view.collision
        track_event = tracks.event[self.good_tracks]
        cluster_event = clusters.event[self.good_clusters]
        track_vectors = tracks.vectors(PION)[self.good_tracks]
        cluster_vectors = clusters.vectors()[self.good_clusters]
        event = np.concatenate([track_event, cluster_event])
        order = np.argsort(event, kind="stable")
        self._event = event[order]
        laboratory = np.concatenate([track_vectors, cluster_vectors])[order]
        self._inside = collision.to_centre_of_mass(laboratory)
        self.n_tracks = np.bincount(track_event, minlength=self._n)
        #: Sum of the charges of the tracks that count.
        self.net_charge = self._sum(tracks.charge[self.good_tracks], track_event)
        self.n_clusters = np.bincount(cluster_event, minlength=self._n)
        #: Energy of clusters without track, GeV.
        self.photon_energy = self._sum(clusters.energy[self.good_clusters], cluster_event)
        #: Energy of all clusters, those matched to tracks included, GeV.
        self.cluster_energy = self.photon_energy + self._sum(
            tracks.cluster_energy[self.good_tracks], track_event
        )
        #: Energy of tracks and clusters in the CMS, GeV.
        self.visible_energy = self._sum(self._inside[:, 3])
        visible = np.stack([self._sum(laboratory[:, i]) for i in range(4)], axis=-1)
        missing = collision.total - visible
        self.missing_mass_squared = mass_squared(missing)
        missing_inside = collision.to_centre_of_mass(missing)
        self.missing_energy = missing_inside[:, 3]
        self.missing_momentum = np.linalg.norm(missing_inside[:, :3], axis=1)

    def _sum(self, values: npt.NDArray[np.number], event: Integers | None = None) -> Floats:
        return np.bincount(
            self._event if event is None else event, values, minlength=self._n
        ).astype(np.float64)

    @cached_property
    def r2(self) -> Floats:
        """Fox-Wolfram R2 in the CMS."""
        return fox_wolfram_r2(self._inside[:, :3], self._event, self._n)

    @cached_property
    def thrust(self) -> Floats:
        """Thrust in the CMS."""
        from smartbkg_tf.generation.thrust import thrust

        result: Floats = thrust(
            np.ascontiguousarray(self._inside[:, :3]), offsets_of(self._event, self._n)
        )
        return result

    @cached_property
    def _sphericity(self) -> tuple[Floats, Floats]:
        return sphericity_aplanarity(self._inside[:, :3], self._event, self._n)

    def observables(self) -> dict[str, Floats]:
        """All bias observables by name [n_events], in GeV and GeV^2."""
        sphericity, aplanarity = self._sphericity
        return {
            "nTracks": self.n_tracks.astype(np.float64),
            "nClusters": self.n_clusters.astype(np.float64),
            "visibleEnergyCMS": self.visible_energy,
            "clusterEnergy": self.cluster_energy,
            "photonEnergy": self.photon_energy,
            "R2": self.r2,
            "thrust": self.thrust,
            "sphericity": sphericity,
            "aplanarity": aplanarity,
            "missingMass2": self.missing_mass_squared,
            "missingEnergyCMS": self.missing_energy,
            "missingMomentumCMS": self.missing_momentum,
        }
