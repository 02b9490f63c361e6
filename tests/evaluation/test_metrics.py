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
    brier_score_loss,
    log_loss,
    roc_auc_score,
)

from smartbkg_tf.errors import InputError
from smartbkg_tf.evaluation.metrics import (
    Estimate,
    auc,
    average_precision,
    bootstrap_areas,
    calibration_losses,
    delong,
)
from smartbkg_tf.evaluation.resampling import (
    SortedScores,
    area_under_precision,
    area_under_roc,
    resamples,
)
from smartbkg_tf.evaluation.working_points import binomial_error, working_points

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
    # Weights 2 for the passing 3 and 0 for the failing -1:
    # pairs 2 * 2 + (1/2 + 1) + 0 of 4 * 2.
    weights = np.array([2.0, 1, 1, 1, 1, 0])
    assert auc(SCORES, LABELS, weights) == pytest.approx(5.5 / 8)


def test_average_precision_by_hand() -> None:
    # Recall steps 1/3 at precision 1/1, 1/3 at 2/3 (the tie), 1/3 at 3/5.
    assert average_precision(SCORES, LABELS) == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)


@given(
    st.lists(
        st.tuples(st.integers(-5, 5), st.booleans(), st.floats(0.01, 10)), min_size=2, max_size=40
    )
)
def test_fast_areas_are_those_of_scikit_learn(events: list[tuple[int, bool, float]]) -> None:
    scores, labels, weights = (
        np.array(column, dtype=float) for column in zip(*events, strict=True)
    )
    assume(0 < labels.sum() < len(labels))
    passing, failing = SortedScores(scores, labels).cumulative(weights)
    assert area_under_roc(passing, failing) == pytest.approx(
        roc_auc_score(labels, scores, sample_weight=weights)
    )
    assert area_under_precision(passing, failing) == pytest.approx(
        average_precision_score(labels, scores, sample_weight=weights)
    )


def test_integer_weights_are_copies() -> None:
    scores, labels = make_scores(60)
    copies = np.random.default_rng(1).integers(0, 4, 60)
    copied = np.repeat(scores, copies), np.repeat(labels, copies)
    assert auc(scores, labels, copies) == pytest.approx(auc(*copied))
    assert average_precision(scores, labels, copies) == pytest.approx(average_precision(*copied))


def test_bootstrap_and_delong_agree_with_repeated_experiments() -> None:
    repeated = [auc(*make_scores(800, seed)) for seed in range(300)]
    truth = np.std(repeated, ddof=1)
    scores, labels = make_scores(800, 1000)
    bootstrap = np.std(bootstrap_areas(scores, labels, number=400)[0], ddof=1)
    assert bootstrap == pytest.approx(truth, rel=0.2)
    check = delong(scores, labels)
    assert check.error == pytest.approx(truth, rel=0.2)
    assert check.error == pytest.approx(bootstrap, rel=0.12)
    assert check.value == pytest.approx(auc(scores, labels))


def test_delong_by_hand() -> None:
    # Parts of the passing events: 3/3, 2.5/3, 1/3; of the failing ones: 1.5/3, 2/3, 3/3.
    passing, failing = np.array([3, 2.5, 1]) / 3, np.array([1.5, 2, 3]) / 3
    variance = np.var(passing, ddof=1) / 3 + np.var(failing, ddof=1) / 3
    found = delong(SCORES, LABELS)
    assert found.value == pytest.approx(6.5 / 9)
    assert found.error == pytest.approx(np.sqrt(variance))


def test_resamples_keep_both_classes_and_repeat() -> None:
    labels = np.array([1, 0, 0, 0, 0])
    first, again, other = (list(resamples(labels, 20, seed)) for seed in (1, 1, 2))
    for copies in first:
        assert copies[0] == 1
        assert copies[1:].sum() == 4
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_losses_are_those_of_scikit_learn() -> None:
    scores, labels = make_scores(300)
    probability = 1 / (1 + np.exp(-(0.7 * scores - 1.0)))
    loss, brier = calibration_losses(scores, labels, 0.7, -1.0)
    assert loss.value == pytest.approx(log_loss(labels, probability))
    assert brier.value == pytest.approx(brier_score_loss(labels, probability))
    assert 0 < loss.error < loss.value
    # Large logits must not overflow (warnings are errors here).
    assert calibration_losses([1000.0, -1000.0], [1, 0])[0].value == 0.0
    assert calibration_losses([-1000.0, 1000.0], [1, 0])[0].value == pytest.approx(1000.0)


def test_working_points_by_hand() -> None:
    half, two_thirds, whole = working_points(SCORES, LABELS, [0.3, 2 / 3, 1.0])
    assert (half.threshold, half.false_rate) == (3.0, 0.0)
    assert half.efficiency == pytest.approx(1 / 3)
    assert half.rejection is None  # no division by an empty bin
    assert half.precision == 1.0
    assert two_thirds.threshold == 2.0
    assert two_thirds.rejection == pytest.approx(3.0)
    assert two_thirds.kept_fraction == pytest.approx(0.5)
    assert whole.threshold == 0.0
    assert whole.efficiency == 1.0
    assert whole.false_rate == pytest.approx(2 / 3)
    for point in (half, two_thirds, whole):
        kept = point.threshold <= SCORES
        assert point.efficiency == pytest.approx(kept[LABELS == 1].mean())
        assert point.false_rate == pytest.approx(kept[LABELS == 0].mean())
        assert point.efficiency_error > 0
    with pytest.raises(ValueError, match="efficiency"):
        working_points(SCORES, LABELS, [0.0])


def test_ninety_percent_of_ten_are_nine() -> None:
    point = working_points(np.arange(20.0), [0] * 10 + [1] * 10, [0.9])[0]
    assert point.efficiency == 0.9


def test_binomial_error_is_never_zero() -> None:
    assert binomial_error(0, 10) == pytest.approx(np.sqrt(11 / (144 * 13)))
    assert binomial_error(10, 10) == binomial_error(0, 10)
    assert binomial_error(5000, 10000) == pytest.approx(0.005, rel=1e-3)


def test_unknown_labels_are_left_out() -> None:
    scores, labels = np.append(SCORES, [9.0, np.nan]), np.append(LABELS, [-1, -1])
    assert auc(scores, labels) == auc(SCORES, LABELS)


@pytest.mark.parametrize(
    ("scores", "labels", "weights", "words"),
    [
        ([1.0, 2.0], [0, 0], None, "all 2 events fail"),
        ([1.0, 2.0], [1, 1], None, "all 2 events pass"),
        ([1.0, 2.0], [-1, -1], None, "no event has a known label"),
        ([], [], None, "no event has a known label"),
        ([1.0, np.inf], [0, 1], None, "1 of 2 scores are not finite"),
        ([1.0, 2.0], [0, 1], [1.0, -1.0], "not negative"),
        ([1.0, 2.0], [0, 1], [1.0, 0.0], "all 2 events fail"),
    ],
)
@pytest.mark.parametrize("function", [auc, average_precision, bootstrap_areas])
def test_what_cannot_be_measured(
    function: Callable[..., Any],
    scores: list[float],
    labels: list[int],
    weights: list[float] | None,
    words: str,
) -> None:
    with pytest.raises(InputError, match=words):
        function(scores, labels, weights)


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="differ in length"):
        auc([1.0, 2.0, 3.0], [0, 1])


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
