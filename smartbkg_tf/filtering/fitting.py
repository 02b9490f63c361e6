"""Fit the sampling rule on validation events, for the largest speedup.

Only the empirical scores and labels enter, so a network that was trained on balanced
samples, or whose logits are badly calibrated, needs no correction: slope and offset of
the rule absorb it.

With few passing events the mean of 1 / p over them is uncertain where it matters most:
at low scores, where none happens to lie. Two pseudo-events guard against that: they pass
and have the score distribution of all events. They hold the fit back with five passing
events and are invisible with a thousand. Measured over 40 samples with a true optimum of
2.73: with 38 passing events the worst rule reaches 2.48 (without pseudo-events: 1.77),
with 190 nothing changes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from smartbkg_tf.filtering.costs import CostModel
from smartbkg_tf.filtering.rules import SamplingRule

Floats = npt.NDArray[np.float64]

#: Events are put into at most so many bins of equal content; below, each has its own.
_BINS = 4000
#: Passing events with the score distribution of all events, added in the fit.
_PSEUDO_EVENTS = 2.0
#: Range of the slope, per standard deviation of the scores.
_STEEPEST = 10.0


@dataclass(frozen=True)
class FittedRule:
    """A sampling rule, how well it does on its own events, and how sure that is.

    Parameters
    ----------
    rule : SamplingRule
        The rule.
    speedup : float
        On the events of the fit, without the pseudo-event; slightly too good, because
        it was the quantity that was maximised. 1.0 without passing events.
    speedup_error : float
        Standard deviation over bootstrap resamples, the rule held fixed.
    a_error, b_error : float
        Standard deviations over bootstrap refits.
    retention : float
        Fraction of passing events that was assumed.
    n_events, n_passing : int
        Events of the fit.
    """

    rule: SamplingRule
    speedup: float
    speedup_error: float
    a_error: float
    b_error: float
    retention: float
    n_events: int
    n_passing: int


@dataclass(frozen=True)
class _Histogram:
    """Scores in bins, with counts of failing and passing events."""

    score: Floats
    failing: Floats
    passing: Floats
    retention: float | None
    cost: CostModel

    def speedup(self, rule: SamplingRule, pseudo: float = 0.0) -> float:
        """Speedup of a rule; `pseudo` passing events are spread like all events."""
        p = rule.probability(self.score)
        n_failing, n_passing = self.failing.sum(), self.passing.sum()
        everything = self.failing + self.passing
        r = self.retention
        if r is None or n_passing == 0 or n_failing == 0:
            mean_p = float(everything @ p / everything.sum())
        else:
            mean_p = float(
                r * (self.passing @ p) / n_passing + (1 - r) * (self.failing @ p) / n_failing
            )
        inverse = 1.0 / p
        total = float(self.passing @ inverse)
        total += pseudo * float(everything @ inverse / everything.sum())
        return self.cost.speedup(mean_p, total / (n_passing + pseudo))

    def resampled(self, random: np.random.Generator) -> _Histogram:
        """Poisson bootstrap: every count fluctuates on its own."""
        return _Histogram(
            score=self.score,
            failing=random.poisson(self.failing).astype(np.float64),
            passing=random.poisson(self.passing).astype(np.float64),
            retention=self.retention,
            cost=self.cost,
        )


def _fill(
    scores: Floats, passing: npt.NDArray[np.bool_], retention: float | None, cost: CostModel
) -> _Histogram:
    order = np.argsort(scores, kind="stable")
    bins = np.arange(len(scores)) * min(_BINS, len(scores)) // len(scores)
    counts = np.bincount(bins).astype(np.float64)
    in_order = passing[order].astype(np.float64)
    n_passing = np.bincount(bins, weights=in_order).astype(np.float64)
    return _Histogram(
        score=np.bincount(bins, weights=scores[order]) / counts,
        failing=counts - n_passing,
        passing=n_passing,
        retention=retention,
        cost=cost,
    )


def _maximise(
    histogram: _Histogram,
    maximum_weight: float,
    centre: float,
    spread: float,
    start: tuple[float, float] | None = None,
) -> SamplingRule:
    """Find the best slope and offset: a grid first, then a simplex from its best point."""
    from scipy.optimize import minimize

    lowest = (float(histogram.score.min()) - centre) / spread
    highest = (float(histogram.score.max()) - centre) / spread + 1.0

    def rule(a: float, b: float) -> SamplingRule:
        return SamplingRule(a / spread, centre + spread * b, maximum_weight)

    def loss(point: npt.ArrayLike) -> float:
        a, b = np.asarray(point, dtype=np.float64)
        return -float(np.log(histogram.speedup(rule(float(a), float(b)), pseudo=_PSEUDO_EVENTS)))

    if start is None:
        slopes = _STEEPEST * np.linspace(0.0, 1.0, 25) ** 2
        places = np.append(
            (np.quantile(histogram.score, np.linspace(0.0, 1.0, 31)) - centre) / spread, highest
        )
        start = min(((a, b) for a in slopes for b in places), key=loss)
    simplex = np.array(start) + np.array([[0.0, 0.0], [0.2, 0.0], [0.0, 0.2]])
    best = minimize(
        loss,
        start,
        method="Nelder-Mead",
        bounds=[(0.0, _STEEPEST), (lowest, highest)],
        options={
            "initial_simplex": np.clip(simplex, [0.0, lowest], [_STEEPEST, highest]),
            "xatol": 1e-4,
            "fatol": 1e-7,
            "maxiter": 400,
        },
    )
    a, b = best.x if best.fun <= loss(start) else start
    return rule(float(a), float(b))


def fit_sampling_rule(
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    maximum_weight: float = 20.0,
    cost: CostModel | None = None,
    retention: float | None = None,
    bootstrap: int = 100,
    seed: int = 0,
) -> FittedRule:
    """Choose slope and offset of the sampling rule that save the most time.

    Maximises the speedup of `smartbkg_tf.filtering.costs` over (a, b), at a given floor
    1 / maximum_weight of the probability.

    Parameters
    ----------
    scores : array_like [n]
        Logits of validation events, at their natural mixture unless `retention` is given.
    labels : array_like [n]
        1 passes, 0 does not, -1 unknown (left out).
    maximum_weight : float, default 20
        Largest weight.
    cost : CostModel, optional
        Costs of generation and network.
    retention : float, optional
        Natural fraction of passing events, if the events were enriched.
    bootstrap : int, default 100
        Resamples for the errors; 0 gives errors of 0.
    seed : int, default 0
        Of the resamples.

    Returns
    -------
    FittedRule
        The rule and its errors. Without passing events there is nothing to fit and the
        rule keeps everything (a = 0).

    Raises
    ------
    ValueError
        When shapes differ, a score is not finite, or no event has a known label.
    """
    s = np.asarray(scores, dtype=np.float64)
    y = np.asarray(labels)
    if s.ndim != 1 or s.shape != y.shape:
        raise ValueError(f"scores {s.shape} and labels {y.shape} must be equally long lists")
    known = y >= 0
    s, passing = s[known], y[known] == 1
    if not len(s):
        raise ValueError("no event has a known label")
    if not np.isfinite(s).all():
        raise ValueError(f"{int((~np.isfinite(s)).sum())} of {len(s)} scores are not finite")
    n_passing = int(passing.sum())
    observed = n_passing / len(s)
    centre, spread = float(s.mean()), float(s.std())
    nothing_to_learn = n_passing == 0 or n_passing == len(s) or spread < 1e-12
    if nothing_to_learn:
        return FittedRule(
            rule=SamplingRule(0.0, centre, maximum_weight),
            speedup=1.0,
            speedup_error=0.0,
            a_error=0.0,
            b_error=0.0,
            retention=observed if retention is None else retention,
            n_events=len(s),
            n_passing=n_passing,
        )
    histogram = _fill(s, passing, retention, cost or CostModel())
    rule = _maximise(histogram, maximum_weight, centre, spread)
    start = (rule.a * spread, (rule.b - centre) / spread)
    random = np.random.default_rng(seed)
    speedups, slopes, offsets = [], [], []
    for _ in range(bootstrap):
        again = histogram.resampled(random)
        if again.passing.sum() == 0 or again.failing.sum() == 0:
            continue
        refit = _maximise(again, maximum_weight, centre, spread, start)
        speedups.append(again.speedup(rule))
        slopes.append(refit.a)
        offsets.append(refit.b)
    return FittedRule(
        rule=rule,
        speedup=histogram.speedup(rule),
        speedup_error=_spread_of(speedups),
        a_error=_spread_of(slopes),
        b_error=_spread_of(offsets),
        retention=observed if retention is None else retention,
        n_events=len(s),
        n_passing=n_passing,
    )


def _spread_of(values: list[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def fit_calibration(scores: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[float, float]:
    """Fit ``P(pass) = sigmoid(slope * score + intercept)`` (Platt's calibration).

    Parameters
    ----------
    scores : array_like [n]
        Logits at the natural mixture of events.
    labels : array_like [n]
        1 passes, 0 does not, -1 unknown (left out).

    Returns
    -------
    slope : float
        1 for a calibrated network.
    intercept : float
        0 for a calibrated network; the log of the class ratio after balanced training.

    Raises
    ------
    ValueError
        When one of the classes is empty.

    Notes
    -----
    Platt (1999): targets (n_pass + 1)/(n_pass + 2) and 1/(n_fail + 2) instead of 1 and
    0 keep the fit finite when the classes do not overlap.
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    s = np.asarray(scores, dtype=np.float64)
    y = np.asarray(labels)
    s, passing = s[y >= 0], y[y >= 0] == 1
    n_passing, n_failing = int(passing.sum()), int((~passing).sum())
    if n_passing == 0 or n_failing == 0:
        raise ValueError(
            f"{n_passing} passing and {n_failing} failing events: nothing to calibrate"
        )
    target = np.where(passing, (n_passing + 1) / (n_passing + 2), 1 / (n_failing + 2))
    centre, spread = float(s.mean()), float(s.std()) or 1.0
    x = (s - centre) / spread

    def loss(point: Floats) -> tuple[float, Floats]:
        z = point[0] * x + point[1]
        residual = expit(z) - target
        value = float(np.mean(np.logaddexp(0.0, z) - target * z))
        return value, np.array([np.mean(residual * x), np.mean(residual)])

    start = np.array([spread, np.log(n_passing / n_failing)])
    found = minimize(loss, start, jac=True, method="BFGS").x
    slope = float(found[0]) / spread
    return slope, float(found[1]) - slope * centre
