"""Fit the sampling rules of a run on its validation events, or on stored predictions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from smartbkg_tf.dataset.dataset import Dataset
from smartbkg_tf.errors import InputError
from smartbkg_tf.filtering.event_source import score_rows, split_of_run
from smartbkg_tf.filtering.filter_file import FittedFilter, checksum, passing_quantiles
from smartbkg_tf.filtering.fitting import fit_calibration, fit_sampling_rule
from smartbkg_tf.filtering.predictions import read_predictions
from smartbkg_tf.filtering.score_counts import ScoreCounts
from smartbkg_tf.filtering.scorers import KerasScorer, Scorer
from smartbkg_tf.runtime.files import write_json
from smartbkg_tf.runtime.progress import say
from smartbkg_tf.runtime.run_directory import RunDirectory
from smartbkg_tf.settings.filtering import FilterFitSettings
from smartbkg_tf.settings.stored import StoredCost, StoredRule


def fit_filter(
    run: RunDirectory,
    dataset: Dataset,
    settings: FilterFitSettings | None = None,
    scorer: Scorer | None = None,
) -> dict[str, StoredRule]:
    """Fit the sampling rule of every skim on validation events and write ``filter.json``."""
    scorer = scorer or KerasScorer(run)
    rows = split_of_run(run, dataset)["validation"]
    if not len(rows):
        raise InputError(
            "there are no validation events, so the sampling rule cannot be fitted",
            where=dataset.path,
            next_step="raise data.fractions.validation, or produce more events",
        )
    chunk = score_rows(scorer, dataset, rows)
    scored = {}
    for i, skim in enumerate(scorer.label_names):
        if skim not in chunk.labels:
            raise InputError(
                f"holds no label {skim} (there are: {', '.join(chunk.labels)})",
                where=dataset.path,
                next_step="use the dataset that the model was trained on",
            )
        scored[skim] = chunk.scores[:, i], chunk.labels[skim]
    result = _fit(scored, settings or FilterFitSettings(), "validation event", dataset.path)
    for entry in result.values():
        entry["checksum"] = checksum(entry)
    write_json(run.filter, result)
    return result


def fit_on_predictions(
    predictions: Path, skims: tuple[str, ...], settings: FilterFitSettings
) -> FittedFilter:
    """Fit the rules of a model again, on its labelled predictions."""
    table = read_predictions(predictions)
    missing = [skim for skim in skims if skim not in table.skims]
    if missing:
        raise InputError(
            f"holds no scores of {', '.join(missing)} (there are: {', '.join(table.skims)})",
            where=predictions,
            next_step="give predictions of the same model: apply method=score split=validation",
        )
    scored = {skim: (table.skims[skim].score, table.skims[skim].label) for skim in skims}
    return FittedFilter(_fit(scored, settings, "event", predictions), predictions)


def _fit(
    scored: Mapping[str, tuple[npt.NDArray[np.float32], npt.NDArray[np.int8]]],
    settings: FilterFitSettings,
    event: str,
    where: Path,
) -> dict[str, StoredRule]:
    """Fit the rule of every skim on scores and labels [n]; the values of ``filter.json``."""
    result = {}
    for skim, (scores, labels) in scored.items():
        if not np.any(labels >= 0):
            raise InputError(f"no {event} has a known label of {skim}", where=where)
        counts = ScoreCounts.of(scores, labels)
        fitted = fit_sampling_rule(
            counts,
            maximum_weight=settings.maximum_weight,
            cost=settings.cost,
            retention=settings.retention,
            bootstrap=settings.bootstrap,
            seed=settings.seed,
        )
        cost = settings.cost
        fitted["cost"] = StoredCost(
            generation=cost.generation, network=cost.network, simulation=cost.simulation
        )
        fitted["calibration"] = None
        if counts.both_classes:
            slope, intercept = fit_calibration(counts)
            fitted["calibration"] = {"slope": slope, "intercept": intercept}
        else:
            say(
                f"warning: {fitted['n_passing']} of {fitted['n_events']} {event}s pass {skim}: "
                "the sampling rule cannot be fitted and keeps every event"
            )
        fitted["passing_scores"] = passing_quantiles(scores[labels == 1])
        result[skim] = fitted
    return result
