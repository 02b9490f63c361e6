"""Fit the sampling rules of a run on its validation events."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.dataset.dataset import Dataset
from smartbkg_tf.errors import InputError
from smartbkg_tf.filtering.costs import CostModel
from smartbkg_tf.filtering.filter_file import describe_rule, passing_quantiles
from smartbkg_tf.filtering.fitting import fit_calibration, fit_sampling_rule
from smartbkg_tf.filtering.predictions import read_predictions
from smartbkg_tf.filtering.scorers import KerasScorer, Scorer
from smartbkg_tf.filtering.sources import (
    ScoredChunk,
    refuse_broken_scores,
    score_rows,
    split_of_run,
)
from smartbkg_tf.runtime.files import write_json
from smartbkg_tf.runtime.progress import say
from smartbkg_tf.runtime.run_directory import RunDirectory
from smartbkg_tf.settings.filtering import FilterFitSettings


def fit_filter(
    run: RunDirectory,
    dataset: Dataset,
    settings: FilterFitSettings | None = None,
    scorer: Scorer | None = None,
) -> dict[str, Any]:
    """Fit the sampling rule of every skim on validation events and write ``filter.json``.

    Parameters
    ----------
    run : RunDirectory
        A run with a trained model.
    dataset : Dataset
        The dataset that it was trained on.
    settings : FilterFitSettings, optional
        Largest weight, costs, retention.
    scorer : Scorer, optional
        The model, if it is loaded already.

    Returns
    -------
    dict
        What was written: by skim a, b, maximum_weight, speedup_validation and errors.

    Raises
    ------
    InputError
        When there are no validation events, or scores are not finite.
    """
    chosen = settings or FilterFitSettings()
    scorer = scorer or KerasScorer(run)
    rows = split_of_run(run, dataset)["validation"]
    if not len(rows):
        raise InputError(
            "there are no validation events, so the sampling rule cannot be fitted",
            where=dataset.path,
            next_step="raise data.fractions.validation, or produce more events",
        )
    chunk = score_rows(scorer, dataset, rows)
    refuse_broken_scores(chunk, scorer)
    scored = {
        skim: (chunk.scores[:, i], _labels(chunk, skim, dataset))
        for i, skim in enumerate(scorer.label_names)
    }
    result = fit_rules(scored, chosen, "validation event", dataset.path)
    write_json(run.filter, result)
    return result


def refit(predictions: Path, skims: tuple[str, ...], settings: FilterFitSettings) -> dict[str, Any]:
    """Fit the rules of a model anew on its labelled predictions; in the form of ``filter.json``."""
    table = read_predictions(predictions)
    missing = [skim for skim in skims if skim not in table.skims]
    if missing:
        raise InputError(
            f"holds no scores of {', '.join(missing)} (there are: {', '.join(table.skims)})",
            where=predictions,
            next_step="give predictions of the same model: apply method=score split=validation",
        )
    scored = {skim: (table.skims[skim].score, table.skims[skim].label) for skim in skims}
    return fit_rules(scored, settings, "event", predictions)


def fit_rules(
    scored: Mapping[str, tuple[npt.NDArray[np.float32], npt.NDArray[np.int8]]],
    chosen: FilterFitSettings,
    event: str,
    where: Path,
) -> dict[str, Any]:
    """Fit the rule of every skim on scores and labels [n]; the values of ``filter.json``."""
    cost = CostModel(chosen.cost.generation, chosen.cost.network)
    result = {}
    for skim, (scores, labels) in scored.items():
        if not np.any(labels >= 0):
            raise InputError(f"no {event} has a known label of {skim}", where=where)
        fitted = fit_sampling_rule(
            scores,
            labels,
            maximum_weight=chosen.maximum_weight,
            cost=cost,
            retention=chosen.retention,
            bootstrap=chosen.bootstrap,
            seed=chosen.seed,
        )
        both = 0 < fitted.n_passing < fitted.n_events
        if not both:
            say(
                f"warning: {fitted.n_passing} of {fitted.n_events} {event}s pass {skim}: "
                "the sampling rule cannot be fitted and keeps every event"
            )
        result[skim] = {
            **describe_rule(fitted, fit_calibration(scores, labels) if both else None),
            "passing_scores": passing_quantiles(scores[labels == 1]),
        }
    return result


def _labels(chunk: ScoredChunk, skim: str, dataset: Dataset) -> npt.NDArray[np.int8]:
    if skim not in chunk.labels:
        raise InputError(
            f"holds no label {skim} (there are: {', '.join(chunk.labels)})",
            where=dataset.path,
            next_step="use the dataset that the model was trained on",
        )
    return np.asarray(chunk.labels[skim])
