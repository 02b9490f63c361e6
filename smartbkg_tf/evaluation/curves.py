"""Curves as plain data: what the plots show, and what is saved as JSON."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from smartbkg_tf.errors import InputError
from smartbkg_tf.evaluation.bootstrap import Measured
from smartbkg_tf.evaluation.metrics import binomial_error, calibration_bins
from smartbkg_tf.filtering.rules import Rule
from smartbkg_tf.filtering.score_counts import Floats, ScoreCounts

#: Points of a curve: enough for a page, whatever the number of events.
_POINTS = 400

Curve = dict[str, Any]


class RocCurve:
    """The ROC curve of counts, and of resamples of them, on one grid of false rates."""

    def __init__(self, counts: ScoreCounts) -> None:
        counts.require_both_classes()
        # Dense at both ends: a working point of high efficiency lies at the right one.
        ends = np.geomspace(1e-4, 1, _POINTS // 4)
        self._grid = np.unique(np.concatenate([np.linspace(0, 1, _POINTS // 2), ends, 1 - ends]))

    def __call__(self, sample: ScoreCounts) -> Floats:
        """Give the efficiency [points]."""
        failing, passing = (numbers[::-1] for numbers in sample.above())
        return _upper_interpolation(self._grid, failing / failing[-1], passing / passing[-1])

    def data(self, measured: Measured) -> Curve:
        """Give ``false_rate``, ``efficiency``, and its 68 % band ``low`` and ``high``.

        They are the kept fractions of failing and of passing events: lists of equal length.
        """
        return {"false_rate": self._grid.tolist(), **_with_band("efficiency", measured)}


class PrecisionRecallCurve:
    """Precision against recall of counts, and of resamples of them."""

    def __init__(self, counts: ScoreCounts) -> None:
        counts.require_both_classes()
        number = min(int(counts.n_passing), _POINTS)
        self._grid = np.linspace(1.0 / counts.n_passing, 1.0, number)
        self._retention = counts.n_passing / float(counts.everything.sum())

    def __call__(self, sample: ScoreCounts) -> Floats:
        """Give the precision [points]."""
        failing, passing = (numbers[::-1] for numbers in sample.above())
        i = np.searchsorted(passing, self._grid * passing[-1] * (1 - 1e-12))
        return np.asarray(passing[i] / (passing[i] + failing[i]))

    def data(self, measured: Measured) -> Curve:
        """Give ``recall``, ``precision``, and its 68 % band ``low`` and ``high``.

        Beside these lists of equal length, ``retention`` is the precision of a model that guesses.
        """
        curve = {"recall": self._grid.tolist(), **_with_band("precision", measured)}
        return {**curve, "retention": self._retention}


def _with_band(name: str, measured: Measured) -> dict[str, list[float]]:
    low, high = measured.band
    return {name: measured.value.tolist(), "low": low.tolist(), "high": high.tolist()}


def _upper_interpolation(grid: Floats, x: Floats, y: Floats) -> Floats:
    """Interpolate a rising curve that begins at (0, 0); at steps take the upper end."""
    x, y = np.concatenate([[0.0], x]), np.concatenate([[0.0], y])
    # np.interp leaves open which end of a vertical step it takes.
    left = np.searchsorted(x, grid, side="right") - 1
    right = np.minimum(left + 1, len(x) - 1)
    width = x[right] - x[left]
    part = np.divide(grid - x[left], width, out=np.zeros_like(grid), where=width > 0)
    return np.asarray(y[left] + part * (y[right] - y[left]))


def score_histogram(counts: ScoreCounts, rule: Rule | None = None, *, bins: int = 40) -> Curve:
    """Give the distributions of the score, and the sampling probability of a rule along it.

    Bins lie between the 0.1 and 99.9 % quantiles of both classes; events beyond are in the outer
    ones. ``edges`` [bins + 1]; ``passing`` and ``failing`` are events per bin.
    """
    counts.require_both_classes()
    low, high = np.inf, -np.inf
    for numbers in (counts.failing, counts.passing):
        below = np.cumsum(numbers) / numbers.sum()
        first, last = np.searchsorted(below, [0.001, 0.999])
        low, high = min(low, counts.score[first]), max(high, counts.score[last])
    if not high > low:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, bins + 1)
    inside = np.clip(counts.score, low, high)
    result: Curve = {
        "edges": edges.tolist(),
        "passing": np.histogram(inside, edges, weights=counts.passing)[0].astype(int).tolist(),
        "failing": np.histogram(inside, edges, weights=counts.failing)[0].astype(int).tolist(),
    }
    if rule is not None:
        places = np.linspace(low, high, 200)
        result["score"] = places.tolist()
        result["probability"] = rule.probability(places).tolist()
    return result


def reliability(
    counts: ScoreCounts, slope: float = 1.0, intercept: float = 0.0, *, bins: int = 10
) -> Curve:
    """Compare predicted with observed passing fractions in `calibration_bins`.

    The logit is calibrated by slope and intercept. ``predicted``, ``observed``, ``error`` and
    ``n_events`` have one value per bin.
    """
    from scipy.special import expit

    counts.require_both_classes()
    starts = calibration_bins(counts, bins)
    n_events, passing, predicted = (
        np.add.reduceat(values, starts)
        for values in (
            counts.everything,
            counts.passing,
            counts.everything * expit(slope * counts.score + intercept),
        )
    )
    return {
        "predicted": (predicted / n_events).tolist(),
        "observed": (passing / n_events).tolist(),
        "error": [binomial_error(k, n) for k, n in zip(passing, n_events, strict=True)],
        "n_events": n_events.astype(int).tolist(),
    }


def training_curves(path: str | Path) -> Curve:
    """Read ``history.csv``: one list for each column, of numbers or None for gaps."""
    try:
        with open(path, newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot be read ({error})", where=path) from error
    if not rows or "epoch" not in rows[0]:
        raise InputError("holds no training history", where=path)

    def number(text: str | None) -> float | None:
        if text is None or not text.strip():
            return None
        value = float(text)
        return value if np.isfinite(value) else None

    try:
        return {
            name: [number(row.get(name)) for row in rows] for name in rows[0] if name is not None
        }
    except (TypeError, ValueError) as error:
        raise InputError(f"holds something else than numbers ({error})", where=path) from error
