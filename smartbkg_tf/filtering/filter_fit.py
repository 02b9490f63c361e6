"""Fit the sampling rules of a run on its validation events."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.dataset.dataset import Dataset
from smartbkg_tf.errors import InputError
from smartbkg_tf.filtering.costs import CostModel
from smartbkg_tf.filtering.filter_file import describe_rule
from smartbkg_tf.filtering.fitting import fit_calibration, fit_sampling_rule
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
    cost = CostModel(chosen.cost.generation, chosen.cost.network)
    result = {}
    for i, skim in enumerate(scorer.label_names):
        scores, labels = chunk.scores[:, i], _labels(chunk, skim, dataset)
        if not np.any(labels >= 0):
            raise InputError(f"no validation event has a known label of {skim}", where=dataset.path)
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
                f"warning: {fitted.n_passing} of {fitted.n_events} validation events pass {skim}: "
                "the sampling rule cannot be fitted and keeps every event"
            )
        result[skim] = describe_rule(fitted, fit_calibration(scores, labels) if both else None)
    write_json(run.filter, result)
    return result


def _labels(chunk: ScoredChunk, skim: str, dataset: Dataset) -> npt.NDArray[np.int8]:
    if skim not in chunk.labels:
        raise InputError(
            f"holds no label {skim} (there are: {', '.join(chunk.labels)})",
            where=dataset.path,
            next_step="use the dataset that the model was trained on",
        )
    return np.asarray(chunk.labels[skim])
