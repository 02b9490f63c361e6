"""The cost of an event, which training, apply and evaluate share."""

from __future__ import annotations

import pytest

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
