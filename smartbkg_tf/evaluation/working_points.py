"""What thresholds keep, at given efficiencies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from smartbkg_tf.evaluation.metrics import checked
from smartbkg_tf.evaluation.resampling import SortedScores


@dataclass(frozen=True)
class WorkingPoint:
    """What a threshold keeps.

    Parameters
    ----------
    threshold : float
        On the logit: events at or above it are kept.
    efficiency, efficiency_error : float
        Kept fraction of passing events, and its binomial error.
    false_rate, false_rate_error : float
        Kept fraction of failing events, and its binomial error.
    kept_fraction : float
        Kept fraction of all events.
    precision : float
        Passing fraction of kept events.
    rejection : float or None
        1 / false_rate; None if no failing event is kept.
    """

    threshold: float
    efficiency: float
    efficiency_error: float
    false_rate: float
    false_rate_error: float
    kept_fraction: float
    precision: float
    rejection: float | None


def working_points(
    scores: npt.ArrayLike, labels: npt.ArrayLike, efficiencies: Sequence[float]
) -> list[WorkingPoint]:
    """Find the highest thresholds that keep given fractions of the passing events.

    Parameters
    ----------
    scores : array_like [n]
        Logits.
    labels : array_like [n]
        1 passes, 0 does not, -1 unknown (left out).
    efficiencies : sequence of float
        In (0, 1]; at least this efficiency is reached.

    Returns
    -------
    list of WorkingPoint
        One for each efficiency.

    Raises
    ------
    InputError
        When a class is empty or a score is not finite.
    ValueError
        When an efficiency is outside (0, 1].

    Notes
    -----
    Errors: sqrt((k + 1)(n - k + 1) / ((n + 2)^2 (n + 3))) for k of n, the standard
    deviation of the binomial fraction under a flat prior: never 0 at k = 0 or k = n.
    """
    s, y, _ = checked(scores, labels)
    ordered = SortedScores(s, y)
    passing, failing = ordered.cumulative(np.ones(len(s)))
    n_passing, n_failing = passing[-1], failing[-1]
    points = []
    for wanted in efficiencies:
        if not 0 < wanted <= 1:
            raise ValueError(f"an efficiency must lie in (0, 1], not {wanted}")
        # A hair of tolerance: 0.9 * 10 must not ask for a tenth event.
        i = int(np.searchsorted(passing, wanted * n_passing * (1 - 1e-12)))
        kept, false = passing[i], failing[i]
        points.append(
            WorkingPoint(
                threshold=float(ordered.thresholds[i]),
                efficiency=float(kept / n_passing),
                efficiency_error=binomial_error(kept, n_passing),
                false_rate=float(false / n_failing),
                false_rate_error=binomial_error(false, n_failing),
                kept_fraction=float((kept + false) / (n_passing + n_failing)),
                precision=float(kept / (kept + false)),
                rejection=float(n_failing / false) if false > 0 else None,
            )
        )
    return points


def binomial_error(k: float, n: float) -> float:
    """Give the standard deviation of a fraction k / n under a flat prior.

    Parameters
    ----------
    k : float
        Chosen.
    n : float
        All.

    Returns
    -------
    float
        In (0, 0.289].
    """
    return float(np.sqrt((k + 1) * (n - k + 1) / ((n + 2) ** 2 * (n + 3))))
