"""Weights in the loss, by hand and as laws."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from smartbkg_tf.dataset.weights import targets, weights
from smartbkg_tf.errors import ConfigurationError, InputError
from smartbkg_tf.settings.training import ClassWeights
from smartbkg_tf.training.label_weights import (
    LabelCounts,
    count_labels,
    require_both_classes,
    training_weights,
    validation_weights,
)
from smartbkg_tf.training.skim_losses import SkimCrossentropy


def labels_of(passing: int, failing: int, unknown: int = 0) -> np.ndarray:
    return np.array([1] * passing + [0] * failing + [-1] * unknown, np.int8)[:, None]


def test_counts_of_a_balanced_draw() -> None:
    counts = count_labels(labels_of(10, 90, 5), balance=3.0)
    assert (counts.passing[0], counts.failing[0]) == (10, pytest.approx(30))
    assert counts.share[0] == pytest.approx(0.25)
    natural = count_labels(labels_of(10, 90, 5))
    assert (natural.passing[0], natural.failing[0]) == (10, 90)


def test_a_draw_on_the_first_skim_changes_the_others_too() -> None:
    first = labels_of(10, 90)
    second = np.array([1] * 5 + [0] * 5 + [1] * 45 + [0] * 45, np.int8)[:, None]
    counts = count_labels(np.hstack([first, second]), balance=1.0)
    np.testing.assert_allclose(counts.passing, [10, 5 + 45 / 9])
    np.testing.assert_allclose(counts.failing, [10, 5 + 45 / 9])


def test_weights_of_training_events() -> None:
    counts = LabelCounts(np.array([25.0]), np.array([75.0]), 100.0)
    plain = training_weights(counts, None)
    assert plain.table(["fei"]) == {"fei": (1.0, 1.0)}
    balanced = training_weights(counts, "balanced")
    assert balanced.table(["fei"])["fei"] == pytest.approx((2 / 3, 2.0))
    given = training_weights(counts, ClassWeights(passing=5.0, failing=0.5))
    assert given.table(["fei"]) == {"fei": (0.5, 5.0)}


def test_validation_by_hand() -> None:
    # Trained on one passing event to three failing ones, watched at 4 %.
    drawn = LabelCounts(np.array([40.0]), np.array([120.0]), 160.0)
    natural = LabelCounts(np.array([4.0]), np.array([96.0]), 100.0)
    weights = validation_weights(natural, drawn, training_weights(drawn, None))
    assert weights.passing[0] == pytest.approx(0.25 / 0.04)
    assert weights.failing[0] == pytest.approx(0.75 / 0.96)


@given(
    *(st.floats(1, 1e6) for _ in range(4)),
    st.sampled_from([None, "balanced", ClassWeights(passing=3.0, failing=0.2)]),
)
def test_validation_loss_has_the_mixture_of_the_training_loss(
    a: float, b: float, c: float, d: float, setting: str | ClassWeights | None
) -> None:
    drawn = LabelCounts(np.array([a]), np.array([b]), a + b)
    natural = LabelCounts(np.array([c]), np.array([d]), c + d)
    train = training_weights(drawn, setting)
    watched = validation_weights(natural, drawn, train)
    total = c * watched.passing[0] + d * watched.failing[0]
    assert total == pytest.approx(c + d, rel=1e-4), "the mean weight is 1"
    wanted = a * train.passing[0] / (a * train.passing[0] + b * train.failing[0])
    assert c * watched.passing[0] / total == pytest.approx(wanted, rel=1e-4)


def test_one_class_is_refused_with_counts_and_all_at_once() -> None:
    counts = {
        "training": count_labels(labels_of(0, 7)),
        "validation": count_labels(labels_of(3, 0)),
        "test": count_labels(labels_of(1, 1)),
    }
    with pytest.raises(InputError) as caught:
        require_both_classes(counts, ["fei"], where="dataset")
    text = str(caught.value)
    assert "2 problems" in text
    assert "training events have no passing event of 'fei' (0 passing, 7 failing)" in text
    assert "validation events have no failing event of 'fei' (3 passing, 0 failing)" in text
    assert "test" not in text.replace("events", "")


def test_weights_by_skim() -> None:
    counts = LabelCounts(np.array([25.0, 40.0]), np.array([75.0, 60.0]), 100.0)
    given = {"two": ClassWeights(passing=5.0, failing=0.5)}
    table = training_weights(counts, given, ["one", "two"]).table(["one", "two"])
    assert table == {"one": (1.0, 1.0), "two": (0.5, 5.0)}
    with pytest.raises(ConfigurationError, match=r"class_weights.tow: .*did you mean 'two'"):
        training_weights(counts, {"tow": ClassWeights()}, ["one", "two"])


def test_every_skim_counts_alike_however_few_of_its_labels_are_known() -> None:
    """The gradient of the loss by a skim's logits is the same for all skims."""
    random = np.random.default_rng(2)
    labels = np.repeat(random.integers(0, 2, (4000, 1)).astype(np.int8), 3, axis=1)
    labels[random.permutation(4000)[400:], 1] = -1
    labels[random.permutation(4000)[40:], 2] = -1
    counts = count_labels(labels)
    np.testing.assert_allclose(counts.known, [1, 0.1, 0.01])
    table = np.array(list(training_weights(counts, None).table("abc").values()), np.float32)
    logits = tf.zeros(labels.shape)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = SkimCrossentropy()(targets(labels), logits, sample_weight=weights(labels, table))
    gradient = np.abs(tape.gradient(loss, logits)).sum(axis=0)
    assert gradient[1] == pytest.approx(gradient[0], rel=1e-3)
    # Known for 1 %: a label weighs no more than ten.
    assert gradient[2] == pytest.approx(gradient[0] / 10, rel=1e-3)
    # Validation likewise: at these logits both losses are the mean of log 2.
    watched = validation_weights(counts, counts, training_weights(counts, None))
    table = np.array(list(watched.table("abc").values()), np.float32)
    value = SkimCrossentropy()(targets(labels), logits, sample_weight=weights(labels, table))
    assert float(value) == pytest.approx(float(loss), rel=1e-5)
    assert float(value) == pytest.approx(np.log(2) * (1 + 1 + 0.1) / 3, rel=1e-5)


def test_a_single_skim_keeps_its_weights() -> None:
    """Events of unknown label are not drawn."""
    counts = count_labels(labels_of(10, 90, 50), balance=2.0)
    assert counts.growth[0] == pytest.approx(1)
