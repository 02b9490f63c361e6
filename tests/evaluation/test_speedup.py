"""Speedup on test events: by hand, and the spread of real draws."""

from __future__ import annotations

import numpy as np
import pytest

from smartbkg_tf.evaluation.speedup import sampling_speedup, threshold_speedups
from smartbkg_tf.filtering.costs import CostModel
from smartbkg_tf.filtering.rules import SamplingRule, decide


def test_by_hand() -> None:
    p = np.array([1.0, 0.5, 0.5, 0.25])
    labels = np.array([1, 1, 0, 0])
    weight = np.array([1.0, 2.0, 0.0, 4.0])
    found = sampling_speedup(p, weight, labels, CostModel(0.0, 0.0), number=10)
    # mean p = 9/16, mean 1/p of passing = 3/2.
    assert found.expected.value == pytest.approx(16 / 9 / 1.5)
    assert found.simulated_fraction == pytest.approx(9 / 16)
    # Kept passing weights 1 and 2: (3)^2 / 5 = 1.8 effective of 2; 3 of 4 simulated.
    assert found.effective_passing == pytest.approx(1.8)
    assert found.drawn == pytest.approx((4 / 3) * 1.8 / 2)
    assert found.sum_of_weights == pytest.approx(3.0)
    assert found.sum_of_weights_error == pytest.approx(1.0)
    assert found.n_passing == 2


def test_draws_scatter_around_the_expectation_as_claimed() -> None:
    random = np.random.default_rng(0)
    n = 20_000
    labels = (random.random(n) < 0.05).astype(np.int8)
    p = SamplingRule(0.8, 1.5, 20.0).probability(random.normal(0, 1, n) + 2 * labels)
    results = []
    for _ in range(100):
        decision = decide(p, random.random(n))
        results.append(sampling_speedup(p, decision.weight, labels, CostModel(), number=2))
    drawn = np.array([r.drawn for r in results])
    assert drawn.mean() == pytest.approx(results[0].expected.value, rel=0.02)
    pulls = [(r.sum_of_weights - r.n_passing) / r.sum_of_weights_error for r in results]
    assert abs(np.mean(pulls)) < 0.4
    assert 0.75 < np.std(pulls) < 1.3


def test_error_is_that_of_repeated_samples() -> None:
    values, claimed = [], []
    for seed in range(60):
        random = np.random.default_rng(seed)
        labels = (np.arange(3000) < 150).astype(np.int8)
        p = SamplingRule(0.8, 1.5, 20.0).probability(random.normal(0, 1, 3000) + 2 * labels)
        found = sampling_speedup(p, np.ones(3000), labels, CostModel(), number=40)
        values.append(found.expected.value)
        claimed.append(found.expected.error)
    assert np.mean(claimed) == pytest.approx(np.std(values, ddof=1), rel=0.3)


def test_nothing_kept_gives_zero_and_no_division() -> None:
    p = np.full(4, 0.5)
    found = sampling_speedup(p, np.zeros(4), [1, 0, 1, 0], CostModel(), number=5)
    assert found.drawn == 0.0
    assert found.effective_passing == 0.0


def test_a_threshold_has_no_sampling_speedup() -> None:
    with pytest.raises(ValueError, match="outside"):
        sampling_speedup([0.0, 1.0], [0.0, 1.0], [0, 1], CostModel())


def test_thresholds_by_hand() -> None:
    scores, labels = [4.0, 3.0, 2.0, 1.0], [1, 0, 1, 0]
    half, whole = threshold_speedups(scores, labels, [0.5, 1.0], CostModel(0, 0), number=10)
    assert (half.threshold, half.kept_fraction, half.efficiency) == (4.0, 0.25, 0.5)
    assert half.speedup.value == pytest.approx(0.5 / 0.25)
    assert (whole.threshold, whole.kept_fraction) == (2.0, 0.75)
    assert whole.speedup.value == pytest.approx(1 / 0.75)
    assert half.speedup.error > 0
