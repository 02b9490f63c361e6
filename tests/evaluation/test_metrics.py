"""Metrics: by hand, against scikit-learn, with weights and ties, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    log_loss,
    roc_auc_score,
)

from smartbkg_tf.errors import InputError
from smartbkg_tf.evaluation.metrics import (
    Estimate,
    auc,
    auc_difference,
    average_precision,
    binned_average_precision,
    binomial_error,
    bootstrap_errors,
    calibration_losses,
    delong,
    effective_number,
    working_points,
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
    bootstrap, _ = bootstrap_errors(counts, 400, 0)
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


def test_error_of_a_difference_is_that_of_repeated_experiments() -> None:
    found = []
    for seed in range(200):
        random = np.random.default_rng(seed)
        labels = (random.random(500) < 0.3).astype(np.int8)
        common = random.normal(size=500) + labels
        first, second = (common + 0.5 * random.normal(size=500) for _ in range(2))
        found.append(auc_difference(first, second, labels))
    values = np.array([one.value for one in found])
    errors = np.array([one.error for one in found])
    assert errors.mean() == pytest.approx(values.std(ddof=1), rel=0.15)
    assert abs(values.mean()) < 4 * values.std() / np.sqrt(200)
    # The models err on the same events: each area alone is known less well.
    assert errors.mean() < 0.7 * delong(ScoreCounts.of(first, labels)).error


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


def test_working_points_by_hand() -> None:
    counts = ScoreCounts.of(SCORES, LABELS)
    half, two_thirds, whole = working_points(counts, [0.3, 2 / 3, 1.0])
    assert (half["threshold"], half["false_rate"]) == (3.0, 0.0)
    assert half["efficiency"] == pytest.approx(1 / 3)
    assert half["rejection"] is None  # no division by an empty bin
    assert half["precision"] == 1.0
    assert two_thirds["threshold"] == 2.0
    assert two_thirds["rejection"] == pytest.approx(3.0)
    assert two_thirds["kept_fraction"] == pytest.approx(0.5)
    assert whole["threshold"] == 0.0
    assert whole["efficiency"] == 1.0
    assert whole["false_rate"] == pytest.approx(2 / 3)
    for point in (half, two_thirds, whole):
        kept = point["threshold"] <= SCORES
        assert point["efficiency"] == pytest.approx(kept[LABELS == 1].mean())
        assert point["false_rate"] == pytest.approx(kept[LABELS == 0].mean())
        assert point["efficiency_error"] > 0
    with pytest.raises(ValueError, match="efficiency"):
        working_points(counts, [0.0])


def test_ninety_percent_of_ten_are_nine() -> None:
    counts = ScoreCounts.of(np.arange(20.0), [0] * 10 + [1] * 10)
    point = working_points(counts, [0.9])[0]
    assert point["efficiency"] == 0.9


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
        (0.9, 2e-14, "0.900000000 +- 0.000000000"),
    ],
)
def test_numbers_are_written_with_their_errors(value: float, error: float, text: str) -> None:
    assert str(Estimate(value, error)) == text
