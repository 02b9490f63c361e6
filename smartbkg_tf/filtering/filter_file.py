"""``filter.json``: what was fitted for every skim, and the rules that follow from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from smartbkg_tf.errors import InputError
from smartbkg_tf.filtering.fitting import sampling_rule
from smartbkg_tf.filtering.rules import SamplingRule, ThresholdRule
from smartbkg_tf.runtime.files import hash_of_values, read_json
from smartbkg_tf.settings.costs import CostSettings
from smartbkg_tf.settings.stored import FILTER, StoredRule, check_stored

#: Steps between the fractions 0 and 1 of passing events at which scores are stored.
_STEPS = 1000


def passing_quantiles(scores: npt.NDArray[np.floating]) -> list[float] | None:
    """Give the scores of passing events [n] from which thresholds are made; None without any."""
    if not len(scores):
        return None
    # Scores of events, so that a threshold keeps at least the fraction that was asked for.
    steps = np.linspace(0.0, 1.0, _STEPS + 1)
    quantiles: list[float] = np.quantile(scores, steps, method="lower").astype(float).tolist()
    return quantiles


@dataclass(frozen=True)
class FittedFilter:
    """What was fitted for every skim, and the file that holds it or that it was fitted on."""

    values: Mapping[str, StoredRule]
    where: Path

    def _entry(self, skim: str) -> StoredRule:
        if skim not in self.values:
            raise InputError(
                f"has no rule for the skim {skim} (there are: {', '.join(self.values)})",
                where=self.where,
            )
        return self.values[skim]

    def rules(self, skims: Sequence[str]) -> dict[str, SamplingRule]:
        """Make the sampling rule of every skim."""
        return {skim: sampling_rule(self._entry(skim)) for skim in skims}

    def natural_retention(self, skim: str) -> float | None:
        """Give the retention that the fit was told; None where it took that of its events."""
        entry = self.values.get(skim)
        given = None if entry is None else entry.get("retention")
        if entry is None or given is None or not 0 < given < 1:
            return None
        n_events = entry.get("n_events")
        told = not n_events or abs(given * n_events - entry.get("n_passing", 0)) > 1e-6
        return given if told else None

    def cost(self, skim: str) -> CostSettings | None:
        """Give the costs for which the rule was fitted, where they are stored."""
        entry = self.values.get(skim)
        stored = None if entry is None else entry.get("cost")
        return None if stored is None else CostSettings(**stored)

    def thresholds(self, skims: Sequence[str], efficiency: float) -> dict[str, ThresholdRule]:
        """Make the threshold of every skim that keeps a fraction of the passing events."""
        rules = {}
        for skim in skims:
            found = self._entry(skim).get("passing_scores")
            if found is None or len(found) != _STEPS + 1:
                raise InputError(
                    f"knows no scores of passing events of {skim}, so efficiency= cannot be used",
                    where=self.where,
                    next_step="give fit_on=PREDICTIONS.parquet with labels, or threshold=X",
                )
            place = int(_STEPS * (1.0 - efficiency) + 1e-9)
            rules[skim] = ThresholdRule(threshold=found[place])
        return rules


def checksum(entry: StoredRule) -> str:
    """Hash what was fitted for a skim."""
    return hash_of_values({key: value for key, value in entry.items() if key != "checksum"})


def read_filter(path: Path) -> FittedFilter:
    """Read ``filter.json`` and check its types; skims are looked for when they are used."""
    values = read_json(path, made_by="python -m smartbkg_tf.train")
    again = "copy it again from its source, or train again"
    check_stored(FILTER, values, path, next_step=again)
    for skim, entry in values.items():
        if entry.get("checksum", checksum(entry)) != checksum(entry):
            raise InputError(
                f"the rule of {skim} was changed after it was fitted",
                where=path,
                next_step=f"{again}; other numbers are given to apply: sampling.a, sampling.b, "
                "sampling.maximum_weight, or fit_on=PREDICTIONS.parquet",
            )
    return FittedFilter(values, path)
