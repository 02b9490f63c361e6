"""All numbers and curves of one model, before anything is drawn or written."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.errors import InputError
from smartbkg_tf.evaluation.bias import compare_observables
from smartbkg_tf.evaluation.bias_filters import filters_of
from smartbkg_tf.evaluation.bootstrap import measure
from smartbkg_tf.evaluation.conditions import SAMPLE, Conditions, decided_by
from smartbkg_tf.evaluation.observables import Observables, read_observables
from smartbkg_tf.evaluation.quality import Quality
from smartbkg_tf.evaluation.speedup import Speedups
from smartbkg_tf.events.keys import uniform
from smartbkg_tf.filtering.filter_file import FittedFilter, read_filter
from smartbkg_tf.filtering.predictions import Predictions, read_predictions
from smartbkg_tf.filtering.score_counts import ScoreCounts
from smartbkg_tf.runtime.run_directory import RunDirectory
from smartbkg_tf.settings.evaluation import MetricsSettings

#: The command that makes run directories.
MADE_BY = "python -m smartbkg_tf.train model=resnet"


@dataclass(frozen=True)
class EvaluatedSkim:
    """Numbers for ``metrics.json``, and curves by name, of one skim."""

    metrics: dict[str, Any]
    curves: dict[str, Any]


@dataclass(frozen=True)
class EvaluatedModel:
    """A model that is evaluated."""

    name: str  # unique among the models of one evaluation
    predictions: Predictions  # of this model alone
    run: RunDirectory | None
    conditions: dict[str, Conditions]  # of speedups, by skim
    results: dict[str, EvaluatedSkim] = field(default_factory=dict)  # by skim
    refused: dict[str, str] = field(default_factory=dict)  # why a skim has no result
    notes: list[str] = field(default_factory=list)  # what a reader must know

    def metrics(self) -> dict[str, Any]:
        """Give what ``metrics.json`` holds: numbers by skim, and those of the first one."""
        skims = {name: result.metrics for name, result in self.results.items()}
        # The first skim's, or the first one's that could be evaluated at all.
        first, headline = next(iter(skims.items()))
        return {
            "auc": headline["auc"],
            "auc_error": headline["auc_error"],
            "skim": first,
            "skims": skims,
            "not_evaluated": dict(self.refused),
            "notes": list(self.notes),
            "n_events": len(self.predictions),
            "predictions": self.predictions.information,
        }


def evaluate_model(
    path: Path,
    name: str,
    settings: MetricsSettings,
    observables: str | list[str] | None = None,
    unnamed_skim: str = "skim",
) -> EvaluatedModel:
    """Calculate everything about a run directory, or about a file of predictions.

    Skims without labels of both kinds are refused; `InputError` when there is no other one.
    `unnamed_skim` is the skim of plain columns ``score`` and ``label``.
    """
    run = RunDirectory(path) if path.is_dir() else None
    file = path if run is None else run.predictions
    if run is not None and not file.is_file():
        raise InputError(
            "holds no predictions.parquet: it is not a run directory, or its training was not "
            "finished",
            where=path,
            next_step=f"run directories are made by: {MADE_BY}; predictions for other events by: "
            "python -m smartbkg_tf.apply",
        )
    predictions = read_predictions(file, unnamed_skim=unnamed_skim)
    fitted = read_filter(run.filter) if run is not None and run.filter.is_file() else None
    known = None if observables is None else read_observables(observables, predictions)
    conditions = {skim: Conditions.of(settings, skim, fitted) for skim in predictions.skims}
    model = EvaluatedModel(name, predictions, run, conditions)
    model.notes.extend(predictions.notes)
    if known is not None:
        model.notes.extend(known.notes)
    second_half = uniform(predictions.keys, "evaluation/halves") >= 0.5
    for skim in predictions.skims:
        try:
            result = _evaluate_skim(model, skim, settings, fitted, second_half, known)
        except InputError as error:
            model.refused[skim] = error.message
            continue
        model.results[skim] = result
        model.notes.extend(_unnatural(skim, result.metrics))
    if not model.results:
        reasons = "; ".join(f"{skim}: {text}" for skim, text in model.refused.items())
        raise InputError(
            f"cannot be evaluated: {reasons}",
            where=file,
            next_step="evaluation needs events with known labels, of both kinds: "
            "use more events, or give the skim's passing events to produce (skim_files=...)",
        )
    return model


def _unnatural(skim: str, of: dict[str, Any]) -> list[str]:
    """Say where speedups are for a retention that event types in other shares have made."""
    mixture = of["natural_mixture"]
    if mixture is None or of["speedup"]["retention_from"] != SAMPLE:
        return []
    here, natural, error = of["retention"], mixture["retention"], mixture["retention_error"]
    if not natural or abs(here / natural - 1) < 0.1 or abs(here - natural) < 3 * error:
        return []
    return [
        f"{skim}: speedups are for the retention of these events, {100 * here:.3g} %; with event "
        f"types in their natural shares it is {100 * natural:.3g} % (metrics.retention=X gives "
        "speedups for another one)"
    ]


def _evaluate_skim(
    model: EvaluatedModel,
    name: str,
    settings: MetricsSettings,
    fitted: FittedFilter | None,
    second_half: npt.NDArray[np.bool_],
    observables: Observables | None,
) -> EvaluatedSkim:
    """Calculate everything about one skim; the rule of `fitted` is drawn above the scores."""
    predictions, conditions = model.predictions, model.conditions[name]
    skim = predictions.skims[name]
    rule = calibration = None
    if fitted is not None and name in fitted.values:
        rule, calibration = fitted.rules([name])[name], fitted.values[name].get("calibration")
    counts = ScoreCounts.of(skim.score, skim.label, predictions.event_type, second_half)
    counts.require_both_classes()
    quality = Quality(counts, settings.efficiencies, calibration, rule, conditions)
    decided = decided_by(predictions, name)
    speedups = Speedups(
        counts, conditions, skim if decided else None, biased=decided == "threshold"
    )
    quantities = {**quality.quantities, **speedups.quantities}
    measured = measure(counts, quantities, settings.bootstrap, settings.seed)
    metrics = {**quality.metrics(measured, skim), "speedup": speedups.metrics(measured)}
    data = {**quality.curves(measured), **speedups.curves(measured)}
    if observables is not None:
        filters = filters_of(predictions, name, settings, counts, speedups.rules, second_half)
        more, curves = compare_observables(filters, observables, settings.bias)
        metrics |= more
        data |= curves
    return EvaluatedSkim(metrics, data)
