"""What a filter saves on test events, for the natural retention: numbers, and data of figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.evaluation.bootstrap import Measured, Quantity, of
from smartbkg_tf.evaluation.conditions import Conditions
from smartbkg_tf.evaluation.metrics import Estimate, binomial_error, place_of
from smartbkg_tf.evaluation.speedup_quantities import (
    HalvedRules,
    KeptSpeedup,
    SampledRules,
    ThresholdSpeedups,
    best_sampling,
    drawn_decisions,
    perfect_speedup,
    posterior,
    rule_probabilities,
)
from smartbkg_tf.filtering.predictions import SkimPredictions
from smartbkg_tf.filtering.score_counts import Floats, ScoreCounts
from smartbkg_tf.settings.costs import CostSettings

#: Efficiencies at which the speedup of a threshold is given.
_EFFICIENCIES = (0.95, 0.9, 0.8)
#: Points of the curves of the figures.
_SCAN = 50
_DEPENDENCE = 7
#: Efficiency of the threshold whose speedup is shown against costs and retention.
_SHOWN = 0.95


class Speedups:
    """Speedups of one skim; `quantities` are to be measured with their bootstrap errors.

    `decided` holds the decisions, where the predictions have any: with `biased`, those of a
    threshold.
    """

    def __init__(
        self,
        counts: ScoreCounts,
        conditions: Conditions,
        decided: SkimPredictions | None = None,
        *,
        biased: bool = False,
    ) -> None:
        self._conditions = conditions
        self._counts = counts = conditions.natural(counts)
        cost = conditions.cost
        self.rules = HalvedRules.fit(counts, cost, conditions.maximum_weight)
        self._places = np.array([place_of(counts, e) for e in _EFFICIENCIES])
        self._best = best_sampling(counts, cost)
        quantities: dict[str, Quantity] = {
            "thresholds": ThresholdSpeedups(self._places, cost),
            "scan": ThresholdSpeedups(scan_places(counts), cost),
            "perfect": perfect_speedup(cost),
            "limits": SampledRules(np.stack([self._best, posterior(counts)])[None], cost),
        }
        self._probability: Floats | None = None
        if self.rules is not None:
            p = rule_probabilities(self.rules, counts.score, scan_shifts(counts, self.rules))
            self._probability = p[:, 0]
            quantities["rules"] = SampledRules(p, cost)
        self._drawn: dict[str, Any] | None = None
        self._own: dict[str, Any] | None = None
        if decided is not None and biased:
            quantities["own_threshold"] = self._add_threshold(decided)
        elif decided is not None:
            quantities["decisions"] = self._add_sampling(decided)
        #: What these predictions save: the kind of filter, and the key of its quantity.
        self.saved = next(
            (
                (kind, key)
                for kind, key in (
                    ("threshold", "own_threshold"),
                    ("sampling", "decisions"),
                    ("sampling", "rules"),
                )
                if key in quantities
            ),
            None,
        )
        self.quantities = {key: of(conditions.natural, one) for key, one in quantities.items()}

    def _add_sampling(self, decided: SkimPredictions) -> Quantity:
        """Take the decisions of a sampling."""
        counts, cost = self._counts, self._conditions.cost
        known = np.isin(decided.label, (0, 1))
        p, score, passes = (
            decided.probability[known],
            decided.score[known],
            decided.label[known] == 1,
        )
        self._drawn = drawn_decisions(
            p, decided.weight[known], passes, cost, self._conditions.retention
        )
        self._probability = counts.mean(score, p)[None]
        of_failing = counts.mean(score[~passes], p[~passes])
        of_passing = (counts.mean(score[passes], v) for v in (p[passes], 1 / p[passes]))
        mean, inverse = (values[None, None] for values in of_passing)
        return SampledRules(of_failing[None, None], cost, (mean, inverse))

    def _add_threshold(self, decided: SkimPredictions) -> Quantity:
        """Take the decisions of a threshold."""
        kept = []
        for label in (0, 1):
            chosen = decided.label == label
            kept.append(self._counts.mean(decided.score[chosen], decided.kept[chosen]))
        passing = decided.kept[decided.label == 1]
        lowest = float(np.min(decided.score[decided.kept], initial=np.inf))
        self._own = {
            "lowest_kept_score": lowest if np.isfinite(lowest) else None,
            "efficiency_error": binomial_error(float(passing.sum()), len(passing)),
        }
        return KeptSpeedup(np.stack(kept), self._conditions.cost)

    def metrics(self, measured: Mapping[str, Measured]) -> dict[str, Any]:
        """Give the entries of ``metrics.json``."""
        result: dict[str, Any] = {**self._conditions.entries(self._counts), "fitted_rule": None}
        if self.rules is not None:
            result["fitted_rule"] = self._fitted_rule(measured["rules"])
        if self._drawn is not None:
            speedup, fraction, _ = _columns(measured["decisions"])
            result["sampling"] = {
                **speedup.named("speedup"),
                **fraction.named("simulated_fraction"),
                **{"from": "decisions of the predictions", **self._drawn},
            }
        elif self._own is not None:
            result["own_threshold"] = self._own_threshold(measured["own_threshold"])
        elif self.rules is not None:
            keys = ("speedup", "speedup_error", "simulated_fraction", "simulated_fraction_error")
            result["sampling"] = {
                **{key: result["fitted_rule"][key] for key in keys},
                "from": "scores: rule fitted on one half of the events, measured on the other",
            }
        result["threshold"] = threshold_entries(self._counts, self._places, measured["thresholds"])
        result["limits"] = self._limits(measured)
        result["comparison_only"] = _columns(measured["limits"], 1)[0].named("sigmoid")
        return result

    def _limits(self, measured: Mapping[str, Measured]) -> dict[str, float]:
        limits, perfect = measured["limits"], measured["perfect"]
        return {
            **Estimate(float(perfect.value), float(perfect.error)).named("perfect_filter"),
            **_columns(limits)[0].named("best_sampling"),
            "best_sampling_fraction": float(limits.value[1, 0]),
        }

    def _own_threshold(self, measured: Measured) -> dict[str, Any]:
        assert self._own is not None
        speedup, fraction, efficiency = _columns(measured)
        return {
            **speedup.named("speedup"),
            **fraction.named("kept_fraction"),
            "efficiency": efficiency.value,
            **self._own,
        }

    def _fitted_rule(self, measured: Measured) -> dict[str, Any]:
        assert self.rules is not None
        result: dict[str, Any] = {}
        keys = ("speedup", "simulated_fraction", "effective_fraction")
        for key, found in zip(keys, _columns(measured), strict=True):
            result |= found.named(key)
        both = self.rules.fitted_on
        return {
            **result,
            "a": [rule.a for rule in both],
            "b": [rule.b for rule in both],
            "maximum_weight": both[0].maximum_weight,
        }

    def curves(self, measured: Mapping[str, Measured]) -> dict[str, Any]:
        """Give the data of figures by their names."""
        conditions = {"conditions": self._conditions.entries(self._counts)}
        scan, limits = measured["scan"], self._limits(measured)
        low, high = scan.band
        data: dict[str, Any] = {
            **conditions,
            "threshold": {
                "fraction": scan.value[1].tolist(),
                "speedup": scan.value[0].tolist(),
                "low": low[0].tolist(),
                "high": high[0].tolist(),
            },
            "limits": limits,
            **limit_curves(self._counts, self._conditions.cost),
        }
        result: dict[str, Any] = {"speedup": data}
        if self._own is not None:
            data["own_threshold"] = self._own_threshold(measured["own_threshold"])
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
        dependence = speedup_dependence(self._counts, self.rules, self._conditions.cost)
        result["speedup_dependence"] = {**conditions, **dependence}
        if self._probability is not None:
            weights = weight_distribution(self._counts, self._probability)
            result["sampling_weights"] = {**conditions, **weights}
        return result


def _columns(measured: Measured, rule: int = 0) -> list[Estimate]:
    """Give the numbers [3, rules] of one of several rules, with their errors."""
    pairs = zip(measured.value[:, rule], measured.error[:, rule], strict=True)
    return [Estimate(float(value), float(error)) for value, error in pairs]


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
    rules = None if near is None else near.fitted_again(counts, cost)
    if rules is not None:
        p = rule_probabilities(rules, counts.score, [0.0])
        speedups["fitted_rule"] = SampledRules(p, cost)(counts)[0, 0]
    return {name: float(value) for name, value in speedups.items()}


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
