"""How well scores separate passing from failing events: numbers with errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.evaluation.bootstrap import Measured
from smartbkg_tf.filtering.score_counts import (
    Floats,
    ScoreCounts,
    known_scores,
    require_both_classes,
)

Scores = npt.NDArray[np.floating]

#: Efficiencies at which the background rejection is given.
_REJECTED_AT = (0.5, 0.9, 0.99)
#: Numbers of `Separation`, and those of each of its points.
_NUMBERS = ("auc", "average_precision", "expected_calibration_error", "retention")
_OF_POINTS = ("efficiency", "false_rate", "kept_fraction", "precision", "balanced_accuracy")


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
        if not self.error > 1e-9 * abs(self.value):  # none, rounding apart
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


def _fractions_below(values: Scores, ordered: Scores) -> Floats:
    """Give the fraction of scores in rising order below each of `values`; equal ones are halved."""
    below = np.searchsorted(ordered, values, side="left")
    return np.asarray((below + np.searchsorted(ordered, values, side="right")) / (2 * len(ordered)))


def auc(scores: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Give the exact probability that a passing event scores higher than a failing one.

    `scores` and `labels` [n]; -1 is an unknown label. Equal scores count one half.
    """
    return areas(scores, labels)[0]


def average_precision(scores: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Give the exact sum of precision times step in recall; by chance it is the retention."""
    return areas(scores, labels)[1]


def areas(scores: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[float, float]:
    """Give the exact AUC and average precision."""
    high, low = (np.sort(s) for s in _classes(scores, labels))
    thresholds = np.unique(high)[::-1]
    passing = len(high) - np.searchsorted(high, thresholds)
    failing = len(low) - np.searchsorted(low, thresholds)
    steps = np.diff(passing, prepend=0)
    precision = float(np.sum(steps * passing / (passing + failing)) / len(high))
    return float(_fractions_below(high, low).mean()), precision


def placements(scores: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Give each event's part in the AUC: of passing events [n_passing], of failing ones.

    The fraction of failing events below a passing one, and of passing events above a failing one.
    """
    high, low = _classes(scores, labels)
    return _fractions_below(high, np.sort(low)), 1.0 - _fractions_below(low, np.sort(high))


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
    return float(counts.passing @ precision / counts.n_passing)


def binned_auc(counts: ScoreCounts) -> float:
    """Give the AUC up to the width of the bins."""
    below = np.cumsum(counts.failing) - counts.failing / 2
    return float(counts.passing @ below / (counts.n_failing * counts.n_passing))


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


def calibration_bins(counts: ScoreCounts, bins: int = 10) -> npt.NDArray[np.int64]:
    """Give the first place of each bin of equally many *passing* events.

    Most events fail, and bins of equal content would put all of the interesting region into the
    last one.
    """
    number = min(bins, int(np.count_nonzero(counts.passing)))
    wanted = counts.n_passing * np.arange(1, number) / max(number, 1)
    # Each bin ends with a passing event; failing events above the last one join its bin.
    ends = np.unique(np.searchsorted(np.cumsum(counts.passing), wanted * (1 - 1e-12)))
    starts = np.concatenate([[0], ends + 1]).astype(np.int64)
    return starts[starts < len(counts.passing)]  # many events may share the highest score


def place_of(counts: ScoreCounts, efficiency: float) -> int:
    """Find the bin of the highest threshold that keeps this fraction of the passing events."""
    if not 0 < efficiency <= 1:
        raise ValueError(f"an efficiency must lie in (0, 1], not {efficiency}")
    passing = counts.above()[1][::-1]
    # A hair of tolerance: 0.9 * 10 must not ask for a tenth event.
    i = int(np.searchsorted(passing, efficiency * counts.n_passing * (1 - 1e-12)))
    return len(passing) - 1 - i


class CalibrationError:
    """Expected calibration error: mean of ``|predicted - observed|`` passing fractions of bins.

    Weighted by the events of each bin (Naeini, Cooper, Hauskrecht, AAAI 2015), in
    `calibration_bins`; chance alone makes it larger than 0.
    """

    def __init__(self, counts: ScoreCounts, slope: float = 1.0, intercept: float = 0.0) -> None:
        from scipy.special import expit

        self._bins = calibration_bins(counts)
        self._predicted = expit(slope * counts.score + intercept)

    def __call__(self, sample: ScoreCounts) -> float:
        """Calculate it; NaN without events."""
        n = sample.n_failing + sample.n_passing
        gap = sample.passing - sample.everything * self._predicted
        return float(np.abs(np.add.reduceat(gap, self._bins)).sum() / n) if n > 0 else np.nan


class Separation:
    """What ``metrics.json`` says about events of all types, of one, or of a mixture of them.

    Thresholds and bins are those of `counts`, in resamples too. Working points are `places`, or
    those of `efficiencies`.
    """

    def __init__(
        self,
        counts: ScoreCounts,
        efficiencies: Sequence[float] = (),
        places: npt.NDArray[np.int64] | None = None,
    ) -> None:
        self.counts = counts
        self._calibration = CalibrationError(counts)
        wanted, best = [*efficiencies] if places is None else [], []
        if counts.both_classes:
            wanted += _REJECTED_AT
            failing, passing = (n[::-1] for n in counts.above())
            gain = passing / counts.n_passing - failing / counts.n_failing
            # Of equals, rounding apart, the highest threshold.
            best = [len(gain) - 1 - int(np.argmax(np.round(gain, 12)))]
        found = np.array([*(place_of(counts, e) for e in wanted), *best], dtype=np.int64)
        self._places = found if places is None else np.concatenate([places, found])
        n_points = len(efficiencies) if places is None else len(places)
        #: Bins of the working points.
        self.places = self._places[:n_points]

    def __call__(self, sample: ScoreCounts) -> Floats:
        """Give four numbers, then efficiency, false rate, kept fraction and precision of points."""
        n_failing, n_passing = sample.n_failing, sample.n_passing
        everything = n_failing + n_passing
        areas_of = (binned_auc, binned_average_precision)
        failing, passing = (numbers[self._places] for numbers in sample.above())
        return np.concatenate(
            [
                [area(sample) if sample.both_classes else np.nan for area in areas_of],
                [self._calibration(sample)],
                _fraction(np.array([n_passing]), everything),
                _fraction(passing, n_passing),
                _fraction(failing, n_failing),
                _fraction(passing + failing, everything),
                _fraction(passing, passing + failing),
                (1 + _fraction(passing, n_passing) - _fraction(failing, n_failing)) / 2,
            ]
        )

    def entries(self, measured: Measured, *, weighted: bool = False) -> dict[str, Any]:
        """Give the entries of ``metrics.json``; a confusion of `weighted` events is in shares."""
        result: dict[str, Any] = {}
        for i, key in enumerate(_NUMBERS):
            result |= _named(key, measured.value[i], measured.error[i])
        values, errors = (
            numbers[len(_NUMBERS) :].reshape(len(_OF_POINTS), -1)
            for numbers in (measured.value, measured.error)
        )
        points = [
            self._point(place, values[:, i], errors[:, i], weighted)
            for i, place in enumerate(self._places)
        ]
        keys = ("balanced_accuracy", "balanced_accuracy_error", "threshold")
        best = points.pop() if self.counts.both_classes else dict.fromkeys(keys)
        n_points = len(self.places)
        return {
            **result,
            **{key: best[key] for key in keys[:2]},
            "balanced_accuracy_threshold": best["threshold"],
            "working_points": points[:n_points],
            "background_rejection": [
                {key: point[key] for key in ("efficiency", "threshold")}
                | {key: point[key] for key in ("rejection", "rejection_error")}
                for point in points[n_points:]
            ],
        }

    def _point(
        self, place: np.int64, values: Floats, errors: Floats, weighted: bool
    ) -> dict[str, Any]:
        """Describe one threshold by `_OF_POINTS` and their errors."""
        counts = self.counts
        failing, passing = (float(numbers[place]) for numbers in counts.above())
        point: dict[str, Any] = {"threshold": float(counts.lowest[place])}
        for key, value, error in zip(_OF_POINTS, values, errors, strict=True):
            point |= _named(key, value, error)
        if not weighted:
            # A resample of events that are all kept says nothing about the next event.
            for key, kept, n in (
                ("efficiency", passing, counts.n_passing),
                ("false_rate", failing, counts.n_failing),
            ):
                if n > 0:
                    point[f"{key}_error"] = binomial_error(kept, n)
        false, error = point["false_rate"], point["false_rate_error"]
        point |= _named("rejection", 1 / false, error / false**2) if false else _named("rejection")
        confusion = {
            "passing_kept": passing,
            "passing_rejected": counts.n_passing - passing,
            "failing_kept": failing,
            "failing_rejected": counts.n_failing - failing,
        }
        n = counts.n_failing + counts.n_passing
        point["confusion"] = {
            key: value / n if weighted else round(value) for key, value in confusion.items()
        }
        return point


def _fraction(part: Floats, whole: float | Floats) -> Floats:
    """Divide numbers [n]; NaN where the whole is empty."""
    whole = np.broadcast_to(whole, part.shape)
    return np.asarray(np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0))


def _named(key: str, value: float = np.nan, error: float = np.nan) -> dict[str, float | None]:
    """Give the entries ``key`` and ``key_error`` of ``metrics.json``; None for NaN."""
    known = bool(np.isfinite(value))
    return {key: float(value) if known else None, f"{key}_error": float(error) if known else None}


def binomial_error(k: float, n: float) -> float:
    """Give the standard deviation of a fraction k / n under a flat prior: never 0."""
    return float(np.sqrt((k + 1) * (n - k + 1) / ((n + 2) ** 2 * (n + 3))))
