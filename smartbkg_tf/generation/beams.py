"""The two beams: four-momenta, boosts between laboratory and centre-of-mass system.

Four-vectors are arrays [..., 4] in the order (px, py, pz, E), GeV.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from smartbkg_tf.settings.generation import BeamSettings

Floats = npt.NDArray[np.float64]

#: Electron mass, GeV (PDG 2024).
ELECTRON_MASS = 0.00051099895


def mass_squared(vectors: Floats) -> Floats:
    """Invariant mass squared.

    Parameters
    ----------
    vectors : numpy.ndarray [..., 4]
        (px, py, pz, E), GeV.

    Returns
    -------
    numpy.ndarray [...]
        GeV^2; negative for space-like vectors.
    """
    result: Floats = vectors[..., 3] ** 2 - np.sum(vectors[..., :3] ** 2, axis=-1)
    return result


def boost(vectors: Floats, velocity: Floats) -> Floats:
    """Boost four-vectors from a system that moves with a velocity into the resting one.

    Parameters
    ----------
    vectors : numpy.ndarray [..., 4]
        In the moving system; (px, py, pz, E) or (x, y, z, ct).
    velocity : numpy.ndarray [..., 3]
        Of the moving system, in units of c; broadcast against `vectors`.

    Returns
    -------
    numpy.ndarray [..., 4]
        In the resting system. The opposite velocity undoes it.
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
    """Rotation that turns the z axis into a given direction.

    Parameters
    ----------
    axis : numpy.ndarray [..., 3]
        Unit vector.

    Returns
    -------
    numpy.ndarray [..., 3, 3]
        Matrix R with ``R @ (0, 0, 1) == axis``; turns about z x axis.
    """
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
    """Total four-momentum and beam direction of one or many collisions.

    Parameters
    ----------
    total : numpy.ndarray [..., 4]
        Sum of the two beams in the laboratory, GeV.
    axis : numpy.ndarray [..., 3]
        Direction of the electrons in the centre-of-mass system.
    """

    total: Floats
    axis: Floats

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
        """Boost from the centre-of-mass system.

        Parameters
        ----------
        vectors : numpy.ndarray [..., 4]
            Four-vectors there.

        Returns
        -------
        numpy.ndarray [..., 4]
            The same in the laboratory.
        """
        return boost(vectors, self.velocity)

    def to_centre_of_mass(self, vectors: Floats) -> Floats:
        """Boost into the centre-of-mass system.

        Parameters
        ----------
        vectors : numpy.ndarray [..., 4]
            Four-vectors in the laboratory.

        Returns
        -------
        numpy.ndarray [..., 4]
            The same in the centre-of-mass system.
        """
        return boost(vectors, -self.velocity)


def collide(energy_her: Floats, energy_ler: Floats, half_crossing_angle: float) -> Collision:
    """Let electrons and positrons of given energies meet.

    Parameters
    ----------
    energy_her, energy_ler : numpy.ndarray [...]
        Beam energies, GeV.
    half_crossing_angle : float
        rad.

    Returns
    -------
    Collision
        Of shape [...].
    """
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
    """Collide beams of nominal energies.

    Parameters
    ----------
    beams : BeamSettings
        The beams.

    Returns
    -------
    Collision
        total [4], axis [3].
    """
    return collide(
        np.asarray(beams.energy_her), np.asarray(beams.energy_ler), beams.half_crossing_angle
    )


def random_collisions(
    beams: BeamSettings, n: int, threshold: float, random: np.random.Generator
) -> Collision:
    """Draw collisions with the beams' energy spread, above a threshold.

    Parameters
    ----------
    beams : BeamSettings
        The beams.
    n : int
        How many.
    threshold : float
        Smallest centre-of-mass energy, GeV (two B masses); collisions below are drawn
        anew, as they make no B pair.
    random : numpy.random.Generator
        Source of random numbers.

    Returns
    -------
    Collision
        total [n, 4], axis [n, 3].

    Raises
    ------
    ValueError
        When the nominal energy is below the threshold.
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
    """Draw interaction points.

    Parameters
    ----------
    beams : BeamSettings
        The beams.
    n : int
        How many.
    random : numpy.random.Generator
        Source of random numbers.

    Returns
    -------
    numpy.ndarray [n, 3]
        cm.
    """
    return np.asarray(beams.vertex) + np.asarray(beams.vertex_spread) * random.standard_normal(
        (n, 3)
    )
