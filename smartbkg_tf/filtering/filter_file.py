"""``filter.json``: the fitted sampling rule of every skim."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smartbkg_tf.errors import InputError
from smartbkg_tf.filtering.fitting import FittedRule
from smartbkg_tf.filtering.rules import SamplingRule
from smartbkg_tf.runtime.files import read_json
from smartbkg_tf.settings.stored import FILTER, check_stored

_REPAIR = "copy it again from its source, or train (and export) again"


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
    check_stored(FILTER, values, Path(where), next_step=_REPAIR)
    rules = {}
    for skim in skims:
        entry = values.get(skim)
        if entry is None:
            raise InputError(
                f"has no rule for the skim {skim} (there are: {', '.join(values)})", where=where
            )
        rules[skim] = SamplingRule(
            float(entry["a"]), float(entry["b"]), float(entry["maximum_weight"])
        )
    return rules


def read_filter(path: str | Path, skims: tuple[str, ...]) -> dict[str, SamplingRule]:
    """Read ``filter.json``.

    Parameters
    ----------
    path : str or pathlib.Path
        The file.
    skims : tuple of str
        Names of the model's outputs.

    Returns
    -------
    dict of str to SamplingRule
        One for each skim.

    Raises
    ------
    InputError
        When the file is missing, damaged, or lacks a skim.
    """
    values = read_json(path, made_by="python -m smartbkg_tf.train")
    return rules_of(values, skims, path)
