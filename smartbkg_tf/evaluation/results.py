"""All numbers and curves of one model, before anything is drawn or written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
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
from smartbkg_tf.evaluation.observables import compare_observable
from smartbkg_tf.evaluation.speedup import (
    sampling_speedup,
    speedup_from_scores,
    threshold_speedups,
)
from smartbkg_tf.events.cross_sections import cross_sections
from smartbkg_tf.events.keys import uniform
from smartbkg_tf.events.table import EVENT_TYPES
from smartbkg_tf.filtering.predictions import Predictions, SkimPredictions
from smartbkg_tf.filtering.rules import Rule
from smartbkg_tf.filtering.score_counts import Floats, ScoreCounts
from smartbkg_tf.settings.evaluation import MetricsSettings
from smartbkg_tf.settings.plugins import plain

#: Efficiencies at which the speedup of a threshold is given.
_THRESHOLD_EFFICIENCIES = (0.95, 0.9, 0.8)

#: What stays out of ``metrics.json``: the data of the figure.
_OF_THE_FIGURE = ("edges", "all", "kept", "kept_error", "ratio", "ratio_error")


@dataclass(frozen=True)
class EvaluatedSkim:
    """Numbers and curves of one skim.

    Parameters
    ----------
    metrics : dict
        Plain numbers, for ``metrics.json``.
    curves : dict of str to dict
        roc, precision_recall, scores, calibration, and ``observable_<name>``.
    """

    metrics: dict[str, Any]
    curves: dict[str, Any] = field(default_factory=dict)


def evaluate_skim(
    skim: SkimPredictions,
    event_type: npt.NDArray[np.int8],
    settings: MetricsSettings,
    *,
    rule: Rule | None = None,
    calibration: tuple[float, float] | None = None,
    observables: Mapping[str, Floats] | None = None,
    first_half: npt.NDArray[np.bool_] | None = None,
) -> EvaluatedSkim:
    """Calculate everything about the predictions of one skim.

    `rule` is drawn above the scores, `calibration` is slope and intercept of the logit. Where
    predictions hold scores without decisions, the sampling rule is fitted on the events of
    `first_half` and measured on the others, and the other way round.
    """
    y, s = skim.label, skim.score
    counts = ScoreCounts.of(s, y, event_type)
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
        "working_points": [asdict(p) for p in working_points(counts, settings.efficiencies)],
        "by_event_type": _by_event_type(counts),
        "natural_mixture": _natural_mixture(counts),
    }
    slope, intercept = calibration or (1.0, 0.0)
    if calibration is not None:
        metrics["calibrated"] = {
            "slope": slope,
            "intercept": intercept,
            **_losses(counts, slope, intercept),
        }
    metrics["speedup"] = _speedups(skim, counts, settings, first_half)
    data = {
        "roc": curves.roc_curve(counts, **repeat),
        "precision_recall": curves.precision_recall_curve(counts, **repeat),
        "scores": curves.score_histogram(counts, rule),
        "calibration": curves.reliability(counts, slope, intercept),
    }
    for name, values in (observables or {}).items():
        compared = compare_observable(values, y == 1, skim.probability, skim.weight)
        if compared is not None:
            data[f"observable_{name}"] = compared
            metrics.setdefault("observables", {})[name] = {
                key: value for key, value in compared.items() if key not in _OF_THE_FIGURE
            }
    return EvaluatedSkim(metrics, data)


def _losses(counts: ScoreCounts, slope: float = 1.0, intercept: float = 0.0) -> dict[str, float]:
    loss, brier = calibration_losses(counts, slope, intercept)
    return {
        **loss.named("log_loss"),
        **brier.named("brier"),
    }


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
    if first_half is not None:
        estimate = speedup_from_scores(skim.score, skim.label, first_half, cost, **repeat)
        if estimate is not None:
            result["sampling"] = {
                **estimate[0].named("speedup"),
                "simulated_fraction": estimate[1],
                "from": "scores: rule fitted on one half of the events, measured on the other",
            }
    elif np.all(skim.probability > 0):
        result["sampling"] = sampling_speedup(
            skim.probability, skim.weight, skim.label, cost, **repeat
        ).plain()
    result["threshold"] = [
        {
            "efficiency": point.efficiency,
            "threshold": point.threshold,
            "kept_fraction": point.kept_fraction,
            **speedup.named("speedup"),
        }
        for point, speedup in threshold_speedups(counts, _THRESHOLD_EFFICIENCIES, cost, **repeat)
    ]
    return result


def _has_decisions(predictions: Predictions) -> bool:
    """Tell decisions from bare scores, whose probabilities are all 1 because nobody asked."""
    method = predictions.information.get("method")
    if method is not None:
        return bool(method != "score")
    return any(np.any(skim.probability < 1) for skim in predictions.skims.values())


def evaluate_predictions(
    predictions: Predictions,
    settings: MetricsSettings,
    *,
    rules: Mapping[str, Rule] | None = None,
    calibrations: Mapping[str, tuple[float, float]] | None = None,
    observables: Mapping[str, Floats] | None = None,
    where: str | None = None,
) -> tuple[dict[str, EvaluatedSkim], dict[str, str]]:
    """Calculate everything about every skim that has labels of both kinds.

    `rules` and `calibrations` are by skim, see `evaluate_skim`. Gives the results by skim, and
    why a skim has none; raises `InputError` when no skim can be evaluated.
    """
    results: dict[str, EvaluatedSkim] = {}
    refused: dict[str, str] = {}
    halves = None
    if not _has_decisions(predictions):
        halves = uniform(predictions.keys, "evaluation/halves") < 0.5
    for name, skim in predictions.skims.items():
        try:
            results[name] = evaluate_skim(
                skim,
                predictions.event_type,
                settings,
                rule=(rules or {}).get(name),
                calibration=(calibrations or {}).get(name),
                observables=observables,
                first_half=halves,
            )
        except InputError as error:
            refused[name] = error.message
    if not results:
        reasons = "; ".join(f"{name}: {text}" for name, text in refused.items())
        raise InputError(
            f"cannot be evaluated: {reasons}",
            where=where,
            next_step="evaluation needs events with known labels, of both kinds: "
            "use more events, or give the skim's passing events to produce (skim_files=...)",
        )
    return results, refused
