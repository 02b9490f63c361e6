"""What filters do with passing events: kept, with which weight, and how uncertain it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.evaluation.conditions import decided_by
from smartbkg_tf.evaluation.metrics import place_of
from smartbkg_tf.evaluation.speedup_quantities import HalvedRules
from smartbkg_tf.events.keys import uniform
from smartbkg_tf.filtering.predictions import Predictions
from smartbkg_tf.filtering.rules import decide, random_numbers
from smartbkg_tf.filtering.score_counts import Floats, ScoreCounts
from smartbkg_tf.settings.evaluation import MetricsSettings

Flags = npt.NDArray[np.bool_]

#: Smallest kept fraction that a reweighting believes: weights up to 20.
_SMALLEST_FRACTION = 0.05
#: Rejected events that a reweighting needs.
_FEWEST_REJECTED = 50


@dataclass(frozen=True)
class Filter:
    """What a filter does with passing events [n]."""

    weight: Floats  # 0 where not kept
    variance: Floats  # of the weighted count, each event's part; over the filter's random numbers
    absolute: bool  # whether weighted counts are those of all events without normalisation
    fitted: bool = False  # to the distributions that are compared: no test of them

    @classmethod
    def sampling(cls, probability: Floats, weight: Floats) -> Filter:
        """Keep events with a probability, and the weight 1 / probability."""
        return cls(weight, (1 - probability) / probability, True)

    @classmethod
    def threshold(cls, kept: Flags) -> Filter:
        """Keep events for good, or lose them."""
        fraction = float(kept.mean())
        odds = (1 - fraction) / fraction if fraction > 0 else 0.0
        return cls(kept.astype(np.float64), np.full(len(kept), odds), False)

    @classmethod
    def reweighted(cls, kept: Flags, fraction: Floats) -> Filter:
        """Give kept events the weight 1 / fraction, the kept fraction of events like them."""
        weight = np.where(kept, 1 / fraction, 0.0)
        return cls(weight, weight * np.maximum(weight - 1, 0.0), False, fitted=True)

    def of(self, chosen: Flags) -> Filter:
        """Take some of the events; of a threshold, with their own kept fraction."""
        if not self.absolute and not self.fitted:
            return Filter.threshold(self.weight[chosen] > 0)
        return Filter(self.weight[chosen], self.variance[chosen], self.absolute, self.fitted)


@dataclass(frozen=True)
class Filters:
    """The filters that one skim's passing events go through."""

    passing: Flags  # [all events]
    score: Floats  # [passing]
    thresholds: dict[float, float]  # scores by the efficiency that they were asked to have
    filters: dict[str, Filter]  # threshold, sampling
    main: str  # what the predictions decided, or the fitted rule
    information: dict[str, Any]
    fold: Floats  # [passing] a number in [0, 1) for each event


def filters_of(
    predictions: Predictions,
    name: str,
    settings: MetricsSettings,
    counts: ScoreCounts,
    rules: HalvedRules | None,
    second_half: Flags,
) -> Filters:
    """Take the decisions of the predictions, or those of `rules` and of a threshold."""
    skim = predictions.skims[name]
    passing = skim.label == 1
    score, p, w = (a[passing] for a in (skim.score, skim.probability, skim.weight))
    keys = {key: values[passing] for key, values in predictions.keys.items()}
    filters: dict[str, Filter] = {}
    information: dict[str, Any] = {"sampling_from": None}
    decided = decided_by(predictions, name)
    if decided == "threshold":
        # A threshold decided; any score that it keeps is above all that it rejects.
        kept = w > 0
        threshold = float(np.min(skim.score[skim.kept], initial=np.inf))
    else:
        threshold = float(counts.lowest[place_of(counts, settings.bias.efficiency)])
        kept = score >= threshold
    filters["threshold"] = Filter.threshold(kept)
    information |= {
        "threshold": threshold if np.isfinite(threshold) else None,
        "efficiency": float(kept.mean()),
    }
    if decided == "sampling":
        filters["sampling"] = Filter.sampling(p, w)
        information["sampling_from"] = "decisions of the predictions"
    elif rules is not None:
        p = rules.probability(score, second_half[passing])
        decision = decide(p, random_numbers(keys, settings.seed))
        filters["sampling"] = Filter.sampling(p, decision.weight)
        information["sampling_from"] = "rule fitted on one half of the events, used on the other"
    return Filters(
        passing=passing,
        score=score,
        thresholds={
            e: float(counts.lowest[place_of(counts, e)])
            for e in sorted(settings.efficiencies, reverse=True)
        },
        filters=filters,
        main="threshold" if decided == "threshold" or "sampling" not in filters else "sampling",
        information=information,
        fold=uniform(keys, "evaluation/folds"),
    )


def reweight(values: Mapping[str, Floats], kept: Flags, fold: Floats, folds: int) -> Filter | None:
    """Weight the events that a threshold keeps, so that they look like all of them.

    Boosted trees learn the kept fraction of events from their observables [n]; each event gets the
    inverse of what trees say that have not seen its fold. None without folds, and with fewer than
    50 kept or rejected events. Trees can repair only what the observables show, and only where a
    threshold leaves any events at all: weights are 20 at most.
    """
    if folds < 2 or not values or min(kept.sum(), (~kept).sum()) < _FEWEST_REJECTED:
        return None
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    inputs = np.stack(list(values.values()), axis=1)
    part = np.minimum((fold * folds).astype(np.int64), folds - 1)
    fraction = np.ones(len(kept))
    for i in range(folds):
        inside = part == i
        training = ~inside
        if not inside.any():
            continue
        if kept[training].all() or not kept[training].any():
            return None
        trees = HistGradientBoostingClassifier(
            max_iter=60, max_leaf_nodes=15, early_stopping=False, random_state=0
        )
        # Threads that share busy cores wait for each other longer than they work.
        with threadpool_limits(1):
            trees.fit(inputs[training], kept[training])
        fraction[inside] = trees.predict_proba(inputs[inside])[:, 1]
    return Filter.reweighted(kept, np.clip(fraction, _SMALLEST_FRACTION, 1.0))
