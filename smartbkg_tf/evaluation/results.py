"""All numbers and curves of one model, before anything is drawn or written."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from smartbkg_tf.errors import InputError
from smartbkg_tf.evaluation import curves
from smartbkg_tf.evaluation.metrics import (
    auc,
    average_precision,
    bootstrap_areas,
    calibration_losses,
    delong,
)
from smartbkg_tf.evaluation.observables import compare_observable
from smartbkg_tf.evaluation.speedup import (
    sampling_speedup,
    speedup_from_scores,
    threshold_speedups,
)
from smartbkg_tf.evaluation.working_points import working_points
from smartbkg_tf.events.cross_sections import cross_sections
from smartbkg_tf.events.keys import uniform
from smartbkg_tf.events.table import EVENT_TYPES
from smartbkg_tf.filtering.costs import CostModel
from smartbkg_tf.filtering.predictions import Predictions, SkimPredictions
from smartbkg_tf.filtering.rules import Rule
from smartbkg_tf.settings.evaluation import MetricsSettings

#: Efficiencies at which the speedup of a threshold is given.
_THRESHOLD_EFFICIENCIES = (0.95, 0.9, 0.8)


@dataclass(frozen=True)
class SkimResult:
    """Numbers and curves of one skim.

    Parameters
    ----------
    metrics : dict
        Plain numbers, for ``metrics.json``.
    curves : dict of str to dict
        roc, precision_recall, scores, reliability.
    """

    metrics: dict[str, Any]
    curves: dict[str, Any] = field(default_factory=dict)


def evaluate_skim(
    skim: SkimPredictions,
    event_type: np.ndarray[Any, np.dtype[np.int8]],
    settings: MetricsSettings,
    *,
    rule: Rule | None = None,
    calibration: tuple[float, float] | None = None,
    observables: dict[str, np.ndarray[Any, np.dtype[np.float64]]] | None = None,
    first_half: np.ndarray[Any, np.dtype[np.bool_]] | None = None,
) -> SkimResult:
    """Calculate everything about the predictions of one skim.

    Parameters
    ----------
    skim : SkimPredictions
        Scores, decisions and labels.
    event_type : numpy.ndarray [n]
        int8 position in `EVENT_TYPES`, -1 if unknown.
    settings : MetricsSettings
        Resamples, working points, costs.
    rule : Rule, optional
        The fitted sampling rule, drawn above the scores.
    calibration : tuple of float, optional
        Slope and intercept of the calibrated logit.
    observables : dict of str to numpy.ndarray [n], optional
        Bias observables.
    first_half : numpy.ndarray [n], optional
        bool, for predictions that hold scores without decisions: the sampling rule is fitted on
        these events and measured on the others, and the other way round.

    Returns
    -------
    SkimResult
        Numbers and curves.

    Raises
    ------
    InputError
        When there are no labels, a class is empty, or a score is not finite.
    """
    y, s = skim.label, skim.score
    area = auc(s, y)
    areas, precisions = bootstrap_areas(s, y, number=settings.bootstrap, seed=settings.seed)
    check = delong(s, y)
    loss, brier = calibration_losses(s, y)
    known = y >= 0
    metrics: dict[str, Any] = {
        "auc": area,
        "auc_error": float(np.std(areas, ddof=1)),
        "auc_error_delong": check.error,
        "average_precision": average_precision(s, y),
        "average_precision_error": float(np.std(precisions, ddof=1)),
        "n_events": int(known.sum()),
        "n_passing": int((y == 1).sum()),
        "n_unknown_label": int((~known).sum()),
        "retention": float((y[known] == 1).mean()),
        "log_loss": loss.value,
        "log_loss_error": loss.error,
        "brier": brier.value,
        "brier_error": brier.error,
        "working_points": [asdict(p) for p in working_points(s, y, settings.efficiencies)],
        "by_event_type": _by_event_type(skim, event_type),
        "natural_mixture": _natural_mixture(skim, event_type),
    }
    slope, intercept = calibration or (1.0, 0.0)
    if calibration is not None:
        loss, brier = calibration_losses(s, y, slope, intercept)
        metrics["calibrated"] = {
            "slope": slope,
            "intercept": intercept,
            "log_loss": loss.value,
            "log_loss_error": loss.error,
            "brier": brier.value,
            "brier_error": brier.error,
        }
    metrics["speedup"] = _speedups(skim, settings, first_half)
    repeat = {"number": settings.bootstrap, "seed": settings.seed}
    data = {
        "roc": curves.roc_curve(s, y, **repeat),
        "precision_recall": curves.precision_recall_curve(s, y, **repeat),
        "scores": curves.score_histogram(s, y, rule),
        "reliability": curves.reliability(s, y, slope, intercept),
    }
    for name, values in (observables or {}).items():
        compared = compare_observable(values, y == 1, skim.probability, skim.weight)
        if compared is not None:
            data[f"observable_{name}"] = compared
            left_out = ("edges", "all", "kept", "kept_error", "ratio", "ratio_error")
            metrics.setdefault("observables", {})[name] = {
                key: value for key, value in compared.items() if key not in left_out
            }
    return SkimResult(metrics, data)


def _by_event_type(
    skim: SkimPredictions, event_type: np.ndarray[Any, np.dtype[np.int8]]
) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for code, name in [*enumerate(EVENT_TYPES), (-1, "unknown")]:
        chosen = (event_type == code) & (skim.label >= 0)
        if not chosen.any():
            continue
        n_passing = int((skim.label[chosen] == 1).sum())
        both = 0 < n_passing < int(chosen.sum())
        estimate = delong(skim.score[chosen], skim.label[chosen]) if both else None
        result[name] = {
            "n_events": int(chosen.sum()),
            "n_passing": n_passing,
            "auc": None if estimate is None else estimate.value,
            "auc_error": None if estimate is None else estimate.error,
        }
    return result


def _natural_mixture(
    skim: SkimPredictions, event_type: np.ndarray[Any, np.dtype[np.int8]]
) -> dict[str, Any] | None:
    """AUC and retention with the event types weighted by cross-section.

    None for a single type, and where an event's type is unknown.
    """
    known = skim.label >= 0
    kinds, y, s = event_type[known], skim.label[known] == 1, skim.score[known]
    present = np.unique(kinds)
    if len(present) < 2 or present[0] < 0:
        return None
    sections = cross_sections()
    share = np.array([sections[name] for name in EVENT_TYPES])
    total = share[present].sum()
    weight = (share / total)[kinds] / np.bincount(kinds, minlength=len(EVENT_TYPES))[kinds]
    rate = np.array([y[kinds == kind].mean() for kind in present])
    counts = np.array([np.count_nonzero(kinds == kind) for kind in present])
    part = share[present] / total
    return {
        "event_types": [EVENT_TYPES[kind] for kind in present],
        "auc": _weighted_auc(s, y, weight),
        "retention": float(np.sum(part * rate)),
        "retention_error": float(np.sqrt(np.sum(part**2 * rate * (1 - rate) / counts))),
    }


def _weighted_auc(score: Any, passes: Any, weight: Any) -> float | None:
    """Probability that a passing event scores above a failing one; ties count one half."""
    _, place = np.unique(score, return_inverse=True)
    good = np.bincount(place, weight * passes)
    bad = np.bincount(place, weight * ~passes)
    if good.sum() == 0 or bad.sum() == 0:
        return None
    below = np.cumsum(bad) - bad
    return float(np.sum(good * (below + 0.5 * bad)) / (good.sum() * bad.sum()))


def _speedups(
    skim: SkimPredictions,
    settings: MetricsSettings,
    first_half: np.ndarray[Any, np.dtype[np.bool_]] | None,
) -> dict[str, Any]:
    cost = CostModel(settings.cost.generation, settings.cost.network)
    repeat = {"number": settings.bootstrap, "seed": settings.seed}
    result: dict[str, Any] = {"cost": {"generation": cost.generation, "network": cost.network}}
    if first_half is not None:
        estimate = speedup_from_scores(skim.score, skim.label, first_half, cost, **repeat)
        if estimate is not None:
            result["sampling"] = {
                "speedup": estimate[0].value,
                "speedup_error": estimate[0].error,
                "simulated_fraction": estimate[1],
                "from": "scores: rule fitted on one half of the events, measured on the other",
            }
    elif np.all(skim.probability > 0):
        sampling = sampling_speedup(skim.probability, skim.weight, skim.label, cost, **repeat)
        result["sampling"] = {
            "speedup": sampling.expected.value,
            "speedup_error": sampling.expected.error,
            "from": "decisions of the predictions",
            "speedup_drawn": sampling.drawn,
            "simulated_fraction": sampling.simulated_fraction,
            "effective_passing": sampling.effective_passing,
            "sum_of_weights": sampling.sum_of_weights,
            "sum_of_weights_error": sampling.sum_of_weights_error,
            "n_passing": sampling.n_passing,
        }
    result["threshold"] = [
        {
            "efficiency": point.efficiency,
            "threshold": point.threshold,
            "kept_fraction": point.kept_fraction,
            "speedup": point.speedup.value,
            "speedup_error": point.speedup.error,
        }
        for point in threshold_speedups(
            skim.score, skim.label, _THRESHOLD_EFFICIENCIES, cost, **repeat
        )
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
    rules: dict[str, Rule] | None = None,
    calibrations: dict[str, tuple[float, float]] | None = None,
    observables: dict[str, np.ndarray[Any, np.dtype[np.float64]]] | None = None,
    where: str | None = None,
) -> tuple[dict[str, SkimResult], dict[str, str]]:
    """Calculate everything about every skim that has labels of both kinds.

    Parameters
    ----------
    predictions : Predictions
        The table.
    settings : MetricsSettings
        Resamples, working points, costs.
    rules : dict of str to Rule, optional
        Fitted sampling rules.
    calibrations : dict of str to tuple of float, optional
        Slope and intercept of calibrated logits.
    observables : dict of str to numpy.ndarray [n], optional
        Bias observables.
    where : str, optional
        File of the predictions, for messages.

    Returns
    -------
    results : dict of str to SkimResult
        By skim.
    refused : dict of str to str
        Why a skim has no result.

    Raises
    ------
    InputError
        When no skim can be evaluated.
    """
    results: dict[str, SkimResult] = {}
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
