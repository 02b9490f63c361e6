"""Bootstrap resamples of labelled scores, fast enough for every metric and curve.

Scores are sorted once; a resample is a number of copies for every event, so that a
metric costs one pass over sorted arrays. Passing and failing events are resampled on
their own (stratified): no resample loses a class, and the sample's retention stays.
Two models evaluated on the same events with the same seed see the same resamples, so
that the error of their difference knows of their correlation.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def resamples(labels: npt.ArrayLike, number: int, seed: int) -> Iterator[Floats]:
    """Draw bootstrap resamples as numbers of copies.

    Parameters
    ----------
    labels : array_like [n]
        0 or 1.
    number : int
        How many resamples.
    seed : int
        Same seed and labels, same resamples.

    Yields
    ------
    numpy.ndarray [n]
        float64, copies of each event.
    """
    y = np.asarray(labels)
    classes = [np.flatnonzero(y == 1), np.flatnonzero(y != 1)]
    random = np.random.default_rng(seed)
    for _ in range(number):
        copies = np.zeros(len(y))
        for rows in classes:
            if len(rows):
                drawn = random.integers(0, len(rows), len(rows))
                copies[rows] = np.bincount(drawn, minlength=len(rows))
        yield copies


class SortedScores:
    """Scores sorted from high to low, equal scores taken together.

    Parameters
    ----------
    scores : array_like [n]
        Logits.
    labels : array_like [n]
        0 or 1.
    """

    def __init__(self, scores: npt.ArrayLike, labels: npt.ArrayLike) -> None:
        s = np.asarray(scores, dtype=np.float64)
        self._order = np.argsort(-s, kind="stable")
        in_order = s[self._order]
        self._passing = np.asarray(labels)[self._order] == 1
        first = np.ones(len(s), dtype=bool)
        first[1:] = in_order[1:] != in_order[:-1]
        self._starts = np.flatnonzero(first)
        #: Distinct scores, the highest first [groups].
        self.thresholds: Floats = in_order[self._starts]

    def cumulative(self, weights: npt.ArrayLike) -> tuple[Floats, Floats]:
        """Sum weights of passing and failing events with at least a score.

        Parameters
        ----------
        weights : array_like [n]
            In the order of the events as given.

        Returns
        -------
        passing : numpy.ndarray [groups]
            Sums at every distinct score, the highest first.
        failing : numpy.ndarray [groups]
            The same for failing events.
        """
        w = np.asarray(weights, dtype=np.float64)[self._order]
        passing = np.add.reduceat(np.where(self._passing, w, 0.0), self._starts)
        failing = np.add.reduceat(np.where(self._passing, 0.0, w), self._starts)
        return np.cumsum(passing), np.cumsum(failing)


def area_under_roc(passing: Floats, failing: Floats) -> float:
    """Integrate the ROC curve with the trapezoidal rule (ties count one half).

    Parameters
    ----------
    passing, failing : numpy.ndarray [groups]
        From `SortedScores.cumulative`.

    Returns
    -------
    float
        AUC.
    """
    x = np.concatenate([[0.0], failing]) / failing[-1]
    y = np.concatenate([[0.0], passing]) / passing[-1]
    return float(np.trapezoid(y, x))


def area_under_precision(passing: Floats, failing: Floats) -> float:
    """Sum precision times the step in recall (average precision).

    Parameters
    ----------
    passing, failing : numpy.ndarray [groups]
        From `SortedScores.cumulative`.

    Returns
    -------
    float
        Average precision.
    """
    everything = passing + failing
    precision = np.divide(passing, everything, out=np.zeros_like(passing), where=everything > 0)
    return float(np.sum(np.diff(passing, prepend=0.0) * precision) / passing[-1])
