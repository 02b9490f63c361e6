"""Bootstrap resamples of single events, which all rows of the table share.

A resample is a number of copies for every event. All models see the same ones, so that the error
of a difference between two rows knows of their correlation.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def resamples(labels: npt.ArrayLike, number: int, seed: int) -> Iterator[Floats]:
    """Draw numbers of copies [n]; events of each label are resampled on their own."""
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
    """Scores sorted from high to low, equal scores taken together."""

    def __init__(self, scores: npt.ArrayLike, labels: npt.ArrayLike) -> None:
        s = np.asarray(scores, dtype=np.float64)
        self._order = np.argsort(-s, kind="stable")
        in_order = s[self._order]
        self._passing = np.asarray(labels)[self._order] == 1
        first = np.ones(len(s), dtype=bool)
        first[1:] = in_order[1:] != in_order[:-1]
        self._starts = np.flatnonzero(first)

    def cumulative(self, weights: npt.ArrayLike) -> tuple[Floats, Floats]:
        """Sum weights [n] of passing and failing events at or above each distinct score."""
        w = np.asarray(weights, dtype=np.float64)[self._order]
        passing = np.add.reduceat(np.where(self._passing, w, 0.0), self._starts)
        failing = np.add.reduceat(np.where(self._passing, 0.0, w), self._starts)
        return np.cumsum(passing), np.cumsum(failing)


def area_under_roc(passing: Floats, failing: Floats) -> float:
    """Integrate the ROC curve of `SortedScores.cumulative`; equal scores count one half."""
    x = np.concatenate([[0.0], failing]) / failing[-1]
    y = np.concatenate([[0.0], passing]) / passing[-1]
    return float(np.trapezoid(y, x))
