"""What a filter saves on test events: thresholds, sampling rules, and the limits of both.

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

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.evaluation.bootstrap import Measured, Quantity
from smartbkg_tf.evaluation.metrics import Estimate, effective_number, place_of
from smartbkg_tf.filtering.fitting import fit_sampling_rule, sampling_rule
from smartbkg_tf.filtering.predictions import SkimPredictions
from smartbkg_tf.filtering.rules import SamplingRule
from smartbkg_tf.filtering.score_counts import Floats, ScoreCounts
from smartbkg_tf.settings.costs import CostSettings
from smartbkg_tf.settings.plugins import plain

#: Passing events that each half must have for a rule to be fitted on one and tried on the other.
_FEWEST_PASSING = 10
#: Efficiencies at which the speedup of a threshold is given.
_EFFICIENCIES = (0.95, 0.9, 0.8)
#: Points of the curves of the figures.
_SCAN = 50
_DEPENDENCE = 7
#: Efficiency of the threshold whose speedup is shown against costs and retention.
_SHOWN = 0.95


class Speedups:
    """Speedups of one skim; `quantities` are to be measured with their bootstrap errors.

    `decided` holds the decisions, where the predictions have any.
    """

    def __init__(
        self, counts: ScoreCounts, cost: CostSettings, decided: SkimPredictions | None
    ) -> None:
        self._counts, self._cost = counts, cost
        self.rules = HalvedRules.fit(counts, cost)
        self._places = np.array([place_of(counts, e) for e in _EFFICIENCIES])
        self._scanned = scan_places(counts)
        self._best = best_sampling(counts, cost)
        q = posterior(counts)
        self.quantities: dict[str, Quantity] = {
            "thresholds": ThresholdSpeedups(self._places, cost),
            "scan": ThresholdSpeedups(self._scanned, cost),
            "perfect": perfect_speedup(cost),
            "limits": SampledRules(np.stack([self._best, q])[None], cost),
        }
        self._probability: Floats | None = None
        if self.rules is not None:
            p = rule_probabilities(self.rules, counts.score, scan_shifts(counts, self.rules))
            self._probability = p[:, 0]
            self.quantities["rules"] = SampledRules(p, cost)
        self._decisions: dict[str, Any] | None = None
        self._decided = decided
        if decided is not None and np.all(decided.probability > 0):
            known = np.isin(decided.label, (0, 1))
            p, passes = decided.probability[known], decided.label[known] == 1
            self._decisions = decision_speedup(p, decided.weight[known], passes, cost)
            of_bins = counts.mean(decided.score[known], p)[None]
            inverse = counts.mean(decided.score[known][passes], 1 / p[passes])
            self._probability = of_bins
            self.quantities["decisions"] = SampledRules(of_bins[None], cost, inverse[None, None])

    def metrics(self, measured: Mapping[str, Measured]) -> dict[str, Any]:
        """Give the entries of ``metrics.json``."""
        result: dict[str, Any] = {"cost": plain(self._cost), "fitted_rule": None}
        if self.rules is not None:
            result["fitted_rule"] = self._fitted_rule(measured["rules"])
        if self._decisions is not None:
            error = float(measured["decisions"].error[0, 0])
            result["sampling"] = {**self._decisions, "speedup_error": error}
        elif self._decided is None and self.rules is not None:
            keys = ("speedup", "speedup_error", "simulated_fraction", "simulated_fraction_error")
            result["sampling"] = {
                **{key: result["fitted_rule"][key] for key in keys},
                "from": "scores: rule fitted on one half of the events, measured on the other",
            }
        result["threshold"] = threshold_entries(self._counts, self._places, measured["thresholds"])
        result["limits"] = self._limits(measured)
        result["comparison_only"] = _estimate(measured["limits"], 1).named("sigmoid")
        return result

    def _limits(self, measured: Mapping[str, Measured]) -> dict[str, float]:
        limits, perfect = measured["limits"], measured["perfect"]
        return {
            **Estimate(float(perfect.value), float(perfect.error)).named("perfect_filter"),
            **_estimate(limits, 0).named("best_sampling"),
            "best_sampling_fraction": float(limits.value[1, 0]),
        }

    def _fitted_rule(self, measured: Measured) -> dict[str, Any]:
        assert self.rules is not None
        result: dict[str, Any] = {}
        for i, key in enumerate(("speedup", "simulated_fraction", "effective_fraction")):
            result |= Estimate(float(measured.value[i, 0]), float(measured.error[i, 0])).named(key)
        both = self.rules.fitted_on
        return {
            **result,
            "a": [rule.a for rule in both],
            "b": [rule.b for rule in both],
            "maximum_weight": both[0].maximum_weight,
        }

    def curves(self, measured: Mapping[str, Measured]) -> dict[str, Any]:
        """Give the data of figures by their names."""
        scan, limits = measured["scan"], self._limits(measured)
        low, high = scan.band
        lines = limit_curves(self._counts, self._cost)
        data: dict[str, Any] = {
            "threshold": {
                "fraction": scan.value[1].tolist(),
                "speedup": scan.value[0].tolist(),
                "low": low[0].tolist(),
                "high": high[0].tolist(),
            },
            "limits": limits,
            "retention": self._counts.n_passing / float(self._counts.everything.sum()),
            **lines,
        }
        result: dict[str, Any] = {"speedup": data}
        if self.rules is not None:
            rules = measured["rules"]
            low, high = (ends[0] for ends in rules.band)
            order = np.argsort(rules.value[1], kind="stable")
            data["rule"] = {
                "fraction": rules.value[1][order].tolist(),
                "speedup": rules.value[0][order].tolist(),
                "low": low[order].tolist(),
                "high": high[order].tolist(),
            }
            data["fitted_rule"] = self._fitted_rule(rules)
        result["speedup_dependence"] = speedup_dependence(self._counts, self.rules, self._cost)
        if self._probability is not None:
            result["sampling_weights"] = weight_distribution(self._counts, self._probability)
        return result


def _estimate(measured: Measured, rule: int) -> Estimate:
    """Give the speedup of one of several rules."""
    return Estimate(float(measured.value[0, rule]), float(measured.error[0, rule]))


@dataclass(frozen=True)
class HalvedRules:
    """Two sampling rules: each is fitted on one half of the events and used on the other."""

    fitted_on: tuple[SamplingRule, SamplingRule]  # the first half, the second half

    @classmethod
    def fit(
        cls, counts: ScoreCounts, cost: CostSettings, near: HalvedRules | None = None
    ) -> HalvedRules | None:
        """Fit both; None where a half has fewer than 10 passing events."""
        halves = [counts.of_half(0), counts.of_half(1)]
        if any(half.n_passing < _FEWEST_PASSING or not half.both_classes for half in halves):
            return None
        start = (None, None) if near is None else near.fitted_on
        first, second = (
            sampling_rule(fit_sampling_rule(half, cost=cost, bootstrap=0, near=rule))
            for half, rule in zip(halves, start, strict=True)
        )
        return cls((first, second))

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

    `probability` [halves, rules, bins] is the sampling probability in each half of the events;
    `inverse` [halves, rules, bins] the mean of 1 / probability of passing events, where it is not
    just that. The effective fraction is the effective number of kept passing events over the number
    of all of them.
    """

    def __init__(
        self, probability: Floats, cost: CostSettings, inverse: Floats | None = None
    ) -> None:
        self._p = probability
        if inverse is None:
            inverse = np.divide(
                1.0, probability, out=np.zeros_like(probability), where=probability > 0
            )
        self._inverse = inverse
        self._cost = cost

    def __call__(self, sample: ScoreCounts) -> Floats:
        """Give [3, rules], means over the halves; NaN where a half has no passing event."""
        number = len(self._p)
        results = []
        for half in range(number):
            counts = sample if number == 1 else sample.of_half(half)
            n_passing = counts.n_passing
            if n_passing == 0:
                return np.full((3, self._p.shape[1]), np.nan)
            fraction = self._p[half] @ counts.everything / counts.everything.sum()
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


def threshold_entries(
    counts: ScoreCounts, places: npt.NDArray[np.int64], measured: Measured
) -> list[dict[str, float]]:
    """Give the entries of ``metrics.json`` for thresholds."""
    return [
        {
            "efficiency": float(efficiency),
            "threshold": float(counts.lowest[place]),
            "kept_fraction": float(kept),
            "speedup": float(speedup),
            "speedup_error": float(error),
        }
        for place, (speedup, kept, efficiency), error in zip(
            places, measured.value.T, measured.error[0], strict=True
        )
    ]


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


def decision_speedup(
    probability: Floats, weight: Floats, passes: npt.NDArray[np.bool_], cost: CostSettings
) -> dict[str, Any]:
    """Measure the speedup at equal effective statistics from decisions about events [n].

    The probability lies in (0, 1], `weight` is 1 / probability for kept events and 0 for others.
    """
    p, w = probability, weight
    if not np.all((p > 0) & (p <= 1)):
        raise ValueError("a sampling probability lies outside (0, 1]")
    kept, of_passing = w[passes], p[passes]
    n_passing = len(kept)
    effective = effective_number(kept)
    return {
        # Mean over the random numbers of the sampling.
        "speedup": cost.speedup(float(p.mean()), float(np.mean(1.0 / of_passing))),
        "from": "decisions of the predictions",
        # With the random numbers of these predictions; 0 if no passing event was kept. Passing
        # events keep their weight: what counts is their effective number.
        "speedup_drawn": cost.threshold_speedup(float(np.mean(w > 0)), effective / n_passing),
        "simulated_fraction": float(p.mean()),
        "effective_passing": effective,
        # Of kept passing events: an unbiased estimate of their number. The error is the standard
        # deviation over the random numbers.
        "sum_of_weights": float(kept.sum()),
        "sum_of_weights_error": float(np.sqrt(np.sum((1 - of_passing) / of_passing))),
        "n_passing": n_passing,
    }


def scan_shifts(counts: ScoreCounts, rules: HalvedRules) -> list[float]:
    """Give shifts of the fitted rules to scan: 0 first, then from keeping all to keeping little."""
    highest = max(rule.b for rule in rules.fitted_on)
    low, high = counts.score[0] - highest, counts.score[-1] - highest
    return [0.0, *np.linspace(low, high, _SCAN)]


def scan_places(counts: ScoreCounts) -> npt.NDArray[np.int64]:
    """Give bins of thresholds to scan, from few events to all."""
    return np.unique([place_of(counts, e) for e in np.linspace(0.02, 1.0, _SCAN)])


def limit_curves(counts: ScoreCounts, cost: CostSettings) -> dict[str, dict[str, list[float]]]:
    """Scan c in p = min(1, c q) and p = min(1, c sqrt(q)) with the posterior q.

    ``fraction`` (simulated, of all) and ``speedup``, for the two lines to compare with.
    """
    q = posterior(counts)
    result = {}
    for name, shape in (("posterior", q), ("root_posterior", np.sqrt(q))):
        least = float(shape[shape > 0].min())
        scales = np.geomspace(0.1 / float(shape.max()), 1 / least, _SCAN)
        p = np.minimum(1.0, scales[:, None] * shape)
        speedup, fraction, _ = SampledRules(p[None], cost)(counts)
        result[name] = {"fraction": fraction.tolist(), "speedup": speedup.tolist()}
    return result


def speedup_dependence(
    counts: ScoreCounts, rules: HalvedRules | None, cost: CostSettings
) -> dict[str, Any]:
    """Follow speedups when the retention or one of the three times changes.

    For each of ``retention``, ``generation``, ``network`` and ``simulation``: ``value``,
    ``nominal``, and the speedups ``perfect``, ``best_sampling``, ``threshold`` (0.95 of the passing
    events) and ``fitted_rule``. The rule is fitted anew for every value, on one half of the events,
    and measured on the other.
    """
    retention = counts.n_passing / float(counts.everything.sum())
    ranges = {
        "retention": (retention, np.geomspace(1e-3, 0.5, _DEPENDENCE)),
        "generation": (cost.generation, cost.simulation * np.geomspace(1e-4, 1, _DEPENDENCE)),
        "network": (cost.network, cost.simulation * np.geomspace(1e-4, 1, _DEPENDENCE)),
        "simulation": (cost.simulation, cost.simulation * np.geomspace(1e-2, 1e2, _DEPENDENCE)),
    }
    place = np.array([place_of(counts, _SHOWN)])
    result: dict[str, Any] = {}
    for name, (nominal, values) in ranges.items():
        rows: dict[str, list[float]] = {}
        for value in values:
            if name == "retention":
                sample, changed = counts.with_retention(float(value)), cost
            else:
                sample, changed = counts, replace(cost, **{name: float(value)})
            for key, speedup in _speedups(sample, rules, changed, place).items():
                rows.setdefault(key, []).append(speedup)
        result[name] = {"value": values.tolist(), "nominal": nominal, **rows}
    return {"efficiency": _SHOWN, **result}


def _speedups(
    counts: ScoreCounts,
    near: HalvedRules | None,
    cost: CostSettings,
    place: npt.NDArray[np.int64],
) -> dict[str, float]:
    speedups = {
        "perfect": perfect_speedup(cost)(counts),
        "best_sampling": SampledRules(best_sampling(counts, cost)[None, None], cost)(counts)[0, 0],
        "threshold": ThresholdSpeedups(place, cost)(counts)[0, 0],
    }
    rules = None if near is None else HalvedRules.fit(counts, cost, near)
    if rules is not None:
        p = rule_probabilities(rules, counts.score, [0.0])
        speedups["fitted_rule"] = SampledRules(p, cost)(counts)[0, 0]
    return {name: float(value) for name, value in speedups.items()}


def perfect_speedup(cost: CostSettings) -> Callable[[ScoreCounts], float]:
    """Give the speedup of a filter that simulates the passing events alone, of counts."""

    def speedup(sample: ScoreCounts) -> float:
        return cost.threshold_speedup(sample.n_passing / float(sample.everything.sum()), 1.0)

    return speedup


def weight_distribution(
    counts: ScoreCounts, probability: Floats, bins: int = 30
) -> dict[str, list[float]]:
    """Give the expected numbers of kept events by weight, for probabilities [halves, bins].

    ``edges`` [bins + 1] of the weight, logarithmic; ``passing`` and ``failing`` [bins].
    """
    halves = len(probability)
    largest = float(1 / probability.min())
    edges = np.geomspace(1.0, max(largest, 1.01) * (1 + 1e-9), bins + 1)
    kept = {"passing": np.zeros(bins), "failing": np.zeros(bins)}
    for half, p in enumerate(probability):
        sample = counts if halves == 1 else counts.of_half(half)
        weights = np.clip(1 / p, edges[0], edges[-1])
        for name, numbers in (("passing", sample.passing), ("failing", sample.failing)):
            kept[name] += np.histogram(weights, edges, weights=numbers * p)[0]
    return {"edges": edges.tolist(), **{name: n.tolist() for name, n in kept.items()}}
