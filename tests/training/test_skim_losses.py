"""Loss and AUC, against formulas and scikit-learn."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.metrics import roc_auc_score

from smartbkg_tf.errors import ConfigurationError
from smartbkg_tf.models.metrics import SkimAUC
from smartbkg_tf.settings.base import validate
from smartbkg_tf.settings.costs import CostSettings
from smartbkg_tf.settings.training import TrainingSettings
from smartbkg_tf.training.skim_losses import SkimCrossentropy, SkimFocal, SkimSpeedup


def sample(n: int = 500, skims: int = 2) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(7)
    labels = random.integers(0, 2, (n, skims)).astype(np.float32)
    return labels, (2 * labels - 1 + random.normal(0, 2, (n, skims))).astype(np.float32)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_loss_is_binary_crossentropy(smoothing: float) -> None:
    labels, logits = sample()
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    y = labels * (1 - smoothing) + smoothing / 2
    expected = -(y * np.log(p) + (1 - y) * np.log1p(-p))
    loss = SkimCrossentropy(smoothing)
    np.testing.assert_allclose(loss.call(labels, logits), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(loss(labels, logits), expected.mean(), rtol=1e-5)


def test_unknown_labels_cost_nothing() -> None:
    labels, logits = sample(4)
    labels[1, 0] = -1
    values = np.asarray(SkimCrossentropy().call(labels, logits))
    assert values[1, 0] == 0
    assert np.count_nonzero(values) == 7


def test_weights_per_event_and_per_skim() -> None:
    labels, logits = sample(6)
    values = np.asarray(SkimCrossentropy().call(labels, logits))
    weights = np.random.default_rng(0).uniform(0, 2, (6, 2)).astype(np.float32)
    got = SkimCrossentropy()(labels, logits, sample_weight=weights)
    np.testing.assert_allclose(got, (values * weights).mean(), rtol=1e-5)
    # One skim: the streams give one weight for each event.
    one = SkimCrossentropy()(labels[:, :1], logits[:, :1], sample_weight=weights[:, 0])
    np.testing.assert_allclose(one, (values[:, 0] * weights[:, 0]).mean(), rtol=1e-5)


def test_large_logits_stay_finite() -> None:
    got = SkimCrossentropy()(np.array([[0.0], [1.0]]), np.array([[200.0], [-300.0]], np.float32))
    np.testing.assert_allclose(got, 250.0, rtol=1e-6)


@pytest.mark.parametrize("skim", [0, 1])
def test_auc_agrees_with_scikit_learn(skim: int) -> None:
    labels, logits = sample()
    metric = SkimAUC(2, skim=skim)
    for part in np.array_split(np.arange(500), 7):
        metric.update_state(labels[part], logits[part])
    expected = roc_auc_score(labels[:, skim], logits[:, skim])
    assert float(metric.result()) == pytest.approx(expected, abs=1e-3)


def test_mean_auc_leaves_out_skims_of_one_class() -> None:
    labels, logits = sample()
    labels[:, 1] = 0
    metric = SkimAUC(2)
    metric.update_state(labels, logits)
    expected = roc_auc_score(labels[:, 0], logits[:, 0])
    assert float(metric.result()) == pytest.approx(expected, abs=1e-3)


def test_auc_leaves_out_unknown_labels_however_they_are_marked() -> None:
    labels, logits = sample(skims=1)
    known = np.random.default_rng(1).random(500) < 0.6
    expected = roc_auc_score(labels[known, 0], logits[known, 0])
    by_label, by_weight = SkimAUC(1), SkimAUC(1)
    by_label.update_state(np.where(known[:, None], labels, -1), logits)
    weight = np.where(known, 3.0, 0.0).astype(np.float32)
    by_weight.update_state(labels, logits, sample_weight=weight)
    assert float(by_label.result()) == pytest.approx(expected, abs=1e-3)
    assert float(by_weight.result()) == pytest.approx(expected, abs=1e-3)


def test_auc_survives_scores_that_are_no_numbers() -> None:
    labels, logits = sample()
    logits[3] = np.nan
    logits[4] = np.inf
    metric = SkimAUC(2)
    metric.update_state(labels, logits)
    assert 0.5 < float(metric.result()) < 1.0


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-8, 8), min_size=4, max_size=30), st.integers(0, 2**31))
def test_ties_count_half(values: list[int], seed: int) -> None:
    labels = np.random.default_rng(seed).integers(0, 2, len(values))
    labels[:2] = (0, 1)
    metric = SkimAUC(1)
    metric.update_state(labels[:, None].astype(np.float32), np.array(values, np.float32)[:, None])
    # Integers from -8 to 8 fall into bins of their own (the outermost ones share the last).
    logits = np.clip(values, -8, 8)
    binned = np.floor(16384 / (1 + np.exp(-logits.astype(np.float32))))
    expected = roc_auc_score(labels, binned)
    assert float(metric.result()) == pytest.approx(expected, abs=1e-6)


def test_reset_forgets() -> None:
    labels, logits = sample()
    metric = SkimAUC(2)
    metric.update_state(labels, -logits)
    metric.reset_state()
    metric.update_state(labels, logits)
    assert float(metric.result()) > 0.6


def test_config_round_trip() -> None:
    for thing in (
        SkimCrossentropy(0.1),
        SkimAUC(3, skim=1, bins=128),
        SkimFocal(1.5, 0.1),
        SkimSpeedup([0.1, 0.2], 0.02, 0.003, 50.0),
    ):
        assert type(thing).from_config(thing.get_config()).get_config() == thing.get_config()


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_by_the_formula_of_its_paper(gamma: float) -> None:
    labels, logits = sample()
    labels[3, 1] = -1
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    p_true = np.where(labels == 1, p, 1 - p)
    expected = np.where(labels < 0, 0.0, -((1 - p_true) ** gamma) * np.log(p_true))
    got = np.asarray(SkimFocal(gamma).call(labels, logits))
    np.testing.assert_allclose(got, expected, rtol=2e-4, atol=1e-5)
    if gamma == 0:
        np.testing.assert_array_equal(got, np.asarray(SkimCrossentropy().call(labels, logits)))


def test_gradients_of_the_focal_loss_stay_finite() -> None:
    logits = tf.constant([[80.0], [-80.0], [0.0]])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = SkimFocal(0.5)(np.array([[1.0], [0.0], [1.0]], np.float32), logits)
    assert np.isfinite(tape.gradient(value, logits)).all()


def test_speedup_is_that_of_the_filter_on_a_natural_mixture() -> None:
    random = np.random.default_rng(3)
    labels = (random.random((4000, 1)) < 0.07).astype(np.float32)
    logits = (2 * labels - 1.5 + random.normal(size=labels.shape)).astype(np.float32)
    p = 0.05 + 0.95 / (1 + np.exp(-logits.astype(np.float64)))
    speedup = CostSettings().speedup(p.mean(), (1 / p[labels == 1]).mean())
    loss = SkimSpeedup([labels.mean()])
    assert float(loss(labels, logits)) == pytest.approx(1 / speedup, rel=1e-4)
    # Balanced draws, weights of classes and unknown labels do not change it.
    chosen = np.concatenate([np.flatnonzero(labels)] * 5 + [np.flatnonzero(labels == 0)])
    weight = np.where(labels == 1, 3.0, 0.2).astype(np.float32)
    more = np.append(weight[chosen][:, 0], np.zeros(9, np.float32))
    got = loss(
        np.append(labels[chosen], np.zeros((9, 1), np.float32), axis=0),
        np.append(logits[chosen], np.full((9, 1), 4, np.float32), axis=0),
        sample_weight=more,
    )
    assert float(got) == pytest.approx(1 / speedup, rel=1e-4)


def test_keeping_everything_costs_what_no_filter_costs_and_the_network() -> None:
    labels, logits = sample()
    got = float(SkimSpeedup([0.3, 0.1])(labels, np.full_like(logits, 50)))
    assert got == pytest.approx((0.01 + 0.001 + 1) / 1.01, rel=1e-6)


def test_a_skim_of_one_class_does_not_contribute() -> None:
    labels, logits = sample()
    alone = float(SkimSpeedup([0.3])(labels[:, :1], logits[:, :1]))
    for other in (0, 1, -1):
        labels[:, 1] = other
        assert float(SkimSpeedup([0.3, 0.1])(labels, logits)) == pytest.approx(alone, rel=1e-6)
    labels[:, 0] = 0
    assert float(SkimSpeedup([0.3, 0.1])(labels, logits)) == 0


def test_the_speedup_loss_finds_the_square_root_of_the_posterior() -> None:
    """The best probabilities of two kinds of events are as the roots of their purities."""
    # Kind A: 4 of 1000 pass; kind B: 64 of 1000. Nothing else is known about an event.
    kind = np.repeat([0, 1], 1000)
    labels = np.zeros((2000, 1), np.float32)
    labels[:4] = labels[1000:1064] = 1
    loss = SkimSpeedup([labels.mean()], generation=0.05, network=0.05, maximum_weight=1000.0)
    logits = tf.Variable([-1.0, -1.0])
    optimizer = keras.optimizers.Adam(0.05)

    @tf.function
    def step() -> None:
        with tf.GradientTape() as tape:
            value = loss(labels, tf.gather(logits, kind)[:, None])
        optimizer.apply([tape.gradient(value, logits)], [logits])

    optimizer.build([logits])
    for _ in range(600):
        step()
    a, b = 1 / (1 + np.exp(-logits.numpy()))
    # B is kept whole (p = 1 is its limit); A so that its derivative vanishes, by scipy.
    q = np.array([0.004, 0.064])

    def cost(p: np.ndarray) -> float:
        return float((0.1 + p.mean()) * (q / p).mean())

    best = minimize(cost, [0.3, 0.9], bounds=[(1e-3, 1.0)] * 2).x
    assert a == pytest.approx(best[0], rel=0.02)
    assert b == pytest.approx(best[1], rel=0.02)
    assert best[1] == 1.0
    assert 0.2 < best[0] < 0.3


def test_losses_of_the_settings() -> None:
    def made(name: str, skims: int = 1, found: list[float] | None = None, **values: Any) -> Any:
        target = f"smartbkg_tf.training.losses.{name}"
        return validate(TrainingSettings, {"loss": {"_target_": target, **values}}).loss.make(
            skims, found
        )

    assert isinstance(TrainingSettings().loss.make(1, None), SkimCrossentropy)
    focal = made("Focal", gamma=3.0, label_smoothing=0.1)
    assert isinstance(focal, SkimFocal)
    assert (focal.gamma, focal.label_smoothing) == (3.0, 0.1)
    cost = {"generation": 10, "network": 5, "simulation": 2000}
    speedup = made("Speedup", 2, [0.1, 0.2], cost=cost)
    assert isinstance(speedup, SkimSpeedup)
    assert (speedup.generation, speedup.network) == (0.005, 0.0025)
    assert speedup.retention == [0.1, 0.2]
    assert made("Speedup", 2, [0.1, 0.2], retention=0.03).retention == [0.03, 0.03]
    with pytest.raises(ConfigurationError, match="retention"):
        made("Speedup")
