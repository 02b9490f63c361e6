"""Apply a model: scores, decisions, weights; and fit the rule by which it decides."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.dataset.dataset import Dataset
from smartbkg_tf.errors import InputError
from smartbkg_tf.events.table import KEY_COLUMNS
from smartbkg_tf.filtering.costs import CostModel
from smartbkg_tf.filtering.description import read_yaml
from smartbkg_tf.filtering.event_lists import EVENT_LIST, write_event_list
from smartbkg_tf.filtering.filter_file import rules_of, thresholds_of
from smartbkg_tf.filtering.filter_fit import fit_filter, refit
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
from smartbkg_tf.filtering.sources import (
    ScoredChunk,
    Source,
    refuse_broken_scores,
    score_rows,
    split_of_run,
)
from smartbkg_tf.filtering.summary import ApplySummary
from smartbkg_tf.runtime.files import atomic_file
from smartbkg_tf.runtime.outputs import refuse_existing, refuse_overlap
from smartbkg_tf.runtime.progress import Progress, say
from smartbkg_tf.runtime.run_directory import RunDirectory
from smartbkg_tf.settings.filtering import ApplySettings, FilterFitSettings, SamplingSettings

__all__ = ["apply", "fit_filter", "predict_split", "rules_for"]


def rules_for(
    scorer: Scorer,
    method: str,
    threshold: float | None = None,
    by_hand: SamplingSettings | None = None,
    *,
    efficiency: float | None = None,
    fitted: tuple[dict[str, Any], Path] | None = None,
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
    efficiency : float, optional
        For ``threshold``, instead of `threshold`: fraction of passing events that is kept.
    fitted : tuple, optional
        What replaces the model's ``filter.json``, and the file that it was fitted on.

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
        if efficiency is not None:
            values, where = fitted or scorer.filter_values()
            return dict(thresholds_of(values, scorer.label_names, efficiency, where))
        if threshold is None:  # 0.0 is a threshold
            raise ValueError("method=threshold needs a threshold")
        return {skim: ThresholdRule(threshold) for skim in scorer.label_names}
    chosen = by_hand or SamplingSettings()
    if chosen.a is not None and chosen.b is not None:
        default = (
            SamplingRule.maximum_weight if chosen.maximum_weight is None else chosen.maximum_weight
        )
        return {skim: SamplingRule(chosen.a, chosen.b, default) for skim in scorer.label_names}
    values, where = fitted or scorer.filter_values()
    rules = rules_of(values, scorer.label_names, where)
    if chosen.maximum_weight is not None:
        rules = {
            skim: replace(rule, maximum_weight=chosen.maximum_weight)
            for skim, rule in rules.items()
        }
    return dict(rules)


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
    # Inputs first: a wrong name is told before a model is loaded for seconds.
    source = Source(settings)
    # Other predictions may stand in a run directory, but not in the place of its own files.
    model = Path(settings.run)
    own = RunDirectory(model if model.is_dir() else model.parent)
    fit_on = [] if settings.fit_on is None else [Path(settings.fit_on)]
    read = [
        *source.paths,
        *fit_on,
        *(file for file in own.files() if file.exists() and own.config.exists()),
    ]
    for path in (output, events_output):
        if path is not None:
            refuse_overlap(path, read)
    scorer, run = open_scorer(settings.run, settings.batch_size)
    source.refuse_other_particles(scorer)
    source.choose_split(run)
    rules = _rules(scorer, settings)
    say(f"apply {settings.run} to {len(source.paths)} input(s), method={settings.method}")
    cost = CostModel(settings.cost.generation, settings.cost.network)
    summary = ApplySummary(tuple(scorer.label_names), cost)
    kept: list[npt.NDArray[np.void]] = []
    information = _information(settings.method, settings.seed, scorer, rules)
    # The outer one: both files get their names at the end, this one right after the predictions.
    event_list = atomic_file(events_output, alone=True) if events_output else nullcontext()
    with (
        event_list as partial,
        PredictionsWriter(output, scorer.label_names, information) as writer,
        Progress("apply", total=source.total) as progress,
    ):
        for chunk in source.scored(scorer):
            listed = _write_chunk(writer, chunk, scorer, rules, settings.seed, summary)
            if partial is not None:
                kept.append(listed)
            progress.add(len(chunk.event_type))
        if writer.rows == 0:
            raise InputError(
                "holds no events" if len(source.paths) == 1 else "none of the inputs holds events",
                where=source.paths[0],
                next_step="no predictions were written",
            )
        if partial is not None:
            write_event_list(partial, np.concatenate(kept))
    say(summary.table(scorer.report))
    if settings.method == "threshold":
        say(
            "warning: a threshold biases what it keeps: distributions of kept events differ from "
            "those of all passing ones, and no weight repairs it (method=sampling is unbiased)"
        )
    say(f"predictions: {output}")
    if events_output is not None:
        say(f"kept events: {events_output}")
    return output


def _rules(scorer: Scorer, settings: ApplySettings) -> dict[str, Rule]:
    """Choose the rules, fit them anew where that is asked for, and say what was fitted."""
    by_hand = settings.sampling
    fitted = None
    if settings.fit_on is not None:
        where = Path(settings.fit_on)
        fit = FilterFitSettings(cost=settings.cost, retention=by_hand.retention)
        if by_hand.maximum_weight is not None:
            fit = replace(fit, maximum_weight=by_hand.maximum_weight)
        fitted = refit(where, scorer.label_names, fit), where
    rules = rules_for(
        scorer,
        settings.method,
        settings.threshold,
        by_hand,
        efficiency=settings.efficiency,
        fitted=fitted,
    )
    if settings.efficiency is not None:
        values, where = fitted or scorer.filter_values()
        for skim, rule in rules.items():
            n = int(values[skim]["n_passing"])
            e = settings.efficiency
            say(
                f"{skim}: score >= {vars(rule)['threshold']:.4f} keeps {100 * e:g} +- "
                f"{100 * (e * (1 - e) / n) ** 0.5:.2g} % of the passing events ({n} in {where})"
            )
    elif fitted is not None:
        for skim, entry in fitted[0].items():
            say(
                f"{skim}: a = {entry['a']:.4f} +- {entry['a_error']:.2g}, b = {entry['b']:.4f} +- "
                f"{entry['b_error']:.2g}, weights up to {entry['maximum_weight']:g}: speedup "
                f"{entry['speedup_validation']:.3f} +- {entry['speedup_validation_error']:.2g} "
                f"({entry['n_passing']} of {entry['n_events']} events of {fitted[1]} pass)"
            )
    return rules


def _information(method: str, seed: int, scorer: Scorer, rules: dict[str, Rule]) -> dict[str, Any]:
    return {
        "method": method,
        "seed": seed,
        "model": scorer.where.name,
        "biased": method == "threshold",
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
    refuse_broken_scores(chunk, scorer)
    uniform = random_numbers(chunk.keys, seed)
    decisions = [
        decide(rules[skim].probability(chunk.scores[:, i]), uniform)
        for i, skim in enumerate(scorer.label_names)
    ]
    together = combine(decisions)
    writer.write(chunk.keys, chunk.event_type, chunk.scores, decisions, chunk.labels)
    if summary is not None:
        summary.add(chunk, decisions, together)
    listed = np.zeros(int(together.kept.sum()), dtype=EVENT_LIST)
    for name in KEY_COLUMNS:
        listed[name] = chunk.keys[name][together.kept]
    listed["weight"] = together.weight[together.kept]
    return listed


def predict_split(
    run: RunDirectory,
    dataset: Dataset,
    split: str = "test",
    *,
    seed: int | None = None,
    filter_fit: FilterFitSettings | None = None,
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
    filter_fit : FilterFitSettings, optional
        How the rule is fitted.

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
        fit_filter(run, dataset, filter_fit, scorer)
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
