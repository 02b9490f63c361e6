"""Curves as plain data: what the plots show, and what is saved as JSON."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from smartbkg_tf.errors import InputError
from smartbkg_tf.evaluation.metrics import binomial_error
from smartbkg_tf.filtering.rules import Rule
from smartbkg_tf.filtering.score_counts import Floats, ScoreCounts

#: Points of a curve: enough for a page, whatever the number of events.
_POINTS = 400
#: Bounds of the central 68 % of the resamples.
_BAND = (0.1587, 0.8413)

Curve = dict[str, Any]


def _with_band(
    curve: Callable[[ScoreCounts], Floats], counts: ScoreCounts, number: int, seed: int
) -> tuple[list[float], list[float], list[float]]:
    """Give the curve, and the lower and upper ends of its 68 % band."""
    band = np.quantile([curve(again) for again in counts.resamples(number, seed)], _BAND, axis=0)
    return curve(counts).tolist(), band[0].tolist(), band[1].tolist()


def roc_curve(counts: ScoreCounts, *, number: int = 200, seed: int = 0) -> Curve:
    """Give the ROC curve with a 68 % band of `number` bootstrap resamples.

    ``false_rate`` (kept fraction of failing events), ``efficiency`` (kept fraction of passing
    events), ``low`` and ``high``: lists of equal length.
    """
    counts.require_both_classes()
    # Dense at both ends: a working point of high efficiency lies at the right one.
    grid = np.unique(
        np.concatenate(
            [
                np.linspace(0, 1, _POINTS // 2),
                np.geomspace(1e-4, 1, _POINTS // 4),
                1 - np.geomspace(1e-4, 1, _POINTS // 4),
            ]
        )
    )

    def curve(sample: ScoreCounts) -> Floats:
        failing, passing = (numbers[::-1] for numbers in sample.above())
        return _upper_interpolation(grid, failing / failing[-1], passing / passing[-1])

    efficiency, low, high = _with_band(curve, counts, number, seed)
    return {"false_rate": grid.tolist(), "efficiency": efficiency, "low": low, "high": high}


def _upper_interpolation(grid: Floats, x: Floats, y: Floats) -> Floats:
    """Interpolate a rising curve that begins at (0, 0); at steps take the upper end."""
    x, y = np.concatenate([[0.0], x]), np.concatenate([[0.0], y])
    # np.interp leaves open which end of a vertical step it takes.
    left = np.searchsorted(x, grid, side="right") - 1
    right = np.minimum(left + 1, len(x) - 1)
    width = x[right] - x[left]
    part = np.divide(grid - x[left], width, out=np.zeros_like(grid), where=width > 0)
    return np.asarray(y[left] + part * (y[right] - y[left]))


def precision_recall_curve(counts: ScoreCounts, *, number: int = 200, seed: int = 0) -> Curve:
    """Give precision against recall with a 68 % band of `number` bootstrap resamples.

    ``recall``, ``precision``, ``low`` and ``high`` are lists of equal length; ``retention`` is the
    precision of a model that guesses.
    """
    counts.require_both_classes()
    grid = np.linspace(1.0 / counts.n_passing, 1.0, min(int(counts.n_passing), _POINTS))

    def curve(sample: ScoreCounts) -> Floats:
        failing, passing = (numbers[::-1] for numbers in sample.above())
        i = np.searchsorted(passing, grid * passing[-1] * (1 - 1e-12))
        return np.asarray(passing[i] / (passing[i] + failing[i]))

    precision, low, high = _with_band(curve, counts, number, seed)
    return {
        "recall": grid.tolist(),
        "precision": precision,
        "low": low,
        "high": high,
        "retention": counts.n_passing / float(counts.everything.sum()),
    }


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
    """Compare predicted with observed passing fractions, with a calibration of the logit.

    Bins hold equal numbers of *passing* events: most events fail, and bins of equal content
    would put all of the interesting region into the last one. ``predicted``, ``observed``,
    ``error`` and ``n_events`` have one value per bin.
    """
    from scipy.special import expit

    counts.require_both_classes()
    number = min(bins, int(counts.n_passing))
    wanted = np.arange(1, number) * int(counts.n_passing) // number
    # Each bin ends with a passing event; failing events above the last one join its bin.
    ends = np.unique(np.searchsorted(np.cumsum(counts.passing), wanted))
    starts = np.concatenate([[0], ends + 1])
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
