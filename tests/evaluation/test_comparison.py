"""Models on common events: paired errors, significance, and what cannot be compared."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from smartbkg_tf.evaluation.comparison import auc_covariance, compare_models, comparison_table
from smartbkg_tf.filtering.predictions import Predictions, SkimPredictions


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
    found = compare_models(
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
    found = compare_models(
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
    same = compare_models(
        {"a": model(first, labels), "b": model(first[order], labels[order], events=order)}
    )
    (pair,) = same.differences
    assert abs(pair["difference"]) < 1e-12
    assert pair["error"] < 1e-7
    assert pair["significance"] is None


def test_what_cannot_be_compared_does_not_spoil_the_rest() -> None:
    (first, second), labels = correlated(0)
    found = compare_models(
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
    assert compare_models({"a": model(first, labels)}).skims == {}


def test_the_order_of_the_models_does_not_matter() -> None:
    (first, second), labels = correlated(0)
    apart = model(first, labels, events=np.arange(500) + 10_000)
    for names in (("x", "a", "b"), ("a", "b", "x")):
        models = {"x": apart, "a": model(first, labels), "b": model(second, labels)}
        found = compare_models({name: models[name] for name in names})
        assert {(d["model"], d["other"]) for d in found.differences} == {("a", "b")}


def test_unknown_labels_are_left_out() -> None:
    (first, second), labels = correlated(0)
    unknown = labels.copy()
    unknown[:100] = -1
    found = compare_models({"a": model(first, labels), "b": model(second, unknown)})
    assert found.skims["one"]["n_events"] == 400
