"""Packed batches: the same numbers, gradients and averages as padded events."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from smartbkg_tf.models.branches import Branch, DecayBranch
from smartbkg_tf.models.decay_branches import WideCnn
from smartbkg_tf.models.keras_internals import every_layer
from smartbkg_tf.models.network import BranchedNetwork
from smartbkg_tf.models.packing import PackedAveragePooling, PackedRows, gap_of, packs, set_packing
from smartbkg_tf.models.particle_branches import (
    Conv1x1,
    ResNet,
    ResNet34,
    ResNetPreactivation,
    ResNeXt,
    Stage,
    VanillaCnn,
)

FEATURES = ["energy", "prodTime", "px", "charge"]
CONSTANTS = {name: {"centre": 0.1, "spread": 2.0} for name in FEATURES[:-1]}

BRANCHES: list[Branch] = [
    ResNet(filters=6, kernel_sizes=[4, 3]),
    ResNetPreactivation(filters=6, blocks=2),
    ResNet34(
        first_filters=6,
        stages=[
            Stage(blocks=1, filters=6, pool=True),
            Stage(blocks=1, filters=4, pool=True),
            Stage(blocks=1, filters=4),
        ],
    ),
    ResNeXt(filters=8, cardinality=2, group_filters=3),
    Conv1x1(filters=[4, 5], kernel_sizes=[1, 3]),
    VanillaCnn(filters=[4, 5], kernel_sizes=[4, 3]),
    WideCnn(filters=4, kernel_sizes=[4, 5, 9], dropout=0.0),
]


def network(branch: Branch) -> BranchedNetwork:
    keras.utils.set_random_seed(3)
    kind = "decay" if isinstance(branch, DecayBranch) else "particles"
    return BranchedNetwork(
        **{kind: branch},
        head={"units": [5], "dropout": 0.0},
        inputs=kind,
        vocabulary_size=20,
        feature_names=FEATURES,
        normalisation=CONSTANTS,
    )


def events(n: int = 9, length: int = 14, longest: int = 12) -> dict[str, Any]:
    """Events of all lengths from 0; the first particle's time is not zero."""
    random = np.random.default_rng(5)
    lengths = random.integers(0, longest + 1, n)
    lengths[:4] = [0, 1, longest, 0]
    lengths[-1] = 0
    there = np.arange(length) < lengths[:, None]
    values = random.normal(0.0, 2.0, (n, length, len(FEATURES)))
    values[..., 3] = random.integers(-1, 2, (n, length))
    batch: dict[str, Any] = {"particle_input": (values * there[..., None]).astype(np.float32)}
    for name in ("pdg_input", "mother_pdg_input", "decay_input"):
        batch[name] = (random.integers(1, 20, (n, length)) * there).astype(np.int32)
    return batch


def step(one: BranchedNetwork, active: bool) -> list[Any]:
    """Scores in training, gradients, and moving averages."""
    model = one.model
    set_packing(model, active)
    batch = {name: tf.constant(events()[name]) for name in one.input_names}

    @tf.function  # type: ignore[untyped-decorator]
    def run() -> Any:
        with tf.GradientTape() as tape:
            scores = model(batch, training=True)
            loss = tf.reduce_mean(tf.square(scores - 1.0))
        variables = [weight.value for weight in model.trainable_variables]
        found = tape.gradient(loss, variables)
        return scores, [tf.convert_to_tensor(value) for value in found]

    scores, gradients = run()
    averages = [np.asarray(weight) for weight in model.non_trainable_variables]
    return [np.asarray(scores), *(np.asarray(g) for g in gradients), *averages]


@pytest.mark.parametrize("branch", BRANCHES, ids=lambda branch: branch.label)
def test_a_step_is_the_same_as_on_padded_events(branch: Branch) -> None:
    one = network(branch)
    weights = one.model.get_weights()
    packed = step(one, True)
    one.model.set_weights(weights)  # The moving averages have moved.
    padded = step(one, False)
    assert len(packed) == len(padded)
    for found, expected in zip(packed, padded, strict=True):
        np.testing.assert_allclose(found, expected, atol=2e-5, rtol=2e-4)


def test_inference_leaves_events_alone() -> None:
    tokens = events()["decay_input"]
    out = PackedRows("decay_input", 4)({"decay_input": tokens})
    np.testing.assert_array_equal(out["decay_input"], tokens)


def test_row_holds_every_event_and_gaps() -> None:
    tokens = np.array([[3, 4, 5, 0], [0, 0, 0, 0], [6, 7, 0, 0]], dtype=np.int32)
    values = np.arange(12, dtype=np.float32).reshape(3, 4, 1) + 1
    layer = PackedRows("pdg_input", 1, 2)
    out = layer({"pdg_input": tokens, "x": values}, training=True)
    row = np.asarray(out["pdg_input"])[0]
    # Events begin at multiples of 2, and at least one zero stands behind each.
    np.testing.assert_array_equal(row[:10], [3, 4, 5, 0, 0, 0, 6, 7, 0, 0])
    assert not row[10:].any()
    np.testing.assert_array_equal(np.asarray(out["x"])[0, :8, 0], [1, 2, 3, 0, 0, 0, 9, 10])
    np.testing.assert_array_equal(
        np.asarray(out["segments"])[0, :11], [0, 0, 0, 1, 3, 3, 4, 4, 5, 5, 7]
    )
    pooled = PackedAveragePooling()(
        out["x"], out["pdg_input"] != 0, out["segments"], tokens, training=True
    )
    np.testing.assert_allclose(pooled, [[2.0], [0.0], [9.5]])


@pytest.mark.parametrize(("kernels", "halvings", "gap"), [([4, 3], 0, 2), ([9], 0, 4), ([3], 2, 4)])
def test_gap(kernels: list[int], halvings: int, gap: int) -> None:
    assert gap_of(kernels, halvings) == gap


def test_keras_does_not_compile_packing_with_xla() -> None:
    model = network(BRANCHES[0]).model
    assert packs(model)
    assert not all(layer.supports_jit for layer in every_layer(model))
    set_packing(model, False)
    assert not packs(model)
    assert all(layer.supports_jit for layer in every_layer(model))
