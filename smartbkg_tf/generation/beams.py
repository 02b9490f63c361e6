"""The two beams: four-momenta, boosts between laboratory and centre-of-mass system.

Four-vectors are arrays [..., 4] in the order (px, py, pz, E), GeV.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from smartbkg_tf.generation.arrays import Floats
from smartbkg_tf.settings.sources import BeamSettings

#: Electron mass, GeV (PDG 2024).
ELECTRON_MASS = 0.00051099895


def mass_squared(vectors: Floats) -> Floats:
    """Invariant mass squared [...], GeV^2; negative for space-like vectors [..., 4]."""
    result: Floats = vectors[..., 3] ** 2 - np.sum(vectors[..., :3] ** 2, axis=-1)
    return result


def boost(vectors: Floats, velocity: Floats) -> Floats:
    """Boost vectors [..., 4] from a system that moves with a velocity into the resting one.

    Vectors are (px, py, pz, E) or (x, y, z, ct), the velocity [..., 3] is in units of c; the
    opposite velocity undoes it.
    """
    square = np.sum(velocity**2, axis=-1)
    gamma = 1.0 / np.sqrt(1.0 - square)
    # (gamma - 1) / beta^2 = gamma^2 / (gamma + 1) stays exact for beta -> 0.
    along = np.sum(vectors[..., :3] * velocity, axis=-1)
    factor = gamma**2 / (gamma + 1.0) * along + gamma * vectors[..., 3]
    space = vectors[..., :3] + factor[..., None] * velocity
    time = gamma * (vectors[..., 3] + along)
    return np.concatenate([space, time[..., None]], axis=-1)


def rotation_to(axis: Floats) -> Floats:
    """Matrix [..., 3, 3] that turns the z axis into a unit vector [..., 3], about z x axis."""
    x, y, z = axis[..., 0], axis[..., 1], axis[..., 2]
    # Rodrigues' formula; 1 / (1 + z) is safe because the beams never point backwards.
    k = 1.0 / (1.0 + z)
    rows = [
        np.stack([1.0 - k * x * x, -k * x * y, x], axis=-1),
        np.stack([-k * x * y, 1.0 - k * y * y, y], axis=-1),
        np.stack([-x, -y, z], axis=-1),
    ]
    return np.stack(rows, axis=-2)


@dataclass(frozen=True)
class Collision:
    """One or many collisions."""

    total: Floats  # [..., 4] sum of the two beams in the laboratory, GeV
    axis: Floats  # [..., 3] direction of the electrons in the centre-of-mass system

    @property
    def mass(self) -> Floats:
        """Centre-of-mass energy [...], GeV."""
        return np.sqrt(mass_squared(self.total))

    @property
    def velocity(self) -> Floats:
        """Velocity [..., 3] of the centre-of-mass system in the laboratory, units of c."""
        result: Floats = self.total[..., :3] / self.total[..., 3:]
        return result

    def to_laboratory(self, vectors: Floats) -> Floats:
        """Boost four-vectors [..., 4] from the centre-of-mass system."""
        return boost(vectors, self.velocity)

    def to_centre_of_mass(self, vectors: Floats) -> Floats:
        """Boost four-vectors [..., 4] into the centre-of-mass system."""
        return boost(vectors, -self.velocity)


def collide(energy_her: Floats, energy_ler: Floats, half_crossing_angle: float) -> Collision:
    """Let electrons and positrons of given energies [...] meet; GeV, rad."""
    her = np.asarray(energy_her, dtype=np.float64)
    ler = np.asarray(energy_ler, dtype=np.float64)
    p_her = np.sqrt(her**2 - ELECTRON_MASS**2)
    p_ler = np.sqrt(ler**2 - ELECTRON_MASS**2)
    sine, cosine = np.sin(half_crossing_angle), np.cos(half_crossing_angle)
    zero = np.zeros_like(her)
    electron = np.stack([p_her * sine, zero, p_her * cosine, her], axis=-1)
    positron = np.stack([p_ler * sine, zero, -p_ler * cosine, ler], axis=-1)
    total = electron + positron
    inside = boost(electron, -total[..., :3] / total[..., 3:])[..., :3]
    axis = inside / np.linalg.norm(inside, axis=-1, keepdims=True)
    return Collision(total=total, axis=axis)


def nominal_collision(beams: BeamSettings) -> Collision:
    """Collide beams of nominal energies: total [4], axis [3]."""
    return collide(
        np.asarray(beams.energy_her), np.asarray(beams.energy_ler), beams.half_crossing_angle
    )


def random_collisions(
    beams: BeamSettings, n: int, threshold: float, random: np.random.Generator
) -> Collision:
    """Draw n collisions with the beams' energy spread.

    Those with a centre-of-mass energy below `threshold` (two B masses, GeV) make no B pair and are
    drawn again.
    """
    nominal = float(nominal_collision(beams).mass)
    if nominal <= threshold:
        raise ValueError(f"{nominal:.5f} GeV is below the threshold of {threshold:.5f} GeV")
    her = np.full(n, beams.energy_her)
    ler = np.full(n, beams.energy_ler)
    redo = np.arange(n)
    while len(redo):
        her[redo] = beams.energy_her + beams.spread_her * random.standard_normal(len(redo))
        ler[redo] = beams.energy_ler + beams.spread_ler * random.standard_normal(len(redo))
        mass = collide(her[redo], ler[redo], beams.half_crossing_angle).mass
        redo = redo[mass <= threshold]
    return collide(her, ler, beams.half_crossing_angle)


def random_vertices(beams: BeamSettings, n: int, random: np.random.Generator) -> Floats:
    """Draw interaction points [n, 3], cm."""
    return np.asarray(beams.vertex) + np.asarray(beams.vertex_spread) * random.standard_normal(
        (n, 3)
    )
