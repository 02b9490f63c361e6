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

from smartbkg_tf.evaluation.bootstrap import Measured, Quantity
from smartbkg_tf.evaluation.conditions import Conditions, decided_by
from smartbkg_tf.evaluation.metrics import (
    Estimate,
    average_precision,
    binned_average_precision,
    placements,
)
from smartbkg_tf.evaluation.speedup import Speedups
from smartbkg_tf.events.keys import KeyIndex, uniform
from smartbkg_tf.filtering.predictions import Predictions, SkimPredictions
from smartbkg_tf.filtering.score_counts import Floats, ScoreCounts
from smartbkg_tf.runtime.text_table import text_table

#: A difference is certain, not significant, where its error is nothing but rounding.
_ROUNDING = 1e-12

#: What models are compared by: in words, and how the keys of its differences begin.
COMPARED = {
    "auc": ("AUC", ""),
    "average_precision": ("average precision", "average_precision_"),
    "speedup": ("speedup", "speedup_"),
}

#: Random groups of events that are resampled together; fewer events are groups of their own.
_GROUPS = 500

Rows = npt.NDArray[np.int64]


@dataclass
class Comparison:
    """Differences of models, as ``metrics.json`` holds them."""

    differences: list[dict[str, Any]] = field(default_factory=list)  # of every pair
    skims: dict[str, dict[str, Any]] = field(default_factory=dict)  # models by AUC, best first
    notes: list[str] = field(default_factory=list)  # what was not compared, and why


def compare_models(
    models: Mapping[str, Predictions],
    conditions: Mapping[str, Mapping[str, Conditions]],
    number: int = 200,
    seed: int = 0,
) -> Comparison:
    """Compare models on common events, skim by skim.

    `conditions` of speedups by model and skim. Errors of differences in AUC are DeLong's, those of
    average precision and speedup of `number` bootstrap resamples that the models share.
    """
    result = Comparison()
    if len(models) < 2:
        return result
    indices: dict[str, KeyIndex] = {}
    for skim in dict.fromkeys(skim for model in models.values() for skim in model.skims):
        having = {name: model for name, model in models.items() if skim in model.skims}
        if len(having) < 2:
            continue
        rows, label = _common_events(having, skim, indices, result.notes)
        if len(rows) < 2:
            continue
        scores = [models[name].skims[skim].score[place] for name, place in rows.items()]
        areas, covariance = auc_covariance(scores, label)
        _describe(result, skim, list(rows), areas, covariance)
        passing = int(np.count_nonzero(label == 1))
        result.skims[skim] |= {"n_events": len(label), "n_passing": passing}
        n_groups = min(len(label), _GROUPS)
        random = np.random.default_rng(seed)
        group = random.permutation(len(label)) % n_groups
        weights = random.poisson(1.0, (number, n_groups)).astype(np.float32)
        resampled = {
            name: _resampled(models[name], skim, place, conditions[name][skim], group, weights)
            for name, place in rows.items()
        }
        _add_resampled(result.skims[skim]["models"], resampled)
    return result


@dataclass(frozen=True)
class _Resampled:
    """Average precision and speedup of one model, in resamples that all models share."""

    measured: dict[str, Measured]
    by: str | None  # the kind of filter
    retention: float  # for which the speedup is
    conditions: Conditions

    @property
    def kind(self) -> tuple[Any, ...]:
        """What must be equal for speedups to be compared."""
        return self.by, self.conditions.retention, self.conditions.cost


def _resampled(
    model: Predictions,
    skim_name: str,
    rows: Rows,
    conditions: Conditions,
    group: Rows,
    weights: npt.NDArray[np.float32],
) -> _Resampled:
    """Resample rows [n] of predictions, by `group` [n] with `weights` [resamples, groups]."""
    values_of = vars(model.skims[skim_name])
    skim = SkimPredictions(**{name: column[rows] for name, column in values_of.items()})
    keys = {name: column[rows] for name, column in model.keys.items()}
    second_half = uniform(keys, "evaluation/halves") >= 0.5
    counts = ScoreCounts.of(skim.score, skim.label, second_half=second_half)
    decided = decided_by(model, skim_name)
    speedups = Speedups(
        counts, conditions, skim if decided else None, biased=decided == "threshold"
    )
    quantities: dict[str, Quantity] = {"average_precision": binned_average_precision}
    values = {"average_precision": np.asarray(average_precision(skim.score, skim.label))}
    by = None
    if speedups.saved is not None:
        by, key = speedups.saved
        saved = speedups.quantities[key]
        quantities["speedup"] = lambda sample: float(np.asarray(saved(sample))[0, 0])
        values["speedup"] = np.asarray(quantities["speedup"](counts))
    bins = len(counts.lowest)
    place = np.searchsorted(counts.lowest, skim.score, side="right") - 1
    place += bins * (skim.label + 2 * second_half.astype(np.int64))
    size = counts.counts.size
    table = np.bincount(group * size + place, minlength=weights.shape[1] * size)
    drawn = weights @ table.reshape(-1, size).astype(np.float32)
    replicas: dict[str, list[npt.ArrayLike]] = {name: [] for name in quantities}
    for row in drawn:
        again = row.astype(np.float64).reshape(counts.counts.shape)
        sample = ScoreCounts(counts.lowest, counts.score, again)
        for name, quantity in quantities.items():
            replicas[name].append(quantity(sample) if sample.both_classes else np.nan)
    measured = {
        name: Measured(values[name], np.array(replicas[name], dtype=np.float64))
        for name in quantities
    }
    retention = conditions.entries(conditions.natural(counts))["retention"]
    return _Resampled(measured, by, retention, conditions)


def _add_resampled(rows: list[dict[str, Any]], resampled: Mapping[str, _Resampled]) -> None:
    """Add average precision and speedup to the models, and the differences to the first one.

    Speedups are compared only if they are of the same kind of filter, retention and costs.
    """
    best = resampled[rows[0]["model"]]
    for row in rows:
        this = resampled[row["model"]]
        for key, found in this.measured.items():
            row |= Estimate(float(found.value), float(found.error)).named(key)
            other = best.measured.get(key)
            if this is best or other is None or (key == "speedup" and this.kind != best.kind):
                continue
            pair = Measured(other.value - found.value, other.replicas - found.replicas)
            row |= _against_best(key, float(pair.value), float(pair.error))
        row |= {"speedup_by": this.by, "speedup_retention": this.retention}


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
) -> tuple[dict[str, Rows], npt.NDArray[np.int8]]:
    """Give rows [m] by model, and labels [m], of the events that all models have."""
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
    return {name: place[chosen] for name, place in rows.items()}, label[chosen]


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

    def difference(i: int, j: int) -> dict[str, Any]:
        variance = covariance[i, i] + covariance[j, j] - 2 * covariance[i, j]
        return _significance(float(areas[i] - areas[j]), math.sqrt(max(float(variance), 0.0)))

    for i, j in itertools.combinations(range(len(names)), 2):
        pair = {"model": names[i], "other": names[j], "skim": skim}
        result.differences.append({**pair, **difference(i, j)})
    order = np.argsort(-areas, kind="stable").tolist()
    rows = []
    for i in order:
        row = {"model": names[i], "auc": float(areas[i])}
        row["auc_error"] = math.sqrt(float(covariance[i, i]))
        against = dict.fromkeys(_against_best("auc", 0.0, 0.0))
        if i != order[0]:
            found = difference(order[0], i)
            against = _against_best("auc", found["difference"], found["error"])
        rows.append({**row, **against})
    result.skims[skim] = {"models": rows}


def _against_best(key: str, difference: float, error: float) -> dict[str, Any]:
    """Name the difference to the best model in something that models are compared by."""
    values = _significance(difference, error)
    values["difference_error"] = values.pop("error")
    return {f"{COMPARED[key][1]}{name}": value for name, value in values.items()}


def _significance(difference: float, error: float) -> dict[str, Any]:
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
    shown = [key for key in COMPARED if any(key in row for row in comparison["models"])]
    rows = []
    for row in comparison["models"]:
        cells = [row["model"]]
        for key in shown:
            named = COMPARED[key][1]
            difference = significance = "-"
            if row.get(f"{named}difference") is not None:
                found = row[f"{named}difference"], row[f"{named}difference_error"]
                difference = str(Estimate(*found))
            if row.get(f"{named}significance") is not None:
                significance = f"{row[f'{named}significance']:.1f} sigma"
            value = str(Estimate.of(row, key)) if key in row else "-"
            cells += [value, difference, significance]
        rows.append(cells)
    events = f"{comparison['n_events']} common events, {comparison['n_passing']} pass"
    head = [f"{skim} ({events})"]
    for key in shown:
        head += [COMPARED[key][0], "best - this", "significance"]
    return text_table(head, rows)
