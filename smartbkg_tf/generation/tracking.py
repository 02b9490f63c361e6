"""Tracks of charged particles and their identification."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from smartbkg_tf.generation.arrays import Floats, Integers
from smartbkg_tf.generation.calorimeter import bent_direction, matched_clusters
from smartbkg_tf.generation.particles import Generated, direction_of, reflected
from smartbkg_tf.generation.reconstruction import KAON, MUON, PION, SPECIES, Clusters, Tracks
from smartbkg_tf.settings.detector import DetectorSettings, IdentificationSettings, TrackSettings

#: Absolute PDG codes of the particles that leave tracks, in the order of `SPECIES`.
TRACK_CODES = np.array([11, 13, 211, 321, 2212])


def track_efficiency(pt: Floats, theta: Floats, rho: Floats, settings: TrackSettings) -> Floats:
    """Probability [n] that a charged particle becomes a track; 0 outside the acceptance.

    Transverse momentum, GeV; polar angle, rad; radius of the production vertex, cm.
    """
    rise = 1.0 - np.exp(-np.maximum(pt - settings.pt_start, 0.0) / settings.pt_scale)
    degrees = np.degrees(theta)
    edge = np.minimum(degrees - settings.minimum_angle, settings.maximum_angle - degrees)
    shape = 1.0 - settings.edge_loss * np.clip(1.0 - edge / settings.edge_width, 0.0, 1.0)
    result = settings.plateau * rise * shape * np.exp(-rho / settings.displacement_length)
    outside = (edge < 0) | (rho > settings.maximum_displacement)
    return np.where(outside, 0.0, result)


def bremsstrahlung(
    particles: Generated, settings: TrackSettings, random: np.random.Generator
) -> tuple[Generated, Generated]:
    """Let electrons radiate in the material in front of the tracker.

    Gives the particles, electrons with what is left to them, and one photon for each electron,
    which flies as the electron did before.
    """
    electron = np.abs(particles.code) == TRACK_CODES[0]
    sine = np.hypot(particles.momentum[:, 0], particles.momentum[:, 1]) / np.maximum(
        np.linalg.norm(particles.momentum, axis=1), 1e-9
    )
    # Bethe and Heitler: minus the logarithm of the fraction left is gamma distributed.
    thickness = settings.radiation_lengths / np.maximum(sine, 0.2)
    lost = 1.0 - np.exp(-random.gamma(np.where(electron, thickness, 0.0) / np.log(2.0)))

    def scaled(factor: Floats, code: Integers) -> Generated:
        return replace(
            particles,
            code=code,
            momentum=particles.momentum * factor[:, None],
            energy=particles.energy * factor,
        )

    # Nothing is left to few: a track needs a momentum.
    left = np.maximum(1.0 - lost, 1e-3)
    photons = scaled(lost, np.full(len(particles), 22))
    return scaled(left, particles.code), photons[lost > 0]


def charged_particles(
    all_particles: Generated, settings: DetectorSettings, random: np.random.Generator
) -> tuple[Tracks, Clusters]:
    """Draw the tracks of charged particles, and their clusters without a track.

    The clusters are those of particles whose track is missed, and what hadron showers split off.
    """
    tracking = settings.tracks
    pt = np.hypot(all_particles.momentum[:, 0], all_particles.momentum[:, 1])
    theta = np.arctan2(pt, all_particles.momentum[:, 2])
    rho = np.hypot(all_particles.place[:, 0], all_particles.place[:, 1])
    efficiency = track_efficiency(pt, theta, rho, tracking)
    seen = random.random(len(pt)) < efficiency
    true = np.searchsorted(TRACK_CODES, np.abs(all_particles.code))
    # Leptons with positive code are negative.
    charge = np.sign(all_particles.code) * np.where(true <= MUON, -1, 1)
    energy, split_offs = matched_clusters(all_particles, true, pt, theta, settings.clusters, random)
    missed = ~seen & (energy > 0)
    alone = all_particles[missed]
    unmatched = Clusters(
        event=np.concatenate([split_offs.event, alone.event]),
        energy=np.concatenate([split_offs.energy, energy[missed]]),
        direction=np.concatenate(
            [
                split_offs.direction,
                bent_direction(alone, charge[missed], pt[missed], settings.clusters),
            ]
        ),
        particle=np.concatenate([split_offs.particle, alone.row]),
    )
    particles, pt, theta, true = all_particles[seen], pt[seen], theta[seen], true[seen]
    n = len(particles)

    size = pt / np.sin(theta)
    beta = size / particles.energy
    slope = np.sin(theta) ** 1.5
    pt_error = np.hypot(tracking.curvature * pt, tracking.scattering / beta)
    angle_error = np.hypot(
        tracking.angle_constant, tracking.angle_scattering / (beta * size * slope)
    )
    impact_error = np.hypot(
        tracking.impact_constant, tracking.impact_scattering / (beta * size * slope)
    )
    # The curvature, not pT, is measured with a Gaussian error.
    measured_pt = pt / np.maximum(1.0 + pt_error * random.standard_normal(n), 0.2)
    measured_theta = reflected(theta + angle_error * random.standard_normal(n))
    phi = np.arctan2(particles.momentum[:, 1], particles.momentum[:, 0])
    measured_phi = phi + angle_error * random.standard_normal(n)
    direction = direction_of(measured_theta, measured_phi)
    momentum = direction * (measured_pt / np.sin(measured_theta))[:, None]

    x, y, z = particles.place.T
    # Straight-line approximation: exact for displacements small against the radius of
    # curvature (0.67 m at 0.3 GeV in 1.5 T).
    along = x * np.cos(phi) + y * np.sin(phi)
    d0 = x * np.sin(phi) - y * np.cos(phi) + impact_error * random.standard_normal(n)
    z0 = z - along / np.tan(theta) + impact_error / np.sin(theta) * random.standard_normal(n)

    species = _identify(true, size, settings.identification, random)
    tracks = Tracks(
        event=particles.event,
        momentum=momentum,
        charge=charge[seen],
        species=species,
        d0=d0,
        z0=z0,
        cluster_energy=energy[seen],
        particle=particles.row,
    )
    return tracks, unmatched


def _identify(
    true: Integers, size: Floats, settings: IdentificationSettings, random: np.random.Generator
) -> Integers:
    """Draw the named species of tracks."""
    matrix = np.array([[settings.matrix[t].get(n, 0.0) for n in SPECIES] for t in SPECIES])
    rows = matrix[true]
    hard = size > settings.overlap_momentum
    for a, b in ((PION, KAON), (KAON, PION)):
        chosen = hard & (true == a)
        moved = np.minimum(rows[chosen, b] * (settings.overlap_factor - 1.0), rows[chosen, a])
        rows[chosen, b] += moved
        rows[chosen, a] -= moved
    soft = (size < settings.lepton_momentum) & (true <= MUON)
    rows[soft] = np.eye(len(SPECIES))[PION]
    above = random.random(len(true))[:, None] > np.cumsum(rows, axis=1)[:, :-1]
    return np.asarray(above.sum(axis=1), dtype=np.int64)
