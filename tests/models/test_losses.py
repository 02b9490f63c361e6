"""Loss and AUC, against formulas and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from smartbkg_tf.models.losses import SkimAUC, SkimCrossentropy


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
    for thing in (SkimCrossentropy(0.1), SkimAUC(3, skim=1, bins=128)):
        assert type(thing).from_config(thing.get_config()).get_config() == thing.get_config()
