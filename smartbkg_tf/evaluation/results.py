"""All numbers and curves of one model, before anything is drawn or written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.errors import InputError
from smartbkg_tf.evaluation import curves
from smartbkg_tf.evaluation.metrics import (
    auc,
    average_precision,
    bootstrap_errors,
    calibration_losses,
    delong,
    working_points,
)
from smartbkg_tf.evaluation.observables import compare_observable, read_observables
from smartbkg_tf.evaluation.speedup import (
    sampling_speedup,
    speedup_from_scores,
    threshold_speedups,
)
from smartbkg_tf.events.cross_sections import cross_sections
from smartbkg_tf.events.keys import uniform
from smartbkg_tf.events.table import EVENT_TYPES
from smartbkg_tf.filtering.filter_file import FittedFilter, read_filter
from smartbkg_tf.filtering.predictions import Predictions, SkimPredictions, read_predictions
from smartbkg_tf.filtering.score_counts import Floats, ScoreCounts
from smartbkg_tf.runtime.run_directory import RunDirectory
from smartbkg_tf.settings.evaluation import MetricsSettings
from smartbkg_tf.settings.plugins import plain

#: The command that makes run directories.
MADE_BY = "python -m smartbkg_tf.train model=resnet"

#: Efficiencies at which the speedup of a threshold is given.
_THRESHOLD_EFFICIENCIES = (0.95, 0.9, 0.8)

#: What stays out of ``metrics.json``: the data of the figure.
_OF_THE_FIGURE = ("edges", "all", "kept", "kept_error", "ratio", "ratio_error")


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
    results: dict[str, EvaluatedSkim] = field(default_factory=dict)  # by skim
    refused: dict[str, str] = field(default_factory=dict)  # why a skim has no result

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
            "n_events": len(self.predictions),
            "predictions": self.predictions.information,
        }


def evaluate_model(
    path: Path, name: str, settings: MetricsSettings, observables: str | None = None
) -> EvaluatedModel:
    """Calculate everything about a run directory, or about a file of predictions.

    Skims without labels of both kinds are refused; `InputError` when there is no other one.
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
    predictions = read_predictions(file)
    fitted = read_filter(run.filter) if run is not None and run.filter.is_file() else None
    values = None if observables is None else read_observables(observables, predictions)
    model = EvaluatedModel(name, predictions, run)
    halves = None
    if not _has_decisions(predictions):
        halves = uniform(predictions.keys, "evaluation/halves") < 0.5
    for skim in predictions.skims:
        try:
            model.results[skim] = _evaluate_skim(
                predictions, skim, settings, fitted, values or {}, halves
            )
        except InputError as error:
            model.refused[skim] = error.message
    if not model.results:
        reasons = "; ".join(f"{skim}: {text}" for skim, text in model.refused.items())
        raise InputError(
            f"cannot be evaluated: {reasons}",
            where=file,
            next_step="evaluation needs events with known labels, of both kinds: "
            "use more events, or give the skim's passing events to produce (skim_files=...)",
        )
    return model


def _has_decisions(predictions: Predictions) -> bool:
    """Whether predictions hold decisions, not only scores with all probabilities 1."""
    method = predictions.information.get("method")
    if method is not None:
        return bool(method != "score")
    return any(np.any(skim.probability < 1) for skim in predictions.skims.values())


def _evaluate_skim(
    predictions: Predictions,
    name: str,
    settings: MetricsSettings,
    fitted: FittedFilter | None,
    observables: Mapping[str, Floats],
    first_half: npt.NDArray[np.bool_] | None,
) -> EvaluatedSkim:
    """Calculate everything about one skim.

    The rule of `fitted` is drawn above the scores. Where predictions hold scores without decisions,
    a rule is fitted on the events of `first_half` and measured on the others, and vice versa.
    """
    skim = predictions.skims[name]
    rule = calibration = None
    if fitted is not None and name in fitted.values:
        rule, calibration = fitted.rules([name])[name], fitted.values[name].get("calibration")
    y, s = skim.label, skim.score
    counts = ScoreCounts.of(s, y, predictions.event_type)
    repeat = {"number": settings.bootstrap, "seed": settings.seed}
    area, n_events = auc(s, y), int(counts.everything.sum())
    area_error, precision_error = bootstrap_errors(counts, **repeat)
    metrics: dict[str, Any] = {
        "auc": area,
        "auc_error": area_error,
        "auc_error_delong": delong(counts).error,
        "average_precision": average_precision(s, y),
        "average_precision_error": precision_error,
        "n_events": n_events,
        "n_passing": int(counts.n_passing),
        "n_unknown_label": len(y) - n_events,
        "retention": counts.n_passing / n_events,
        **_losses(counts),
        "working_points": working_points(counts, settings.efficiencies),
        "by_event_type": _by_event_type(counts),
        "natural_mixture": _natural_mixture(counts),
    }
    slope, intercept = 1.0, 0.0
    if calibration is not None:
        slope, intercept = calibration["slope"], calibration["intercept"]
        metrics["calibrated"] = {**calibration, **_losses(counts, slope, intercept)}
    metrics["speedup"] = _speedups(skim, counts, settings, first_half)
    data = {
        "roc": curves.roc_curve(counts, **repeat),
        "precision_recall": curves.precision_recall_curve(counts, **repeat),
        "scores": curves.score_histogram(counts, rule),
        "calibration": curves.reliability(counts, slope, intercept),
    }
    for observable, values in observables.items():
        compared = compare_observable(values, y == 1, skim.probability, skim.weight)
        if compared is not None:
            data[f"observable_{observable}"] = compared
            metrics.setdefault("observables", {})[observable] = {
                key: value for key, value in compared.items() if key not in _OF_THE_FIGURE
            }
    return EvaluatedSkim(metrics, data)


def _losses(counts: ScoreCounts, slope: float = 1.0, intercept: float = 0.0) -> dict[str, float]:
    loss, brier = calibration_losses(counts, slope, intercept)
    return {**loss.named("log_loss"), **brier.named("brier")}


def _by_event_type(counts: ScoreCounts) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for position, name in enumerate([*EVENT_TYPES, "unknown"]):
        of_type = counts.of_type(position)
        if not of_type.everything.any():
            continue
        estimate = delong(of_type) if of_type.both_classes else None
        result[name] = {
            "n_events": int(of_type.everything.sum()),
            "n_passing": int(of_type.n_passing),
            **(dict.fromkeys(("auc", "auc_error")) if estimate is None else estimate.named("auc")),
        }
    return result


def _natural_mixture(counts: ScoreCounts) -> dict[str, Any] | None:
    """AUC and retention with the event types weighted by cross-section.

    None for a single type, and where an event's type is unknown.
    """
    n_events = counts.counts.sum(axis=(1, 2))
    present = np.flatnonzero(n_events)
    if len(present) < 2 or present[-1] == len(EVENT_TYPES):
        return None
    sections = np.array([cross_sections()[name] for name in EVENT_TYPES] + [0.0])
    share = np.where(n_events > 0, sections, 0.0)
    share /= share.sum()
    weight = np.divide(share, n_events, out=np.zeros_like(share), where=n_events > 0)
    mixture = counts.weighted(weight)
    rate = counts.counts[present, 1].sum(axis=1) / n_events[present]
    part = share[present]
    variance = np.sum(part**2 * rate * (1 - rate) / n_events[present])
    return {
        "event_types": [EVENT_TYPES[position] for position in present],
        "auc": delong(mixture).value,
        "retention": float(part @ rate),
        "retention_error": float(np.sqrt(variance)),
    }


def _speedups(
    skim: SkimPredictions,
    counts: ScoreCounts,
    settings: MetricsSettings,
    first_half: npt.NDArray[np.bool_] | None,
) -> dict[str, Any]:
    cost = settings.cost
    repeat = {"number": settings.bootstrap, "seed": settings.seed}
    result: dict[str, Any] = {"cost": plain(cost)}
    sampling = None
    if first_half is not None:
        sampling = speedup_from_scores(skim.score, skim.label, first_half, cost, **repeat)
    elif np.all(skim.probability > 0):
        sampling = sampling_speedup(skim.probability, skim.weight, skim.label, cost, **repeat)
    if sampling is not None:
        result["sampling"] = sampling
    result["threshold"] = threshold_speedups(counts, _THRESHOLD_EFFICIENCIES, cost, **repeat)
    return result
