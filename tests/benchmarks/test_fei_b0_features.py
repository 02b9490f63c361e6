"""Features against a plain reading of the same events, particle by particle."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from benchmarks.fei_b0.features import SETS, decay_features, features, side_features
from benchmarks.fei_b0.reading import Reading, has_quark
from benchmarks.fei_b0.replay import VARIATIONS, replay
from smartbkg_tf.events.table import EventTable
from smartbkg_tf.generation.beams import nominal_collision
from smartbkg_tf.settings.sources import BeamSettings
from tests.samples import make_events

#: One event, as (PDG, position of the mother, px, py, pz): B0 -> D*- pi+ with
#: D*- -> D0bar pi-, D0bar -> K+ pi-; the other B0 -> mu nu D-, D- -> K_S pi-, K_S -> pi0 pi0
#: without daughters, and a pi0 with a photon beyond the acceptance.
BY_HAND = [
    (300553, -1, 0.457, 0.0, 3.0),
    (511, 0, 0.2, 0.1, 1.5),
    (-511, 0, 0.25, -0.1, 1.5),
    (-413, 1, 0.6, 0.3, 1.0),
    (211, 1, -0.4, -0.2, 0.5),
    (-421, 3, 0.5, 0.25, 0.9),
    (-211, 3, 0.06, 0.05, 0.1),
    (321, 5, 0.7, 0.4, 0.4),
    (-211, 5, -0.2, -0.15, 0.5),
    (-13, 2, 0.9, 0.2, 0.4),
    (14, 2, -0.3, 0.4, 0.6),
    (-411, 2, -0.3, -0.7, 0.5),
    (310, 11, -0.1, -0.3, 0.3),
    (-211, 11, -0.01, -0.02, 0.2),
    (111, 12, -0.05, -0.2, 0.1),
    (111, 12, -0.05, -0.1, 0.2),
    (22, 14, -0.05, -0.1, 0.05),
    (22, 14, 0.0, -0.1, 0.05),
    (22, 15, -0.05, -0.1, 0.1),
    (22, 15, 0.0, 0.0, 0.1),
]
MASSES = {211: 0.1396, 321: 0.4937, 13: 0.1057, 111: 0.135, 22: 0.0, 14: 0.0, 310: 0.4976}


def by_hand() -> EventTable:
    base = make_events(1, seed=1)
    code = np.array([row[0] for row in BY_HAND])
    mother = np.array([row[1] for row in BY_HAND])
    momentum = np.array([row[2:] for row in BY_HAND])
    mass = np.array([MASSES.get(abs(c), 5.0) for c in code])
    n = len(code)
    charge = [{211: 1, 321: 1, 13: -1, 413: 1, 411: 1}.get(abs(c), 0) * np.sign(c) for c in code]
    particles: dict[str, Any] = {
        "PDG": code,
        "mass": mass,
        "charge": np.array(charge, dtype=float),
        "energy": np.sqrt(mass**2 + np.sum(momentum**2, axis=1)),
        "prodTime": np.zeros(n),
        **{name: np.zeros(n) for name in ("x", "y", "z")},
        **{name: momentum[:, i] for i, name in enumerate(("px", "py", "pz"))},
        "nDaughters": np.array([(mother == i).sum() for i in range(n)]),
        "status": np.ones(n, dtype=int),
        "motherPDG": np.where(mother >= 0, code[mother], 0),
        "motherIndex": mother,
    }
    return EventTable(
        particles=particles,
        offsets=np.array([0, n]),
        keys=base.keys,
        event_type=base.event_type,
        labels=base.labels,
    )


def test_the_blocks_of_an_event_by_hand() -> None:
    sides = side_features(Reading(by_hand()))
    good, bad = ({name: values[i] for name, values in sides.items()} for i in (0, 1))
    assert (good["n_tracks"], bad["n_tracks"]) == (4, 2)
    assert (good["lost"], good["invisible"], good["neutrinos"]) == (0, 0, 0)
    # The neutrino, the pion of pT 0.02 GeV, and the photon along the beam.
    assert (bad["lost"], bad["invisible"], bad["lost_tracks"], bad["lost_photons"]) == (3, 1, 1, 1)
    assert (good["d_star_plus"], good["d0"], good["d_plus"], good["charm"]) == (1, 1, 0, 2)
    assert (bad["d_star_plus"], bad["d_plus"], bad["charm"]) == (0, 1, 1)
    assert (good["own_pion"], good["charm_pion"], good["charm_kaon"]) == (1, 2, 1)
    assert (good["ground_pion"], good["ground_kaon"], good["ground_lost"]) == (1, 1, 0)
    assert good["slow_pion"] == pytest.approx(math.hypot(0.06, 0.05))
    assert (bad["own_lepton"], bad["own_neutrino"], bad["charm_short"]) == (1, 1, 1)
    # The pi0 are inside the K_S: not counted beside it, but it is neutral and broken.
    assert (bad["charm_pi0"], bad["short_neutral"], bad["charm_short_lost"]) == (0, 1, 1)
    assert (bad["charm_pion"], bad["charm_pion_lost"]) == (1, 1)
    assert (good["daughters"], bad["daughters"], good["charged"]) == (2, 3, 0)


def test_the_b_that_loses_less_comes_first() -> None:
    table = by_hand()
    ordered = decay_features(Reading(table))
    assert (ordered["first_lost"][0], ordered["second_lost"][0]) == (0, 3)
    assert (ordered["first_n_tracks"][0], ordered["second_n_tracks"][0]) == (4, 2)


def test_visible_four_momentum_of_a_side() -> None:
    table = by_hand()
    sides = side_features(Reading(table))
    rows = [4, 6, 7, 8]
    vectors = np.stack([table.particles[n] for n in ("px", "py", "pz", "energy")], axis=1)[rows]
    collision = nominal_collision(BeamSettings())
    total = collision.to_centre_of_mass(vectors).sum(axis=0)
    momentum = np.linalg.norm(total[:3])
    assert sides["seen_energy"][0] == pytest.approx(total[3])
    assert sides["seen_momentum"][0] == pytest.approx(momentum)
    assert sides["seen_mass"][0] == pytest.approx(math.sqrt(total[3] ** 2 - momentum**2))
    beam = 0.5 * float(collision.mass)
    assert sides["energy_difference"][0] == pytest.approx(total[3] - beam)
    assert sides["beam_constrained_mass"][0] == pytest.approx(math.sqrt(beam**2 - momentum**2))


def plain(table: EventTable) -> list[dict[str, float]]:
    """Read events one by one."""
    result = []
    for i in range(len(table)):
        begin, end = table.offsets[i], table.offsets[i + 1]
        p = {name: column[begin:end] for name, column in table.particles.items()}
        seen_tracks, photons, lost, pts = 0, 0, 0, []
        head: dict[int, int] = {}
        on_side = [0, 0]
        for row in range(end - begin):
            code, mother = abs(int(p["PDG"][row])), int(p["motherIndex"][row])
            if code in (511, 521):
                if len(set(head.values())) < 2:
                    head[row] = len(set(head.values()))
            elif mother in head:
                head[row] = head[mother]
            if p["nDaughters"][row]:
                continue
            if row in head:
                on_side[head[row]] += 1
            pt = math.hypot(p["px"][row], p["py"][row])
            inside = 17 <= math.degrees(math.atan2(pt, p["pz"][row])) <= 150
            if code in (11, 13, 211, 321, 2212):
                if inside and pt > 0.05:
                    seen_tracks += 1
                    pts.append(pt)
                else:
                    lost += 1
            photons += code == 22 and inside and p["energy"][row] > 0.05
        result.append(
            {
                "n_particles": end - begin,
                "seen_tracks": seen_tracks,
                "seen_photons": photons,
                "lost_tracks": lost,
                "slowest_track_0": min(pts, default=math.nan),
                "slowest_track_1": sorted(pts)[1] if len(pts) > 1 else math.nan,
                "stable_of_sides": sum(on_side),
            }
        )
    return result


def test_features_agree_with_a_plain_reading() -> None:
    table = make_events(300, seed=4, empty=(7,))
    names, matrix = features(table, "decay")
    found = {name: matrix[:, i] for i, name in enumerate(names)}
    found["stable_of_sides"] = found["first_n_stable"] + found["second_n_stable"]
    expected = plain(table)
    for name in expected[0]:
        np.testing.assert_allclose(
            found[name], [event[name] for event in expected], rtol=1e-12, err_msg=name
        )


@pytest.mark.parametrize("name", [name for name in SETS if name != "skim"])
def test_an_event_has_the_same_features_alone(name: str) -> None:
    table = make_events(40, seed=5)
    names, matrix = features(table, name)
    assert len(set(names)) == len(names)
    for i in (0, 13, 39):
        np.testing.assert_allclose(features(table.take([i]), name)[1][0], matrix[i], atol=1e-12)


def test_heavy_quarks() -> None:
    codes = np.array([411, -421, 10433, 4122, 443, 4232, 511, -531, 5122, 553, 300553, 211, 22])
    assert has_quark(codes, 4).tolist() == [True] * 4 + [False, True] + [False] * 7
    assert has_quark(codes, 5).tolist() == [False] * 6 + [True] * 3 + [False] * 4


def test_a_signal_decay_is_found_by_the_replay() -> None:
    from tests.benchmarks.signal import signal_event

    found = replay(Reading(signal_event()), VARIATIONS["nominal"])
    assert found["mbc"][0] == pytest.approx(5.2797, abs=0.002)
    assert abs(found["delta_e"][0]) < 0.01
    assert np.exp(found["weight"][0]) == pytest.approx(0.5 * 0.4, rel=0.05)
