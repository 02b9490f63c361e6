"""The learned detector: as part of a network, and against plain arithmetic."""

from __future__ import annotations

from typing import Any, ClassVar

import keras
import numpy as np
import pytest
import tensorflow as tf

from benchmarks.fei_b0.candidate_columns import WAYS, bit_columns
from benchmarks.fei_b0.candidate_input import CandidateInput
from benchmarks.fei_b0.candidate_network import (
    DISPLACEMENTS,
    STEPS,
    CandidateSurvival,
    CorrectedEstimate,
    DetectorVariables,
    NetworkWithCandidates,
)
from smartbkg_tf.errors import ConfigurationError
from smartbkg_tf.models.base import NNBaseClass
from smartbkg_tf.models.decay_branches import WideCnn
from smartbkg_tf.models.head_inputs import EventColumnInput
from smartbkg_tf.models.tree_branches import TreeNet
from tests.models.model_test_case import (
    CODES,
    FEATURES,
    NORMALISATION,
    VARIANT,
    Arrays,
    ModelTestCase,
    common_arguments,
    random_events,
)

COLUMNS = (*bit_columns(16), "candidate_is", "candidate_reaction", "candidate_weight")
NAMES = (*FEATURES[:-1], *COLUMNS, "charge")


def with_candidates(events: Arrays, seed: int = 3) -> Arrays:
    """Give every event up to 16 candidates of up to six particles."""
    random = np.random.default_rng(seed)
    x = events["particle_input"]
    n_events, length = x.shape[:2]
    own = dict(zip(FEATURES, np.moveaxis(x, -1, 0), strict=True))
    columns = {name: np.zeros((n_events, length), np.float32) for name in COLUMNS}
    for event, n in enumerate(np.count_nonzero(events["pdg_input"], axis=1)):
        for candidate in range(random.integers(0, min(n, 16) + 1)):
            members = random.permutation(n)[: random.integers(1, 7)]
            way = random.choice(3, len(members), p=[0.8, 0.1, 0.1])
            columns["candidate_members_0"][event, members] += 2.0**candidate
            for number in (1, 2):
                columns[f"candidate_{WAYS[number]}_0"][event, members[way == number]] += (
                    2.0**candidate
                )
            columns["candidate_is"][event, candidate] = 1.0
            columns["candidate_reaction"][event, candidate] = random.integers(0, 60)
            columns["candidate_weight"][event, candidate] = random.normal()
    own |= columns
    return events | {"particle_input": np.stack([own[name] for name in NAMES], axis=-1)}


EVENT_COLUMNS = EventColumnInput(names=["pz", "energy"], units=4, dropout=0.0, for_particles=False)
CANDIDATES = CandidateInput(embedding=4, units=6, traits=3, draws=16)


class TestTreeNetWithCandidates(ModelTestCase):
    network_class: ClassVar[type[NNBaseClass]] = NetworkWithCandidates
    inputs = "particles"
    slow = tuple(name for name in VARIANT if name != "test_onnx_gives_the_same_scores")
    arguments: ClassVar[dict[str, Any]] = {
        "feature_names": NAMES,
        "normalisation": {**NORMALISATION, **{name: {} for name in COLUMNS}},
        "particles": TreeNet(
            units=8, hidden=12, layers=1, heads=2, side_units=8, dropout=0.0, embedding=4
        ),
        "codes": CODES,
        "head": {
            "units": [8],
            "dropout": 0.0,
            "inputs": {"event_columns": EVENT_COLUMNS, "candidates": CANDIDATES},
        },
    }

    def events(self, n_events: int, **shape: Any) -> Arrays:
        return with_candidates(random_events(n_events, **shape))


def _network(**candidates: Any) -> NetworkWithCandidates:
    arguments = common_arguments("particles") | TestTreeNetWithCandidates.arguments
    inputs = {"event_columns": EVENT_COLUMNS, "candidates": CandidateInput(**candidates)}
    return NetworkWithCandidates(
        **arguments | {"head": {"units": [8], "dropout": 0.0, "inputs": inputs}}
    )


def _layer(n: int, **arguments: Any) -> tuple[CandidateSurvival, Any]:
    layer = CandidateSurvival(NAMES, units=4, traits=2, **arguments)
    layer.build((None, None, 3), (None, None, len(NAMES)))
    return layer, np.zeros((1, n, 3), np.float32)


def _set(layer: CandidateSurvival, found: float, other: float, far: float, stays: float) -> None:
    """Give every particle and candidate the same logits."""
    for dense in (layer.chances, layer.stays):
        dense.kernel.assign(np.zeros(dense.kernel.shape))
    layer.chances.bias.assign([found, other, far, 0.0, 0.0])
    layer.stays.bias.assign([stays])


def _event(n: int, *candidates: tuple[int, ...], renamed: int = 0) -> Any:
    """One event; of each candidate the last `renamed` members are taken for something else."""
    x = np.zeros((1, n, len(NAMES)), np.float32)
    for k, members in enumerate(candidates):
        x[0, list(members), NAMES.index("candidate_members_0")] += 2.0**k
        other = list(members[len(members) - renamed :]) if renamed else []
        x[0, other, NAMES.index("candidate_renamed_0")] += 2.0**k
        x[0, k, NAMES.index("candidate_is")] = 1.0
    return x


def _probability(layer: CandidateSurvival, particles: Any, x: Any) -> float:
    mask = np.ones(x.shape[:2], bool)
    logit = float(np.asarray(layer(particles, x, mask=mask))[0, 0])
    return float(1.0 / (1.0 + np.exp(-logit)))


def sigmoid(x: float) -> float:
    return float(1.0 / (1.0 + np.exp(-x)))


def test_one_candidate_survives_with_the_product_of_its_chances() -> None:
    """Steps that are nearly sharp: the share of measurements is the product of the chances."""
    layer, particles = _layer(5, draws=4000, softness=0.02)
    _set(layer, 1.0, -2.0, -2.0, 2.0)
    expected = sigmoid(1.0) ** 3 * sigmoid(2.0)
    assert _probability(layer, particles, _event(5, (0, 2, 4))) == pytest.approx(expected, abs=0.02)
    expected = sigmoid(1.0) ** 2 * sigmoid(-2.0) * sigmoid(2.0)
    found = _probability(layer, particles, _event(5, (0, 2, 4), renamed=1))
    assert found == pytest.approx(expected, abs=0.01)


def test_a_shared_particle_correlates_two_candidates() -> None:
    layer, particles = _layer(5, draws=4000, softness=0.02)
    _set(layer, 0.5, -2.0, -2.0, 9.0)
    p = sigmoid(0.5)
    apart = _probability(layer, particles, _event(5, (0, 1), (2, 3)))
    assert apart == pytest.approx(1.0 - (1.0 - p**2) ** 2, abs=0.02)
    together = _probability(layer, particles, _event(5, (0, 1), (0, 2)))
    assert together == pytest.approx(p * (1.0 - (1.0 - p) ** 2), abs=0.02)


def test_a_particle_is_not_found_and_renamed_at_once() -> None:
    """One candidate needs it as it is, another one renamed: together less than independent."""
    layer, particles = _layer(2, draws=4000, softness=0.02)
    _set(layer, 0.0, 0.0, -9.0, 9.0)
    x = _event(2, (0,), (0,))
    x[0, 0, NAMES.index("candidate_renamed_0")] = 2.0
    # Chances of a half each that exclude each other: always one of them.
    assert _probability(layer, particles, x) > 0.99


def test_no_candidate_no_chance() -> None:
    layer, particles = _layer(4)
    output = np.asarray(layer(particles, _event(4), mask=np.ones((1, 4), bool)))
    assert output[0, 0] < -9.0
    assert not output[0, 3:].any()
    assert np.isfinite(output).all()


def test_a_graph_computes_what_its_layers_do_one_by_one() -> None:
    """TensorFlow's constant folding once made NaN of the bits."""
    network = _network(units=6, traits=3, draws=16)
    events = with_candidates(random_events(200))
    model = network.model
    chosen = {name: events[name] for name in network.input_names}
    graph = tf.function(lambda inputs: model(inputs, training=False))
    np.testing.assert_allclose(graph(chosen), model(chosen, training=False), atol=2e-5)


def test_branches_do_not_read_the_columns_of_candidates() -> None:
    network = _network(units=6)
    assert network.model.get_layer("normalisation").output.shape[-1] == len(FEATURES) - 3 + 5
    arguments = common_arguments("particles") | TestTreeNetWithCandidates.arguments
    head = {"units": [8], "inputs": {"candidates": CANDIDATES}}
    network = NetworkWithCandidates(**arguments | {"head": head})
    assert network.model.get_layer("normalisation").output.shape[-1] == len(FEATURES) - 1 + 5


def test_the_output_is_the_estimate_and_a_correction() -> None:
    layer = CorrectedEstimate(2)
    hidden = np.zeros((3, 4), np.float32)
    estimate = np.array([[-4.0], [0.0], [3.0]], np.float32)
    np.testing.assert_allclose(layer(hidden, estimate), np.tile(estimate, (1, 2)))
    layer.shift.assign([0.3, 0.0])
    layer.scale.assign([1.0, 2.0])
    expected = np.concatenate([estimate + 10.0 * 0.3, 2.0 * estimate], axis=1)
    np.testing.assert_allclose(layer(hidden, estimate), expected, rtol=1e-6)
    hidden[0, 1] = 1.0
    row = np.asarray(layer.kernel)[1]
    np.testing.assert_allclose(layer(hidden, estimate)[0], expected[0] + row, rtol=1e-6)


def test_a_new_network_gives_little_but_its_estimate() -> None:
    network = _network(units=6, traits=3, draws=16)
    events = with_candidates(random_events(300))
    chosen = {name: events[name] for name in network.input_names}
    parts = keras.Model(
        network.model.inputs,
        [network.model.get_layer("estimate").output, network.model.get_layer("y_output").output],
    )
    estimate, output = (np.asarray(part)[:, 0] for part in parts(chosen))
    assert np.std(output - estimate) < 0.5 * np.std(estimate)


def test_several_skims_correct_one_estimate() -> None:
    arguments = common_arguments("particles") | TestTreeNetWithCandidates.arguments
    network = NetworkWithCandidates(**arguments | {"label_names": ["one", "other", "third"]})
    events = with_candidates(random_events(5))
    assert network.model({n: events[n] for n in network.input_names}).shape == (5, 3)


def test_missing_columns_are_named() -> None:
    with pytest.raises(ConfigurationError, match="no column candidate_is, candidate_reaction"):
        CandidateSurvival(FEATURES)
    names = [name for name in NAMES if name != "candidate_displaced_0"]
    with pytest.raises(ConfigurationError, match="no column candidate_displaced_0"):
        CandidateSurvival(names)
    names = [*NAMES, "candidate_members_1"]
    with pytest.raises(ConfigurationError, match="not as many columns of bits"):
        CandidateSurvival(names)


def test_decay_strings_have_no_candidates() -> None:
    with pytest.raises(ConfigurationError, match=r"model.head.inputs.candidates reads particles"):
        NetworkWithCandidates(
            **common_arguments("decay"),
            decay=WideCnn(),
            head={"inputs": {"candidates": CandidateInput()}},
        )


def test_draws_are_the_same_for_every_layer() -> None:
    keras.utils.set_random_seed(1)
    first, particles = _layer(5)
    keras.utils.set_random_seed(2)
    second, _ = _layer(5)
    for layer in (first, second):
        _set(layer, 0.3, -1.0, -1.0, 0.5)
    x = _event(5, (0, 1), (2, 3))
    assert _probability(first, particles, x) == _probability(second, particles, x)


def test_a_detector_s_columns_are_those_of_a_direct_calculation() -> None:
    layer = DetectorVariables(FEATURES)
    events = random_events(6)
    x, mask = events["particle_input"], events["pdg_input"] != 0
    found = np.asarray(layer(x, mask=mask))
    assert found.shape == (*x.shape[:2], 2 + 3 * len(STEPS) + len(DISPLACEMENTS))
    assert not found[~mask].any()
    own = {name: x[..., i][mask].astype(np.float64) for i, name in enumerate(FEATURES)}
    pt = np.hypot(own["px"], own["py"])
    p = np.hypot(pt, own["pz"])
    theta = np.degrees(np.arctan2(pt, own["pz"]))
    edges = [np.exp(-np.clip(d, 0, 60) / 5.0) for d in (theta - 17.0, 150.0 - theta)]
    expected = [np.stack(edges, axis=1)]
    for size in (pt, own["energy"], p):
        expected.append(np.tanh(3.0 * (np.log(np.maximum(size, 1e-4))[:, None] - np.log(STEPS))))
    rho = np.log(np.hypot(np.hypot(own["x"], own["y"]), 1e-4))
    expected.append(np.tanh(1.5 * (rho[:, None] - np.log(DISPLACEMENTS))))
    np.testing.assert_allclose(found[mask], np.concatenate(expected, axis=1), atol=2e-4)


@pytest.mark.parametrize(
    ("theta", "near_low", "near_high"),
    [(10.0, 1.0, 0.0), (17.0, 1.0, 0.0), (22.0, np.exp(-1.0), 0.0), (147.5, 0.0, np.exp(-0.5))],
)
def test_edges_of_the_acceptance(theta: float, near_low: float, near_high: float) -> None:
    x = np.zeros((1, 1, len(FEATURES)), np.float32)
    x[0, 0, FEATURES.index("px")] = np.sin(np.radians(theta))
    x[0, 0, FEATURES.index("pz")] = np.cos(np.radians(theta))
    x[0, 0, FEATURES.index("energy")] = 1.0
    found = np.asarray(DetectorVariables(FEATURES)(x, mask=np.ones((1, 1), bool)))[0, 0]
    assert found[:2] == pytest.approx([near_low, near_high], abs=2e-3)


def test_particles_at_rest_and_at_the_origin_are_finite() -> None:
    x = np.zeros((1, 2, len(FEATURES)), np.float32)
    assert np.isfinite(DetectorVariables(FEATURES)(x, mask=np.ones((1, 2), bool))).all()


def test_a_missing_column_is_named() -> None:
    with pytest.raises(ConfigurationError, match="need the columns energy"):
        DetectorVariables([name for name in FEATURES if name != "energy"])
