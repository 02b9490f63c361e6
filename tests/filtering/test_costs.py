"""The cost model: by hand, and against a simulation that counts time."""

from __future__ import annotations

import numpy as np
import pytest

from smartbkg_tf.filtering.costs import CostModel, effective_number
from smartbkg_tf.filtering.rules import SamplingRule, ThresholdRule


def test_by_hand() -> None:
    # (1 + 0.01) / ((0.01 + 0.001 + 0.2) * 1.5) = 1.01 / 0.3165
    assert CostModel(0.01, 0.001).speedup(0.2, 1.5) == pytest.approx(3.191153, rel=1e-6)
    # 1.01 * 0.9 / (0.011 + 0.25)
    assert CostModel(0.01, 0.001).threshold_speedup(0.25, 0.9) == pytest.approx(3.482759, rel=1e-6)
    # Keeping everything costs the network only.
    assert CostModel(0.01, 0.001).speedup(1.0, 1.0) == pytest.approx(1.01 / 1.011)
    assert CostModel(0.0, 0.0).threshold_speedup(0.0, 0.0) == 0.0


def test_effective_number() -> None:
    assert effective_number([1.0] * 7) == pytest.approx(7)
    assert effective_number([2.0, 2.0, 0.0]) == pytest.approx(2)
    assert effective_number([1.0, 3.0]) == pytest.approx(16 / 10)
    assert effective_number([]) == 0.0
    assert effective_number([0.0]) == 0.0


def test_formula_agrees_with_counted_time() -> None:
    """Time / effective passing event, counted event by event, against the formula."""
    random = np.random.default_rng(4)
    n = 400_000
    passing = random.random(n) < 0.05
    scores = random.normal(0, 1, n) + 2 * passing
    p = SamplingRule(0.9, 2.0, 20.0).probability(scores)
    kept = random.random(n) < p
    generation, network = 0.02, 0.003
    without = n * (generation + 1) / passing.sum()
    time = n * (generation + network) + kept.sum()
    weights = 1 / p[kept & passing]
    expected = without / (time / effective_number(weights))
    found = CostModel(generation, network).speedup(p.mean(), (1 / p[passing]).mean())
    assert found == pytest.approx(expected, rel=0.02)
    assert found > 1.2


def test_square_root_of_the_posterior_is_the_best_shape() -> None:
    """Vary the probability of each of many classes of events around the optimum."""
    random = np.random.default_rng(0)
    posterior = random.beta(0.3, 6.0, 200)
    cost = CostModel(0.05, 0.01)

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
    kept = ThresholdRule(0.0).probability(scores) == 1
    efficiency = (kept & passing).sum() / passing.sum()
    assert CostModel(0, 0).threshold_speedup(kept.mean(), efficiency) == pytest.approx(2 / 3 / 0.6)
