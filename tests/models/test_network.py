"""Every branch in the frame of `BranchedNetwork`, in small sizes."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import tensorflow as tf

from smartbkg_tf.errors import ConfigurationError
from smartbkg_tf.models.base import NNBaseClass
from smartbkg_tf.models.branches import Branch, DecayBranch, ParticleBranch
from smartbkg_tf.models.decay_branches import CnnLstm, DecayFeedForward, WideCnn
from smartbkg_tf.models.head_inputs import EventColumnInput, SummaryInput
from smartbkg_tf.models.loading import load_model
from smartbkg_tf.models.network import BranchedNetwork
from smartbkg_tf.models.particle_branches import (
    Attention,
    Conv1x1,
    FeedForward,
    PointwiseResNet,
    ResNet,
    ResNet34,
    ResNet50,
    ResNetPreactivation,
    ResNeXt,
    Stage,
    VanillaCnn,
)
from smartbkg_tf.models.tree_branches import GatGap, Gcn, Transformer, TreeNet
from tests.models.branch_classes import package_branches
from tests.models.model_test_case import (
    CODES,
    LONG,
    LONGER,
    VARIANT,
    ModelTestCase,
    common_arguments,
    random_events,
)

HEAD: dict[str, Any] = {"units": [12], "dropout": 0.0}


class BranchCase(ModelTestCase):
    network_class: ClassVar[type[NNBaseClass]] = BranchedNetwork
    inputs = "particles"
    slow = LONG


class TestPreactivation(BranchCase):
    slow = LONGER
    arguments: ClassVar[dict[str, Any]] = {
        "particles": ResNetPreactivation(filters=8, blocks=2),
        "head": HEAD,
    }


class TestResNet34(BranchCase):
    slow = LONGER
    arguments: ClassVar[dict[str, Any]] = {
        "particles": ResNet34(
            first_filters=8,
            stages=[Stage(blocks=1, filters=6, pool=True), Stage(blocks=1, filters=12)],
        ),
        "head": HEAD,
    }


class TestResNet50(BranchCase):
    slow = LONGER
    arguments: ClassVar[dict[str, Any]] = {
        "particles": ResNet50(
            first_filters=8,
            stages=[Stage(blocks=2, filters=6, kernel_sizes=[1, 3, 1], pool=True)],
        ),
        "head": HEAD,
    }


class TestConv1x1ResNet(BranchCase):
    slow = LONGER
    arguments: ClassVar[dict[str, Any]] = {
        "particles": PointwiseResNet(
            stages=[
                Stage(blocks=1, filters=8, kernel_sizes=[1, 1]),
                Stage(blocks=1, filters=8, kernel_sizes=[3, 3]),
            ]
        ),
        "head": HEAD,
    }


class TestResNeXt(BranchCase):
    slow = ("test_one_compiled_fit_step", *LONG)
    arguments: ClassVar[dict[str, Any]] = {
        "particles": ResNeXt(filters=8, cardinality=4, group_filters=2),
        "head": HEAD,
    }


class TestConv1x1(BranchCase):
    slow = LONGER
    arguments: ClassVar[dict[str, Any]] = {
        "particles": Conv1x1(filters=[6, 8], kernel_sizes=[1, 3]),
        "head": HEAD,
    }


class TestVanilla(BranchCase):
    slow = LONGER
    arguments: ClassVar[dict[str, Any]] = {
        "particles": VanillaCnn(filters=[8, 8], kernel_sizes=[3, 3]),
        "head": HEAD,
    }


class TestAttention(BranchCase):
    slow = ("test_one_compiled_fit_step", *LONG)
    order_matters = False
    arguments: ClassVar[dict[str, Any]] = {
        "particles": Attention(units=6, layers=2),
        "head": HEAD,
    }


class TestFeedForward(BranchCase):
    slow = LONGER
    arguments: ClassVar[dict[str, Any]] = {
        "particles": FeedForward(units=[16, 8]),
        "head": {"units": []},
    }


class TestCnnLstm(BranchCase):
    inputs = "decay"
    slow = ("test_one_compiled_fit_step", *LONG)
    arguments: ClassVar[dict[str, Any]] = {
        "decay": CnnLstm(filters=8, units=6, dense=[8], dropout=0.0),
        "head": {"units": []},
    }


class TestDecayFeedForward(BranchCase):
    slow = LONGER
    inputs = "decay"
    arguments: ClassVar[dict[str, Any]] = {
        "decay": DecayFeedForward(units=[16, 8]),
        "head": {"units": []},
    }


class TestGcn(BranchCase):
    order_matters = False
    slow = LONG
    arguments: ClassVar[dict[str, Any]] = {
        "particles": Gcn(units=12, dense_layers=1, graph_layers=2),
        "head": {"units": []},
    }


class TestGatGap(BranchCase):
    order_matters = False
    slow = ("test_one_compiled_fit_step", *LONG)
    arguments: ClassVar[dict[str, Any]] = {
        "particles": GatGap(units=6, heads=2, layers=2),
        "head": {"units": []},
    }


TRANSFORMER: dict[str, Any] = {
    "units": 8,
    "heads": 2,
    "layers": 1,
    "dropout": 0.0,
    "embedding": 4,
}


class TestTransformer(BranchCase):
    order_matters = False
    arguments: ClassVar[dict[str, Any]] = {
        "particles": Transformer(**TRANSFORMER),
        "codes": CODES,
        "event_type": True,
        "head": HEAD,
    }


class TestTransformerWithAttentionPooling(BranchCase):
    order_matters = False
    arguments: ClassVar[dict[str, Any]] = {
        "particles": Transformer(**TRANSFORMER, pooling="attention"),
        "codes": CODES,
        "head": HEAD,
    }
    slow = VARIANT


TREENET: dict[str, Any] = {
    "units": 8,
    "hidden": 12,
    "heads": 2,
    "side_units": 8,
    "dropout": 0.0,
    "embedding": 4,
}


class TestTreeNet(BranchCase):
    order_matters = False
    slow = ("test_one_compiled_fit_step",)
    arguments: ClassVar[dict[str, Any]] = {
        "particles": TreeNet(**TREENET, layers=1),
        "codes": CODES,
        "event_type": True,
        "head": {**HEAD, "inputs": {"summaries": SummaryInput()}},
    }


class TestTreeNetWithDecayString(BranchCase):
    inputs = "combined"
    # The decay string keeps its order; that of the particles does not matter.
    order_matters = False
    arguments: ClassVar[dict[str, Any]] = {
        **TestTreeNet.arguments,
        "particles": TreeNet(**TREENET, layers=2),
        "decay": WideCnn(filters=4, kernel_sizes=[4], dropout=0.0),
    }
    slow = VARIANT


def weights(branch: Branch) -> int:
    """Count the weights of a network with one branch."""
    kind = "decay" if isinstance(branch, DecayBranch) else "particles"
    network = BranchedNetwork(
        **common_arguments(kind), **{kind: branch}, head={"units": []}, codes=CODES
    )
    return int(network.model.count_params())


COLUMNS = 8 + 5 + 2 * 8  # features, charge one-hot, two embeddings
EMBEDDING = 40 * 8


def convolution(width: int, inside: int, outside: int) -> int:
    """Count the weights of a convolution with batch normalisation."""
    return width * inside * outside + 4 * outside


def test_published_sizes_by_hand() -> None:
    def logits(channels: int) -> int:
        return channels * 2 + 2

    staged = EMBEDDING + convolution(7, COLUMNS, 64) + logits(64)
    by_stage = ((3, 64), (4, 128), (6, 256), (3, 512))
    assert weights(ResNet34()) == staged + sum(
        blocks * (convolution(3, 64, filters) + convolution(3, filters, 64))
        for blocks, filters in by_stage
    )
    assert weights(ResNet50()) == staged + sum(
        blocks
        * (
            convolution(1, 64, filters)
            + convolution(3, filters, filters)
            + convolution(1, filters, 64)
        )
        for blocks, filters in by_stage
    )
    group = sum(width * 4 * 4 * 16 + 4 * 64 for width in (1, 3, 1))
    assert weights(ResNeXt()) == (EMBEDDING + convolution(3, COLUMNS, 64) + 2 * group + logits(64))
    assert weights(Conv1x1()) == (
        EMBEDDING
        + convolution(1, COLUMNS, 32)
        + convolution(1, 32, 32)
        + convolution(3, 32, 64)
        + convolution(3, 64, 64)
        + logits(64)
    )
    assert weights(VanillaCnn()) == (
        EMBEDDING + convolution(3, COLUMNS, 64) + 2 * convolution(3, 64, 64) + logits(64)
    )
    assert weights(ResNetPreactivation(blocks=3)) == (
        EMBEDDING + 3 * COLUMNS * 64 + 3 * 2 * convolution(3, 64, 64) + 4 * 64 + logits(64)
    )
    attention = 2 * COLUMNS * 32 + 32 + 32 + 4 * COLUMNS
    assert weights(Attention()) == EMBEDDING + 13 * attention + logits(COLUMNS)
    dense = (12 * COLUMNS, 2056, 2056, 2056, 512)
    assert weights(FeedForward()) == EMBEDDING + logits(512) + sum(
        convolution(1, a, b) for a, b in itertools.pairwise(dense)
    )
    gcn = (COLUMNS, 128, 128, 128, 128, 128, 128)
    assert weights(Gcn()) == EMBEDDING + logits(128) + sum(
        a * b + b for a, b in itertools.pairwise(gcn)
    )
    lstm = 4 * (64 * (64 + 64) + 64)
    assert weights(CnnLstm()) == (
        EMBEDDING + convolution(3, 8, 64) + lstm + 65 * 256 + 257 * 64 + logits(64) - 0
    )
    assert weights(DecayFeedForward()) == (
        EMBEDDING + (20 * 8 + 1) * 1024 + 1025 * 1024 + 1025 * 512 + logits(512)
    )


def test_every_branch_is_tested_here_or_with_the_resnet() -> None:
    cases = [case for case in globals().values() if isinstance(case, type)]
    tested = {
        type(case.arguments[kind])
        for case in cases
        if issubclass(case, BranchCase)
        for kind in ("particles", "decay")
        if kind in case.arguments
    }
    for base in (ParticleBranch, DecayBranch):
        assert set(package_branches(base).values()) - tested <= {ResNet}


def particles(branch: str, **settings: Any) -> dict[str, Any]:
    """Give a branch as a configuration has it."""
    return {"_target_": f"smartbkg_tf.models.tree_branches.{branch}", **settings}


@pytest.mark.parametrize(
    ("inputs", "arguments", "words"),
    [
        ("combined", {"particles": Gcn()}, r"needs a decay branch.*model.decay is null"),
        ("decay", {"particles": Gcn()}, r"needs a decay branch[\s\S]*model/decay=NAME"),
        ("particles", {"decay": CnnLstm()}, "needs a particles branch"),
        (
            "decay",
            {"decay": WideCnn(), "head": {"inputs": {"sums": SummaryInput()}}},
            "model.head.inputs.sums reads particles",
        ),
        ("particles", {"particles": particles("Gcn", unit=3)}, "particles.unit: there is no such"),
        ("particles", {"particles": particles("Gcn", units=0)}, "particles.units: .*greater than"),
        ("particles", {"particles": particles("Gcnn")}, "no class 'Gcnn'; did you mean 'Gcn'"),
        ("particles", {"particles": WideCnn()}, "a mapping with _target_"),
        (
            "particles",
            {"particles": {"_target_": "smartbkg_tf.models.decay_branches.WideCnn"}},
            "'WideCnn' does not inherit ParticleBranch",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(
    inputs: str, arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        BranchedNetwork(**common_arguments(inputs), **arguments)


@pytest.mark.parametrize(
    ("branch", "changes", "words"),
    [
        (ResNeXt(filters=10), {}, "cardinality=16 does not divide 10"),
        (Transformer(heads=5), {"codes": CODES}, "heads=5 does not divide 64"),
        (TreeNet(heads=5), {"codes": CODES}, "heads=5 does not divide 64"),
        (TreeNet(), {}, r"the vocabulary has 40 tokens"),
        (Conv1x1(filters=[3]), {}, r"1 filters, but 4 kernel_sizes"),
        (FeedForward(), {"max_particles": None}, "needs max_particles"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(
    branch: ParticleBranch, changes: dict[str, Any], words: str
) -> None:
    network = BranchedNetwork(**{**common_arguments("particles"), "particles": branch, **changes})
    with pytest.raises(ConfigurationError, match=words):
        _ = network.model


def test_missing_columns_are_named() -> None:
    arguments = common_arguments("particles") | {"feature_names": ("energy", "px", "charge")}
    network = BranchedNetwork(**arguments, particles=TreeNet(), codes=CODES)
    with pytest.raises(ConfigurationError, match="prodTime, x, y, z, py, pz"):
        _ = network.model


def test_smartbackground_features_are_enough_for_every_tree_network() -> None:
    # Other order, no charge.
    names = ("prodTime", "x", "y", "z", "energy", "px", "py", "pz")
    arguments = common_arguments("particles") | {"feature_names": names}
    events = random_events(4)
    events["particle_input"] = events["particle_input"][..., :8]
    for branch in (Gcn(), GatGap(layers=1), Transformer(layers=1), TreeNet(layers=1)):
        network = BranchedNetwork(
            **arguments, particles=branch, codes=CODES, head={"inputs": {"s": SummaryInput()}}
        )
        assert np.isfinite(network.model(events)).all()


def test_event_columns_reach_the_head(tmp_path: Path) -> None:
    """The score depends on them although the branch cannot see them (no weight on particles)."""
    network = BranchedNetwork(
        **common_arguments("particles"),
        particles=Gcn(),
        head={"inputs": {"columns": EventColumnInput(names=["energy"])}},
    )
    events = random_events(3)
    columns = network.model.get_layer("event_columns")
    assert columns.output.shape == (None, 1)
    network.model.get_layer("dense_1").kernel.assign(
        np.zeros(network.model.get_layer("dense_1").kernel.shape)
    )
    first = np.asarray(network.model(events))
    changed = {name: value.copy() for name, value in events.items()}
    changed["particle_input"][:, 0, network.feature_names.index("energy")] += 1.0
    assert (np.abs(np.asarray(network.model(changed)) - first) > 1e-6).all()
    network.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(np.asarray(loaded(events)), first)


def test_event_columns_have_soft_thresholds_of_their_own() -> None:
    arguments = common_arguments("particles") | {"particles": Gcn()}
    columns = EventColumnInput(names=["energy", "px"], units=6, dropout=0.0)
    network = BranchedNetwork(**arguments, head={"inputs": {"columns": columns}})
    assert network.model.get_layer("head_event_steps").output.shape == (None, 10)
    assert network.model.get_layer("head_event_dropout").output.shape == (None, 6)
    # Names that fine-tuning knows as the head's.
    assert network.model.get_layer("head_event_dense").units == 6
    few = EventColumnInput(names=["energy", "px"])
    plain = BranchedNetwork(**arguments, head={"inputs": {"columns": few}})
    assert "head_event_steps" not in [layer.name for layer in plain.model.layers]


def test_an_event_column_cannot_count_from_the_first_particle() -> None:
    columns = EventColumnInput(names=["energy", "x"])
    network = BranchedNetwork(
        **common_arguments("particles"), particles=Gcn(), head={"inputs": {"c": columns}}
    )
    with pytest.raises(ConfigurationError, match="'x' counts from the event's first particle"):
        _ = network.model


def test_event_type_changes_scores_and_an_unknown_one_is_none_of_them() -> None:
    network = BranchedNetwork(
        **common_arguments("decay"), decay=WideCnn(filters=4), event_type=True
    )
    assert network.input_names == ("decay_input", "event_type_input")
    events = random_events(1)
    kinds = np.arange(-1, 8, dtype=np.int32)
    many = {name: np.repeat(values, 9, axis=0) for name, values in events.items()}
    scores = np.asarray(network.model({**many, "event_type_input": kinds}))[:, 0]
    assert np.diff(np.sort(scores[1:8])).min() > 1e-5
    # Equal rows of a batch may differ in the last bits, depending on the processor.
    assert scores[0] == pytest.approx(scores[8], abs=1e-6)
    plain = BranchedNetwork(**common_arguments("decay"), decay=WideCnn(filters=4))
    assert "event_type_input" not in plain.input_names


def test_network_is_named_after_its_branches() -> None:
    network = BranchedNetwork(
        **common_arguments("combined"), particles=Gcn(), decay=WideCnn(filters=4)
    )
    assert network.name == "gcn + wide_cnn"
    assert network.input_names == (
        "particle_input",
        "pdg_input",
        "mother_pdg_input",
        "mother_index_input",
        "decay_input",
    )


def test_attention_does_not_multiply_rounding() -> None:
    """A channel that never varies has zero gradients, not the rounding of all layers behind it."""
    network = BranchedNetwork(particles=Attention(), head=HEAD, **common_arguments("particles"))
    events = random_events(32)
    where = events["pdg_input"] > 0
    events["particle_input"][..., -1] = where  # the same charge everywhere
    with tf.GradientTape() as tape:
        logits = network.model({k: events[k] for k in network.input_names}, training=True)
        loss = tf.reduce_mean(tf.square(logits - np.arange(32.0)[:, None] % 2))
    weights = network.model.trainable_variables
    norms = {
        w.path: float(tf.norm(tf.convert_to_tensor(g)))
        for w, g in zip(weights, tape.gradient(loss, weights), strict=True)
    }
    inner = [norms[f"normalisation_{number}/beta"] for number in range(1, 13)]
    assert max(inner) < 1e-2, norms
    assert max(norms.values()) > 1e-3
