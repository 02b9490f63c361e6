"""The decay tree inside a model, against trees walked in Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest

from smartbkg_tf.errors import ConfigurationError
from smartbkg_tf.generation.pythia_source import PythiaSource
from smartbkg_tf.models.codes import CODE_COLUMNS, CodeProperties, code_table, codes_of
from smartbkg_tf.models.physics import (
    BEAMS,
    PhysicalVariables,
    Summaries,
    to_centre_of_mass,
    within_acceptance,
)
from smartbkg_tf.models.tree import (
    GraphAttention,
    GraphConvolution,
    MotherMatrix,
    NormalisedAdjacency,
    TreeRelations,
    tree_shape,
    under_a_head,
)
from smartbkg_tf.models.treenet import BothSides, GroupPooling, Sides, TreeLayer
from tests.models.model_test_case import FEATURES

Array = npt.NDArray[Any]

#: 0 -> 1, 2; 1 -> 3, 4; 3 -> 5; 2 -> 6; 7 has lost its mother; the rest is padding.
MOTHERS = np.array([[-1, 0, 0, 1, 1, 3, 2, -1, -1, -1]], dtype=np.int32)
MASK = np.arange(10)[None, :] < 8


def matrix(mothers: Array = MOTHERS, mask: Array = MASK) -> Array:
    return np.asarray(MotherMatrix()(mothers, mask=mask))


def ancestors(mothers: Array, i: int) -> list[int]:
    found = []
    while mothers[i] >= 0:
        i = int(mothers[i])
        found.append(i)
    return found


def test_mother_matrix() -> None:
    expected = np.zeros((10, 10))
    for child, mother in enumerate(MOTHERS[0]):
        if mother >= 0:
            expected[child, mother] = 1
    np.testing.assert_array_equal(matrix()[0], expected)


@pytest.mark.parametrize("mothers", [[-1, 9, 0], [0, 0, 1], [-2, 5, 0]])
def test_mothers_in_padding_beyond_or_oneself_are_none(mothers: list[int]) -> None:
    found = matrix(np.array([mothers], dtype=np.int32), np.array([[True, True, False]]))
    assert found[0, 2].sum() == 0
    assert np.trace(found[0]) == 0
    assert found[0, 0].sum() == 0


def test_depth_daughters_and_subtrees() -> None:
    depth, daughters = (np.asarray(values)[0] for values in tree_shape(matrix()))
    assert depth[:8].tolist() == [len(ancestors(MOTHERS[0], i)) for i in range(8)]
    assert daughters.tolist() == [2, 2, 1, 1, 0, 0, 0, 0, 0, 0]
    heads = np.zeros((1, 10, 2), np.float32)
    heads[0, 1, 0] = heads[0, 2, 1] = 1
    members = np.asarray(under_a_head(matrix(), heads))[0]
    for column, head in enumerate((1, 2)):
        assert members[:, column].tolist() == [
            float(i == head or head in ancestors(MOTHERS[0], i)) for i in range(10)
        ]


def test_a_circle_of_mothers_stays_finite() -> None:
    circle = matrix(np.array([[1, 2, 0, 2]], dtype=np.int32), np.ones((1, 4), bool))
    depth, _ = tree_shape(circle)
    assert np.isfinite(depth).all()
    assert set(np.unique(TreeRelations(3)(circle))) <= {0.0, 1.0}


def test_relations() -> None:
    relations = np.asarray(TreeRelations(2)(matrix()))[0]
    assert relations.shape == (10, 10, 5)
    for i in range(8):
        up = ancestors(MOTHERS[0], i)
        for j in range(8):
            further = j in up[1:4]
            mothers = MOTHERS[0, i], MOTHERS[0, j]
            siblings = i != j and mothers[0] == mothers[1] >= 0
            expected = [up[:1] == [j], further]
            assert relations[i, j, :2].tolist() == expected
            assert relations[j, i, 2:4].tolist() == expected
            assert relations[i, j, 4] == siblings
    assert relations[8:].sum() == 0


def test_adjacency_is_that_of_kipf_and_welling() -> None:
    found = np.asarray(NormalisedAdjacency()(matrix(), mask=MASK))[0]
    adjacency = matrix()[0] + matrix()[0].T + np.diag(MASK[0].astype(float))
    degree = adjacency.sum(axis=1)
    for i in range(8):
        for j in range(8):
            expected = adjacency[i, j] / np.sqrt(degree[i] * degree[j])
            assert found[i, j] == pytest.approx(expected, rel=1e-6)
    assert found[8:].sum() == found[:, 8:].sum() == 0


def random_layer(layer: Any, *inputs: Any) -> Any:
    keras.utils.set_random_seed(4)
    layer(*inputs)
    random = np.random.default_rng(1)
    for weight in layer.weights:
        weight.assign(random.normal(0, 0.5, weight.shape))
    return layer


def test_graph_convolution_by_hand() -> None:
    x = np.random.default_rng(0).normal(0, 1, (1, 10, 3)).astype(np.float32)
    adjacency = np.asarray(NormalisedAdjacency()(matrix(), mask=MASK))
    layer = random_layer(GraphConvolution(4), x, adjacency)
    kernel = np.asarray(layer.dense.kernel)
    expected = np.maximum(adjacency[0] @ x[0] @ kernel + np.asarray(layer.bias), 0)
    np.testing.assert_allclose(layer(x, adjacency)[0], expected, atol=1e-5)


def test_graph_attention_by_hand() -> None:
    x = np.random.default_rng(0).normal(0, 1, (1, 10, 3)).astype(np.float32)
    adjacency = np.asarray(NormalisedAdjacency()(matrix(), mask=MASK))
    layer = random_layer(GraphAttention(2, 3, activation="relu"), x, adjacency)
    found = np.asarray(layer(x, adjacency))[0]
    values = (x[0] @ np.asarray(layer.values.kernel)).reshape(10, 3, 2)
    for head in range(3):
        for i in range(8):
            near = np.flatnonzero(adjacency[0, i])
            receive = values[i, head] @ np.asarray(layer.receiver)[head]
            logits = receive + values[near, head] @ np.asarray(layer.sender)[head]
            weights = np.exp(np.where(logits > 0, logits, 0.2 * logits))
            mixed = (weights / weights.sum()) @ values[near, head]
            bias = np.asarray(layer.bias)[2 * head : 2 * head + 2]
            np.testing.assert_allclose(
                found[i, 2 * head : 2 * head + 2], np.maximum(mixed + bias, 0), atol=1e-5
            )


# -- what codes tell -----------------------------------------------------------------------


def kinds(code: int) -> set[str]:
    row = code_table([code])[2]
    return {name for name, value in zip(CODE_COLUMNS, row, strict=True) if value}


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (211, {"track"}),
        (-11, {"track", "lepton"}),
        (-321, {"track", "kaon"}),
        (-2212, {"track", "proton"}),
        (22, {"photon"}),
        (-14, {"neutrino"}),
        (130, {"long_lived_neutral"}),
        (-2112, {"long_lived_neutral"}),
        (111, {"neutral_pion"}),
        (310, {"short_kaon"}),
        (-511, {"bottom"}),
        (531, {"bottom"}),
        (5122, {"bottom"}),
        (300553, set()),
        (443, set()),
        (-413, {"charm"}),
        (4122, {"charm"}),
        (10411, {"charm"}),
        (15, {"tau"}),
        (113, set()),
        (4, set()),
    ],
)
def test_kinds_of_particles(code: int, expected: set[str]) -> None:
    assert kinds(code) == expected


def test_properties_of_padding_unknown_and_brackets_are_none() -> None:
    layer = CodeProperties([211, 22])
    found = np.asarray(layer(np.array([[0, 1, 2, 3, 4, 5]])))
    assert found.sum(axis=-1).tolist() == [[0, 0, 1, 1, 0, 0]]
    assert found[0, 2, CODE_COLUMNS.index("track")] == 1


def test_codes_of_the_package_are_the_default() -> None:
    codes = codes_of(567)
    assert len(codes) == 563
    assert {300553, 511, -211} <= set(codes)
    with pytest.raises(ConfigurationError, match=r"568 tokens, but 563 \+ 4 PDG codes"):
        codes_of(568)


# -- physics -------------------------------------------------------------------------------


def test_beams_are_those_of_the_source() -> None:
    from smartbkg_tf.generation.beams import nominal_collision

    settings = PythiaSource()
    total = nominal_collision(settings.beams).total
    np.testing.assert_allclose(total, BEAMS, rtol=1e-4, atol=1e-4)


def test_beams_are_at_rest_in_their_centre_of_mass_system() -> None:
    energy, momentum = to_centre_of_mass(
        np.array([[BEAMS[3]]], np.float32), np.array([BEAMS[:3]], np.float32)
    )
    np.testing.assert_allclose(momentum, 0, atol=1e-5)
    assert float(energy[0, 0]) == pytest.approx(10.58, abs=0.01)


def test_boost_keeps_masses() -> None:
    momentum = np.random.default_rng(1).normal(0, 1, (50, 3)).astype(np.float32)
    energy = np.sqrt((momentum**2).sum(1, keepdims=True) + 0.4937**2).astype(np.float32)
    boosted, p = to_centre_of_mass(energy, momentum)
    mass = np.asarray(boosted)[:, 0] ** 2 - (np.asarray(p) ** 2).sum(1)
    np.testing.assert_allclose(mass, 0.4937**2, atol=2e-5)


@pytest.mark.parametrize(("angle", "inside"), [(16.5, 0), (17.5, 1), (149.5, 1), (150.5, 0)])
def test_acceptance(angle: float, inside: int) -> None:
    radians = np.radians(angle)
    momentum = np.array([[0.3 * np.sin(radians), 0, 0.3 * np.cos(radians)]], np.float32)
    assert float(within_acceptance(momentum)[0, 0]) == inside


#: An event: Upsilon(4S) -> B0 anti-B0, B0 -> pi+ K- gamma, anti-B0 -> nu pi-, and padding.
EVENT = (
    # code, mother, px, py, pz, mass
    (300553, -1, 0.45, 0.0, 3.0, 10.58),
    (511, 0, 0.2, 0.1, 1.6, 5.28),
    (-511, 0, 0.25, -0.1, 1.4, 5.28),
    (211, 1, 1.2, 0.3, 0.4, 0.1396),
    (-321, 1, -0.8, 0.5, 0.6, 0.4937),
    (22, 1, 0.1, -0.9, 0.3, 0.0),
    (12, 2, 0.5, 0.5, 0.5, 0.0),
    (-211, 2, 0.02, 0.01, 2.0, 0.1396),  # beneath 17 degrees
)


def event() -> dict[str, Any]:
    """Make the arrays of `EVENT`, with two places of padding that are not empty."""
    n = len(EVENT) + 2
    x = np.full((1, n, len(FEATURES)), 55.0, np.float32)
    codes = sorted({row[0] for row in EVENT})
    tokens = np.zeros((1, n), np.int32)
    mothers = np.full((1, n), -1, np.int32)
    for i, (code, mother, px, py, pz, mass) in enumerate(EVENT):
        energy = np.sqrt(px**2 + py**2 + pz**2 + mass**2)
        charge = {211: 1, -211: -1, -321: -1}.get(code, 0)
        x[0, i] = (energy, 0, 0, 0, 0, px, py, pz, charge)
        tokens[0, i], mothers[0, i] = codes.index(code) + 2, mother
    mask = tokens != 0
    return {
        "x": x,
        "properties": CodeProperties(codes)(tokens),
        "matrix": MotherMatrix()(mothers, mask=mask),
        "mask": mask,
        "energy": x[..., :1],
    }


def sides(parts: dict[str, Any]) -> Array:
    return np.asarray(
        Sides()(parts["energy"], parts["properties"], parts["matrix"], mask=parts["mask"])
    )[0]


def test_sides_are_the_two_b() -> None:
    found = sides(event())
    # The B0 has the larger energy: it leads side 1.
    assert np.flatnonzero(found[:, 0]).tolist() == [1]
    assert np.flatnonzero(found[:, 1]).tolist() == [2]
    assert np.flatnonzero(found[:, 2]).tolist() == [1, 3, 4, 5]
    assert np.flatnonzero(found[:, 3]).tolist() == [2, 6, 7]


def test_an_event_without_heads_has_no_sides() -> None:
    parts = event()
    parts["properties"] = np.zeros_like(parts["properties"])
    assert sides(parts).sum() == 0


def test_summaries_by_hand() -> None:
    parts = event()
    groups = sides(parts)[None, :, 2:]
    layer = Summaries(FEATURES)
    inputs = (parts["x"], parts["properties"], parts["matrix"])
    each = np.asarray(layer(*inputs, groups, mask=parts["mask"]))[0]
    total = np.asarray(layer(*inputs, mask=parts["mask"]))[0, 0]
    assert each.shape == (2, 21)
    # Tracks, photons, leptons, kaons, protons, neutrinos, K_L, charm, pi0, K_S, lost, charge.
    counts = np.rint(each[:, :12] / 0.2).tolist()
    assert counts[0] == [2, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]
    assert counts[1] == [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0]
    seen = np.array([row[2:5] for row in EVENT[3:6]])
    energy = np.sqrt((seen**2).sum(1) + np.array([row[5] for row in EVENT[3:6]]) ** 2)
    boosted, momenta = (
        np.asarray(values, dtype=np.float64)
        for values in to_centre_of_mass(energy[:, None].astype(np.float32), seen.astype(np.float32))
    )
    sum_energy, sum_momentum = boosted.sum(), momenta.sum(0)
    lengths = np.sqrt((momenta**2).sum(1))
    cosines = momenta @ momenta.T / np.outer(lengths, lengths)
    products = np.outer(lengths, lengths)
    r2 = (products * (3 * cosines**2 - 1) / 2).sum() / products.sum()
    beam = np.sqrt(BEAMS[3] ** 2 - BEAMS[0] ** 2 - BEAMS[2] ** 2)
    p2 = sum_momentum @ sum_momentum
    expected = {
        13: 0.5 * sum_energy,
        14: 0.5 * energy[2],
        15: 0.5 * np.sqrt(sum_energy**2 - p2),
        16: 0.5 * np.sqrt(p2),
        17: r2,
        18: 0.3 * np.arcsinh((beam - sum_energy) ** 2 - p2),
        19: lengths.max(),
        20: 2.0 - np.sqrt((seen[:2, :2] ** 2).sum(1)).min(),
    }
    for column, value in expected.items():
        assert each[0, column] == pytest.approx(value, abs=2e-3), column
        # All that is seen stands on side 1.
        assert total[column] == pytest.approx(value, abs=2e-3), column
    assert total[12] == pytest.approx(0.5 * np.sqrt(4.0005 + 0.1396**2), abs=1e-3)


def test_physical_variables_by_hand() -> None:
    parts = event()
    layer = PhysicalVariables(FEATURES)
    found = np.asarray(layer(parts["x"], parts["properties"], parts["matrix"], mask=parts["mask"]))[
        0
    ]
    assert found.shape == (10, 12 + len(CODE_COLUMNS) + 4)
    assert np.abs(found[8:]).sum() == 0
    energy = np.sqrt(1.2**2 + 0.3**2 + 0.4**2 + 0.1396**2)
    assert found[3, 0] == pytest.approx(0.6 * np.log(energy) + 0.5, abs=1e-5)
    assert found[3, 1] == pytest.approx(0.3 * np.log(1.2**2 + 0.3**2) + 0.8, abs=1e-5)
    assert found[3, 2] == pytest.approx(0.4 / np.sqrt(1.2**2 + 0.3**2 + 0.4**2), abs=1e-5)
    assert found[3, 3:5] == pytest.approx(np.array([1.2, 0.3]) / np.hypot(1.2, 0.3), abs=1e-5)
    accepted, stable, detectable = found[:8, 8], found[:8, -2], found[:8, -1]
    assert accepted[[3, 4, 5, 7]].tolist() == [1, 1, 1, 0]
    assert stable.tolist() == [0, 0, 0, 1, 1, 1, 1, 1]
    assert detectable.tolist() == [0, 0, 0, 1, 1, 1, 0, 0]
    assert found[:8, -4] == pytest.approx(0.3 * np.array([0, 1, 1, 2, 2, 2, 2, 2]) - 1)
    assert found[:8, -3] == pytest.approx(0.5 * np.array([2, 3, 2, 0, 0, 0, 0, 0]))


# -- treenet ---------------------------------------------------------------------------------


def test_both_sides_do_not_depend_on_their_order() -> None:
    x = np.random.default_rng(0).normal(0, 1, (4, 2, 3)).astype(np.float32)
    found = np.asarray(BothSides()(x))
    np.testing.assert_array_equal(found, BothSides()(x[:, ::-1]))
    np.testing.assert_allclose(found[:, 3:], x.max(axis=1))


def test_group_pooling_of_one_and_of_no_particle() -> None:
    x = np.random.default_rng(0).normal(0, 1, (1, 5, 4)).astype(np.float32)
    groups = np.zeros((1, 5, 2), np.float32)
    groups[0, 2, 0] = 1
    x[0, 4] = np.nan  # padding: whatever stands there must not come through
    found = np.asarray(GroupPooling(heads=2)(x, groups, groups))[0]
    row = x[0, 2]
    np.testing.assert_allclose(found[0], np.concatenate([row, 0.1 * row, row]), rtol=1e-5)
    assert found[1].tolist() == [0.0] * 12


def test_messages_reach_the_mother_and_the_side_and_nobody_else() -> None:
    parts = event()
    found = sides(parts)[None]
    x = np.random.default_rng(0).normal(0, 1, (1, 10, 6)).astype(np.float32)
    layer = TreeLayer(8)
    before = np.asarray(layer(x, parts["matrix"], found, mask=parts["mask"]))
    changed = x.copy()
    changed[0, 6, 0] += 1.0  # the neutrino of side 2
    after = np.asarray(layer(changed, parts["matrix"], found, mask=parts["mask"]))
    moved = np.flatnonzero(np.abs(after - before).max(axis=-1)[0] > 1e-7)
    assert set(moved) == {2, 6, 7}


@pytest.mark.parametrize(
    "layer",
    [
        TreeRelations(2),
        GroupPooling(3),
        TreeLayer(8, 0.1, "gelu"),
        GraphAttention(3, 2),
        GraphConvolution(4, "silu"),
        Sides(),
        CodeProperties([211, 22]),
        Summaries(FEATURES),
        PhysicalVariables(FEATURES),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_config_round_trip(layer: Any, tmp_path: Path) -> None:
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    named = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert named.get_config() == layer.get_config()
    assert keras.saving.get_registered_name(type(layer)).startswith("smartbkg_tf>")
