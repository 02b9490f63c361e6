from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from smartbkg_tf.generation.beams import nominal_collision
from smartbkg_tf.generation.detector import reconstruct
from smartbkg_tf.generation.observables import (
    Cleaning,
    EventView,
    fox_wolfram_r2,
    sphericity_aplanarity,
)
from smartbkg_tf.generation.thrust import thrust
from smartbkg_tf.settings.sources import BeamSettings

BACK_TO_BACK = np.array([[0.6, 0.8, 0.0], [-0.6, -0.8, 0.0]])
ANGLES = np.radians([0, 120, 240])
MERCEDES = np.column_stack([np.cos(ANGLES), np.sin(ANGLES), 0 * ANGLES]) * 2.0
OCTAHEDRON = np.concatenate([np.eye(3), -np.eye(3)]) * 0.7
# (momenta, R2, thrust, sphericity, aplanarity); octahedron: 2 (1, 1, 1) / sqrt 3 over 6.
SHAPES = {
    "back-to-back": (BACK_TO_BACK, 1.0, 1.0, 0.0, 0.0),
    "mercedes": (MERCEDES, 0.25, 2 / 3, 0.75, 0.0),
    "octahedron": (OCTAHEDRON, 0.0, 1 / np.sqrt(3), 1.0, 0.5),
}


def zeros(p):
    return np.zeros(len(p), dtype=np.int64)


@pytest.mark.parametrize("name", SHAPES)
def test_analytic_shapes(name):
    p, r2, t, sphericity, aplanarity = SHAPES[name]
    # Any orientation gives the same.
    for seed in range(3):
        turn, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
        q = p @ turn.T
        assert fox_wolfram_r2(q, zeros(q), 1)[0] == pytest.approx(r2, abs=1e-12)
        assert thrust(np.ascontiguousarray(q), np.array([0, len(q)]))[0] == pytest.approx(t)
        found = sphericity_aplanarity(q, zeros(q), 1)
        assert (found[0][0], found[1][0]) == pytest.approx((sphericity, aplanarity), abs=1e-9)


def test_many_isotropic_momenta_are_isotropic():
    p = np.random.default_rng(1).normal(size=(400, 3))
    p /= np.linalg.norm(p, axis=1, keepdims=True)
    assert fox_wolfram_r2(p, zeros(p), 1)[0] < 0.03
    assert thrust(p, np.array([0, 400]))[0] == pytest.approx(0.5, abs=0.05)


momenta = st.lists(st.tuples(*[st.floats(-3, 3)] * 3), min_size=1, max_size=8).map(
    lambda rows: np.array(rows) + 1e-3
)


@given(momenta)
@settings(max_examples=60)
def test_r2_equals_the_double_sum(p):
    size = np.linalg.norm(p, axis=1)
    cosine = (p @ p.T) / np.outer(size, size)
    h0 = np.outer(size, size).sum()
    h2 = (np.outer(size, size) * (1.5 * cosine**2 - 0.5)).sum()
    assert fox_wolfram_r2(p, zeros(p), 1)[0] == pytest.approx(h2 / h0, abs=1e-9)


@given(momenta)
@example(np.array([[0, 0, 0], [0, 0, 1], [-1, -1, 0], [0, -1, 0], [0, -1, 0]]) + 1e-3)
@example(np.array([[1, 0, 0], [-2, 0, 0], [3, 0, 0], [0.5, 0, 0]]))
@example(np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0], [-1, 2, 0], [2, -1, 0], [0, 0, 1]]))
@settings(max_examples=60)
def test_thrust_equals_the_maximum_over_all_signs(p):
    # Maximum over axes = maximum over sign assignments of |sum of signed momenta|.
    signs = 1.0 - 2.0 * (np.arange(2 ** len(p))[:, None] >> np.arange(len(p)) & 1)
    best = np.linalg.norm(signs @ p, axis=1).max() / np.linalg.norm(p, axis=1).sum()
    assert thrust(p, np.array([0, len(p)]))[0] == pytest.approx(best, rel=1e-9)


def test_events_do_not_mix_and_empty_ones_are_undefined():
    p = np.concatenate([BACK_TO_BACK, MERCEDES])
    event = np.array([0, 0, 2, 2, 2])
    np.testing.assert_allclose(fox_wolfram_r2(p, event, 4), [1.0, np.nan, 0.25, np.nan])
    np.testing.assert_allclose(thrust(p, np.array([0, 2, 2, 5, 5])), [1.0, np.nan, 2 / 3, np.nan])
    np.testing.assert_allclose(
        sphericity_aplanarity(p, event, 4)[0], [0.0, np.nan, 0.75, np.nan], atol=1e-9
    )


@pytest.fixture(scope="module")
def view(mixed, detector):
    return EventView(
        reconstruct(mixed, detector, np.random.default_rng(8)), nominal_collision(BeamSettings())
    )


def test_sums_equal_those_of_one_event(view):
    """One event summed by hand, from the tracks and clusters."""
    summary = view.summary(Cleaning())
    tracks, clusters = view.reconstruction.tracks, view.reconstruction.clusters
    total = view.collision.total
    for event in (0, 17, 5999):
        visible = np.zeros(4)
        n_tracks = n_clusters = 0
        ecl = photons = 0.0
        for i in np.flatnonzero(tracks.event == event):
            p = tracks.momentum[i]
            if np.hypot(p[0], p[1]) > 0.1 and abs(tracks.d0[i]) < 0.5 and abs(tracks.z0[i]) < 2:
                n_tracks += 1
                ecl += tracks.cluster_energy[i]
                visible += [*p, np.sqrt(p @ p + 0.13957039**2)]
        for i in np.flatnonzero(clusters.event == event):
            if clusters.energy[i] > 0.1:
                n_clusters += 1
                photons += clusters.energy[i]
                visible += [*(clusters.energy[i] * clusters.direction[i]), clusters.energy[i]]
        found = {name: values[event] for name, values in summary.observables().items()}
        assert found["nTracks"] == n_tracks
        assert found["nClusters"] == n_clusters
        assert found["photonEnergy"] == pytest.approx(photons)
        assert found["clusterEnergy"] == pytest.approx(photons + ecl)
        inside = view.collision.to_centre_of_mass(visible)
        assert found["visibleEnergyCMS"] == pytest.approx(inside[3])
        assert found["missingEnergyCMS"] == pytest.approx(10.5796 - inside[3], abs=1e-4)
        assert found["missingMomentumCMS"] == pytest.approx(np.linalg.norm(inside[:3]))
        missing = total - visible
        assert found["missingMass2"] == pytest.approx(missing[3] ** 2 - missing[:3] @ missing[:3])


def test_cleaning_is_what_it_says_and_summaries_are_kept(view):
    assert view.summary(Cleaning()) is view.summary(Cleaning())
    loose = view.summary(Cleaning(0.0, 1e3, 1e3, 0.0))
    assert loose.n_tracks.sum() == len(view.reconstruction.tracks)
    assert loose.n_clusters.sum() == len(view.reconstruction.clusters)
    assert view.summary(Cleaning()).n_tracks.sum() < loose.n_tracks.sum()


def test_b_pairs_are_rounder_than_continuum(view, samples, detector):
    jets = EventView(
        reconstruct(samples["uubar"], detector, np.random.default_rng(8)), view.collision
    ).summary(Cleaning())
    b = view.summary(Cleaning())
    assert np.nanmedian(jets.r2) > 0.35 > 0.2 > np.nanmedian(b.r2)
    assert np.nanmedian(jets.thrust) > 0.85 > 0.8 > np.nanmedian(b.thrust)
