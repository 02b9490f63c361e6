"""Generic quantities against a calculation event by event, in plain Python."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import pytest

from smartbkg_tf.models.codes import CodeProperties, codes_of
from smartbkg_tf.models.physics import BEAMS
from smartbkg_tf.models.quantities import KINDS, MISSING, QUANTITIES, EventQuantities
from smartbkg_tf.models.tree import MotherMatrix
from smartbkg_tf.models.treenet import Sides
from tests.models.model_test_case import CODES, FEATURES, VOCABULARY, Arrays, longer

#: PDG code, mother, px, py, pz (GeV), radius (cm): Y(4S) -> two B; one -> D*+ pi-, D*+ -> D0 pi+,
#: D0 -> K- pi+ pi0, pi0 -> two photons; the other -> D+ e- anti-nu, D+ -> K_S pi+, K_S -> pi+ pi-.
DECAY: tuple[tuple[int, int, float, float, float, float], ...] = (
    (300553, -1, 0.457, 0.0, 2.999, 0.0),
    (511, 0, 0.4, 0.1, 1.6, 0.0),
    (-511, 0, 0.057, -0.1, 1.399, 0.0),
    (413, 1, -0.5, 0.9, 1.1, 0.01),
    (-211, 1, 0.9, -0.8, 0.5, 0.01),
    (421, 3, -0.48, 0.86, 1.0, 0.01),
    (211, 3, -0.03, 0.06, 0.1, 0.01),
    (-321, 5, -0.3, 0.6, 0.5, 0.03),
    (211, 5, -0.1, 0.1, 0.2, 0.03),
    (111, 5, -0.08, 0.16, 0.3, 0.03),
    (22, 9, -0.04, 0.16, 0.2, 0.03),
    (22, 9, -0.001, 0.0, 0.01, 0.03),
    (411, 2, 0.7, -0.5, 0.9, 0.0),
    (11, 2, -0.4, 0.5, 0.3, 0.0),
    (-12, 2, -0.243, -0.1, 0.199, 0.0),
    (310, 12, 0.5, -0.3, 0.7, 0.1),
    (211, 12, 0.2, -0.2, 0.2, 0.1),
    (211, 15, 0.3, -0.2, 0.3, 3.0),
    (-211, 15, 0.2, -0.1, 0.4, 3.0),
)
MASSES = {300553: 10.58, 511: 5.28, 413: 2.01, 421: 1.865, 411: 1.87, 111: 0.135, 310: 0.498}
MASSES |= {211: 0.1396, 321: 0.4937, 11: 0.000511, 12: 0.0, 22: 0.0}
CHARGES = {211: 1, 321: 1, 11: -1, 413: 1, 411: 1}


def one_event(decay: Any = DECAY) -> Arrays:
    tokens = {code: token for token, code in enumerate(CODES, 2)}
    n = len(decay)
    x = np.zeros((1, n, len(FEATURES)), np.float32)
    arrays: Arrays = {
        "pdg_input": np.zeros((1, n), np.int32),
        "mother_index_input": np.zeros((1, n), np.int32),
        "particle_input": x,
    }
    for i, (code, mother, px, py, pz, radius) in enumerate(decay):
        kind = abs(code)
        values = {"energy": math.sqrt(px**2 + py**2 + pz**2 + MASSES[kind] ** 2), "x": radius}
        values |= {"px": px, "py": py, "pz": pz}
        values["charge"] = CHARGES.get(kind, 0) * (1 if code > 0 else -1)
        for name, value in values.items():
            x[0, i, FEATURES.index(name)] = value
        arrays["pdg_input"][0, i] = tokens[code]
        arrays["mother_index_input"][0, i] = mother
    return arrays


def quantities(events: Arrays) -> dict[str, np.ndarray]:
    x, tokens = events["particle_input"], events["pdg_input"]
    mask = tokens != 0
    codes = codes_of(VOCABULARY, CODES)
    properties = CodeProperties(codes)(tokens)
    matrix = MotherMatrix()(events["mother_index_input"], mask=mask)
    sides = Sides()(x[..., :1], properties, matrix, mask=mask)
    kinds = CodeProperties(codes, KINDS)(tokens)
    layer = EventQuantities(FEATURES)
    found = np.asarray(layer(x, kinds, properties, matrix, sides, mask=mask))
    return dict(zip(QUANTITIES, found.T, strict=True))


def boosted(row: Any) -> np.ndarray:
    """Boost px, py, pz, E of a particle into the beams' system, by the textbook's matrix."""
    code, _, *p, _ = row
    four = np.array([*p, math.sqrt(sum(v * v for v in p) + MASSES[abs(code)] ** 2)])
    beta = np.array(BEAMS[:3]) / BEAMS[3]
    gamma = 1.0 / math.sqrt(1.0 - beta @ beta)
    along = beta @ four[:3]
    momentum = four[:3] + beta * ((gamma - 1.0) * along / (beta @ beta) - gamma * four[3])
    return np.array([*momentum, gamma * (four[3] - along)])


def test_names_are_unique_and_there_is_one_for_every_column() -> None:
    assert len(set(QUANTITIES)) == len(QUANTITIES)
    assert len(quantities(one_event())) == len(QUANTITIES)


def test_a_decay_that_can_be_counted_by_hand() -> None:
    found = {name: float(value[0]) for name, value in quantities(one_event()).items()}
    # Lost is the photon of 10 MeV; the B0 that loses it comes before the one with a neutrino.
    expected = {
        "event_n_particles": 19,
        "event_n_track": 8,
        "event_n_found_track": 8,
        "event_n_photon": 2,
        "event_n_found_photon": 1,
        "event_n_invisible": 1,
        "event_sides": 2,
        "event_found_charge": 0,
        "first_n_track": 4,
        "first_n_d_star_plus": 1,
        "first_n_d_0": 1,
        "first_n_charm": 2,
        "first_n_lost": 1,
        "first_n_lost_under_pi0": 1,
        "first_daughters": 2,
        "first_charged": 0,
        "first_own_n_pion": 1,
        "first_charm_n_pion": 2,
        "first_charm_n_pi0": 1,
        "first_charm_n_pi0_lost": 1,
        "first_ground_pion": 1,
        "first_ground_lost": 1,
        "second_n_neutrino": 1,
        "second_own_n_electron": 1,
        "second_charm_n_short_kaon": 1,
        "second_charm_n_short_kaon_lost": 0,
        # Those of the K_S are not counted as pions.
        "second_charm_n_pion": 1,
        "second_daughters": 3,
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert found["first_slow_pion"] == pytest.approx(-math.hypot(0.03, 0.06), rel=1e-5)
    assert found["second_slow_pion"] == MISSING
    assert found["second_short_kaon_radius"] == pytest.approx(3.0)
    assert found["event_slowest_track"] == pytest.approx(-math.hypot(0.03, 0.06), rel=1e-5)
    assert found["event_second_slowest_track"] == pytest.approx(-math.hypot(0.1, 0.1), rel=1e-5)


def test_four_vectors_masses_and_shapes() -> None:
    found = {name: float(value[0]) for name, value in quantities(one_event()).items()}
    seen = {"first": (4, 6, 7, 8, 10), "second": (13, 16, 17, 18)}
    everything = np.array([boosted(DECAY[i]) for rows in seen.values() for i in rows])
    total = everything.sum(axis=0)
    beam = math.sqrt(BEAMS[3] ** 2 - sum(p * p for p in BEAMS[:3]))
    assert found["event_found_energy"] == pytest.approx(total[3], rel=1e-5)
    missing = beam - total[3]
    assert found["event_missing_mass_squared"] == pytest.approx(
        missing**2 - total[:3] @ total[:3], rel=1e-4
    )
    for side, rows in seen.items():
        four = sum(boosted(DECAY[i]) for i in rows)
        p = math.sqrt(four[:3] @ four[:3])
        assert found[f"{side}_found_momentum"] == pytest.approx(p, rel=1e-4)
        assert found[f"{side}_found_mass"] == pytest.approx(
            math.sqrt(four[3] ** 2 - p * p), rel=1e-4
        )
        assert found[f"{side}_energy_difference"] == pytest.approx(four[3] - beam / 2, rel=1e-4)
    p = everything[:, :3]
    size = np.linalg.norm(p, axis=1)
    cosine = (p @ p.T) / np.outer(size, size)
    r2 = np.sum(np.outer(size, size) * (1.5 * cosine**2 - 0.5)) / size.sum() ** 2
    assert found["event_r2"] == pytest.approx(r2, abs=1e-5)
    values = np.linalg.eigvalsh(sum(np.outer(v, v) / s for v, s in zip(p, size, strict=True)))
    assert found["event_flatness"] == pytest.approx(np.prod(values / values.sum()), abs=1e-6)
    axes = np.random.default_rng(1).normal(size=(20000, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    thrust = np.abs(p @ axes.T).sum(axis=0).max() / size.sum()
    assert found["event_thrust"] == pytest.approx(thrust, rel=0.02)


def test_order_of_sides_padding_and_empty_events() -> None:
    event = one_event()
    whole = np.array(list(quantities(event).values()))
    padded = longer(event, 5)
    padded["particle_input"][:, -5:] = 7.0
    np.testing.assert_allclose(np.array(list(quantities(padded).values())), whole, atol=1e-5)
    # The other B first: sides are ordered by what they lose, not by the generator.
    place = [0, 2, 1, *range(3, len(DECAY))]
    renamed = {old: new for new, old in enumerate(place)}
    swapped = [
        (code, renamed.get(mother, mother), *rest)
        for code, mother, *rest in (DECAY[i] for i in place)
    ]
    again = np.array(list(quantities(one_event(swapped)).values()))
    np.testing.assert_allclose(again, whole, atol=1e-5)
    empty = {name: np.zeros_like(values) for name, values in event.items()}
    assert all(np.isfinite(value).all() for value in quantities(empty).values())


def test_the_layer_is_saved_with_its_constants() -> None:
    layer = EventQuantities(FEATURES, acceptance=(20.0, 140.0), dtype="float32")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert again.get_config() == layer.get_config()
