"""Speedup on test events: by hand, and the spread of real draws."""

from __future__ import annotations

import numpy as np
import pytest

from smartbkg_tf.evaluation.speedup import (
    sampling_speedup,
    speedup_from_scores,
    threshold_speedups,
)
from smartbkg_tf.filtering.rules import SamplingRule, decide
from smartbkg_tf.filtering.score_counts import ScoreCounts
from smartbkg_tf.settings.costs import CostSettings


def test_by_hand() -> None:
    p = np.array([1.0, 0.5, 0.5, 0.25])
    labels = np.array([1, 1, 0, 0])
    weight = np.array([1.0, 2.0, 0.0, 4.0])
    found = sampling_speedup(p, weight, labels, CostSettings(generation=0, network=0), number=10)
    # mean p = 9/16, mean 1/p of passing = 3/2.
    assert found["speedup"] == pytest.approx(16 / 9 / 1.5)
    assert found["simulated_fraction"] == pytest.approx(9 / 16)
    # Kept passing weights 1 and 2: (3)^2 / 5 = 1.8 effective of 2; 3 of 4 simulated.
    assert found["effective_passing"] == pytest.approx(1.8)
    assert found["speedup_drawn"] == pytest.approx((4 / 3) * 1.8 / 2)
    assert found["sum_of_weights"] == pytest.approx(3.0)
    assert found["sum_of_weights_error"] == pytest.approx(1.0)
    assert found["n_passing"] == 2


def test_draws_scatter_around_the_expectation_as_claimed() -> None:
    random = np.random.default_rng(0)
    n = 20_000
    labels = (random.random(n) < 0.05).astype(np.int8)
    p = SamplingRule(a=0.8, b=1.5).probability(random.normal(0, 1, n) + 2 * labels)
    results = []
    for _ in range(100):
        decision = decide(p, random.random(n))
        results.append(sampling_speedup(p, decision.weight, labels, CostSettings(), number=2))
    drawn = np.array([r["speedup_drawn"] for r in results])
    assert drawn.mean() == pytest.approx(results[0]["speedup"], rel=0.02)
    pulls = [(r["sum_of_weights"] - r["n_passing"]) / r["sum_of_weights_error"] for r in results]
    assert abs(np.mean(pulls)) < 0.4
    assert 0.75 < np.std(pulls) < 1.3


def test_error_is_that_of_repeated_samples() -> None:
    values, claimed = [], []
    for seed in range(60):
        random = np.random.default_rng(seed)
        labels = (np.arange(3000) < 150).astype(np.int8)
        p = SamplingRule(a=0.8, b=1.5).probability(random.normal(0, 1, 3000) + 2 * labels)
        found = sampling_speedup(p, np.ones(3000), labels, CostSettings(), number=40)
        values.append(found["speedup"])
        claimed.append(found["speedup_error"])
    assert np.mean(claimed) == pytest.approx(np.std(values, ddof=1), rel=0.3)


def test_nothing_kept_gives_zero_and_no_division() -> None:
    p = np.full(4, 0.5)
    found = sampling_speedup(p, np.zeros(4), [1, 0, 1, 0], CostSettings(), number=5)
    assert found["speedup_drawn"] == 0.0
    assert found["effective_passing"] == 0.0


def test_a_threshold_has_no_sampling_speedup() -> None:
    with pytest.raises(ValueError, match="outside"):
        sampling_speedup([0.0, 1.0], [0.0, 1.0], [0, 1], CostSettings())


def test_thresholds_by_hand() -> None:
    scores, labels = [4.0, 3.0, 2.0, 1.0], [1, 0, 1, 0]
    half, whole = threshold_speedups(
        ScoreCounts.of(scores, labels), [0.5, 1.0], CostSettings(generation=0, network=0), number=10
    )
    assert (half["threshold"], half["kept_fraction"], half["efficiency"]) == (4.0, 0.25, 0.5)
    assert half["speedup"] == pytest.approx(0.5 / 0.25)
    assert (whole["threshold"], whole["kept_fraction"]) == (2.0, 0.75)
    assert whole["speedup"] == pytest.approx(1 / 0.75)
    assert half["speedup_error"] > 0


def _gaussian_sample(
    random: np.random.Generator, n: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores of failing and passing events at 0 and 2; 10 % pass; halves at random."""
    labels = (random.random(n) < 0.1).astype(np.int8)
    return random.normal(2.0 * labels, 1.0), labels, random.random(n) < 0.5


def test_scores_alone_tell_what_sampling_would_save() -> None:
    """The errors are those of repeated samples, and the mean is that of the best rule."""
    random, cost = np.random.default_rng(5), CostSettings()
    found = []
    for _ in range(25):
        estimate = speedup_from_scores(*_gaussian_sample(random, 4000), cost, number=40)
        assert estimate is not None
        found.append([estimate[k] for k in ("speedup", "speedup_error", "simulated_fraction")])
    values, errors, fractions = np.array(found).T
    spread = values.std(ddof=1)
    assert 0.6 < errors.mean() / spread < 1.6
    # Independent of the fit: a scan of the clipped exponential on a large sample.
    scores, labels, _ = _gaussian_sample(random, 200_000)
    rules = (SamplingRule(a=a, b=b) for a in np.arange(0.4, 2.0, 0.2) for b in (1, 1.5, 2, 2.5))
    probabilities = (rule.probability(scores) for rule in rules)
    best = max(cost.speedup(p.mean(), (1 / p[labels == 1]).mean()) for p in probabilities)
    assert best > 1.5
    assert abs(values.mean() - best) < 4 * spread / 5 + 0.01 * best
    assert 0 < fractions.min() <= fractions.max() < 1


def test_too_few_passing_events_tell_nothing() -> None:
    labels = np.zeros(100, np.int8)
    labels[:18] = 1
    assert (
        speedup_from_scores(np.arange(100.0), labels, np.arange(100) % 2 == 0, CostSettings())
        is None
    )
