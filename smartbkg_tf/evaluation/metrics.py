"""How well scores separate passing from failing events: numbers with errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.filtering.score_counts import (
    Floats,
    ScoreCounts,
    known_scores,
    require_both_classes,
)

Scores = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Estimate:
    """A number and its statistical error, one standard deviation."""

    value: float
    error: float

    @classmethod
    def of(cls, metrics: Mapping[str, Any], key: str) -> Estimate:
        """Take the entries ``key`` and ``key_error`` of ``metrics.json``."""
        return cls(metrics[key], metrics[f"{key}_error"])

    def named(self, key: str) -> dict[str, float]:
        """Give the entries ``key`` and ``key_error`` of ``metrics.json``."""
        return {key: self.value, f"{key}_error": self.error}

    @property
    def pretty(self) -> str:
        """The same with a real plus-minus sign, for figures."""
        return str(self).replace("+-", "\u00b1")

    def __str__(self) -> str:
        """Return value and error to the same decimal, two digits of the error."""
        if not self.error > 0:
            return f"{self.value:.4g}"
        decimals = min(max(1 - int(np.floor(np.log10(self.error))), 0), 9)
        return f"{self.value:.{decimals}f} +- {self.error:.{decimals}f}"


def effective_number(weights: npt.ArrayLike) -> float:
    """Give the number of unweighted events with the same relative error, (sum w)^2 / sum w^2."""
    w = np.asarray(weights, dtype=np.float64)
    squares = float(np.sum(w * w))
    return float(np.sum(w)) ** 2 / squares if squares > 0 else 0.0


def _classes(scores: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[Scores, Scores]:
    """Give the scores of passing and of failing events; neither may be empty."""
    s, passes = known_scores(scores, labels)
    require_both_classes(float(passes.sum()), float((~passes).sum()))
    return s[passes], s[~passes]


def _fractions_below(values: Scores, others: Scores) -> Floats:
    """Give the fraction of `others` below each of `values`; equal ones count one half."""
    ordered = np.sort(others)
    below = np.searchsorted(ordered, values, side="left")
    return np.asarray((below + np.searchsorted(ordered, values, side="right")) / (2 * len(others)))


def auc(scores: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Give the exact probability that a passing event scores higher than a failing one.

    `scores` and `labels` [n]; -1 is an unknown label. Equal scores count one half.
    """
    high, low = _classes(scores, labels)
    return float(_fractions_below(np.sort(high), low).mean())


def average_precision(scores: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Give the exact sum of precision times step in recall; by chance it is the retention."""
    high, low = (np.sort(s) for s in _classes(scores, labels))
    thresholds = np.unique(high)[::-1]
    passing = len(high) - np.searchsorted(high, thresholds)
    failing = len(low) - np.searchsorted(low, thresholds)
    steps = np.diff(passing, prepend=0)
    return float(np.sum(steps * passing / (passing + failing)) / len(high))


def auc_difference(first: npt.ArrayLike, second: npt.ArrayLike, labels: npt.ArrayLike) -> Estimate:
    """Compare the AUC of two models on the same events (DeLong's covariance, see `delong`).

    The error is smaller than the two errors added in quadrature when the models err on the same
    events.
    """
    classes = [_classes(scores, labels) for scores in (first, second)]
    of_high = [_fractions_below(high, low) for high, low in classes]
    of_low = [1.0 - _fractions_below(low, high) for high, low in classes]
    variance = sum(_variance(part[0] - part[1]) for part in (of_high, of_low))
    return Estimate(float(of_high[0].mean() - of_high[1].mean()), float(np.sqrt(variance)))


def _variance(values: Floats, counts: Floats | None = None) -> float:
    """Give the variance of the mean of values [bins] with `counts` events each."""
    counts = np.ones(len(values)) if counts is None else counts
    n = float(counts.sum())
    if n <= 1:
        return 0.0
    mean = counts @ values / n
    return float(counts @ np.square(values - mean) / (n - 1) / n)


def delong(counts: ScoreCounts) -> Estimate:
    """Give the AUC and its error without resampling.

    DeLong, DeLong, Clarke-Pearson, Biometrics 44 (1988) 837. The error is 0 with a single event
    in both classes.
    """
    counts.require_both_classes()
    failing, passing = counts.failing, counts.passing
    below = (np.cumsum(failing) - failing / 2) / counts.n_failing
    above = 1.0 - (np.cumsum(passing) - passing / 2) / counts.n_passing
    value = float(passing @ below / counts.n_passing)
    return Estimate(value, float(np.sqrt(_variance(below, passing) + _variance(above, failing))))


def binned_average_precision(counts: ScoreCounts) -> float:
    """Give the average precision up to the width of the bins."""
    failing, passing = counts.above()
    everything = passing + failing
    precision = np.divide(passing, everything, out=np.zeros_like(passing), where=everything > 0)
    return float(np.sum(counts.passing * precision) / counts.n_passing)


def bootstrap_errors(counts: ScoreCounts, number: int, seed: int) -> tuple[float, float]:
    """Give the errors of AUC and average precision."""
    areas = [
        (delong(again).value, binned_average_precision(again))
        for again in counts.resamples(number, seed)
    ]
    errors = np.std(areas, axis=0, ddof=1)
    return float(errors[0]), float(errors[1])


def calibration_losses(
    counts: ScoreCounts, slope: float = 1.0, intercept: float = 0.0
) -> tuple[Estimate, Estimate]:
    """Give logarithmic loss (natural) and Brier score of ``sigmoid(slope * score + intercept)``."""
    from scipy.special import expit

    z = slope * counts.score + intercept
    p = expit(z)
    weights = np.concatenate([counts.failing, counts.passing])
    n = float(weights.sum())

    def estimate(of_failing: Floats, of_passing: Floats) -> Estimate:
        losses = np.concatenate([of_failing, of_passing])
        return Estimate(float(weights @ losses / n), float(np.sqrt(_variance(losses, weights))))

    softplus = np.logaddexp(0.0, z)
    return estimate(softplus, softplus - z), estimate(p**2, (1 - p) ** 2)


def working_points(counts: ScoreCounts, efficiencies: Sequence[float]) -> list[dict[str, Any]]:
    """Find the highest thresholds that keep at least given fractions of the passing events.

    Each as in ``metrics.json``: ``efficiency`` and ``false_rate`` are the kept fractions of passing
    and of failing events, their errors binomial; ``precision`` is the passing fraction of kept
    events; ``rejection`` is 1 / false_rate, None if no failing event is kept.
    """
    counts.require_both_classes()
    failing, passing = (numbers[::-1] for numbers in counts.above())
    n_passing, n_failing = counts.n_passing, counts.n_failing
    points = []
    for wanted in efficiencies:
        if not 0 < wanted <= 1:
            raise ValueError(f"an efficiency must lie in (0, 1], not {wanted}")
        # A hair of tolerance: 0.9 * 10 must not ask for a tenth event.
        i = int(np.searchsorted(passing, wanted * n_passing * (1 - 1e-12)))
        kept, false = float(passing[i]), float(failing[i])
        points.append(
            {
                "threshold": float(counts.lowest[::-1][i]),
                "efficiency": kept / n_passing,
                "efficiency_error": binomial_error(kept, n_passing),
                "false_rate": false / n_failing,
                "false_rate_error": binomial_error(false, n_failing),
                "kept_fraction": (kept + false) / (n_passing + n_failing),
                "precision": kept / (kept + false),
                "rejection": n_failing / false if false > 0 else None,
            }
        )
    return points


def binomial_error(k: float, n: float) -> float:
    """Give the standard deviation of a fraction k / n under a flat prior: never 0."""
    return float(np.sqrt((k + 1) * (n - k + 1) / ((n + 2) ** 2 * (n + 3))))
