"""A parametrised Belle II detector: what is seen of generated particles.

Every event of a chunk is treated at once. All numbers are settings; they and the formulas are
described in `TrackSettings` and `ClusterSettings`. Nothing that a skim sees is a function of the
generated event alone: efficiencies, resolutions, identification and beam background are random
draws.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np

from smartbkg_tf.events.table import EventTable
from smartbkg_tf.generation.calorimeter import hadron_clusters, photon_clusters
from smartbkg_tf.generation.particles import K_LONG, direction_of, stable_particles
from smartbkg_tf.generation.reconstruction import PION, Clusters, Reconstruction, Tracks
from smartbkg_tf.generation.tracking import TRACK_CODES, bremsstrahlung, charged_particles
from smartbkg_tf.settings.detector import DetectorSettings

T = TypeVar("T", Tracks, Clusters)

_PHOTON, _NEUTRON = 22, 2112


def reconstruct(
    table: EventTable, settings: DetectorSettings, random: np.random.Generator
) -> Reconstruction:
    """Send events, with their radiated photons, through the detector."""
    stable = stable_particles(table)
    charged, radiated = bremsstrahlung(
        stable[np.isin(np.abs(stable.code), TRACK_CODES)], settings.tracks, random
    )
    tracks, others = charged_particles(charged, settings, random)
    photons = photon_clusters(stable[stable.code == _PHOTON], settings.clusters, random)
    more_photons = photon_clusters(radiated, settings.clusters, random)
    hadrons = hadron_clusters(
        stable[np.isin(np.abs(stable.code), (K_LONG, _NEUTRON))], settings.clusters, random
    )
    fake_tracks, fake_clusters = _background(len(table), settings, random)
    return Reconstruction(
        n_events=len(table),
        tracks=_join(Tracks, [tracks, fake_tracks]),
        clusters=_join(Clusters, [photons, more_photons, hadrons, others, fake_clusters]),
    )


def _join(kind: type[T], parts: list[T]) -> T:
    """Put parts together, sorted by event."""
    order = np.argsort(np.concatenate([part.event for part in parts]), kind="stable")
    names = kind.__dataclass_fields__
    return kind(**{n: np.concatenate([getattr(part, n) for part in parts])[order] for n in names})


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
    direction = direction_of(theta, random.uniform(-np.pi, np.pi, n))
    tracks = Tracks(
        event=event,
        momentum=direction * (pt / np.sin(theta))[:, None],
        charge=random.choice(np.array([-1, 1]), n),
        species=np.full(n, PION),
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
        direction=direction_of(theta, random.uniform(-np.pi, np.pi, n)),
        particle=np.full(n, -1),
    )
    return tracks, clusters
