"""Compare models on the events that they have in common."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.evaluation.metrics import Estimate, placements
from smartbkg_tf.events.keys import KeyIndex
from smartbkg_tf.filtering.predictions import Predictions
from smartbkg_tf.filtering.score_counts import Floats
from smartbkg_tf.runtime.text_table import text_table

#: A difference is certain, not significant, where its error is nothing but rounding.
_ROUNDING = 1e-12


@dataclass
class Comparison:
    """Differences of models, as ``metrics.json`` holds them."""

    differences: list[dict[str, Any]] = field(default_factory=list)  # of every pair
    skims: dict[str, dict[str, Any]] = field(default_factory=dict)  # models by AUC, best first
    notes: list[str] = field(default_factory=list)  # what was not compared, and why


def compare_models(models: Mapping[str, Predictions]) -> Comparison:
    """Compare the AUC of models on common events, skim by skim."""
    result = Comparison()
    if len(models) < 2:
        return result
    indices: dict[str, KeyIndex] = {}
    for skim in dict.fromkeys(skim for model in models.values() for skim in model.skims):
        having = {name: model for name, model in models.items() if skim in model.skims}
        if len(having) < 2:
            continue
        scores, label = _common_events(having, skim, indices, result.notes)
        if len(scores) < 2:
            continue
        areas, covariance = auc_covariance(list(scores.values()), label)
        _describe(result, skim, list(scores), areas, covariance)
        passing = int(np.count_nonzero(label == 1))
        result.skims[skim] |= {"n_events": len(label), "n_passing": passing}
    return result


def auc_covariance(
    scores: list[npt.NDArray[np.floating]], label: npt.NDArray[np.integer]
) -> tuple[Floats, Floats]:
    """Give the AUC of models [k] on the same events, and their covariance matrix [k, k].

    DeLong, DeLong, Clarke-Pearson, Biometrics 44 (1988) 837: one sort for each model, and exact for
    many events, where a paired bootstrap scatters with the number of its resamples.
    """
    parts = [placements(score, label) for score in scores]
    covariance = np.zeros((len(scores), len(scores)))
    for of_class in zip(*parts, strict=True):
        values = np.stack(of_class)
        n = values.shape[1]
        if n > 1:
            values -= values.mean(axis=1, keepdims=True)
            covariance += values @ values.T / (n - 1) / n
    return np.array([passing.mean() for passing, _ in parts]), covariance


def _common_events(
    models: Mapping[str, Predictions],
    skim: str,
    indices: dict[str, KeyIndex],
    notes: list[str],
) -> tuple[dict[str, npt.NDArray[np.float32]], npt.NDArray[np.int8]]:
    """Give scores [m] by model, and labels [m], of the events that all models have."""
    (first, reference), *others = _largest_group_first(models)
    keys = reference.keys
    label = reference.skims[skim].label
    rows = {first: np.arange(len(reference))}
    common = label >= 0
    for name, model in others:
        if all(np.array_equal(keys[part], model.keys[part]) for part in keys):
            place = np.arange(len(reference))
        else:
            if name not in indices:
                indices[name] = KeyIndex(model.keys)
            place = indices[name].find(keys)
        theirs = np.where(place >= 0, model.skims[skim].label[place], -1)
        both = common & (theirs >= 0)
        if len(np.unique(label[both])) < 2:
            notes.append(
                f"{first} and {name} were evaluated on different events: their numbers differ "
                "by chance too, and no paired difference is given"
            )
        elif np.any(theirs[both] != label[both]):
            notes.append(f"{first} and {name} have different labels of {skim}")
        else:
            rows[name], common = place, both
    chosen = np.flatnonzero(common)
    fewest = min(int(np.count_nonzero(models[name].skims[skim].label >= 0)) for name in rows)
    most = max(int(np.count_nonzero(models[name].skims[skim].label >= 0)) for name in rows)
    if len(rows) > 1 and len(chosen) < most:
        notes.append(
            f"{skim}: models are compared on the {len(chosen)} events that all of them have, of "
            f"{fewest} to {most}"
        )
    scores = {name: models[name].skims[skim].score[place[chosen]] for name, place in rows.items()}
    return scores, label[chosen]


def _largest_group_first(models: Mapping[str, Predictions]) -> list[tuple[str, Predictions]]:
    """Put those first that most models share their events with, whatever order was asked for."""

    def events(model: Predictions) -> tuple[int, ...]:
        return (len(model), *(int(values.sum()) for values in model.keys.values()))

    sizes = Counter(events(model) for model in models.values())
    return sorted(models.items(), key=lambda item: -sizes[events(item[1])])


def _describe(
    result: Comparison, skim: str, names: list[str], areas: Floats, covariance: Floats
) -> None:
    """Add the differences of every pair, and the models sorted by their AUC."""

    def difference(i: int, j: int) -> dict[str, float | None]:
        variance = covariance[i, i] + covariance[j, j] - 2 * covariance[i, j]
        return _significance(float(areas[i] - areas[j]), math.sqrt(max(float(variance), 0.0)))

    for i, j in itertools.combinations(range(len(names)), 2):
        pair = {"model": names[i], "other": names[j], "skim": skim}
        result.differences.append({**pair, **difference(i, j)})
    order = np.argsort(-areas, kind="stable").tolist()
    rows = []
    for i in order:
        against = difference(order[0], i) if i != order[0] else dict.fromkeys(_significance(0, 0))
        against["difference_error"] = against.pop("error")
        row = {"model": names[i], "auc": float(areas[i])}
        rows.append({**row, "auc_error": math.sqrt(float(covariance[i, i])), **against})
    result.skims[skim] = {"models": rows}


def _significance(difference: float, error: float) -> dict[str, float | None]:
    """Give a difference in standard deviations, and the probability of a larger one by chance."""
    known = error > _ROUNDING
    z = difference / error if known else None
    return {
        "difference": difference,
        "error": error,
        "significance": z,
        "probability": None if z is None else math.erfc(abs(z) / math.sqrt(2)),
    }


def comparison_table(skim: str, comparison: Mapping[str, Any]) -> str:
    """Lay out the models of one skim, the best one first, and what tells them from it."""
    rows = []
    for row in comparison["models"]:
        difference = significance = probability = "-"
        if row["difference"] is not None:
            difference = str(Estimate(row["difference"], row["difference_error"]))
        if row["significance"] is not None:
            significance = f"{row['significance']:.1f} sigma"
            probability = f"{row['probability']:.2g}"
        auc = str(Estimate.of(row, "auc"))
        rows.append([row["model"], auc, difference, significance, probability])
    events = f"{comparison['n_events']} common events, {comparison['n_passing']} pass"
    head = (f"{skim} ({events})", "AUC", "best - this", "significance", "by chance")
    return text_table(head, rows)
