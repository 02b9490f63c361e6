"""Skims without the combiner, on events built by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartbkg_tf.generation.beams import boost, nominal_collision
from smartbkg_tf.generation.observables import EventView
from smartbkg_tf.generation.reconstruction import (
    SPECIES,
    SPECIES_MASS,
    Clusters,
    Reconstruction,
    Tracks,
)
from smartbkg_tf.generation.skims.pairs import invariant_mass, nearest, pairs_by_event
from smartbkg_tf.runtime.command import compose_settings
from smartbkg_tf.settings.generation import ProduceSettings
from smartbkg_tf.settings.sources import BeamSettings

COLLISION = nominal_collision(BeamSettings())


def view(events):
    """Events as lists of (species or 'gamma', charge, momentum in the CMS [, d0])."""
    tracks, clusters = [], []
    for number, particles in enumerate(events):
        for name, charge, momentum, *d0 in particles:
            p = np.array(momentum, float)
            mass = 0.0 if name == "gamma" else SPECIES_MASS[SPECIES.index(name)]
            lab = COLLISION.to_laboratory(np.array([*p, np.sqrt(p @ p + mass**2)]))
            if name == "gamma":
                clusters.append((number, lab[3], lab[:3] / lab[3]))
            else:
                tracks.append((number, lab[:3], charge, SPECIES.index(name), *(d0 or [0.0])))
    n = len(tracks)
    event, momentum, charge, species, d0 = zip(*tracks, strict=True) if n else ([], [], [], [], [])
    c_event, energy, direction = zip(*clusters, strict=True) if clusters else ([], [], [])
    return EventView(
        Reconstruction(
            len(events),
            Tracks(
                np.array(event, dtype=np.int64),
                np.array(momentum).reshape(-1, 3),
                np.array(charge, dtype=np.int64),
                np.array(species, dtype=np.int64),
                np.array(d0, dtype=float),
                np.zeros(n),
                np.zeros(n),
                np.full(n, -1),
            ),
            Clusters(
                np.array(c_event, dtype=np.int64),
                np.array(energy, dtype=float),
                np.array(direction).reshape(-1, 3),
                np.full(len(clusters), -1),
            ),
        ),
        COLLISION,
    )


def two_body(mass, m1, m2, momentum, direction=(1.0, 0.5, 0.2)):
    p = np.sqrt((mass**2 - (m1 + m2) ** 2) * (mass**2 - (m1 - m2) ** 2)) / (2 * mass)
    unit = np.array(direction) / np.linalg.norm(direction)
    energy = np.sqrt(mass**2 + np.dot(momentum, momentum))
    return [
        boost(np.array([*(s * p * unit), np.hypot(p, m)]), np.array(momentum) / energy)[:3]
        for s, m in ((1, m1), (-1, m2))
    ]


@pytest.fixture(scope="module")
def skim():
    composed = compose_settings("produce", ProduceSettings, ["skim=all"]).skim
    return lambda name, **cuts: replace(composed[name], **cuts)


@given(st.lists(st.integers(0, 5), max_size=12), st.lists(st.integers(0, 5), max_size=12))
def test_pairs_equal_the_double_loop(first, second):
    a, b = np.sort(np.array(first, dtype=np.int64)), np.sort(np.array(second, dtype=np.int64))
    i, j = pairs_by_event(a, b, 6)
    expected = [(x, y) for x in range(len(a)) for y in range(len(b)) if a[x] == b[y]]
    assert list(zip(i.tolist(), j.tolist(), strict=True)) == expected


def test_nearest_and_mass():
    values = nearest(np.array([3.0, 3.25, 2.9]), 3.1, np.array([0, 0, 2]), 3)
    np.testing.assert_array_equal(values, [3.0, np.nan, 2.9])
    np.testing.assert_allclose(
        invariant_mass(np.array([[0, 0, 3.0, 5.0], [0, 0, 5.0, 3.0]])), [4, 0]
    )


def test_jpsi(skim):
    lepton = SPECIES_MASS[1]
    plus, minus = two_body(3.0969, lepton, lepton, (0.3, 0.2, 1.0))
    heavy = two_body(3.5, lepton, lepton, (0.3, 0.2, 1.0))
    events = [
        [("muon", 1, plus), ("muon", -1, minus)],
        [("muon", 1, plus), ("muon", 1, minus)],  # equal charges
        [("muon", 1, plus), ("electron", -1, minus)],  # different species
        [("muon", 1, plus), ("muon", -1, minus, 3.0)],  # does not come from the beams
        [("muon", 1, heavy[0]), ("muon", -1, heavy[1])],
        [],
        [("electron", 1, plus), ("electron", -1, minus), ("muon", 1, heavy[0])],
    ]
    result = skim("jpsi_ll").select(view(events))
    np.testing.assert_array_equal(result.passes, [1, 0, 0, 0, 0, 0, 1])
    mass = result.observables["mass"]
    assert mass[0] == pytest.approx(3.0969, abs=1e-6)
    np.testing.assert_array_equal(np.isnan(mass), ~result.passes)


def test_dstar(skim):
    m_pi, m_k, m_d0, m_dstar = SPECIES_MASS[2], SPECIES_MASS[3], 1.86484, 2.01026

    def decay(momentum):
        d0, slow = two_body(m_dstar, m_d0, m_pi, momentum, (0.2, 1.0, 0.1))
        kaon, pion = two_body(m_d0, m_k, m_pi, d0)
        return kaon, pion, slow

    kaon, pion, slow = decay((0.0, 1.0, 2.5))
    soft = decay((0.0, 0.5, 1.0))
    good = [("kaon", -1, kaon), ("pion", 1, pion), ("pion", 1, slow)]
    events = [
        good,
        [(name, -charge, p) for name, charge, p in good],
        [("kaon", -1, kaon), ("pion", 1, pion), ("pion", -1, slow)],  # wrong slow pion
        [("kaon", 1, kaon), ("pion", 1, pion), ("pion", 1, slow)],  # wrong kaon
        [("pion", -1, kaon), ("pion", 1, pion), ("pion", 1, slow)],  # no kaon
        [("kaon", -1, soft[0]), ("pion", 1, soft[1]), ("pion", 1, soft[2])],  # as from a B
        [("kaon", -1, kaon), ("pion", 1, pion)],
    ]
    result = skim("dstar_d0_kpi").select(view(events))
    np.testing.assert_array_equal(result.passes, [1, 1, 0, 0, 0, 0, 0])
    assert result.observables["massD0"][0] == pytest.approx(m_d0, abs=1e-6)
    difference = result.observables["massDifference"]
    assert difference[1] == pytest.approx(m_dstar - m_d0, abs=1e-6)
    assert np.isnan(difference[2:]).all()
    assert skim("dstar_d0_kpi", minimum_momentum=0.5).select(view(events)).passes[5]


def test_btox_gamma(skim):
    ball = [("pion", 1, v) for v in np.concatenate([np.eye(3), -np.eye(3)])]
    events = [
        [*ball, ("gamma", 0, (0, 0, 2.2))],
        [*ball, ("gamma", 0, (0, 0, 1.2))],
        [*ball, ("gamma", 0, (0, 0, 3.6))],
        [*ball[:2], ("gamma", 0, (0, 0, 2.2))],  # too few tracks
        [*[("pion", 1, (0, 0, s)) for s in (1, -1, 2)], ("gamma", 0, (0, 0, 2.2))],  # jets
        [*ball, ("gamma", 0, (0, 0, 1.6)), ("gamma", 0, (0, 3.0, 0))],
    ]
    result = skim("btox_gamma").select(view(events))
    np.testing.assert_array_equal(result.passes, [1, 0, 0, 0, 0, 1])
    energy = result.observables["photonEnergyCMS"]
    np.testing.assert_allclose(energy, [2.2, np.nan, np.nan, 2.2, 2.2, 3.0], atol=1e-9)


def test_tau_thrust(skim):
    narrow = [("pion", 1, (0.1, 0, 2)), ("muon", -1, (0.1, 0.4, -2)), ("gamma", 0, (0.5, 0.4, 1.5))]
    line = [("muon", 1, (1, 0, 2)), ("muon", -1, (-1, 0, -2))]
    round_one = [
        ("pion", c, v) for c, v in zip((1, -1) * 3, [*np.eye(3), *-np.eye(3)], strict=True)
    ]
    events = [
        narrow,
        line,
        round_one,
        [*narrow, ("pion", 1, (0.4, 0, 2)), ("pion", 1, (0.4, 0, 2))],
        [],
        [(n, c, np.array(p) * 2.5) for n, c, p in narrow],
    ]
    result = skim("tau_thrust").select(view(events))
    np.testing.assert_array_equal(result.passes, [1, 0, 0, 0, 0, 0])


def test_low_multiplicity(skim):
    track = ("pion", 1, (0.5, 0.5, 0.5))
    anti = ("pion", -1, (-0.5, 0.5, 0.5))
    soft = ("pion", -1, (0.1, 0.0, 0.5))
    events = [
        [],
        [track],
        [track, anti],
        [track, anti] * 2,
        [track, anti, track, anti, track],
        [track, track, track],
        [track, soft],
        [track, anti, *[("gamma", 0, (1, 0, 0))] * 9],
    ]
    result = skim("low_multiplicity").select(view(events))
    np.testing.assert_array_equal(result.passes, [0, 0, 1, 1, 0, 0, 0, 1])


def test_all_skims_are_composed_by_all():
    composed = compose_settings("produce", ProduceSettings, ["skim=all"])
    from smartbkg_tf.runtime.command import configuration_directory

    files = {p.stem for p in (configuration_directory() / "skim").glob("*.yaml")} - {"all"}
    assert set(composed.skim) == files
    # Each file is a skim of its own name, whose numbers are the defaults of its class.
    for name in files:
        alone = compose_settings("produce", ProduceSettings, [f"skim={name}"]).skim
        assert list(alone) == [name]
        (made,) = alone.values()
        changed = {"tag": made.tag} if hasattr(made, "tag") else {}
        assert made == type(made)(**changed)
