"""How well scores separate passing from failing events: numbers with errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from smartbkg_tf.errors import InputError
from smartbkg_tf.evaluation.resampling import (
    SortedScores,
    area_under_precision,
    area_under_roc,
    resamples,
)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A number and its statistical error.

    Parameters
    ----------
    value : float
        The number, from the events as they are.
    error : float
        One standard deviation.
    """

    value: float
    error: float

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


def checked(
    scores: npt.ArrayLike, labels: npt.ArrayLike, weights: npt.ArrayLike | None = None
) -> tuple[Floats, npt.NDArray[np.int8], Floats]:
    """Leave out events of unknown label and refuse what cannot be measured.

    Parameters
    ----------
    scores : array_like [n]
        Logits.
    labels : array_like [n]
        1 passes, 0 does not, -1 unknown.
    weights : array_like [n], optional
        Event weights, not negative; 1 by default.

    Returns
    -------
    scores : numpy.ndarray [m]
        float64.
    labels : numpy.ndarray [m]
        int8, 0 or 1.
    weights : numpy.ndarray [m]
        float64.

    Raises
    ------
    InputError
        When there are no labels, one class is empty, or a score or weight is not finite.
    ValueError
        When lengths differ.
    """
    s = np.asarray(scores, dtype=np.float64)
    y = np.asarray(labels)
    w = np.ones(s.shape) if weights is None else np.asarray(weights, dtype=np.float64)
    if s.ndim != 1 or s.shape != y.shape or s.shape != w.shape:
        raise ValueError(
            f"scores {s.shape}, labels {y.shape} and weights {w.shape} differ in length"
        )
    known = (y == 0) | (y == 1)
    s, y, w = s[known], y[known].astype(np.int8), w[known]
    if not len(y):
        raise InputError("no event has a known label, so nothing can be measured")
    if not np.isfinite(s).all():
        raise InputError(f"{int((~np.isfinite(s)).sum())} of {len(s)} scores are not finite")
    if not (np.isfinite(w).all() and np.all(w >= 0)):
        raise InputError("weights must be finite and not negative")
    passing, failing = float(w[y == 1].sum()), float(w[y == 0].sum())
    if passing == 0 or failing == 0:
        word = "pass" if failing == 0 else "fail"
        raise InputError(
            f"all {len(y)} events {word}: no AUC without both kinds",
            next_step="use more events, or a skim with another retention",
        )
    return s, y, w


def auc(
    scores: npt.ArrayLike, labels: npt.ArrayLike, weights: npt.ArrayLike | None = None
) -> float:
    """Give the probability that a passing event scores higher than a failing one.

    Parameters
    ----------
    scores : array_like [n]
        Logits.
    labels : array_like [n]
        1 passes, 0 does not, -1 unknown (left out).
    weights : array_like [n], optional
        Event weights.

    Returns
    -------
    float
        Area under the ROC curve; equal scores count one half.

    Raises
    ------
    InputError
        When a class is empty or a number is not finite.
    """
    from sklearn.metrics import roc_auc_score

    s, y, w = checked(scores, labels, weights)
    return float(roc_auc_score(y, s, sample_weight=None if weights is None else w))


def average_precision(
    scores: npt.ArrayLike, labels: npt.ArrayLike, weights: npt.ArrayLike | None = None
) -> float:
    """Give the mean precision over recall; its value by chance is the retention.

    Parameters
    ----------
    scores : array_like [n]
        Logits.
    labels : array_like [n]
        1 passes, 0 does not, -1 unknown (left out).
    weights : array_like [n], optional
        Event weights.

    Returns
    -------
    float
        Average precision (sum of precision times step in recall).

    Raises
    ------
    InputError
        When a class is empty or a number is not finite.
    """
    from sklearn.metrics import average_precision_score

    s, y, w = checked(scores, labels, weights)
    return float(average_precision_score(y, s, sample_weight=None if weights is None else w))


def bootstrap_areas(
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    weights: npt.ArrayLike | None = None,
    *,
    number: int = 200,
    seed: int = 0,
) -> tuple[Floats, Floats]:
    """Give AUC and average precision of bootstrap resamples.

    Parameters
    ----------
    scores : array_like [n]
        Logits.
    labels : array_like [n]
        1 passes, 0 does not, -1 unknown (left out).
    weights : array_like [n], optional
        Event weights.
    number : int, default 200
        How many resamples.
    seed : int, default 0
        Of the resamples.

    Returns
    -------
    auc : numpy.ndarray [number]
        float64.
    average_precision : numpy.ndarray [number]
        float64.

    Raises
    ------
    InputError
        When a class is empty or a number is not finite.
    """
    s, y, w = checked(scores, labels, weights)
    ordered = SortedScores(s, y)
    areas = np.empty((number, 2))
    for i, copies in enumerate(resamples(y, number, seed)):
        passing, failing = ordered.cumulative(copies * w)
        if passing[-1] == 0 or failing[-1] == 0:  # only events of weight 0 were drawn
            areas[i] = np.nan
            continue
        areas[i] = area_under_roc(passing, failing), area_under_precision(passing, failing)
    return areas[:, 0], areas[:, 1]


def delong(scores: npt.ArrayLike, labels: npt.ArrayLike) -> Estimate:
    """Give the AUC and its error without resampling, as a check of the bootstrap.

    Parameters
    ----------
    scores : array_like [n]
        Logits.
    labels : array_like [n]
        1 passes, 0 does not, -1 unknown (left out).

    Returns
    -------
    Estimate
        The AUC and its error; an error of 0 with a single event in both classes.

    Raises
    ------
    InputError
        When a class is empty or a score is not finite.

    Notes
    -----
    DeLong, DeLong, Clarke-Pearson, Biometrics 44 (1988) 837, with the ranks of Sun and
    Xu, IEEE Signal Processing Letters 21 (2014) 1389.
    """
    from scipy.stats import rankdata

    s, y, _ = checked(scores, labels)
    high, low = s[y == 1], s[y == 0]
    m, n = len(high), len(low)
    ranks = rankdata(np.concatenate([high, low]))
    of_high = (ranks[:m] - rankdata(high)) / n
    of_low = 1.0 - (ranks[m:] - rankdata(low)) / m
    variance = sum(
        float(np.var(part, ddof=1)) / len(part) for part in (of_high, of_low) if len(part) > 1
    )
    return Estimate(float(of_high.mean()), float(np.sqrt(variance)))


def calibration_losses(
    scores: npt.ArrayLike, labels: npt.ArrayLike, slope: float = 1.0, intercept: float = 0.0
) -> tuple[Estimate, Estimate]:
    """Give logarithmic loss and Brier score of ``sigmoid(slope * score + intercept)``.

    Parameters
    ----------
    scores : array_like [n]
        Logits.
    labels : array_like [n]
        1 passes, 0 does not, -1 unknown (left out).
    slope, intercept : float, default 1, 0
        From the calibration in ``filter.json``, if training was balanced.

    Returns
    -------
    log_loss : Estimate
        Mean of -ln P(observed label), natural logarithm.
    brier : Estimate
        Mean squared difference of probability and label.

    Raises
    ------
    InputError
        When a class is empty or a score is not finite.
    """
    from scipy.special import expit

    s, y, _ = checked(scores, labels)
    z = slope * s + intercept
    losses = np.logaddexp(0.0, z) - y * z
    squares = np.square(expit(z) - y)

    def estimate(values: Floats) -> Estimate:
        error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0.0
        return Estimate(float(values.mean()), float(error))

    return estimate(losses), estimate(squares)
