"""Speedups as functions of counted events: thresholds, sampling rules, and the limits of both.

Formulas of the speedup S are those of `smartbkg_tf.settings.costs`, with k = g + n, the costs of
generation and network over that of simulation.

Limits. A perfect filter simulates the passing events alone: S = (g + 1) / (k + retention).
Of all rules that see the score s only, and with q(s) = P(pass | s), the best one is p = min(1, c
sqrt(q)): the derivative of (k + mean p) (mean q / p) with respect to each p vanishes there. Below,
q is the isotonic regression of the labels on the score (Brunk et al., 1955), which makes the same
function of the events least among all p that rise with the score: no such rule, fitted or not, can
save more on these very events. With the events from some score on simulated anyway (a fraction f
of all and g of the passing ones) and A = mean sqrt(q), B = mean over passing of 1 / sqrt(q), both
of the other events alone, the cost (k + f + c A) (g + B / c) is least at c^2 = (k + f) B / (A g).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.evaluation.metrics import effective_number
from smartbkg_tf.filtering.fitting import fit_sampling_rule, sampling_rule
from smartbkg_tf.filtering.rules import SamplingRule
from smartbkg_tf.filtering.score_counts import Floats, ScoreCounts
from smartbkg_tf.settings.costs import CostSettings

#: Passing events that each half must have for a rule to be fitted on one and tried on the other.
_FEWEST_PASSING = 10


@dataclass(frozen=True)
class HalvedRules:
    """Two sampling rules: each is fitted on one half of the events and used on the other."""

    fitted_on: tuple[SamplingRule, SamplingRule]  # the first half, the second half

    @classmethod
    def fit(
        cls,
        counts: ScoreCounts,
        cost: CostSettings,
        maximum_weight: float = 20.0,
        near: HalvedRules | None = None,
    ) -> HalvedRules | None:
        """Fit both; None where a half has fewer than 10 passing events."""
        halves = [counts.of_half(0), counts.of_half(1)]
        if any(half.n_passing < _FEWEST_PASSING or not half.both_classes for half in halves):
            return None
        start = (None, None) if near is None else near.fitted_on
        first, second = (
            sampling_rule(
                fit_sampling_rule(
                    half, maximum_weight=maximum_weight, cost=cost, bootstrap=0, near=rule
                )
            )
            for half, rule in zip(halves, start, strict=True)
        )
        return cls((first, second))

    def fitted_again(self, counts: ScoreCounts, cost: CostSettings) -> HalvedRules | None:
        """Fit both for another retention or other costs, near these."""
        return HalvedRules.fit(counts, cost, self.fitted_on[0].maximum_weight, self)

    def used_on(self, half: int, shift: float = 0.0) -> SamplingRule:
        """Give the rule for a half (0 or 1), moved by `shift` to higher scores."""
        rule = self.fitted_on[1 - half]
        return replace(rule, b=rule.b + shift)

    def probability(self, scores: npt.ArrayLike, second_half: npt.NDArray[np.bool_]) -> Floats:
        """Give the sampling probability of events [n] by the rule that was not fitted on them."""
        of_first, of_second = (self.used_on(half).probability(scores) for half in (0, 1))
        return np.where(second_half, of_second, of_first)


class SampledRules:
    """Speedup, simulated and effective fraction of rules, of counts and of resamples of them.

    `probability` [halves, rules, bins] is the sampling probability in each half of the events.
    Where it is more than a function of the score it is the mean over failing events, and
    `of_passing` holds the means of probability and of 1 / probability over passing ones, in the
    same shape. The effective fraction is the effective number of kept passing events over the
    number of all of them.
    """

    def __init__(
        self,
        probability: Floats,
        cost: CostSettings,
        of_passing: tuple[Floats, Floats] | None = None,
    ) -> None:
        self._of_failing = probability
        if of_passing is None:
            inverse = np.divide(
                1.0, probability, out=np.zeros_like(probability), where=probability > 0
            )
            of_passing = probability, inverse
        self._of_passing, self._inverse = of_passing
        self._cost = cost

    def __call__(self, sample: ScoreCounts) -> Floats:
        """Give [3, rules], means over the halves; NaN where a half has no passing event."""
        number = len(self._of_failing)
        results = []
        for half in range(number):
            counts = sample if number == 1 else sample.of_half(half)
            n_passing = counts.n_passing
            if n_passing == 0:
                return np.full((3, self._of_failing.shape[1]), np.nan)
            kept = self._of_failing[half] @ counts.failing
            kept += self._of_passing[half] @ counts.passing
            fraction = kept / (n_passing + counts.n_failing)
            inverse = self._inverse[half] @ counts.passing / n_passing
            results.append([1.0 / self._cost.ratio(fraction, inverse), fraction, 1.0 / inverse])
        return np.asarray(np.mean(results, axis=0))


def rule_probabilities(rules: HalvedRules, scores: Floats, shifts: Sequence[float]) -> Floats:
    """Give probabilities [2 halves, shifts, bins] of the fitted rules, moved by each shift."""
    return np.array(
        [[rules.used_on(half, by).probability(scores) for by in shifts] for half in (0, 1)]
    )


class ThresholdSpeedups:
    """Speedups of thresholds at given bins, for equal numbers of passing events, which are biased.

    The thresholds stay as they are in resamples.
    """

    def __init__(self, places: npt.NDArray[np.int64], cost: CostSettings) -> None:
        self._places = places
        self._cost = cost

    def __call__(self, sample: ScoreCounts) -> Floats:
        """Give speedup, kept fraction and efficiency [3, thresholds]."""
        failing, passing = (numbers[self._places] for numbers in sample.above())
        kept = (failing + passing) / sample.everything.sum()
        efficiency = passing / sample.n_passing
        pairs = zip(kept, efficiency, strict=True)
        speedup = [self._cost.threshold_speedup(f, e) for f, e in pairs]
        return np.array([speedup, kept, efficiency])


class KeptSpeedup:
    """Speedup of decisions without weights, for equal numbers of passing events.

    `kept` [2, bins] are the kept fractions of failing and of passing events.
    """

    def __init__(self, kept: Floats, cost: CostSettings) -> None:
        self._kept = kept
        self._cost = cost

    def __call__(self, sample: ScoreCounts) -> Floats:
        """Give speedup, kept fraction and efficiency [3, 1]."""
        failing, passing = self._kept[0] @ sample.failing, self._kept[1] @ sample.passing
        fraction = (failing + passing) / sample.everything.sum()
        efficiency = passing / sample.n_passing
        speedup = self._cost.threshold_speedup(fraction, efficiency)
        return np.array([[speedup], [fraction], [efficiency]])


def perfect_speedup(cost: CostSettings) -> Callable[[ScoreCounts], float]:
    """Give the speedup of a filter that simulates the passing events alone, of counts."""

    def speedup(sample: ScoreCounts) -> float:
        return cost.threshold_speedup(sample.n_passing / float(sample.everything.sum()), 1.0)

    return speedup


def posterior(counts: ScoreCounts) -> Floats:
    """Give P(pass | score) [bins] that rises with the score, by isotonic regression."""
    from scipy.optimize import isotonic_regression

    n = counts.everything
    return np.asarray(isotonic_regression(counts.passing / n, weights=n).x)


def best_sampling(counts: ScoreCounts, cost: CostSettings) -> Floats:
    """Give the probabilities min(1, c sqrt(q)) [bins] that save the most on these events.

    0 where no event with such a low score passes.
    """
    q = posterior(counts)
    k = (cost.generation + cost.network) / cost.simulation
    # From high scores to low ones, without those where nothing passes.
    some = np.flatnonzero(q > 0)[::-1]
    root = np.sqrt(q[some])
    n = counts.everything[some] / counts.everything.sum()
    y = counts.passing[some] / counts.n_passing

    def sums(values: Floats) -> tuple[Floats, Floats]:
        above = np.concatenate([[0.0], np.cumsum(values)])
        return above[:-1], above[-1] - above[:-1]

    f, g, a, b = sums(n)[0], sums(y)[0], sums(n * root)[1], sums(y / root)[1]
    free = np.divide((k + f) * b, a * g, out=np.full_like(a, np.inf), where=a * g > 0)
    lowest = np.concatenate([[0.0], 1 / root[:-1]])
    c = np.clip(np.sqrt(free), lowest, 1 / root)
    best = c[np.argmin((k + f + c * a) * (g + b / c))]
    return np.asarray(np.minimum(1.0, best * np.sqrt(q)))


def drawn_decisions(
    probability: Floats,
    weight: Floats,
    passes: npt.NDArray[np.bool_],
    cost: CostSettings,
    retention: float | None = None,
) -> dict[str, Any]:
    """Say what the random numbers of a sampling did to events [n].

    The probability lies in (0, 1], `weight` is 1 / probability for kept events and 0 for others.
    `retention` is the natural one, where it is not that of these events.
    """
    p, w = probability, weight
    if not np.all((p > 0) & (p <= 1)):
        raise ValueError("a sampling probability lies outside (0, 1]")
    of_passing, n_passing = p[passes], int(passes.sum())
    effective = effective_number(w[passes])
    share = n_passing / len(passes) if retention is None else retention
    simulated = share * float(np.mean(w[passes] > 0))
    if n_passing < len(passes):
        simulated += (1 - share) * float(np.mean(w[~passes] > 0))
    return {
        # With the random numbers of these predictions; 0 if no passing event was kept. Passing
        # events keep their weight: what counts is their effective number.
        "speedup_drawn": cost.threshold_speedup(simulated, effective / n_passing),
        "effective_passing": effective,
        # Of kept passing events: an unbiased estimate of their number. The error is the standard
        # deviation over the random numbers.
        "sum_of_weights": float(w[passes].sum()),
        "sum_of_weights_error": float(np.sqrt(np.sum((1 - of_passing) / of_passing))),
        "n_passing": n_passing,
    }
