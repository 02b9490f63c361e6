"""Apply a model: scores, decisions, weights; and fit the rule by which it decides."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.dataset.dataset import Dataset
from smartbkg_tf.events.table import KEY_COLUMNS
from smartbkg_tf.filtering.costs import CostModel
from smartbkg_tf.filtering.description import read_yaml
from smartbkg_tf.filtering.event_lists import EVENT_LIST, write_event_list
from smartbkg_tf.filtering.filter_file import describe_rule
from smartbkg_tf.filtering.fitting import fit_calibration, fit_sampling_rule
from smartbkg_tf.filtering.predictions import PredictionsWriter
from smartbkg_tf.filtering.rules import (
    KeepAll,
    Rule,
    SamplingRule,
    ThresholdRule,
    combine,
    decide,
    random_numbers,
)
from smartbkg_tf.filtering.scorers import KerasScorer, Scorer, open_scorer
from smartbkg_tf.filtering.sources import ScoredChunk, Source, score_rows, split_of_run
from smartbkg_tf.filtering.summary import ApplySummary
from smartbkg_tf.runtime.files import refuse_existing, write_json
from smartbkg_tf.runtime.progress import Progress, say
from smartbkg_tf.runtime.run_directory import RunDirectory
from smartbkg_tf.settings.errors import InputError
from smartbkg_tf.settings.filtering import ApplySettings, FilterFitSettings, SamplingSettings


def rules_for(
    scorer: Scorer,
    method: str,
    threshold: float | None = None,
    by_hand: SamplingSettings | None = None,
) -> dict[str, Rule]:
    """Choose the rule of every skim.

    Parameters
    ----------
    scorer : Scorer
        The model; it knows its fitted rules.
    method : {"score", "sampling", "threshold"}
        The method.
    threshold : float, optional
        For ``threshold``; on the logit.
    by_hand : SamplingSettings, optional
        Numbers that replace fitted ones.

    Returns
    -------
    dict of str to Rule
        By skim.

    Raises
    ------
    InputError
        When the model has no fitted rules and none are given.
    ValueError
        When the threshold is missing.
    """
    if method == "score":
        return {skim: KeepAll() for skim in scorer.label_names}
    if method == "threshold":
        if threshold is None:  # 0.0 is a threshold
            raise ValueError("method=threshold needs a threshold")
        return {skim: ThresholdRule(threshold) for skim in scorer.label_names}
    chosen = by_hand or SamplingSettings()
    if chosen.a is not None and chosen.b is not None:
        default = (
            SamplingRule.maximum_weight if chosen.maximum_weight is None else chosen.maximum_weight
        )
        return {skim: SamplingRule(chosen.a, chosen.b, default) for skim in scorer.label_names}
    fitted = scorer.sampling_rules()
    if chosen.maximum_weight is not None:
        fitted = {
            skim: replace(rule, maximum_weight=chosen.maximum_weight)
            for skim, rule in fitted.items()
        }
    return dict(fitted)


def apply(settings: ApplySettings) -> Path:
    """Score events and decide which of them are simulated.

    Parameters
    ----------
    settings : ApplySettings
        Model, input, output, method.

    Returns
    -------
    pathlib.Path
        The predictions.

    Raises
    ------
    UserError
        When the model or an input is missing, damaged or of the wrong kind, a score is
        not finite, there are no events, or an output exists or cannot be written.
    """
    output = Path(settings.output)
    events_output = None if settings.events_output is None else Path(settings.events_output)
    for path in (output, events_output):
        if path is not None:
            refuse_existing(path, overwrite=settings.overwrite)
    scorer, run = open_scorer(settings.model, settings.batch_size)
    rules = rules_for(scorer, settings.method, settings.threshold, settings.sampling)
    source = Source(settings, run)
    say(f"apply {settings.model} to {len(source.paths)} input(s), method={settings.method}")
    cost = CostModel(settings.cost.generation, settings.cost.network)
    summary = ApplySummary(tuple(scorer.label_names), cost)
    kept: list[npt.NDArray[np.void]] = []
    information = _information(settings.method, settings.seed, scorer, rules)
    total = source.count()
    with (
        PredictionsWriter(output, scorer.label_names, information) as writer,
        Progress("apply", total=total) as progress,
    ):
        for chunk in source.scored(scorer):
            listed = _write_chunk(writer, chunk, scorer, rules, settings.seed, summary)
            if events_output is not None:
                kept.append(listed)
            progress.add(len(chunk.event_type))
        if writer.rows == 0:
            raise InputError(
                "holds no events" if len(source.paths) == 1 else "none of the inputs holds events",
                where=source.paths[0],
                next_step="no predictions were written",
            )
        if events_output is not None:
            write_event_list(events_output, np.concatenate(kept))
    say(summary.table(scorer.report))
    say(f"predictions: {output}")
    if events_output is not None:
        say(f"kept events: {events_output}")
    return output


def _information(method: str, seed: int, scorer: Scorer, rules: dict[str, Rule]) -> dict[str, Any]:
    return {
        "method": method,
        "seed": seed,
        "model": scorer.where.name,
        "rules": {skim: dict(vars(rule)) for skim, rule in rules.items()},
    }


def _write_chunk(
    writer: PredictionsWriter,
    chunk: ScoredChunk,
    scorer: Scorer,
    rules: dict[str, Rule],
    seed: int,
    summary: ApplySummary | None = None,
) -> npt.NDArray[np.void]:
    """Decide about a chunk, write it, and return the events that any skim keeps."""
    _refuse_broken_scores(chunk, scorer)
    uniform = random_numbers(chunk.keys, seed)
    decisions = [
        decide(rules[skim].probability(chunk.scores[:, i]), uniform)
        for i, skim in enumerate(scorer.label_names)
    ]
    together = combine(np.stack([d.probability for d in decisions], axis=1), uniform)
    writer.write(chunk.keys, chunk.event_type, chunk.scores, decisions, chunk.labels)
    if summary is not None:
        summary.add(chunk, decisions, together)
    listed = np.zeros(int(together.kept.sum()), dtype=EVENT_LIST)
    for name in KEY_COLUMNS:
        listed[name] = chunk.keys[name][together.kept]
    listed["weight"] = together.weight[together.kept]
    return listed


def _refuse_broken_scores(chunk: ScoredChunk, scorer: Scorer) -> None:
    broken = np.logical_not(np.isfinite(chunk.scores).all(axis=1))
    if not broken.any():
        return
    first = int(np.argmax(broken))
    key = ", ".join(f"{name} {int(chunk.keys[name][first])}" for name in KEY_COLUMNS)
    raise InputError(
        f"gives no finite score for {int(broken.sum())} of {broken.size} events; the first is {key}",
        where=scorer.where,
        next_step="look for NaN or infinite values in these events, then in the model's weights",
    )


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
    _refuse_broken_scores(chunk, scorer)
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


def predict_split(
    run: RunDirectory, dataset: Dataset, split: str = "test", *, seed: int | None = None
) -> Path:
    """Score one part of a dataset and write ``predictions.parquet`` of the run.

    Decisions are those of the fitted sampling rule, which is fitted on validation events
    first if ``filter.json`` does not stand there yet.

    Parameters
    ----------
    run : RunDirectory
        A run with a trained model.
    dataset : Dataset
        The dataset that it was trained on.
    split : {"test", "validation", "train"}, default "test"
        Which part.
    seed : int, optional
        Of the sampling; by default the training seed.

    Returns
    -------
    pathlib.Path
        The predictions.

    Raises
    ------
    InputError
        When the part is empty, a score is not finite, or a file of the run is damaged.
    """
    scorer = KerasScorer(run)
    if not run.filter.is_file():
        fit_filter(run, dataset, scorer=scorer)
    if seed is None:
        seed = int(read_yaml(run.config).get("training", {}).get("seed") or 0)
    rules = rules_for(scorer, "sampling")
    rows = split_of_run(run, dataset)[split]
    if not len(rows):
        raise InputError(
            f"there are no {split} events",
            where=dataset.path,
            next_step=f"raise data.fractions.{split}, or produce more events",
        )
    information = {**_information("sampling", seed, scorer, rules), "split": split}
    with (
        PredictionsWriter(run.predictions, scorer.label_names, information) as writer,
        Progress(f"score {split} events", total=len(rows)) as progress,
    ):
        for start in range(0, len(rows), 20000):
            chunk = score_rows(scorer, dataset, rows[start : start + 20000])
            _write_chunk(writer, chunk, scorer, rules, seed)
            progress.add(len(chunk.event_type))
    return run.predictions
