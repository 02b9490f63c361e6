"""The semileptonic tag on one decay built by hand, and on generated events."""

from __future__ import annotations

import numpy as np
import pytest

from smartbkg_tf.generation.beams import boost, nominal_collision
from smartbkg_tf.generation.detector import reconstruct
from smartbkg_tf.generation.observables import EventView
from smartbkg_tf.generation.reconstruction import SPECIES_MASS
from smartbkg_tf.generation.skims.fei_semileptonic import FeiSemileptonic
from smartbkg_tf.runtime.command import compose_settings
from smartbkg_tf.settings.generation import ProduceSettings
from smartbkg_tf.settings.sources import BeamSettings
from tests.generation.skims.test_simple_skims import COLLISION, two_body, view

M_B, M_D = 5.27972, 1.86966
M_PI, M_K, M_MU = SPECIES_MASS[2], SPECIES_MASS[3], SPECIES_MASS[1]
LOOSE = {
    "minimum_tracks": 0,
    "minimum_clusters": 0,
    "minimum_visible_energy": 0.0,
    "minimum_ecl_energy": 0.0,
    "maximum_ecl_energy": 100.0,
    "maximum_r2": 1.0,
}


@pytest.fixture(scope="module")
def skim():
    return lambda **cuts: FeiSemileptonic(**{**LOOSE, **cuts})


def seen(events):
    """With a photon that fits nothing: some energy must be in the calorimeter."""
    return view([[*particles, ("gamma", 0, (0.2, 0.0, 0.0))] for particles in events])


def decay(direction=(1.0, 0.5, 0.2), q=2.5):
    """B0 -> D- mu+ nu, D- -> K+ pi- pi-: particles, and cos(theta_BY) by its definition."""
    energy = 0.5 * float(COLLISION.mass)
    b = np.array([0.0, np.sqrt(energy**2 - M_B**2), 0.0])
    d, w = two_body(M_B, M_D, q, b, direction)
    muon, _ = two_body(q, M_MU, 0.0, w, (0.3, -0.2, 1.0))
    kaon, pions = two_body(M_D, M_K, 0.9, d, (0.1, 1.0, 0.0))
    first, second = two_body(0.9, M_PI, M_PI, pions, (0.0, 0.3, 1.0))
    y = d + muon
    cosine = y @ b / np.linalg.norm(y) / np.linalg.norm(b)
    particles = [
        ("kaon", 1, kaon), ("pion", -1, first), ("pion", -1, second), ("muon", 1, muon)
    ]  # fmt: skip
    return particles, cosine


@pytest.mark.parametrize("direction", [(1, 0.5, 0.2), (-1, 0.4, 0.3), (0.1, -1, 0.4)])
def test_the_angle_is_that_of_the_decay(skim, direction):
    particles, cosine = decay(direction)
    result = skim(minimum_lepton_momentum=0.1).select(seen([particles]))
    assert result.passes[0]
    # Momenta are given to the D and its daughters independently of the mass of the pair.
    assert result.observables["cosThetaBY"][0] == pytest.approx(cosine, abs=1e-6)
    # D- mu+: 0.15, D- -> K+ pi- pi-: 0.40, at its nominal mass.
    assert result.observables["sigProb"][0] == pytest.approx(0.15 * 0.40, rel=1e-6)


def test_charges_lepton_and_windows(skim):
    particles, cosine = decay()
    kaon, first, second, (_, _, muon) = particles
    turned = [(name, -charge, p) for name, charge, p in particles]
    momentum = np.linalg.norm(muon)
    events = [
        particles,
        turned,
        [kaon, first, second, ("muon", -1, muon)],  # D- mu-
        [kaon, first, second, ("pion", 1, muon)],  # no lepton
        [kaon, first, second],
        [kaon, first, ("muon", 1, muon)],  # no D
        [],
    ]
    loose = {"minimum_lepton_momentum": 0.1}
    result = skim(**loose).select(seen(events))
    np.testing.assert_array_equal(result.passes, [1, 1, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(np.isnan(result.observables["cosThetaBY"]), ~result.passes)
    for cuts, passes in (
        ({"tag": "B+"}, False),
        ({"tag": "B0"}, True),
        ({"minimum_lepton_momentum": momentum - 0.01}, True),
        ({"minimum_lepton_momentum": momentum + 0.01}, False),
        ({"minimum_cosine": cosine + 0.01}, False),
        ({"maximum_cosine": cosine - 0.01}, False),
        ({"minimum_probability": 0.061}, False),
        ({"minimum_probability": 0.059}, True),
        ({"minimum_tracks": 5}, False),
    ):
        assert skim(**{**loose, **cuts}).select(seen([particles])).passes[0] == passes, cuts


def test_retention_prefers_b_mesons(skim, samples, detector):
    composed = compose_settings("produce", ProduceSettings, ["skim=fei_semileptonic"])
    (tag,) = composed.skim.values()
    assert tag == FeiSemileptonic()
    shares = {}
    for kind in ("mixed", "charged", "ccbar", "uubar"):
        events = EventView(
            reconstruct(samples[kind], detector, np.random.default_rng(8)),
            nominal_collision(BeamSettings()),
        )
        result = tag.select(events)
        shares[kind] = result.passes.mean()
        summary = tag.cleaned(events)
        assert np.all(summary.n_tracks[result.passes] >= 4)
        assert np.all(summary.r2[result.passes] < 0.4)
        cosine = result.observables["cosThetaBY"][result.passes]
        assert np.all((cosine > -4) & (cosine < 3))
        if kind == "mixed":
            # True D(*) l pairs gather between -1 and 1: more than in a flat distribution.
            assert np.mean(np.abs(cosine) < 1.1) > 2.2 / 7 + 0.1
    assert 0.04 < shares["mixed"] < 0.065
    assert 0.04 < shares["charged"] < 0.085
    assert shares["ccbar"] < 0.025
    assert shares["uubar"] < 0.02


def test_boosts_do_not_matter():
    """The helper's decay is what it says: the B's mass comes back with the neutrino."""
    particles, _ = decay()
    visible = sum(
        np.array([*p, np.hypot(np.linalg.norm(p), {"kaon": M_K, "pion": M_PI, "muon": M_MU}[n])])
        for n, _, p in particles
    )
    energy = 0.5 * float(COLLISION.mass)
    b = np.array([0.0, np.sqrt(energy**2 - M_B**2), 0.0, energy])
    neutrino = b - visible
    assert neutrino[3] == pytest.approx(np.linalg.norm(neutrino[:3]), rel=1e-9)
    assert boost(b, -b[:3] / b[3])[3] == pytest.approx(M_B)
