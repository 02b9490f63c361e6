from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import yaml

from smartbkg_tf.errors import ConfigurationError
from smartbkg_tf.events.table import EventTable
from smartbkg_tf.generation.calorimeter import calorimeter_direction, photon_efficiency
from smartbkg_tf.generation.detector import reconstruct
from smartbkg_tf.generation.extract import extract
from smartbkg_tf.generation.record import Record
from smartbkg_tf.generation.tracking import track_efficiency
from smartbkg_tf.runtime.command import configuration_directory
from smartbkg_tf.settings.base import validate
from smartbkg_tf.settings.detector import (
    BackgroundSettings,
    ClusterSettings,
    DetectorSettings,
    TrackSettings,
)

MASS = {
    11: 0.000511,
    13: 0.105658,
    22: 0.0,
    130: 0.497611,
    211: 0.13957,
    321: 0.493677,
    2112: 0.93957,
    2212: 0.93827,
}
QUIET = BackgroundSettings(clusters=0.0, tracks=0.0)


def beam(code, n, momentum, theta=90.0, phi=0.3, place=(0.0, 0.0, 0.0)) -> EventTable:
    """N events of one particle."""
    angle = np.radians(theta)
    p = momentum * np.array(
        [np.sin(angle) * np.cos(phi), np.sin(angle) * np.sin(phi), np.cos(angle)]
    )
    vector = np.tile([*p, np.hypot(momentum, MASS[abs(code)])], (n, 1))
    zero = np.zeros(n, dtype=np.int64)
    record = Record(
        zero + code,
        zero + 91,
        zero - 1,
        np.arange(n),
        vector,
        np.full(n, MASS[abs(code)]),
        np.tile([*np.array(place) * 10.0, 0.0], (n, 1)),
    )
    keys = dict.fromkeys(("experiment", "run", "event", "production"), zero)
    return extract(record, np.zeros((n, 3)), 1e3, (-1e3, 1e3), keys, 0)


def seen(table, settings, seed=1):
    return reconstruct(table, settings, np.random.default_rng(seed))


@pytest.fixture(scope="module")
def quiet(detector):
    """Without background and without radiation of electrons."""
    tracks = replace(detector.tracks, radiation_lengths=0.0)
    return replace(detector, background=QUIET, tracks=tracks)


def test_numbers_of_the_yaml_are_the_defaults_of_the_classes():
    values = yaml.safe_load((configuration_directory() / "detector" / "belle2.yaml").read_text())
    settings = validate(DetectorSettings, values)
    assert settings.tracks == TrackSettings()
    assert settings.clusters == ClusterSettings()
    assert settings.background == BackgroundSettings()


def test_track_efficiency_golden():
    settings = TrackSettings()
    # By hand: 0.97 (1 - exp(-(0.09 - 0.04) / 0.05)) at 90 degrees.
    assert track_efficiency(np.array([0.09]), np.array([np.pi / 2]), np.array([0.0]), settings)[
        0
    ] == pytest.approx(0.97 * (1 - np.exp(-1)))
    # Half of the edge's width inside: half of its loss; displaced by one length: 1/e.
    theta, rho = np.radians([21.0, 90.0]), np.array([0.0, 59.999])
    values = track_efficiency(np.array([5.0, 5.0]), theta, rho, settings)
    assert values == pytest.approx([0.97 * (1 - 0.125), 0.97 * np.exp(-1)], rel=1e-4)
    outside = track_efficiency(
        np.full(4, 1.0), np.radians([16.9, 150.1, 90, 90]), np.array([0, 0, 60.1, 0]), settings
    )
    np.testing.assert_array_equal(outside[:3], 0.0)
    assert track_efficiency(np.array([0.03]), np.array([1.0]), np.zeros(1), settings)[0] == 0.0


@pytest.mark.parametrize(
    ("theta", "charge", "code"), [(90, -1, 13), (60, 1, 211), (120, -1, -2212)]
)
def test_tracks_have_the_efficiency_and_resolution_of_the_settings(quiet, theta, charge, code):
    table = beam(code, 20_000, 1.2, theta)
    tracks = seen(table, quiet).tracks
    sine = np.sin(np.radians(theta))
    expected = track_efficiency(
        np.array([1.2 * sine]), np.radians([theta]), np.zeros(1), quiet.tracks
    )[0]
    assert len(tracks) / 20_000 == pytest.approx(expected, abs=4 * np.sqrt(0.03 * 0.97 / 20_000))
    np.testing.assert_array_equal(tracks.charge, charge)
    pt = np.hypot(*tracks.momentum[:, :2].T)
    beta = 1.2 / np.hypot(1.2, MASS[abs(code)])
    resolution = np.hypot(0.0011 * 1.2 * sine, 0.0029 / beta)
    assert pt.mean() == pytest.approx(1.2 * sine, rel=1e-3)
    assert (pt / (1.2 * sine)).std() == pytest.approx(resolution, rel=0.03)
    impact = np.hypot(0.0012, 0.0030 / (beta * 1.2 * sine**1.5))
    assert tracks.d0.std() == pytest.approx(impact, rel=0.03)
    assert tracks.z0.std() == pytest.approx(impact / sine, rel=0.03)


def test_impact_parameters_of_displaced_tracks(quiet):
    # Flying along phi = 90 degrees from (2, 0, 0): d0 = x sin(phi) = 2. z: z - 0 cot(theta).
    tracks = seen(beam(211, 2000, 2.0, 60.0, np.pi / 2, (2.0, 0.0, 1.0)), quiet).tracks
    assert tracks.d0.mean() == pytest.approx(2.0, abs=1e-3)
    assert tracks.z0.mean() == pytest.approx(1.0, abs=1e-3)
    # Straight out: no d0, and z0 follows the line back to the beams.
    tracks = seen(beam(211, 2000, 2.0, 60.0, 0.0, (2.0, 0.0, 1.0)), quiet).tracks
    assert tracks.d0.mean() == pytest.approx(0.0, abs=1e-3)
    assert tracks.z0.mean() == pytest.approx(1.0 - 2.0 / np.tan(np.pi / 3), abs=1e-3)


@pytest.mark.parametrize(
    ("code", "momentum", "expected"),
    [
        (321, 1.0, [0.005, 0.015, 0.07, 0.9, 0.01]),
        (11, 1.0, [0.94, 0.005, 0.05, 0.005, 0.0]),
        (13, 0.3, [0.0, 0.0, 1.0, 0.0, 0.0]),  # too soft for lepton identification
        (211, 3.0, [0.005, 0.025, 0.885, 0.08, 0.005]),  # twice the mis-identification
    ],
)
def test_identification_follows_the_matrix(quiet, code, momentum, expected):
    species = seen(beam(code, 20_000, momentum), quiet).tracks.species
    share = np.bincount(species, minlength=5) / len(species)
    np.testing.assert_allclose(share, expected, atol=0.009)


def test_photons_have_the_efficiency_and_resolution_of_the_settings(quiet):
    for energy in (0.06, 0.5, 2.0):
        clusters = seen(beam(22, 20_000, energy), quiet).clusters
        efficiency = photon_efficiency(np.array([energy]), quiet.clusters)[0]
        assert efficiency == pytest.approx(0.95 * (1 - np.exp(-(energy - 0.03) / 0.015)))
        assert len(clusters) / 20_000 == pytest.approx(efficiency, abs=0.01)
        # The core, without the tail of leakage: the upper half.
        upper = clusters.energy[clusters.energy > energy] / energy - 1
        width = np.sqrt((0.00066 / energy) ** 2 + (0.0081 / energy**0.25) ** 2 + 0.0134**2)
        assert np.sqrt(np.mean(upper**2)) == pytest.approx(width, rel=0.06)
        theta = np.arccos(clusters.direction[:, 2])
        assert theta.std() == pytest.approx(0.0045 / np.sqrt(energy), rel=0.05)


def test_nothing_is_seen_outside_the_acceptance(quiet):
    for theta in (10.0, 155.0):
        for code in (11, 22, 130, 211, 2112):
            result = seen(beam(code, 500, 1.5, theta), quiet)
            assert len(result.tracks) == 0
            # A cluster near the edge may be smeared inside; these are 5 degrees away.
            assert len(result.clusters) == 0


def test_soft_photons_and_neutrinos_are_invisible(quiet):
    assert len(seen(beam(22, 500, 0.02), quiet).clusters) == 0
    MASS[12] = 0.0
    result = seen(beam(12, 500, 1.0), quiet)
    assert len(result.tracks) == len(result.clusters) == 0


def test_neutral_hadrons_leave_some_clusters(quiet):
    k_long = seen(beam(130, 20_000, 1.0), quiet).clusters
    assert 0.4 < len(k_long) / 20_000 < 0.55
    # An antineutron annihilates and shows more than a neutron.
    neutron, anti = (seen(beam(c, 5000, 0.5), quiet).clusters for c in (2112, -2112))
    assert anti.energy.mean() > 1.5 * neutron.energy.mean()


def test_clusters_of_charged_particles(quiet):
    electrons = seen(beam(11, 5000, 1.0), quiet).tracks.cluster_energy
    assert np.median(electrons) == pytest.approx(1.0, abs=0.02)
    muons = seen(beam(13, 5000, 1.0), quiet).tracks.cluster_energy
    assert np.median(muons) == pytest.approx(0.22, abs=0.03)
    soft = seen(beam(211, 5000, 0.2), quiet)
    assert np.all(soft.tracks.cluster_energy == 0)
    assert len(soft.clusters) == 0
    # Some showers of hadrons split off a cluster: 0.45 x 0.3 of the particles. Each that has
    # no track has its own cluster all the same.
    hadrons = seen(beam(211, 20_000, 1.0), quiet)
    missed = 20_000 - len(hadrons.tracks)
    assert (len(hadrons.clusters) - missed) / 20_000 == pytest.approx(0.135, abs=0.01)


@pytest.mark.parametrize(("code", "side"), [(13, 1), (-13, -1)])
def test_a_missed_track_leaves_its_cluster_where_the_field_takes_it(quiet, code, side):
    blind = replace(quiet, tracks=replace(quiet.tracks, plateau=0.0))
    table = beam(code, 2000, 0.56, phi=0.0)
    result = seen(table, blind)
    assert len(result.tracks) == 0
    assert len(result.clusters) > 0.95 * 2000
    np.testing.assert_array_equal(table.particles["PDG"][result.clusters.particle], code)
    phi = np.arctan2(result.clusters.direction[:, 1], result.clusters.direction[:, 0])
    # Twice the momentum that just reaches the barrel: an angle of 30 degrees.
    np.testing.assert_allclose(phi, side * np.pi / 6, atol=1e-6)
    # Born behind the front it leaves none.
    assert len(seen(beam(code, 500, 1.0, place=(130.0, 0.0, 0.0)), blind).clusters) == 0


def test_electrons_radiate_in_the_material(quiet):
    thick = replace(quiet, tracks=replace(quiet.tracks, radiation_lengths=0.1))
    result = seen(beam(11, 20_000, 2.0), thick)
    momentum = np.linalg.norm(result.tracks.momentum, axis=1)
    # The mean of what is left after t radiation lengths is 2^(-t / ln 2) = e^-t.
    assert momentum.mean() / 2.0 == pytest.approx(np.exp(-0.1), abs=0.01)
    # The photon keeps the direction and carries the rest.
    photons = result.clusters
    one = np.isin(photons.particle, result.tracks.particle[momentum < 1.0])
    assert photons.energy[one].mean() > 1.0
    assert np.arctan2(photons.direction[one, 1], photons.direction[one, 0]).mean() == pytest.approx(
        0.3, abs=0.01
    )
    muons = seen(beam(13, 2000, 2.0), thick).tracks
    assert np.linalg.norm(muons.momentum, axis=1).min() > 1.9


def k_long_decays(radius, n=5000):
    """K_L of 1 GeV that decay to pi+ pi- pi0 at this radius, the pi0 to photons."""
    mass = MASS[130]
    p = np.array([1.0, 0.0, 0.0])
    rows = [(130, -1, p, mass, 0.0)]
    rows += [(c, 0, p / 3, m, radius) for c, m in ((211, 0.13957), (-211, 0.13957), (111, 0.135))]
    rows += [(22, 3, p / 6, 0.0, radius)] * 2
    code, mother, vectors, masses, place = (np.array(column) for column in zip(*rows, strict=True))
    event = np.repeat(np.arange(n), len(rows))
    momentum = np.tile(np.column_stack([vectors, np.hypot(1.0, masses)]), (n, 1))
    mother = np.tile(mother, n)
    record = Record(
        np.tile(code, n),
        np.tile([-91, 91, 91, -91, 91, 91], n),
        np.where(mother >= 0, mother + len(rows) * event, -1),
        event,
        momentum,
        np.tile(masses, n),
        np.tile(np.column_stack([10.0 * place, np.zeros((len(rows), 3))]), (n, 1)),
    )
    keys = dict.fromkeys(("experiment", "run", "event", "production"), np.zeros(n, dtype=np.int64))
    return extract(record, np.zeros((n, 3)), 1e3, (-1e3, 1e3), keys, 0)


def test_k_long_that_decay_in_the_calorimeter_leave_a_cluster_as_if_they_did_not(quiet):
    result = seen(k_long_decays(135.0), quiet)
    assert len(result.tracks) == 0
    alone = seen(beam(130, 5000, 1.0), quiet).clusters
    assert len(result.clusters) == pytest.approx(len(alone), rel=0.06)
    assert result.clusters.energy.mean() == pytest.approx(alone.energy.mean(), rel=0.06)
    # In front of it their products are seen, and they are not.
    before = k_long_decays(30.0, 500)
    found = seen(before, quiet)
    assert len(found.tracks) > 100
    codes = before.particles["PDG"][found.clusters.particle]
    assert set(codes.tolist()) <= {22, 211, -211}


@pytest.mark.parametrize(
    ("place", "momentum", "expected"),
    [
        ((0, 0, 0), (1, 1, 1), (1, 1, 1)),
        ((0, 0, 50), (2, 0, 0), (125, 0, 50)),
        ((50, 0, 0), (0, 0, 3), (50, 0, 196)),
        ((50, 0, 0), (0, 0, -3), (50, 0, -102)),
        ((0, 75, 0), (1, 0, 0), (100, 75, 0)),
        ((0, 130, 10), (0, 1, 0), (0, 130, 10)),  # born in the crystals of the barrel ...
        ((20, 0, 200), (0, 1, 1), (20, 0, 200)),  # ... and of the forward end cap
    ],
)
def test_photons_hit_the_calorimeter_where_geometry_says(place, momentum, expected):
    found = calorimeter_direction(np.array([place], float), np.array([momentum], float))[0]
    wanted = np.array(expected) / np.linalg.norm(expected)
    np.testing.assert_allclose(found, wanted, atol=1e-12)


def test_background_has_the_asked_mean_and_needs_no_event(detector):
    table = beam(12, 20_000, 1.0)
    result = seen(table, detector)
    assert len(result.tracks) / 20_000 == pytest.approx(0.15, abs=0.012)
    assert len(result.clusters) / 20_000 == pytest.approx(1.5, abs=0.04)
    assert np.all(result.tracks.particle == -1)
    assert (result.clusters.energy - 0.03).mean() == pytest.approx(0.03, rel=0.03)


def test_same_seed_same_detector(mixed, detector):
    first, again, other = (seen(mixed, detector, seed) for seed in (4, 4, 5))
    np.testing.assert_array_equal(first.tracks.momentum, again.tracks.momentum)
    np.testing.assert_array_equal(first.clusters.energy, again.clusters.energy)
    assert len(first.tracks) != len(other.tracks)


def test_columns_are_sorted_by_event_and_point_at_their_particle(mixed, detector):
    result = seen(mixed, detector)
    for part in (result.tracks, result.clusters):
        assert np.all(np.diff(part.event) >= 0)
        real = part.particle >= 0
        np.testing.assert_array_equal(
            mixed.event_of_particle()[part.particle[real]], part.event[real]
        )
    assert set(
        np.abs(mixed.particles["PDG"][result.tracks.particle[result.tracks.particle >= 0]])
    ) == {
        11,
        13,
        211,
        321,
        2212,
    }


def test_no_events_is_no_problem(detector, mixed):
    result = seen(mixed.take(np.zeros(0, dtype=int)), detector)
    assert result.n_events == len(result.tracks) == len(result.clusters) == 0


def test_a_matrix_that_does_not_sum_to_one_is_refused(detector):
    values = {"matrix": {k: dict(v) for k, v in detector.identification.matrix.items()}}
    values["matrix"]["pion"]["kaon"] = 0.5
    with pytest.raises(ConfigurationError, match=r"'pion' sums to 1.46"):
        validate(type(detector.identification), values)
    values["matrix"]["pion"] = {"kaons": 1.0}
    with pytest.raises(ConfigurationError, match=r"did you mean 'kaon'"):
        validate(type(detector.identification), values)
