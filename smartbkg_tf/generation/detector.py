"""A parametrised Belle II detector: what is seen of generated particles.

Every event of a chunk is treated at once. All numbers are settings (``conf/detector``); the
formulas stand at `TrackSettings` and `ClusterSettings`. Nothing that a skim sees is a function of
the generated event alone: efficiencies, resolutions, identification and beam background
are random draws.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from smartbkg_tf.events.table import EventTable
from smartbkg_tf.generation.reconstruction import (
    SPECIES,
    SPECIES_MASS,
    Clusters,
    Floats,
    Integers,
    Reconstruction,
    Tracks,
)
from smartbkg_tf.settings.generation import (
    ClusterSettings,
    DetectorSettings,
    IdentificationSettings,
    TrackSettings,
)

T = TypeVar("T", Tracks, Clusters)
Mask = npt.NDArray[np.bool_]

#: Absolute PDG codes of the particles that leave tracks, in the order of `SPECIES`.
TRACK_CODES = np.array([11, 13, 211, 321, 2212])

_ELECTRON, _MUON, _PION, _KAON, _PROTON = range(5)
_PHOTON, _K_LONG, _NEUTRON = 22, 130, 2112


@dataclass(frozen=True)
class _Generated:
    """Stable generated particles."""

    row: Integers
    event: Integers
    code: Integers
    momentum: Floats
    energy: Floats
    place: Floats

    def __getitem__(self, chosen: Mask) -> _Generated:
        return _Generated(
            self.row[chosen],
            self.event[chosen],
            self.code[chosen],
            self.momentum[chosen],
            self.energy[chosen],
            self.place[chosen],
        )

    def __len__(self) -> int:
        return len(self.row)


def reconstruct(
    table: EventTable, settings: DetectorSettings, random: np.random.Generator
) -> Reconstruction:
    """Send events through the detector.

    Parameters
    ----------
    table : EventTable
        Generated events, with their radiated photons.
    settings : DetectorSettings
        The detector.
    random : numpy.random.Generator
        Source of random numbers: the same state gives the same result.

    Returns
    -------
    Reconstruction
        Tracks and clusters.
    """
    stable = _stable_particles(table)
    charged = stable[np.isin(np.abs(stable.code), TRACK_CODES)]
    tracks, split_offs = _charged(charged, settings, random)
    photons = _photons(stable[stable.code == _PHOTON], settings.clusters, random)
    hadrons = _neutral_hadrons(
        stable[np.isin(np.abs(stable.code), (_K_LONG, _NEUTRON))], settings.clusters, random
    )
    fake_tracks, fake_clusters = _background(len(table), settings, random)
    return Reconstruction(
        n_events=len(table),
        tracks=_join(Tracks, [tracks, fake_tracks]),
        clusters=_join(Clusters, [photons, hadrons, split_offs, fake_clusters]),
    )


def _stable_particles(table: EventTable) -> _Generated:
    columns = table.particles
    rows = np.flatnonzero(np.asarray(columns["nDaughters"]) == 0)
    stack = [
        np.stack([columns[n][rows] for n in names], axis=-1)
        for names in (("px", "py", "pz"), ("x", "y", "z"))
    ]
    return _Generated(
        row=rows,
        event=table.event_of_particle()[rows],
        code=np.asarray(columns["PDG"])[rows].astype(np.int64),
        momentum=stack[0].astype(np.float64),
        energy=np.asarray(columns["energy"])[rows].astype(np.float64),
        place=stack[1].astype(np.float64),
    )


def _join(kind: type[T], parts: list[T]) -> T:
    """Put parts together, sorted by event."""
    order = np.argsort(np.concatenate([part.event for part in parts]), kind="stable")
    names = kind.__dataclass_fields__
    return kind(**{n: np.concatenate([getattr(part, n) for part in parts])[order] for n in names})


def _direction(theta: Floats, phi: Floats) -> Floats:
    sine = np.sin(theta)
    return np.stack([sine * np.cos(phi), sine * np.sin(phi), np.cos(theta)], axis=-1)


def _reflected(theta: Floats) -> Floats:
    """Bring smeared polar angles back into [0, pi]."""
    theta = np.abs(theta)
    return np.where(theta > np.pi, 2.0 * np.pi - theta, theta)


def _inside(theta: Floats, minimum: float, maximum: float) -> Mask:
    result: Mask = (theta >= np.radians(minimum)) & (theta <= np.radians(maximum))
    return result


# --- charged particles -----------------------------------------------------------------


def track_efficiency(pt: Floats, theta: Floats, rho: Floats, settings: TrackSettings) -> Floats:
    """Probability that a charged particle becomes a track.

    Parameters
    ----------
    pt : numpy.ndarray [n]
        Transverse momentum, GeV.
    theta : numpy.ndarray [n]
        Polar angle, rad.
    rho : numpy.ndarray [n]
        Radius of the production vertex, cm.
    settings : TrackSettings
        The formula's numbers.

    Returns
    -------
    numpy.ndarray [n]
        0 outside the acceptance.
    """
    rise = 1.0 - np.exp(-np.maximum(pt - settings.pt_start, 0.0) / settings.pt_scale)
    degrees = np.degrees(theta)
    edge = np.minimum(degrees - settings.minimum_angle, settings.maximum_angle - degrees)
    shape = 1.0 - settings.edge_loss * np.clip(1.0 - edge / settings.edge_width, 0.0, 1.0)
    result = settings.plateau * rise * shape * np.exp(-rho / settings.displacement_length)
    outside = (edge < 0) | (rho > settings.maximum_displacement)
    return np.where(outside, 0.0, result)


def _charged(
    all_particles: _Generated, settings: DetectorSettings, random: np.random.Generator
) -> tuple[Tracks, Clusters]:
    """Tracks of charged particles, and the clusters split off by hadron showers."""
    tracking = settings.tracks
    pt = np.hypot(all_particles.momentum[:, 0], all_particles.momentum[:, 1])
    theta = np.arctan2(pt, all_particles.momentum[:, 2])
    rho = np.hypot(all_particles.place[:, 0], all_particles.place[:, 1])
    efficiency = track_efficiency(pt, theta, rho, tracking)
    seen = random.random(len(pt)) < efficiency
    particles, pt, theta = all_particles[seen], pt[seen], theta[seen]
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
    measured_theta = _reflected(theta + angle_error * random.standard_normal(n))
    phi = np.arctan2(particles.momentum[:, 1], particles.momentum[:, 0])
    measured_phi = phi + angle_error * random.standard_normal(n)
    direction = _direction(measured_theta, measured_phi)
    momentum = direction * (measured_pt / np.sin(measured_theta))[:, None]

    x, y, z = particles.place.T
    # Straight-line approximation: exact for displacements small against the radius of
    # curvature (0.67 m at 0.3 GeV in 1.5 T).
    along = x * np.cos(phi) + y * np.sin(phi)
    d0 = x * np.sin(phi) - y * np.cos(phi) + impact_error * random.standard_normal(n)
    z0 = z - along / np.tan(theta) + impact_error / np.sin(theta) * random.standard_normal(n)

    true = np.searchsorted(TRACK_CODES, np.abs(particles.code))
    species = _identify(true, size, settings.identification, random)
    energy, split_offs = _matched_clusters(particles, true, pt, theta, settings.clusters, random)
    tracks = Tracks(
        event=particles.event,
        momentum=momentum,
        # Leptons with positive code are negative.
        charge=np.sign(particles.code) * np.where(true <= _MUON, -1, 1),
        species=species,
        d0=d0,
        z0=z0,
        cluster_energy=energy,
        particle=particles.row,
    )
    return tracks, split_offs


def _identify(
    true: Integers, size: Floats, settings: IdentificationSettings, random: np.random.Generator
) -> Integers:
    """Draw the named species of tracks."""
    matrix = np.array([[settings.matrix[t].get(n, 0.0) for n in SPECIES] for t in SPECIES])
    rows = matrix[true]
    hard = size > settings.overlap_momentum
    for a, b in ((_PION, _KAON), (_KAON, _PION)):
        chosen = hard & (true == a)
        moved = np.minimum(rows[chosen, b] * (settings.overlap_factor - 1.0), rows[chosen, a])
        rows[chosen, b] += moved
        rows[chosen, a] -= moved
    soft = (size < settings.lepton_momentum) & (true <= _MUON)
    rows[soft] = np.eye(len(SPECIES))[_PION]
    above = random.random(len(true))[:, None] > np.cumsum(rows, axis=1)[:, :-1]
    return np.asarray(above.sum(axis=1), dtype=np.int64)


def _matched_clusters(
    particles: _Generated,
    true: Integers,
    pt: Floats,
    theta: Floats,
    settings: ClusterSettings,
    random: np.random.Generator,
) -> tuple[Floats, Clusters]:
    """Energies of the clusters matched to tracks, and split-off clusters."""
    n = len(particles)
    reaches = (pt > settings.minimum_track_pt) & _inside(
        theta, settings.minimum_angle, settings.maximum_angle
    )
    ionising = settings.minimum_ionising + settings.minimum_ionising_spread * (
        # Moyal's approximation of the Landau distribution: minus the logarithm of chi^2.
        -np.log(np.maximum(random.standard_normal(n) ** 2, 1e-12))
    )
    kinetic = particles.energy - SPECIES_MASS[true]
    hadron = true >= _PION
    showers = hadron & (random.random(n) < settings.hadron_shower)
    fraction = random.uniform(0.2, 0.9, n)
    energy = np.where(showers, fraction * kinetic, np.minimum(ionising, kinetic))
    smeared = _smeared_energy(particles.energy, settings, random)
    energy = np.where(true == _ELECTRON, smeared, energy)
    energy = np.where(reaches & (energy > settings.threshold), energy, 0.0)

    splits = reaches & showers & (random.random(n) < settings.split_off)
    extra = settings.threshold + random.exponential(settings.split_off_energy, n)
    spread = random.normal(0.0, 0.15, (n, 2))
    phi = np.arctan2(particles.momentum[:, 1], particles.momentum[:, 0])
    clusters = Clusters(
        event=particles.event[splits],
        energy=extra[splits],
        direction=_direction(_reflected(theta + spread[:, 0]), phi + spread[:, 1])[splits],
        particle=particles.row[splits],
    )
    return energy, clusters


# --- neutral particles -----------------------------------------------------------------


def calorimeter_direction(place: Floats, momentum: Floats) -> Floats:
    """Where a neutral particle hits the calorimeter, seen from the interaction point.

    The inner faces of Belle II's calorimeter: barrel radius 125 cm, end caps at z = 196
    and -102 cm (Belle II TDR, arXiv:1011.0352, chapter 9).

    Parameters
    ----------
    place : numpy.ndarray [n, 3]
        Production vertex, cm; inside the calorimeter.
    momentum : numpy.ndarray [n, 3]
        GeV.

    Returns
    -------
    numpy.ndarray [n, 3]
        Unit vectors.
    """
    unit = momentum / np.linalg.norm(momentum, axis=1, keepdims=True)
    a = np.sum(unit[:, :2] ** 2, axis=1)
    b = np.sum(unit[:, :2] * place[:, :2], axis=1)
    c = np.sum(place[:, :2] ** 2, axis=1) - 125.0**2
    with np.errstate(divide="ignore", invalid="ignore"):
        barrel = (-b + np.sqrt(np.maximum(b * b - a * c, 0.0))) / a
        forward = (196.0 - place[:, 2]) / unit[:, 2]
        backward = (-102.0 - place[:, 2]) / unit[:, 2]
    ways = np.stack([barrel, forward, backward])
    ways[~(ways > 0)] = np.inf
    hit = place + np.min(ways, axis=0)[:, None] * unit
    result: Floats = hit / np.linalg.norm(hit, axis=1, keepdims=True)
    return result


def _smeared_energy(
    energy: Floats, settings: ClusterSettings, random: np.random.Generator
) -> Floats:
    """Measured energy of electromagnetic showers."""
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


def _smeared_direction(
    direction: Floats, energy: Floats, settings: ClusterSettings, random: np.random.Generator
) -> tuple[Floats, Floats]:
    theta = np.arccos(np.clip(direction[:, 2], -1.0, 1.0))
    phi = np.arctan2(direction[:, 1], direction[:, 0])
    error = settings.angle / np.sqrt(np.maximum(energy, 1e-3))
    sine = np.maximum(np.sin(theta), 0.05)
    theta = _reflected(theta + error * random.standard_normal(len(energy)))
    phi = phi + error / sine * random.standard_normal(len(energy))
    return _direction(theta, phi), theta


def photon_efficiency(energy: Floats, settings: ClusterSettings) -> Floats:
    """Probability that a photon inside the acceptance becomes a cluster.

    Parameters
    ----------
    energy : numpy.ndarray [n]
        Generated energy, GeV.
    settings : ClusterSettings
        The numbers.

    Returns
    -------
    numpy.ndarray [n]
        ``plateau (1 - exp(-(E - threshold) / turn_on))`` above the threshold, else 0.
    """
    above = np.maximum(energy - settings.threshold, 0.0)
    return settings.plateau * (1.0 - np.exp(-above / settings.turn_on))


def _photons(
    photons: _Generated, settings: ClusterSettings, random: np.random.Generator
) -> Clusters:
    n = len(photons)
    rho = np.hypot(photons.place[:, 0], photons.place[:, 1])
    seen = random.random(n) < photon_efficiency(photons.energy, settings)
    energy = _smeared_energy(photons.energy, settings, random)
    direction, theta = _smeared_direction(
        calorimeter_direction(photons.place, photons.momentum), photons.energy, settings, random
    )
    seen &= (rho < settings.inner_radius) & (energy > settings.threshold)
    seen &= _inside(theta, settings.minimum_angle, settings.maximum_angle)
    return Clusters(photons.event[seen], energy[seen], direction[seen], photons.row[seen])


def _neutral_hadrons(
    hadrons: _Generated, settings: ClusterSettings, random: np.random.Generator
) -> Clusters:
    n = len(hadrons)
    long = np.abs(hadrons.code) == _K_LONG
    probability = np.where(long, settings.k_long, settings.neutron)
    seen = random.random(n) < probability
    # An antineutron annihilates: its mass counts.
    visible = np.where(hadrons.code == _NEUTRON, hadrons.energy - 0.9395654, hadrons.energy)
    energy = random.exponential(1.0, n) * settings.hadron_energy * np.maximum(visible, 1e-6)
    energy = np.minimum(energy, visible)
    direction, theta = _smeared_direction(
        calorimeter_direction(hadrons.place, hadrons.momentum), energy, settings, random
    )
    rho = np.hypot(hadrons.place[:, 0], hadrons.place[:, 1])
    seen &= (energy > settings.threshold) & (rho < settings.inner_radius)
    seen &= _inside(theta, settings.minimum_angle, settings.maximum_angle)
    return Clusters(hadrons.event[seen], energy[seen], direction[seen], hadrons.row[seen])


# --- beam background -------------------------------------------------------------------


def _background(
    n_events: int, settings: DetectorSettings, random: np.random.Generator
) -> tuple[Tracks, Clusters]:
    """Tracks and clusters that have nothing to do with the event."""
    background, tracking, calorimeter = settings.background, settings.tracks, settings.clusters
    n_tracks = random.poisson(background.tracks, n_events)
    event = np.repeat(np.arange(n_events), n_tracks)
    n = len(event)
    low, high = np.radians([tracking.minimum_angle, tracking.maximum_angle])
    pt = tracking.pt_start + random.exponential(background.track_pt, n)
    theta = np.arccos(random.uniform(np.cos(high), np.cos(low), n))
    direction = _direction(theta, random.uniform(-np.pi, np.pi, n))
    tracks = Tracks(
        event=event,
        momentum=direction * (pt / np.sin(theta))[:, None],
        charge=random.choice(np.array([-1, 1]), n),
        species=np.full(n, _PION),
        d0=random.normal(0.0, background.track_impact, n),
        z0=random.normal(0.0, background.track_impact, n),
        cluster_energy=np.zeros(n),
        particle=np.full(n, -1),
    )
    n_clusters = random.poisson(background.clusters, n_events)
    event = np.repeat(np.arange(n_events), n_clusters)
    n = len(event)
    low, high = np.radians([calorimeter.minimum_angle, calorimeter.maximum_angle])
    # Beam background gathers near the beams: flat in theta, not in its cosine.
    theta = random.uniform(low, high, n)
    clusters = Clusters(
        event=event,
        energy=calorimeter.threshold + random.exponential(background.cluster_energy, n),
        direction=_direction(theta, random.uniform(-np.pi, np.pi, n)),
        particle=np.full(n, -1),
    )
    return tracks, clusters
