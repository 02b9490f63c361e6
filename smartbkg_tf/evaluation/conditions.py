"""For which natural retention and costs speedups are calculated, and what decided about events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from smartbkg_tf.filtering.filter_file import FittedFilter
from smartbkg_tf.filtering.predictions import Predictions
from smartbkg_tf.filtering.score_counts import ScoreCounts
from smartbkg_tf.settings.costs import CostSettings
from smartbkg_tf.settings.evaluation import MetricsSettings
from smartbkg_tf.settings.filtering import FilterFitSettings
from smartbkg_tf.settings.plugins import plain

#: Where the retention comes from when nothing else is known.
SAMPLE = "these events"
_STORED = "filter.json"


@dataclass(frozen=True)
class Conditions:
    """What speedups of one skim are calculated for, and where these numbers come from."""

    retention: float | None  # natural; None: that of the events
    retention_from: str
    cost: CostSettings
    cost_from: str
    maximum_weight: float = FilterFitSettings.maximum_weight  # of rules fitted to the scores

    @classmethod
    def of(cls, settings: MetricsSettings, skim: str, fitted: FittedFilter | None) -> Conditions:
        """Take what was given, else what the run's sampling rule was fitted for."""
        given = settings.retention
        retention = given.get(skim) if isinstance(given, Mapping) else given
        retention_from = "metrics.retention"
        if retention is None:
            retention = None if fitted is None else fitted.natural_retention(skim)
            retention_from = SAMPLE if retention is None else _STORED
        stored = None if fitted is None else fitted.cost(skim)
        cost_from = "default" if stored is None else _STORED
        cost = settings.cost.over(stored or CostSettings())
        if settings.cost.given:
            cost_from = f"metrics.cost, else {cost_from}"
        weight = cls.maximum_weight
        if fitted is not None and skim in fitted.values:
            weight = fitted.values[skim]["maximum_weight"]
        return cls(retention, retention_from, cost, cost_from, weight)

    def natural(self, sample: ScoreCounts) -> ScoreCounts:
        """Weight failing events for the natural retention; counts, and each resample of them."""
        return sample if self.retention is None else sample.with_retention(self.retention)

    def entries(self, counts: ScoreCounts) -> dict[str, Any]:
        """Say for what the numbers of `counts` hold, natural ones; for metrics.json and figures."""
        return {
            "retention": counts.n_passing / float(counts.everything.sum()),
            "retention_from": self.retention_from,
            "cost": plain(self.cost),
            "cost_from": self.cost_from,
        }


def retention_in_words(values: Mapping[str, Any]) -> str:
    """Say the retention of `Conditions.entries`."""
    number = f"{100 * values['retention']:.3g} %"
    source = values.get("retention_from", SAMPLE)
    if source == SAMPLE:
        return f"the retention of these events, {number}"
    return f"the natural retention of {number} ({source})"


def decided_by(predictions: Predictions, skim: str) -> Literal["sampling", "threshold"] | None:
    """Say what decided about a skim; None where there are scores alone."""
    method = predictions.information.get("method")
    probability = predictions.skims[skim].probability
    if method == "threshold" or np.any(probability == 0):
        return "threshold"
    if method == "score" or (method is None and not np.any(probability < 1)):
        return None
    return "sampling"
