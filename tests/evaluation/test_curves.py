"""Curves as data: they agree with scikit-learn and with the events."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as reference

from smartbkg_tf.errors import InputError
from smartbkg_tf.evaluation.bootstrap import measure
from smartbkg_tf.evaluation.curves import (
    PrecisionRecallCurve,
    RocCurve,
    reliability,
    score_histogram,
    training_curves,
)
from smartbkg_tf.filtering.rules import SamplingRule
from smartbkg_tf.filtering.score_counts import ScoreCounts


def make_scores(n: int = 2000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = (random.random(n) < 0.1).astype(np.int8)
    return random.normal(0, 1, n) + 1.5 * labels, labels


def roc_curve(counts: ScoreCounts, number: int = 10) -> dict[str, Any]:
    curve = RocCurve(counts)
    return curve.data(measure(counts, {"roc": curve}, number, 0)["roc"])


def precision_recall_curve(counts: ScoreCounts) -> dict[str, Any]:
    curve = PrecisionRecallCurve(counts)
    return curve.data(measure(counts, {"it": curve}, 10, 0)["it"])


def test_roc_is_that_of_scikit_learn() -> None:
    scores, labels = make_scores()
    curve = roc_curve(ScoreCounts.of(scores, labels), number=20)
    x, y, _ = reference.roc_curve(labels, scores, drop_intermediate=False)
    grid, found = np.array(curve["false_rate"]), np.array(curve["efficiency"])
    # At a vertical step, the upper end.
    inside = ~np.isin(grid, x)
    np.testing.assert_allclose(found[inside], np.interp(grid[inside], x, y), atol=1e-12)
    for place in grid[~inside]:
        assert found[grid == place][0] == pytest.approx(y[x == place].max())
    area = np.trapezoid(found, grid)
    assert area == pytest.approx(reference.roc_auc_score(labels, scores), abs=2e-3)
    assert grid[0] == 0.0
    assert grid[-1] == 1.0
    assert found[-1] == 1.0
    assert np.all(np.diff(found) >= 0)


def test_bands_surround_the_curve_and_shrink() -> None:
    widths = []
    for n in (500, 8000):
        curve = roc_curve(ScoreCounts.of(*make_scores(n)), number=60)
        low, high = np.array(curve["low"]), np.array(curve["high"])
        assert np.all(low <= high)
        middle = slice(20, -60)
        inside = (low <= curve["efficiency"]) & (curve["efficiency"] <= high)
        assert inside[middle].mean() > 0.9
        widths.append((high - low)[middle].mean())
    assert widths[1] == pytest.approx(widths[0] / 4, rel=0.4)


def test_precision_at_recalls_of_events() -> None:
    scores = np.array([4.0, 3.0, 2.0, 1.0, 0.0])
    labels = np.array([1, 0, 1, 0, 1])
    curve = precision_recall_curve(ScoreCounts.of(scores, labels))
    np.testing.assert_allclose(curve["recall"], [1 / 3, 2 / 3, 1.0])
    np.testing.assert_allclose(curve["precision"], [1.0, 2 / 3, 3 / 5])
    assert curve["retention"] == pytest.approx(0.6)


def test_histogram_loses_no_event() -> None:
    scores, labels = make_scores()
    scores[:3] = [1e6, -1e6, 40.0]
    rule = SamplingRule(a=0.5, b=2.0)
    histogram = score_histogram(ScoreCounts.of(scores, labels), rule)
    assert sum(histogram["passing"]) == labels.sum()
    assert sum(histogram["failing"]) == (labels == 0).sum()
    assert len(histogram["edges"]) == 41
    np.testing.assert_allclose(histogram["probability"], rule.probability(histogram["score"]))


def test_histogram_of_equal_scores_has_a_width() -> None:
    histogram = score_histogram(ScoreCounts.of(np.zeros(10), [0, 1] * 5))
    assert histogram["edges"][0] < 0 < histogram["edges"][-1]
    assert sum(histogram["passing"]) == 5


def test_reliability_of_calibrated_scores() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(-2, 1.5, 50_000)
    labels = (random.random(50_000) < 1 / (1 + np.exp(-logits))).astype(np.int8)
    curve = reliability(ScoreCounts.of((logits + 3) / 2, labels), slope=2.0, intercept=-3.0)
    pulls = (np.array(curve["observed"]) - curve["predicted"]) / curve["error"]
    assert float(np.sum(pulls**2)) < 30  # 10 bins
    assert sum(curve["n_events"]) == 50_000
    assert min(curve["observed"]) > 0
    wrong = reliability(ScoreCounts.of(logits, labels), slope=1.0, intercept=1.0)
    assert np.all(np.array(wrong["predicted"]) > wrong["observed"])


def test_reliability_where_many_events_share_the_highest_score() -> None:
    counts = ScoreCounts.of([0.0, 1.0, 1.0, 1.0, 0.0], [0, 1, 1, 1, 1])
    assert sum(reliability(counts)["n_events"]) == 5


def test_reliability_with_fewer_passing_events_than_bins() -> None:
    curve = reliability(ScoreCounts.of([0.0, 1.0, 2.0, 3.0, 4.0], [0, 1, 0, 1, 0]))
    assert curve["n_events"] == [2, 3]
    assert curve["observed"] == [0.5, pytest.approx(1 / 3)]


@pytest.mark.parametrize("curve", [roc_curve, precision_recall_curve, score_histogram, reliability])
def test_one_class_is_refused(curve: Callable[..., Any]) -> None:
    with pytest.raises(InputError, match="all 3 events fail"):
        curve(ScoreCounts.of([1.0, 2.0, 3.0], [0, 0, 0]))


def test_history(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    path.write_text("epoch,loss,val_loss\n1,0.5,\n2,0.25,nan\n3,0.125,0.75\n")
    assert training_curves(path) == {
        "epoch": [1.0, 2.0, 3.0],
        "loss": [0.5, 0.25, 0.125],
        "val_loss": [None, None, 0.75],
    }
    path.write_text("epoch,loss\n1,much\n")
    with pytest.raises(InputError, match="something else than numbers"):
        training_curves(path)
    path.write_text("")
    with pytest.raises(InputError, match="no training history"):
        training_curves(path)
    with pytest.raises(InputError, match="cannot be read"):
        training_curves(tmp_path / "missing.csv")
