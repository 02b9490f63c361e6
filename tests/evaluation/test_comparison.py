"""Models on common events: paired errors, significance, and what cannot be compared."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from smartbkg_tf.evaluation.comparison import (
    Comparison,
    auc_covariance,
    compare_models,
    comparison_table,
)
from smartbkg_tf.evaluation.conditions import SAMPLE, Conditions
from smartbkg_tf.evaluation.metrics import average_precision
from smartbkg_tf.filtering.predictions import Predictions, SkimPredictions
from smartbkg_tf.filtering.rules import SamplingRule
from smartbkg_tf.settings.costs import CostSettings

AS_HERE = Conditions(None, SAMPLE, CostSettings(), "default")


def compared(
    models: dict[str, Predictions],
    number: int = 10,
    conditions: dict[str, Conditions] | None = None,
) -> Comparison:
    of = {name: dict.fromkeys(one.skims, AS_HERE) for name, one in models.items()}
    for name, other in (conditions or {}).items():
        of[name] = dict.fromkeys(models[name].skims, other)
    return compare_models(models, of, number)


def model(scores: Any, labels: Any, *, events: Any = None, skim: str = "one") -> Predictions:
    n = len(scores)
    keys = {
        "experiment": np.full(n, 1003),
        "run": np.ones(n, np.int64),
        "event": np.arange(n) if events is None else np.asarray(events),
        "production": np.full(n, 10),
    }
    ones = np.ones(n)
    predicted = SkimPredictions(
        np.asarray(scores, np.float32), ones, ones > 0, ones, np.asarray(labels, np.int8)
    )
    return Predictions(keys, np.zeros(n, np.int8), {skim: predicted}, {})


def correlated(seed: int, n: int = 500, k: int = 2) -> tuple[list[Any], Any]:
    random = np.random.default_rng(seed)
    labels = (random.random(n) < 0.3).astype(np.int8)
    common = random.normal(size=n) + labels
    return [common + 0.5 * random.normal(size=n) for _ in range(k)], labels


def test_covariance_is_that_of_repeated_experiments_and_of_a_paired_bootstrap() -> None:
    found = [auc_covariance(*correlated(seed, k=3)) for seed in range(300)]
    areas = np.array([one[0] for one in found])
    claimed = np.mean([one[1] for one in found], axis=0)
    np.testing.assert_allclose(claimed, np.cov(areas.T), rtol=0.3)
    scores, labels = correlated(1000, 2000)
    random = np.random.default_rng(0)
    weights = random.poisson(1.0, (200, 2000))
    drawn = [[roc_auc_score(labels, s, sample_weight=w) for s in scores] for w in weights]
    areas, covariance = auc_covariance(scores, labels)
    np.testing.assert_allclose(areas, [roc_auc_score(labels, s) for s in scores])
    np.testing.assert_allclose(covariance, np.cov(np.array(drawn).T), rtol=0.3)
    # The models err on the same events: the difference is known better than each area.
    assert covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1] < 0.5 * covariance[0, 0]


def test_models_are_sorted_with_their_difference_to_the_best() -> None:
    (good, same), labels = correlated(0)
    bad = good + np.random.default_rng(1).normal(0, 3, len(labels))
    found = compared(
        {"bad": model(bad, labels), "good": model(good, labels), "same": model(same, labels)}
    )
    assert found.notes == []
    of = found.skims["one"]
    assert (of["n_events"], of["n_passing"]) == (500, labels.sum())
    names = [row["model"] for row in of["models"]]
    assert names[2] == "bad"
    assert of["models"][0]["difference"] is of["models"][0]["significance"] is None
    last = of["models"][2]
    assert last["difference"] == pytest.approx(of["models"][0]["auc"] - last["auc"])
    assert last["significance"] == pytest.approx(last["difference"] / last["difference_error"])
    assert last["probability"] < 1e-4 < of["models"][1]["probability"]
    pairs = [(d["model"], d["other"]) for d in found.differences]
    assert pairs == [("bad", "good"), ("bad", "same"), ("good", "same")]
    table = comparison_table("one", of)
    assert [line.split()[0] for line in table.splitlines()[1:]] == names
    assert "sigma" in table


def test_common_events_are_matched_by_key_in_any_order() -> None:
    (first, second), labels = correlated(0)
    order = np.random.default_rng(0).permutation(500)[:400]
    found = compared(
        {"a": model(first, labels), "b": model(second[order], labels[order], events=order)}
    )
    assert found.skims["one"]["n_events"] == 400
    assert found.notes == [
        "one: models are compared on the 400 events that all of them have, of 400 to 500"
    ]
    (pair,) = found.differences
    expected = roc_auc_score(labels[order], first[order]) - roc_auc_score(
        labels[order], second[order]
    )
    assert pair["difference"] == pytest.approx(expected, abs=1e-6)
    # The same scores in another order: no difference, without any error.
    same = compared(
        {"a": model(first, labels), "b": model(first[order], labels[order], events=order)}
    )
    (pair,) = same.differences
    assert abs(pair["difference"]) < 1e-12
    assert pair["error"] < 1e-7
    assert pair["significance"] is None


def test_what_cannot_be_compared_does_not_spoil_the_rest() -> None:
    (first, second), labels = correlated(0)
    found = compared(
        {
            "a": model(first, labels),
            "elsewhere": model(second, labels, events=np.arange(500) + 10_000),
            "relabelled": model(second, 1 - labels),
            "b": model(second, labels),
            "another_skim": model(second, labels, skim="two"),
        }
    )
    assert [(d["model"], d["other"]) for d in found.differences] == [("a", "b")]
    assert any(n.startswith("a and elsewhere were evaluated on diff") for n in found.notes)
    assert "a and relabelled have different labels of one" in found.notes
    assert list(found.skims) == ["one"]
    assert compared({"a": model(first, labels)}).skims == {}


def test_the_order_of_the_models_does_not_matter() -> None:
    (first, second), labels = correlated(0)
    apart = model(first, labels, events=np.arange(500) + 10_000)
    for names in (("x", "a", "b"), ("a", "b", "x")):
        models = {"x": apart, "a": model(first, labels), "b": model(second, labels)}
        found = compared({name: models[name] for name in names})
        assert {(d["model"], d["other"]) for d in found.differences} == {("a", "b")}


def test_unknown_labels_are_left_out() -> None:
    (first, second), labels = correlated(0)
    unknown = labels.copy()
    unknown[:100] = -1
    found = compared({"a": model(first, labels), "b": model(second, unknown)})
    assert found.skims["one"]["n_events"] == 400


def sampled(one: Predictions, rule: SamplingRule) -> Predictions:
    skim = one.skims["one"]
    p = rule.probability(skim.score)
    found = SkimPredictions(skim.score, p, p > 0, 1 / p, skim.label)
    return Predictions(one.keys, one.event_type, {"one": found}, {"method": "sampling"})


def test_precision_and_speedup_have_the_errors_of_a_paired_bootstrap() -> None:
    """Against resamples of single events, each with the same weights for both models."""
    (first, second), labels = correlated(3, 1500)
    rule, cost = SamplingRule(a=0.8, b=1.0), CostSettings()
    models = {"a": sampled(model(first, labels), rule), "b": sampled(model(second, labels), rule)}
    rows = {row["model"]: row for row in compared(models, 300).skims["one"]["models"]}
    best, other = sorted(rows, key=lambda name: -rows[name]["auc"])
    scores = {name: of.skims["one"].score for name, of in models.items()}
    p = {name: of.skims["one"].probability for name, of in models.items()}

    def speedup(name: str, weight: Any) -> float:
        inverse = np.average(1 / p[name], weights=weight * (labels == 1))
        return cost.speedup(float(np.average(p[name], weights=weight)), float(inverse))

    random = np.random.default_rng(0)
    drawn: dict[str, list[float]] = {"average_precision": [], "speedup": []}
    for _ in range(300):
        weight = random.poisson(1.0, len(labels))
        areas = [
            average_precision_score(labels, scores[name], sample_weight=weight)
            for name in (best, other)
        ]
        drawn["average_precision"].append(areas[0] - areas[1])
        drawn["speedup"].append(speedup(best, weight) - speedup(other, weight))
    ones = np.ones(len(labels))
    for key, value in (
        ("average_precision", lambda name: average_precision(scores[name], labels)),
        ("speedup", lambda name: speedup(name, ones)),
    ):
        row = rows[other]
        assert row[key] == pytest.approx(value(other))
        assert row[f"{key}_difference"] == pytest.approx(value(best) - value(other))
        assert row[f"{key}_difference_error"] == pytest.approx(np.std(drawn[key]), rel=0.25)
        # The models err on the same events.
        assert row[f"{key}_difference_error"] < 0.9 * np.hypot(
            row[f"{key}_error"], rows[best][f"{key}_error"]
        )
        assert f"{key}_difference" not in rows[best]
    assert row["speedup_by"] == "sampling"
    table = comparison_table("one", {"models": [*rows.values()], "n_events": 1, "n_passing": 1})
    assert "average precision" in table
    assert "speedup" in table


def test_speedups_for_different_conditions_are_not_compared() -> None:
    (first, second), labels = correlated(3)
    models = {"a": model(first, labels), "b": model(second, labels)}
    rare = Conditions(0.01, "metrics.retention", CostSettings(), "default")
    for other, same in ((AS_HERE, True), (rare, False)):
        row = compared(models, 10, {"b": other}).skims["one"]["models"][1]
        assert ("speedup_difference" in row) == same
        assert row["average_precision_difference"] is not None
