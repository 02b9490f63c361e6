"""What a filter saves on test events, with bootstrap errors: entries of ``metrics.json``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.evaluation.metrics import effective_number, working_points
from smartbkg_tf.filtering.fitting import expected_speedup, fit_sampling_rule, sampling_rule
from smartbkg_tf.filtering.score_counts import ScoreCounts, known_scores
from smartbkg_tf.settings.costs import CostSettings

#: Passing events that each half must have for a speedup to be measured from scores.
_FEWEST_PASSING = 10


def sampling_speedup(
    probability: npt.ArrayLike,
    weight: npt.ArrayLike,
    labels: npt.ArrayLike,
    cost: CostSettings,
    *,
    number: int = 200,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure the speedup at equal effective statistics from decisions about events [n].

    The probability lies in (0, 1], `weight` is 1 / probability for kept events and 0 for others,
    and `number` is that of the bootstrap resamples.
    """
    counts = ScoreCounts.of(probability, labels)
    counts.require_both_classes()
    p, passes = known_scores(probability, labels)
    w = np.asarray(weight, dtype=np.float64)[np.isin(labels, (0, 1))]
    if not np.all((p > 0) & (p <= 1)):
        raise ValueError("a sampling probability lies outside (0, 1]")
    inverse = 1.0 / counts.score
    replicas = [
        cost.speedup(
            float(again.everything @ again.score / again.everything.sum()),
            float(again.passing @ inverse / again.n_passing),
        )
        for again in counts.resamples(number, seed)
    ]
    n_passing = int(counts.n_passing)
    effective = effective_number(w[passes])
    return {
        # Mean over the random numbers of the sampling; the error is that of the events.
        "speedup": cost.speedup(float(p.mean()), float(np.mean(1.0 / p[passes]))),
        "speedup_error": float(np.std(replicas, ddof=1)),
        "from": "decisions of the predictions",
        # With the random numbers of these predictions; 0 if no passing event was kept. Passing
        # events keep their weight: what counts is their effective number.
        "speedup_drawn": cost.threshold_speedup(float(np.mean(w > 0)), effective / n_passing),
        "simulated_fraction": float(p.mean()),
        "effective_passing": effective,
        # Of kept passing events: an unbiased estimate of their number. The error is the standard
        # deviation over the random numbers.
        "sum_of_weights": float(w[passes].sum()),
        "sum_of_weights_error": float(np.sqrt(np.sum((1 - p[passes]) / p[passes]))),
        "n_passing": n_passing,
    }


def speedup_from_scores(
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    first_half: npt.NDArray[np.bool_],
    cost: CostSettings,
    *,
    number: int = 200,
    seed: int = 0,
) -> dict[str, Any] | None:
    """Measure what sampling by these scores would save, for predictions without decisions.

    The rule is fitted on one half of the events and measured on the other, both ways; None where a
    half has fewer than 10 passing events. The error is that of the events at fixed rules: with 200
    passing events it is some 15 % smaller than the spread of repeated samples (measured on 349).
    """
    s, y = np.asarray(scores), np.asarray(labels)
    if any(np.count_nonzero(y[half] == 1) < _FEWEST_PASSING for half in (first_half, ~first_half)):
        return None
    halves = [ScoreCounts.of(s[half], y[half]) for half in (first_half, ~first_half)]
    values, errors, fractions = [], [], []
    for fitted, measured in (halves, halves[::-1]):
        rule = sampling_rule(fit_sampling_rule(fitted, cost=cost, bootstrap=0))
        values.append(expected_speedup(measured, rule, cost))
        replicas = [expected_speedup(c, rule, cost) for c in measured.resamples(number, seed)]
        errors.append(float(np.std(replicas, ddof=1)))
        share = measured.everything / measured.everything.sum()
        fractions.append(float(share @ rule.probability(measured.score)))
    return {
        "speedup": float(np.mean(values)),
        "speedup_error": 0.5 * math.hypot(*errors),
        "simulated_fraction": float(np.mean(fractions)),
        "from": "scores: rule fitted on one half of the events, measured on the other",
    }


def threshold_speedups(
    counts: ScoreCounts,
    efficiencies: Sequence[float],
    cost: CostSettings,
    *,
    number: int = 200,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Measure the speedup of thresholds for equal numbers of passing events, at fixed thresholds.

    A threshold biases what it keeps.
    """
    points = working_points(counts, efficiencies)
    place = np.searchsorted(counts.lowest, [point["threshold"] for point in points])
    replicas = []
    for again in counts.resamples(number, seed):
        failing, passing = (numbers[place] for numbers in again.above())
        kept = (failing + passing) / again.everything.sum()
        efficiency = passing / again.n_passing
        replicas.append(
            [cost.threshold_speedup(f, e) for f, e in zip(kept, efficiency, strict=True)]
        )
    return [
        {
            **{name: point[name] for name in ("efficiency", "threshold", "kept_fraction")},
            "speedup": cost.threshold_speedup(point["kept_fraction"], point["efficiency"]),
            "speedup_error": float(error),
        }
        for point, error in zip(points, np.std(replicas, axis=0, ddof=1), strict=True)
    ]
