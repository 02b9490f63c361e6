"""The cost of an event, which training, apply and evaluate share."""

from __future__ import annotations

import numpy as np
import pytest

from smartbkg_tf.evaluation.metrics import effective_number
from smartbkg_tf.filtering.rules import SamplingRule, ThresholdRule
from smartbkg_tf.settings.costs import CostSettings


def test_speedups_from_first_principles() -> None:
    # 1000 events, 100 of which pass; half of all and all passing ones are kept.
    cost = CostSettings(generation=2.0, network=1.0, simulation=100.0)
    without = 1000 * (2 + 100) / 100
    with_filter = (1000 * (2 + 1) + 500 * 100) / 100
    assert cost.threshold_speedup(0.5, 1.0) == pytest.approx(without / with_filter)
    assert cost.speedup(0.5, 1.0) == pytest.approx(without / with_filter)
    # Half of the passing ones with weight 2 are worth half as many events.
    assert cost.ratio(0.5, 2.0) == pytest.approx(2 / cost.speedup(0.5, 1.0))


def test_only_ratios_matter() -> None:
    small, large = CostSettings(), CostSettings(generation=0.1, network=0.01, simulation=10.0)
    assert small.speedup(0.3, 1.7) == pytest.approx(large.speedup(0.3, 1.7))
    free = CostSettings(generation=0.0, network=0.0)
    assert free.threshold_speedup(0.0, 0.0) == 0.0


def test_formula_agrees_with_counted_time() -> None:
    """Time / effective passing event, counted event by event, against the formula."""
    random = np.random.default_rng(4)
    n = 400_000
    passing = random.random(n) < 0.05
    scores = random.normal(0, 1, n) + 2 * passing
    p = SamplingRule(a=0.9, b=2.0).probability(scores)
    kept = random.random(n) < p
    generation, network = 0.02, 0.003
    without = n * (generation + 1) / passing.sum()
    time = n * (generation + network) + kept.sum()
    weights = 1 / p[kept & passing]
    expected = without / (time / effective_number(weights))
    found = CostSettings(generation=generation, network=network).speedup(
        p.mean(), (1 / p[passing]).mean()
    )
    assert found == pytest.approx(expected, rel=0.02)
    assert found > 1.2


def test_square_root_of_the_posterior_is_the_best_shape() -> None:
    """Vary the probability of each of many classes of events around the optimum."""
    random = np.random.default_rng(0)
    posterior = random.beta(0.3, 6.0, 200)
    cost = CostSettings(generation=0.05, network=0.01)

    def speedup(p: np.ndarray) -> float:
        return cost.speedup(p.mean(), float((posterior / p).mean() / posterior.mean()))

    # p = sqrt(q / mu), cut at 1; mu is found by a scan.
    scale = max(
        np.linspace(0.2, 5, 400), key=lambda c: speedup(np.clip(c * np.sqrt(posterior), 1e-9, 1))
    )
    best = np.clip(scale * np.sqrt(posterior), 1e-9, 1)
    for _ in range(300):
        other = np.clip(best * np.exp(random.normal(0, 0.2, 200)), 1e-9, 1)
        assert speedup(other) < speedup(best)
    for power in (0.25, 1.0):  # the posterior itself is worse than its root
        others = [speedup(np.clip(c * posterior**power, 1e-9, 1)) for c in np.linspace(0.2, 9, 200)]
        assert max(others) < speedup(best)


def test_threshold_formula_agrees_with_counts() -> None:
    scores = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
    passing = np.array([False, True, False, True, True])
    kept = ThresholdRule(threshold=0.0).probability(scores) == 1
    efficiency = (kept & passing).sum() / passing.sum()
    assert CostSettings(generation=0, network=0).threshold_speedup(
        kept.mean(), efficiency
    ) == pytest.approx(2 / 3 / 0.6)
