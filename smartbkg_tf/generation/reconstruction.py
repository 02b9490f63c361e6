"""What a detector hands to an analysis: tracks and clusters of many events.

Both are flat columns sorted by event, with offsets. Units: GeV, cm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from smartbkg_tf.generation.arrays import Floats, Integers
from smartbkg_tf.settings.detector import SPECIES as SPECIES

#: Positions in `SPECIES`.
ELECTRON, MUON, PION, KAON, PROTON = range(5)

#: Their masses, GeV (PDG 2024).
SPECIES_MASS = np.array([0.00051099895, 0.1056583755, 0.13957039, 0.493677, 0.93827208816])


@dataclass(frozen=True)
class Tracks:
    """Reconstructed charged particles.

    Parameters
    ----------
    event : numpy.ndarray [n]
        int64, ascending.
    momentum : numpy.ndarray [n, 3]
        Laboratory, GeV.
    charge : numpy.ndarray [n]
        +1 or -1.
    species : numpy.ndarray [n]
        Position of the named species in `SPECIES`.
    d0, z0 : numpy.ndarray [n]
        Impact parameters with respect to the nominal interaction point, cm.
    cluster_energy : numpy.ndarray [n]
        Energy of the matched cluster, GeV; 0 without one.
    particle : numpy.ndarray [n]
        Row of the generated particle, -1 for beam background. For studies of the
        detector only: a skim must not use it.
    """

    event: Integers
    momentum: Floats
    charge: Integers
    species: Integers
    d0: Floats
    z0: Floats
    cluster_energy: Floats
    particle: Integers

    def __len__(self) -> int:
        """Count tracks."""
        return len(self.event)

    def vectors(self, species: int) -> Floats:
        """Four-momenta (px, py, pz, E) [n, 4], GeV, with the mass of ``SPECIES[species]``."""
        energy = np.sqrt(np.sum(self.momentum**2, axis=1) + SPECIES_MASS[species] ** 2)
        return np.column_stack([self.momentum, energy])


@dataclass(frozen=True)
class Clusters:
    """Clusters without a track.

    Parameters
    ----------
    event : numpy.ndarray [n]
        int64, ascending.
    energy : numpy.ndarray [n]
        GeV.
    direction : numpy.ndarray [n, 3]
        Unit vector from the nominal interaction point.
    particle : numpy.ndarray [n]
        Row of the generated particle, -1 for beam background (see `Tracks`).
    """

    event: Integers
    energy: Floats
    direction: Floats
    particle: Integers

    def __len__(self) -> int:
        """Count clusters."""
        return len(self.event)

    def vectors(self) -> Floats:
        """Four-momenta (px, py, pz, E) [n, 4] as photons, GeV."""
        return np.column_stack([self.energy[:, None] * self.direction, self.energy])


@dataclass(frozen=True)
class Reconstruction:
    """Tracks and clusters of a number of events, with or without any."""

    n_events: int
    tracks: Tracks
    clusters: Clusters


def offsets_of(event: Integers, n_events: int) -> Integers:
    """Turn ascending event numbers [n] into offsets [n_events + 1]."""
    offsets = np.zeros(n_events + 1, dtype=np.int64)
    np.cumsum(np.bincount(event, minlength=n_events), out=offsets[1:])
    return offsets
