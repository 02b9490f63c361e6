"""Fit the sampling rules of a run on its validation events and write ``filter.json``."""

from __future__ import annotations

from typing import Any

from smartbkg_tf.dataset.dataset import Dataset
from smartbkg_tf.errors import InputError
from smartbkg_tf.filtering.event_source import score_rows, split_of_run
from smartbkg_tf.filtering.fitting import FittedRule, fit_calibration, fit_sampling_rule
from smartbkg_tf.filtering.score_counts import ScoreCounts
from smartbkg_tf.filtering.scorers import KerasScorer, Scorer
from smartbkg_tf.runtime.files import write_json
from smartbkg_tf.runtime.progress import say
from smartbkg_tf.runtime.run_directory import RunDirectory
from smartbkg_tf.settings.costs import CostSettings


def fit_filter(
    run: RunDirectory,
    dataset: Dataset,
    scorer: Scorer | None = None,
    cost: CostSettings | None = None,
) -> dict[str, Any]:
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
    result = {}
    for i, skim in enumerate(scorer.label_names):
        if skim not in chunk.labels:
            raise InputError(
                f"holds no label {skim} (there are: {', '.join(chunk.labels)})",
                where=dataset.path,
                next_step="use the dataset that the model was trained on",
            )
        if not (chunk.labels[skim] >= 0).any():
            raise InputError(f"no validation event has a known label of {skim}", where=dataset.path)
        counts = ScoreCounts.of(chunk.scores[:, i], chunk.labels[skim])
        fitted = fit_sampling_rule(counts, cost=cost)
        if not counts.both_classes:
            say(
                f"warning: {fitted.n_passing} of {fitted.n_events} validation events pass {skim}: "
                "the sampling rule cannot be fitted and keeps every event"
            )
        calibration = fit_calibration(counts) if counts.both_classes else None
        result[skim] = describe_rule(fitted, calibration)
    write_json(run.filter, result)
    return result


def describe_rule(fitted: FittedRule, calibration: tuple[float, float] | None) -> dict[str, Any]:
    """Make the entry of one skim in ``filter.json``; `calibration` is slope and intercept."""
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
