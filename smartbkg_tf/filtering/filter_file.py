"""``filter.json``: the fitted sampling rule of every skim."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.errors import InputError
from smartbkg_tf.filtering.fitting import FittedRule
from smartbkg_tf.filtering.rules import SamplingRule, ThresholdRule
from smartbkg_tf.runtime.files import read_json

#: Steps between the fractions 0 and 1 of passing events at which scores are stored.
_STEPS = 1000


def describe_rule(fitted: FittedRule, calibration: tuple[float, float] | None) -> dict[str, Any]:
    """Turn a fitted rule into plain values.

    Parameters
    ----------
    fitted : FittedRule
        The rule.
    calibration : tuple of float, optional
        Slope and intercept of the calibrated logit.

    Returns
    -------
    dict
        The entry of one skim in ``filter.json``.
    """
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
    }


def rules_of(
    values: Mapping[str, Any], skims: tuple[str, ...], where: str | Path
) -> dict[str, SamplingRule]:
    """Read the sampling rule of every skim out of plain values.

    Parameters
    ----------
    values : mapping
        What ``filter.json`` holds.
    skims : tuple of str
        Names of the model's outputs.
    where : str or pathlib.Path
        The file, for messages.

    Returns
    -------
    dict of str to SamplingRule
        One for each skim.

    Raises
    ------
    InputError
        When a skim or a number is missing or cannot be used.
    """
    rules = {}
    for skim in skims:
        entry = values.get(skim)
        if not isinstance(entry, Mapping):
            raise InputError(
                f"has no rule for the skim {skim} (there are: {', '.join(values)})", where=where
            )
        try:
            rules[skim] = SamplingRule(
                float(entry["a"]), float(entry["b"]), float(entry["maximum_weight"])
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"the rule of {skim} cannot be used ({error})", where=where) from error
    return rules


def passing_quantiles(scores: npt.NDArray[np.float32]) -> list[float] | None:
    """Give the scores below which 0, 0.1, 0.2 ... 100 % of the passing events [n] lie."""
    if not len(scores):
        return None
    # Of events that there are, so that a threshold keeps at least the fraction that was asked for.
    found = np.quantile(scores, np.linspace(0.0, 1.0, _STEPS + 1), method="lower")
    return [float(value) for value in found]


def thresholds_of(
    values: Mapping[str, Any], skims: tuple[str, ...], efficiency: float, where: str | Path
) -> dict[str, ThresholdRule]:
    """Give for every skim the threshold that keeps a fraction of the passing validation events."""
    rules_of(values, skims, where)
    rules = {}
    for skim in skims:
        found = values[skim].get("passing_scores")
        if not isinstance(found, list) or len(found) != _STEPS + 1:
            raise InputError(
                f"knows no scores of passing events of {skim}, so efficiency= cannot be used",
                where=where,
                next_step="give fit_on=PREDICTIONS.parquet with labels, or threshold=X",
            )
        try:
            rules[skim] = ThresholdRule(float(found[int(_STEPS * (1.0 - efficiency) + 1e-9)]))
        except (TypeError, ValueError) as error:
            raise InputError(f"passing_scores of {skim}: {error}", where=where) from error
    return rules


def read_filter(path: str | Path) -> dict[str, Any]:
    """Read ``filter.json``: a table of skims, not checked further."""
    values = read_json(path, made_by="python -m smartbkg_tf.train")
    if not isinstance(values, dict):
        raise InputError("is no filter.json: it holds no table of skims", where=path)
    return values
