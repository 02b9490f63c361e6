"""Metrics: by hand, against scikit-learn, with weights and ties, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    confusion_matrix,
    log_loss,
    precision_score,
    roc_auc_score,
)

from smartbkg_tf.errors import InputError
from smartbkg_tf.evaluation.bootstrap import measure
from smartbkg_tf.evaluation.metrics import (
    CalibrationError,
    Estimate,
    Separation,
    auc,
    average_precision,
    binned_auc,
    binned_average_precision,
    binomial_error,
    calibration_losses,
    delong,
    effective_number,
)
from smartbkg_tf.filtering.score_counts import ScoreCounts

SCORES = np.array([3.0, 2.0, 2.0, 1.0, 0.0, -1.0])
LABELS = np.array([1, 1, 0, 0, 1, 0])


def make_scores(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = (random.random(n) < 0.3).astype(np.int8)
    # Rounded, so that there are ties.
    return np.round(random.normal(0, 1, n) + labels, 1), labels


def test_auc_by_hand() -> None:
    # Passing 3, 2, 0; failing 2, 1, -1. Pairs won: 3 + (1/2 + 2) + 1 of 9.
    assert auc(SCORES, LABELS) == pytest.approx(6.5 / 9)


def test_average_precision_by_hand() -> None:
    # Recall steps 1/3 at precision 1/1, 1/3 at 2/3 (the tie), 1/3 at 3/5.
    assert average_precision(SCORES, LABELS) == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)


@given(st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=2, max_size=40))
def test_areas_are_those_of_scikit_learn(events: list[tuple[int, bool]]) -> None:
    scores, labels = (np.array(column, dtype=float) for column in zip(*events, strict=True))
    assume(0 < labels.sum() < len(labels))
    counts = ScoreCounts.of(scores, labels)
    for area in (auc(scores, labels), delong(counts).value):
        assert area == pytest.approx(roc_auc_score(labels, scores))
    for area in (average_precision(scores, labels), binned_average_precision(counts)):
        assert area == pytest.approx(average_precision_score(labels, scores))


def test_areas_in_bins_are_close_to_the_exact_ones() -> None:
    random = np.random.default_rng(0)
    labels = (random.random(200_000) < 0.1).astype(np.int8)
    scores = random.normal(size=200_000) + labels
    counts = ScoreCounts.of(scores, labels)
    assert len(counts.score) <= 8000
    assert delong(counts).value == pytest.approx(auc(scores, labels), abs=2e-5)
    exact = average_precision(scores, labels)
    assert binned_average_precision(counts) == pytest.approx(exact, abs=1e-4)
    assert exact == pytest.approx(average_precision_score(labels, scores))


def test_effective_number() -> None:
    assert effective_number([1.0] * 7) == pytest.approx(7)
    assert effective_number([2.0, 2.0, 0.0]) == pytest.approx(2)
    assert effective_number([1.0, 3.0]) == pytest.approx(16 / 10)
    assert effective_number([]) == 0.0
    assert effective_number([0.0]) == 0.0


def test_bootstrap_and_delong_agree_with_repeated_experiments() -> None:
    repeated = [auc(*make_scores(800, seed)) for seed in range(300)]
    truth = np.std(repeated, ddof=1)
    scores, labels = make_scores(800, 1000)
    counts = ScoreCounts.of(scores, labels)
    bootstrap = float(measure(counts, {"auc": binned_auc}, 400, 0)["auc"].error)
    assert bootstrap == pytest.approx(truth, rel=0.2)
    check = delong(counts)
    assert check.error == pytest.approx(truth, rel=0.2)
    assert check.error == pytest.approx(bootstrap, rel=0.12)
    assert check.value == pytest.approx(auc(scores, labels))


def test_delong_by_hand() -> None:
    # Parts of the passing events: 3/3, 2.5/3, 1/3; of the failing ones: 1.5/3, 2/3, 3/3.
    passing, failing = np.array([3, 2.5, 1]) / 3, np.array([1.5, 2, 3]) / 3
    variance = np.var(passing, ddof=1) / 3 + np.var(failing, ddof=1) / 3
    found = delong(ScoreCounts.of(SCORES, LABELS))
    assert found.value == pytest.approx(6.5 / 9)
    assert found.error == pytest.approx(np.sqrt(variance))


def test_losses_are_those_of_scikit_learn() -> None:
    scores, labels = make_scores(300)
    probability = 1 / (1 + np.exp(-(0.7 * scores - 1.0)))
    loss, brier = calibration_losses(ScoreCounts.of(scores, labels), 0.7, -1.0)
    assert loss.value == pytest.approx(log_loss(labels, probability))
    assert brier.value == pytest.approx(brier_score_loss(labels, probability))
    assert 0 < loss.error < loss.value
    # Large logits must not overflow (warnings are errors here).
    certain = ScoreCounts.of([1000.0, -1000.0], [1, 0])
    assert calibration_losses(certain)[0].value == 0.0
    wrong = ScoreCounts.of([-1000.0, 1000.0], [1, 0])
    assert calibration_losses(wrong)[0].value == pytest.approx(1000.0)


def entries(
    counts: ScoreCounts, efficiencies: list[float], *, weighted: bool = False
) -> dict[str, Any]:
    separation = Separation(counts, efficiencies)
    measured = measure(counts, {"it": separation}, 50, 0)["it"]
    return separation.entries(measured, weighted=weighted)


def test_working_points_by_hand() -> None:
    found = entries(ScoreCounts.of(SCORES, LABELS), [0.3, 2 / 3, 1.0])
    half, two_thirds, whole = found["working_points"]
    assert (half["threshold"], half["false_rate"]) == (3.0, 0.0)
    assert half["efficiency"] == pytest.approx(1 / 3)
    assert half["rejection"] is None  # no division by an empty bin
    assert half["rejection_error"] is None
    assert half["precision"] == 1.0
    assert two_thirds["threshold"] == 2.0
    assert two_thirds["rejection"] == pytest.approx(3.0)
    assert two_thirds["kept_fraction"] == pytest.approx(0.5)
    assert two_thirds["balanced_accuracy"] == pytest.approx(2 / 3)
    assert two_thirds["confusion"] == {
        "passing_kept": 2,
        "passing_rejected": 1,
        "failing_kept": 1,
        "failing_rejected": 2,
    }
    assert whole["threshold"] == 0.0
    assert whole["efficiency"] == 1.0
    assert whole["false_rate"] == pytest.approx(2 / 3)
    for point in (half, two_thirds, whole):
        kept = point["threshold"] <= SCORES
        assert point["efficiency"] == pytest.approx(kept[LABELS == 1].mean())
        assert point["false_rate"] == pytest.approx(kept[LABELS == 0].mean())
        assert point["efficiency_error"] > 0
    # The largest balanced accuracy is that of the threshold 2 or 3; of equals, the higher one.
    assert (found["balanced_accuracy"], found["balanced_accuracy_threshold"]) == (
        pytest.approx(2 / 3),
        3.0,
    )
    with pytest.raises(ValueError, match="efficiency"):
        entries(ScoreCounts.of(SCORES, LABELS), [0.0])


def test_numbers_are_those_of_scikit_learn_with_the_errors_of_repeated_samples() -> None:
    values, errors = [], []
    keys = ("average_precision", "balanced_accuracy", "retention", "kept_fraction", "precision")
    for seed in range(60):
        scores, labels = make_scores(800, seed)
        found = entries(ScoreCounts.of(scores, labels), [0.9])
        numbers = {**found, **found["working_points"][0]}
        # Of the working point; the best threshold differs from sample to sample.
        values.append([numbers[key] for key in keys])
        errors.append([numbers[f"{key}_error"] for key in keys])
    kept = scores >= numbers["threshold"]
    assert numbers["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, kept))
    assert numbers["precision"] == pytest.approx(precision_score(labels, kept))
    matrix = confusion_matrix(labels, kept)
    assert list(numbers["confusion"].values()) == [*matrix[1, ::-1], *matrix[0, ::-1]]
    # The threshold of each sample is its own: kept fraction and precision scatter with it, too.
    fixed = [0, 2]
    spread = np.std(values, axis=0, ddof=1)[fixed]
    np.testing.assert_allclose(np.mean(errors, axis=0)[fixed], spread, rtol=0.3)
    rejected = found["background_rejection"]
    assert [point["efficiency"] for point in rejected] == pytest.approx([0.5, 0.9, 0.99], abs=0.06)
    false = (scores[labels == 0] >= rejected[0]["threshold"]).mean()
    assert rejected[0]["rejection"] == pytest.approx(1 / false)


def test_weighted_events_have_shares_instead_of_numbers() -> None:
    counts = ScoreCounts.of(SCORES, LABELS).weighted(np.array([0.1]))
    point = entries(counts, [2 / 3], weighted=True)["working_points"][0]
    assert sum(point["confusion"].values()) == pytest.approx(1.0)
    assert point["confusion"]["passing_kept"] == pytest.approx(2 / 6)


def test_one_class_has_rates_but_no_areas() -> None:
    counts = ScoreCounts.of([1.0, 2.0], [0, 0])
    found = Separation(counts, places=np.array([1]))
    result = found.entries(measure(counts, {"it": found}, 10, 0)["it"])
    assert result["auc"] is result["auc_error"] is result["balanced_accuracy"] is None
    assert result["background_rejection"] == []
    assert result["working_points"][0]["false_rate"] == 0.5
    assert result["working_points"][0]["efficiency"] is None
    assert result["retention"] == 0.0


def test_calibration_error_by_hand() -> None:
    # Predicted 0.5 everywhere; bins that end with a passing event hold 1 of 2 and 1 of 4.
    scores, labels = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5], [0, 1, 0, 0, 0, 1]
    error = CalibrationError(ScoreCounts.of(scores, labels), slope=0.0)
    assert error(ScoreCounts.of(scores, labels)) == pytest.approx((0 + 4 * 0.25) / 6)
    random = np.random.default_rng(0)
    logits = random.normal(-2, 1.5, 50_000)
    labels = (random.random(50_000) < 1 / (1 + np.exp(-logits))).astype(np.int8)
    counts = ScoreCounts.of(logits, labels)
    assert CalibrationError(counts)(counts) < 0.004
    assert CalibrationError(counts, intercept=1.0)(counts) > 0.05


def test_ninety_percent_of_ten_are_nine() -> None:
    counts = ScoreCounts.of(np.arange(20.0), [0] * 10 + [1] * 10)
    assert entries(counts, [0.9])["working_points"][0]["efficiency"] == 0.9


def test_binomial_error_is_never_zero() -> None:
    assert binomial_error(0, 10) == pytest.approx(np.sqrt(11 / (144 * 13)))
    assert binomial_error(10, 10) == binomial_error(0, 10)
    assert binomial_error(5000, 10000) == pytest.approx(0.005, rel=1e-3)


def test_unknown_labels_are_left_out() -> None:
    scores, labels = np.append(SCORES, [9.0, np.nan]), np.append(LABELS, [-1, -1])
    assert auc(scores, labels) == auc(SCORES, LABELS)


@pytest.mark.parametrize(
    ("scores", "labels", "words"),
    [
        ([1.0, 2.0], [0, 0], "all 2 events fail"),
        ([1.0, 2.0], [1, 1], "all 2 events pass"),
        ([1.0, 2.0], [-1, -1], "no event has a known label"),
        ([], [], "no event has a known label"),
        ([1.0, np.inf], [0, 1], "1 of 2 scores are not finite"),
    ],
)
@pytest.mark.parametrize("function", [auc, average_precision])
def test_what_cannot_be_measured(
    function: Callable[..., float], scores: list[float], labels: list[int], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        function(scores, labels)


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.85312, 0.0123, "0.853 +- 0.012"),
        (2.7, 0.15, "2.70 +- 0.15"),
        (123.4, 17.0, "123 +- 17"),
        (0.5, 0.0, "0.5"),
        (0.9, 2e-14, "0.9"),
    ],
)
def test_numbers_are_written_with_their_errors(value: float, error: float, text: str) -> None:
    assert str(Estimate(value, error)) == text
