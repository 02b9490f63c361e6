"""``filter.json``: what was fitted for every skim, and the rules that are made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.errors import InputError
from smartbkg_tf.filtering.fitting import FittedRule
from smartbkg_tf.filtering.rules import SamplingRule, ThresholdRule
from smartbkg_tf.runtime.files import read_json
from smartbkg_tf.settings.stored import FILTER, check_stored

#: Steps between the fractions 0 and 1 of passing events at which scores are stored.
_STEPS = 1000


@dataclass(frozen=True)
class FittedFilter:
    """What was fitted for every skim.

    Parameters
    ----------
    values : mapping of str to mapping
        The values of ``filter.json``: see `describe_rule`.
    where : pathlib.Path
        The file that holds them, or that they were fitted on.
    """

    values: Mapping[str, Any]
    where: Path

    def _entry(self, skim: str) -> Mapping[str, Any]:
        entry = self.values.get(skim)
        if not isinstance(entry, Mapping):
            raise InputError(
                f"has no rule for the skim {skim} (there are: {', '.join(self.values)})",
                where=self.where,
            )
        return entry

    def rules(self, skims: Sequence[str]) -> dict[str, SamplingRule]:
        """Make the sampling rule of every skim."""
        entries = {skim: self._entry(skim) for skim in skims}
        return {
            skim: SamplingRule(**{name: entry[name] for name in ("a", "b", "maximum_weight")})
            for skim, entry in entries.items()
        }

    def thresholds(self, skims: Sequence[str], efficiency: float) -> dict[str, ThresholdRule]:
        """Make the threshold of every skim that keeps a fraction of the passing events."""
        rules = {}
        for skim in skims:
            found = self._entry(skim).get("passing_scores")
            if not isinstance(found, list) or len(found) != _STEPS + 1:
                raise InputError(
                    f"knows no scores of passing events of {skim}, so efficiency= cannot be used",
                    where=self.where,
                    next_step="give fit_on=PREDICTIONS.parquet with labels, or threshold=X",
                )
            place = int(_STEPS * (1.0 - efficiency) + 1e-9)
            rules[skim] = ThresholdRule(threshold=found[place])
        return rules

    def calibrations(self) -> dict[str, tuple[float, float]]:
        """Give slope and intercept of the calibrated logit of the skims that have them."""
        return {
            skim: (float(entry["calibration"]["slope"]), float(entry["calibration"]["intercept"]))
            for skim, entry in self.values.items()
            if entry.get("calibration")
        }


def read_filter(path: Path) -> FittedFilter:
    """Read ``filter.json`` and check its types; skims are looked for when they are used."""
    values = read_json(path, made_by="python -m smartbkg_tf.train")
    check_stored(FILTER, values, path, next_step="copy it again from its source, or train again")
    return FittedFilter(values, path)


def describe_rule(
    fitted: FittedRule,
    calibration: tuple[float, float] | None,
    passing_scores: npt.NDArray[np.floating],
) -> dict[str, Any]:
    """Make the entry of one skim of slope and intercept, and the scores of passing events [n]."""
    quantiles = None
    if len(passing_scores):
        # Scores of events, so that a threshold keeps at least the fraction that was asked for.
        steps = np.linspace(0.0, 1.0, _STEPS + 1)
        quantiles = np.quantile(passing_scores, steps, method="lower").astype(float).tolist()
    return {
        "a": fitted.rule.a,
        "b": fitted.rule.b,
        "maximum_weight": fitted.rule.maximum_weight,
        "a_error": fitted.a_error,
        "b_error": fitted.b_error,
        "speedup_validation": fitted.speedup,
        "speedup_validation_error": fitted.speedup_error,
        "retention": fitted.retention,
        "n_events": fitted.n_events,
        "n_passing": fitted.n_passing,
        "calibration": (
            None if calibration is None else {"slope": calibration[0], "intercept": calibration[1]}
        ),
        "passing_scores": quantiles,
    }
