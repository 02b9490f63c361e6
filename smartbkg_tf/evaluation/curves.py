"""Curves as plain data: what the plots show, and what is saved as JSON."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.errors import InputError
from smartbkg_tf.evaluation.metrics import checked
from smartbkg_tf.evaluation.resampling import SortedScores, resamples
from smartbkg_tf.evaluation.working_points import binomial_error
from smartbkg_tf.filtering.rules import Rule

Floats = npt.NDArray[np.float64]

#: Points of a curve: enough for a page, whatever the number of events.
_POINTS = 400
#: Bounds of the central 68 % of the resamples.
_BAND = (0.1587, 0.8413)

Curve = dict[str, Any]


def roc_curve(
    scores: npt.ArrayLike, labels: npt.ArrayLike, *, number: int = 200, seed: int = 0
) -> Curve:
    """Give the ROC curve with a 68 % band.

    Parameters
    ----------
    scores : array_like [n]
        Logits.
    labels : array_like [n]
        1 passes, 0 does not, -1 unknown (left out).
    number : int, default 200
        Bootstrap resamples for the band.
    seed : int, default 0
        Of the resamples.

    Returns
    -------
    dict
        ``false_rate`` (kept fraction of failing events), ``efficiency`` (kept fraction of
        passing events), ``low``, ``high``: lists of equal length.

    Raises
    ------
    InputError
        When a class is empty or a score is not finite.
    """
    s, y, w = checked(scores, labels)
    ordered = SortedScores(s, y)
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

    def curve(weights: Floats) -> Floats:
        passing, failing = ordered.cumulative(weights)
        return _upper_interpolation(grid, failing / failing[-1], passing / passing[-1])

    band = np.quantile([curve(copies) for copies in resamples(y, number, seed)], _BAND, axis=0)
    return {
        "false_rate": grid.tolist(),
        "efficiency": curve(w).tolist(),
        "low": band[0].tolist(),
        "high": band[1].tolist(),
    }


def _upper_interpolation(grid: Floats, x: Floats, y: Floats) -> Floats:
    """Interpolate a rising curve that begins at (0, 0); at steps take the upper end."""
    x, y = np.concatenate([[0.0], x]), np.concatenate([[0.0], y])
    # np.interp leaves open which end of a vertical step it takes.
    left = np.searchsorted(x, grid, side="right") - 1
    right = np.minimum(left + 1, len(x) - 1)
    width = x[right] - x[left]
    part = np.divide(grid - x[left], width, out=np.zeros_like(grid), where=width > 0)
    return np.asarray(y[left] + part * (y[right] - y[left]))


def precision_recall_curve(
    scores: npt.ArrayLike, labels: npt.ArrayLike, *, number: int = 200, seed: int = 0
) -> Curve:
    """Give precision against recall with a 68 % band.

    Parameters
    ----------
    scores : array_like [n]
        Logits.
    labels : array_like [n]
        1 passes, 0 does not, -1 unknown (left out).
    number : int, default 200
        Bootstrap resamples for the band.
    seed : int, default 0
        Of the resamples.

    Returns
    -------
    dict
        ``recall``, ``precision``, ``low``, ``high``: lists of equal length; and
        ``retention``, the precision of a model that guesses.

    Raises
    ------
    InputError
        When a class is empty or a score is not finite.
    """
    s, y, w = checked(scores, labels)
    ordered = SortedScores(s, y)
    n_passing = int(y.sum())
    grid = np.linspace(1.0 / n_passing, 1.0, min(n_passing, _POINTS))

    def curve(weights: Floats) -> Floats:
        passing, failing = ordered.cumulative(weights)
        i = np.searchsorted(passing, grid * passing[-1] * (1 - 1e-12))
        return np.asarray(passing[i] / (passing[i] + failing[i]))

    band = np.quantile([curve(copies) for copies in resamples(y, number, seed)], _BAND, axis=0)
    return {
        "recall": grid.tolist(),
        "precision": curve(w).tolist(),
        "low": band[0].tolist(),
        "high": band[1].tolist(),
        "retention": n_passing / len(y),
    }


def score_histogram(
    scores: npt.ArrayLike, labels: npt.ArrayLike, rule: Rule | None = None, *, bins: int = 40
) -> Curve:
    """Give the distributions of the score and the sampling probability above them.

    Parameters
    ----------
    scores : array_like [n]
        Logits.
    labels : array_like [n]
        1 passes, 0 does not, -1 unknown (left out).
    rule : Rule, optional
        Its probability is given along the score.
    bins : int, default 40
        Bins between the 0.1 and 99.9 % quantiles of both kinds; events beyond are in the
        outer bins.

    Returns
    -------
    dict
        ``edges`` [bins + 1]; ``passing``, ``failing`` (counts per bin); ``score``,
        ``probability`` (the rule, if given).

    Raises
    ------
    InputError
        When a class is empty or a score is not finite.
    """
    s, y, _ = checked(scores, labels)
    ends = np.array([np.quantile(s[y == label], [0.001, 0.999]) for label in (0, 1)])
    low, high = float(ends[:, 0].min()), float(ends[:, 1].max())
    if not high > low:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, bins + 1)
    inside = np.clip(s, low, high)
    result: Curve = {
        "edges": edges.tolist(),
        "passing": np.histogram(inside[y == 1], edges)[0].tolist(),
        "failing": np.histogram(inside[y == 0], edges)[0].tolist(),
    }
    if rule is not None:
        places = np.linspace(low, high, 200)
        result["score"] = places.tolist()
        result["probability"] = rule.probability(places).tolist()
    return result


def reliability(
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    slope: float = 1.0,
    intercept: float = 0.0,
    *,
    bins: int = 10,
) -> Curve:
    """Compare predicted with observed passing fractions.

    Bins hold equal numbers of *passing* events: most events fail, and bins of equal content
    would put all of the interesting region into the last one.

    Parameters
    ----------
    scores : array_like [n]
        Logits.
    labels : array_like [n]
        1 passes, 0 does not, -1 unknown (left out).
    slope, intercept : float, default 1, 0
        Calibration of the logit.
    bins : int, default 10
        Number of bins, at most the number of passing events.

    Returns
    -------
    dict
        ``predicted``, ``observed``, ``error``, ``n_events``: one value per bin.

    Raises
    ------
    InputError
        When a class is empty or a score is not finite.
    """
    from scipy.special import expit

    s, y, _ = checked(scores, labels)
    order = np.argsort(s, kind="stable")
    n_passing = int(y.sum())
    # Each bin ends with a passing event; failing events above the last one join its bin.
    ends = np.flatnonzero(y[order] == 1)[
        np.arange(1, min(bins, n_passing) + 1) * n_passing // min(bins, n_passing) - 1
    ]
    parts = np.split(order, ends[:-1] + 1)
    predicted = expit(slope * s + intercept)
    return {
        "predicted": [float(predicted[part].mean()) for part in parts],
        "observed": [float(y[part].mean()) for part in parts],
        "error": [binomial_error(float(y[part].sum()), len(part)) for part in parts],
        "n_events": [len(part) for part in parts],
    }


def training_curves(path: str | Path) -> Curve:
    """Read ``history.csv``.

    Parameters
    ----------
    path : str or pathlib.Path
        The file: a column ``epoch`` and one for each quantity; empty fields are gaps.

    Returns
    -------
    dict
        One list for each column; numbers, or None for gaps.

    Raises
    ------
    InputError
        When the file is missing, has no rows, or holds something else than numbers.
    """
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
