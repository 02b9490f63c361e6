"""Retention and costs of speedups: given, of the run's rule, or of the events."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from smartbkg_tf.evaluation.conditions import Conditions, decided_by, retention_in_words
from smartbkg_tf.filtering.filter_file import FittedFilter
from smartbkg_tf.filtering.predictions import Predictions, SkimPredictions
from smartbkg_tf.filtering.score_counts import ScoreCounts
from smartbkg_tf.settings.base import SettingsError, checked
from smartbkg_tf.settings.costs import CostSettings
from smartbkg_tf.settings.evaluation import MetricsSettings

RULE: Any = {"a": 0.5, "b": 0.0, "maximum_weight": 20.0}


def fitted(**values: Any) -> FittedFilter:
    return FittedFilter({"one": {**RULE, **values}}, Path("filter.json"))


def of(settings: dict[str, Any], rule: FittedFilter | None, skim: str = "one") -> Conditions:
    return Conditions.of(checked(MetricsSettings, settings), skim, rule)


def test_where_the_retention_comes_from() -> None:
    told = fitted(retention=0.02, n_events=100, n_passing=50)
    found = of({}, told)
    assert (found.retention, found.retention_from) == (0.02, "filter.json")
    assert of({}, fitted(retention=0.02)).retention == 0.02
    # Nobody told the fit: it took its own events, which say nothing that these do not.
    assert of({}, fitted(retention=0.5, n_events=100, n_passing=50)).retention is None
    assert of({}, fitted(retention=0.0, n_events=100, n_passing=0)).retention is None
    assert of({}, None).retention_from == of({}, told, "other").retention_from == "these events"
    given = of({"retention": 0.1}, told)
    assert (given.retention, given.retention_from) == (0.1, "metrics.retention")
    by_skim = {"retention": {"two": 0.3}}
    assert of(by_skim, told).retention == 0.02
    assert of(by_skim, told, "two").retention == 0.3
    for wrong in (0.0, 1.0, {"one": 2.0}):
        with pytest.raises(SettingsError, match="retention"):
            checked(MetricsSettings, {"retention": wrong})


def test_costs_are_those_of_the_rule_unless_they_are_given() -> None:
    stored = {"generation": 0.5, "network": 0.1, "simulation": 8.0}
    assert of({}, fitted(cost=stored)).cost == CostSettings(**stored)
    found = of({"cost": {"network": 0.2}}, fitted(cost=stored))
    assert found.cost == CostSettings(generation=0.5, network=0.2, simulation=8.0)
    assert found.cost_from == "metrics.cost, else filter.json"
    assert of({}, fitted()).cost == of({}, None).cost == CostSettings()
    assert of({}, None).cost_from == "default"
    # The rule that is fitted to the scores has the weights of the run's.
    assert of({}, None).maximum_weight == 20.0
    assert of({}, fitted(maximum_weight=5.0)).maximum_weight == 5.0


def test_natural_counts_hold_the_retention_in_each_resample() -> None:
    random = np.random.default_rng(0)
    label = np.arange(400) % 2
    counts = ScoreCounts.of(random.normal(size=400), label)
    conditions = of({"retention": 0.02}, None)
    for sample in (counts, *counts.resamples(3, 0)):
        natural = conditions.natural(sample)
        assert natural.n_passing == sample.n_passing
        assert conditions.entries(natural)["retention"] == pytest.approx(0.02)
    words = retention_in_words(conditions.entries(conditions.natural(counts)))
    assert words == "the natural retention of 2 % (metrics.retention)"
    as_here = of({}, None)
    assert as_here.natural(counts) is counts
    assert retention_in_words(as_here.entries(counts)) == "the retention of these events, 50 %"


@pytest.mark.parametrize(
    ("method", "probability", "expected"),
    [
        ("threshold", [1.0, 1.0], "threshold"),  # one that keeps everything
        (None, [1.0, 0.0], "threshold"),
        ("sampling", [1.0, 1.0], "sampling"),
        (None, [1.0, 0.5], "sampling"),
        ("score", [1.0, 1.0], None),
        (None, [1.0, 1.0], None),
    ],
)
def test_what_decided(method: str | None, probability: list[float], expected: str | None) -> None:
    p, ones = np.array(probability), np.ones(2)
    skim = SkimPredictions(np.zeros(2, np.float32), p, ones > 0, ones, np.zeros(2, np.int8))
    information = {} if method is None else {"method": method}
    predictions = Predictions({}, np.zeros(2, np.int8), {"one": skim}, information)
    assert decided_by(predictions, "one") == expected
