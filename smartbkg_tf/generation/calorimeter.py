"""Clusters of the calorimeter: photons, neutral hadrons, and what charged particles leave."""

from __future__ import annotations

import numpy as np

from smartbkg_tf.generation.arrays import Floats, Integers, Mask
from smartbkg_tf.generation.particles import (
    BACKWARD,
    BARREL,
    FORWARD,
    K_LONG,
    Generated,
    behind_front,
    direction_of,
    inside,
    reflected,
)
from smartbkg_tf.generation.reconstruction import ELECTRON, PION, SPECIES_MASS, Clusters
from smartbkg_tf.settings.detector import ClusterSettings

_NEUTRON = 2112


def calorimeter_direction(place: Floats, momentum: Floats) -> Floats:
    """Where neutral particles hit the calorimeter: unit vectors [n, 3] from the interaction point.

    What is born (`place` [n, 3], cm) behind the inner faces, on its way out, showers where it is.
    """
    unit = momentum / np.linalg.norm(momentum, axis=1, keepdims=True)
    a = np.sum(unit[:, :2] ** 2, axis=1)
    b = np.sum(unit[:, :2] * place[:, :2], axis=1)
    c = np.sum(place[:, :2] ** 2, axis=1) - BARREL**2
    with np.errstate(divide="ignore", invalid="ignore"):
        barrel = (-b + np.sqrt(np.maximum(b * b - a * c, 0.0))) / a
        forward = (FORWARD - place[:, 2]) / unit[:, 2]
        backward = (BACKWARD - place[:, 2]) / unit[:, 2]
    ways = np.stack([barrel, forward, backward])
    ways[~(ways > 0)] = np.inf
    way = np.min(ways, axis=0)
    behind = behind_front(place) | ~np.isfinite(way)
    hit = place + np.where(behind, 0.0, way)[:, None] * unit
    result: Floats = hit / np.linalg.norm(hit, axis=1, keepdims=True)
    return result


def smeared_energy(
    energy: Floats, settings: ClusterSettings, random: np.random.Generator
) -> Floats:
    """Draw the measured energies [n] of electromagnetic showers, GeV."""
    n = len(energy)
    positive = np.maximum(energy, 1e-6)
    error = np.sqrt(
        (settings.noise / positive) ** 2
        + (settings.stochastic / positive**0.25) ** 2
        + settings.constant**2
    )
    leaks = random.random(n) < settings.tail_fraction
    lost = np.where(leaks, np.minimum(random.exponential(settings.tail_scale, n), 0.9), 0.0)
    # Below some MeV the noise term exceeds one: such photons are under any threshold.
    return positive * np.maximum(1.0 - lost + error * random.standard_normal(n), 0.0)


def smeared_direction(
    direction: Floats, energy: Floats, settings: ClusterSettings, random: np.random.Generator
) -> tuple[Floats, Floats]:
    """Draw measured directions: unit vectors [n, 3] and polar angles [n], rad."""
    theta = np.arccos(np.clip(direction[:, 2], -1.0, 1.0))
    phi = np.arctan2(direction[:, 1], direction[:, 0])
    error = settings.angle / np.sqrt(np.maximum(energy, 1e-3))
    sine = np.maximum(np.sin(theta), 0.05)
    theta = reflected(theta + error * random.standard_normal(len(energy)))
    phi = phi + error / sine * random.standard_normal(len(energy))
    return direction_of(theta, phi), theta


def photon_efficiency(energy: Floats, settings: ClusterSettings) -> Floats:
    """Probability [n] that a photon inside the acceptance becomes a cluster; energies in GeV.

    ``plateau (1 - exp(-(E - threshold) / turn_on))`` above the threshold, else 0.
    """
    above = np.maximum(energy - settings.threshold, 0.0)
    return settings.plateau * (1.0 - np.exp(-above / settings.turn_on))


def photon_clusters(
    photons: Generated, settings: ClusterSettings, random: np.random.Generator
) -> Clusters:
    """Draw the clusters of photons."""
    seen = random.random(len(photons)) < photon_efficiency(photons.energy, settings)
    energy = smeared_energy(photons.energy, settings, random)
    return _neutral_clusters(photons, seen, energy, photons.energy, settings, random)


def hadron_clusters(
    hadrons: Generated, settings: ClusterSettings, random: np.random.Generator
) -> Clusters:
    """Draw the clusters of K_L and neutrons."""
    n = len(hadrons)
    long = np.abs(hadrons.code) == K_LONG
    seen = random.random(n) < np.where(long, settings.k_long, settings.neutron)
    # An antineutron annihilates: its mass counts.
    visible = np.where(hadrons.code == _NEUTRON, hadrons.energy - 0.9395654, hadrons.energy)
    energy = random.exponential(1.0, n) * settings.hadron_energy * np.maximum(visible, 1e-6)
    energy = np.minimum(energy, visible)
    return _neutral_clusters(hadrons, seen, energy, energy, settings, random)


def _neutral_clusters(
    particles: Generated,
    seen: Mask,
    energy: Floats,
    showering: Floats,
    settings: ClusterSettings,
    random: np.random.Generator,
) -> Clusters:
    """Draw directions, which the energies `showering` blur; keep what is `seen` and accepted."""
    direction, theta = smeared_direction(
        calorimeter_direction(particles.place, particles.momentum), showering, settings, random
    )
    rho = np.hypot(particles.place[:, 0], particles.place[:, 1])
    seen = seen & (energy > settings.threshold) & (rho < settings.inner_radius)
    seen &= inside(theta, settings.minimum_angle, settings.maximum_angle)
    return Clusters(particles.event[seen], energy[seen], direction[seen], particles.row[seen])


def matched_clusters(
    particles: Generated,
    true: Integers,
    pt: Floats,
    theta: Floats,
    settings: ClusterSettings,
    random: np.random.Generator,
) -> tuple[Floats, Clusters]:
    """Draw the cluster energies of charged particles, with a track or not, and split-off clusters.

    ``true`` [n] is the position in `SPECIES`, ``pt`` [n] GeV, ``theta`` [n] rad. Energies [n] in
    GeV, 0 without a cluster.
    """
    n = len(particles)
    reaches = (pt > settings.minimum_track_pt) & inside(
        theta, settings.minimum_angle, settings.maximum_angle
    )
    reaches &= np.hypot(particles.place[:, 0], particles.place[:, 1]) < settings.inner_radius
    ionising = settings.minimum_ionising + settings.minimum_ionising_spread * (
        # Moyal's approximation of the Landau distribution: minus the logarithm of chi^2.
        -np.log(np.maximum(random.standard_normal(n) ** 2, 1e-12))
    )
    kinetic = particles.energy - SPECIES_MASS[true]
    hadron = true >= PION
    showers = hadron & (random.random(n) < settings.hadron_shower)
    fraction = random.uniform(0.2, 0.9, n)
    energy = np.where(showers, fraction * kinetic, np.minimum(ionising, kinetic))
    smeared = smeared_energy(particles.energy, settings, random)
    energy = np.where(true == ELECTRON, smeared, energy)
    energy = np.where(reaches & (energy > settings.threshold), energy, 0.0)

    splits = reaches & showers & (random.random(n) < settings.split_off)
    extra = settings.threshold + random.exponential(settings.split_off_energy, n)
    spread = random.normal(0.0, 0.15, (n, 2))
    phi = np.arctan2(particles.momentum[:, 1], particles.momentum[:, 0])
    clusters = Clusters(
        event=particles.event[splits],
        energy=extra[splits],
        direction=direction_of(reflected(theta + spread[:, 0]), phi + spread[:, 1])[splits],
        particle=particles.row[splits],
    )
    return energy, clusters


def bent_direction(
    particles: Generated, charge: Integers, pt: Floats, settings: ClusterSettings
) -> Floats:
    """Where charged particles hit the barrel, turned by the field: unit vectors [n, 3].

    ``charge`` [n] is +1 or -1, ``pt`` [n] GeV; ``minimum_track_pt`` just reaches the barrel.
    """
    straight = calorimeter_direction(particles.place, particles.momentum)
    turn = -charge * np.arcsin(np.clip(settings.minimum_track_pt / pt, 0.0, 1.0))
    cosine, sine = np.cos(turn), np.sin(turn)
    x, y, z = straight.T
    return np.stack([cosine * x - sine * y, sine * x + cosine * y, z], axis=-1)
