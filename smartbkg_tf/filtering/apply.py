"""Apply a model: scores, decisions and weights of events, or of one part of a dataset."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from smartbkg_tf.dataset.dataset import Dataset
from smartbkg_tf.errors import InputError
from smartbkg_tf.events.table import KEY_COLUMNS
from smartbkg_tf.filtering.apply_parts import (
    ApplyJob,
    make_parts,
    open_once,
    parts_folder,
    read_part,
)
from smartbkg_tf.filtering.apply_summary import ApplySummary
from smartbkg_tf.filtering.decider import Decider
from smartbkg_tf.filtering.event_source import EventsToScore, score_rows, split_of_run
from smartbkg_tf.filtering.filter_fit import fit_filter, fit_on_predictions
from smartbkg_tf.filtering.predictions import PredictionsWriter, decisions_of
from smartbkg_tf.filtering.rules import (
    KeepAll,
    Rule,
    SamplingRule,
    ThresholdRule,
    combine,
)
from smartbkg_tf.filtering.scorers import KerasScorer, Scorer
from smartbkg_tf.runtime.cluster import require_packages
from smartbkg_tf.runtime.files import atomic_file
from smartbkg_tf.runtime.outputs import check_output, refuse_overlap
from smartbkg_tf.runtime.progress import Progress, say
from smartbkg_tf.runtime.run_directory import RunDirectory
from smartbkg_tf.settings.filtering import ApplySettings, FilterFitSettings

#: Columns of an event list.
_EVENT_LIST = np.dtype([*((name, np.int64) for name in KEY_COLUMNS), ("weight", np.float64)])


def apply(settings: ApplySettings) -> Path:
    """Score events, decide which of them are simulated, and give the path of the predictions."""
    output = Path(settings.output)
    events_output = None if settings.events_output is None else Path(settings.events_output)
    outputs = [path for path in (output, events_output) if path is not None]
    for path in outputs:
        check_output(path, overwrite=settings.overwrite)
    require_packages(settings.cluster)
    # Inputs first: a wrong name is reported before a model is loaded for seconds.
    source = EventsToScore(settings)
    read = list(source.paths)
    # Other predictions may be in a run directory, but not in the place of its own files.
    model = Path(settings.run)
    own = RunDirectory(model if model.is_dir() else model.parent)
    if own.config.exists():
        read += [file for file in own.files() if file.exists()]
    if settings.fit_on is not None:
        read.append(Path(settings.fit_on))
    for path in outputs:
        refuse_overlap(path, read)
    settings = replace(settings, run=str(model.expanduser().absolute()))
    try:
        scorer, run = open_once(settings.run, settings.batch_size)
        source.prepare(scorer, run)
        rules = rules_for(scorer, settings)
        job, parts = ApplyJob.of(settings, scorer, rules, source.readers), source.parts()
        say(
            f"apply {model} to {len(source.paths)} input(s) in {len(parts)} part(s), "
            f"method={settings.method}"
        )
        with parts_folder(job):
            summary = _join(make_parts(parts, job), scorer, job, output, events_output, source)
    finally:
        open_once.cache_clear()
    say(summary.text())
    if settings.method == "threshold":
        say(
            "warning: a threshold biases what it keeps: distributions of kept events differ from "
            "those of all passing ones, and no weight repairs it (method=sampling is unbiased)"
        )
    say(f"predictions: {output}")
    if events_output is not None:
        say(f"kept events: {events_output}")
    return output


def _join(
    files: Sequence[Path],
    scorer: Scorer,
    job: ApplyJob,
    output: Path,
    events_output: Path | None,
    source: EventsToScore,
) -> ApplySummary:
    """Put the parts together into the predictions and the list of kept events."""
    settings = job.settings
    information = Decider(scorer, job.rules, settings.seed, settings.method).information
    summary = ApplySummary(scorer.label_names, settings.cost)
    # The outer one: both files get their names at the end, this one right after the predictions.
    event_list = (
        atomic_file(events_output, alone=True, overwrite=settings.overwrite)
        if events_output
        else nullcontext()
    )
    with (
        event_list as partial,
        PredictionsWriter(
            output, scorer.label_names, information, overwrite=settings.overwrite
        ) as writer,
    ):
        for file in files:
            tables, report = read_part(file)
            summary.add_report(report)
            for table in tables:
                writer.write_table(table)
                decisions, labels = decisions_of(table, scorer.label_names)
                summary.add(decisions, labels, combine(decisions))
        if writer.rows == 0:
            raise InputError(
                "holds no events" if len(source.paths) == 1 else "none of the inputs holds events",
                where=source.paths[0],
                next_step="no predictions were written",
            )
        if partial is not None:
            write_event_list(partial, _kept_events(files))
    return summary


def rules_for(scorer: Scorer, settings: ApplySettings) -> dict[str, Rule]:
    """Choose the rule of every skim; fit it again if asked to, and print the result."""
    skims, by_hand = scorer.label_names, settings.sampling
    if settings.method == "score":
        return {skim: KeepAll() for skim in skims}
    if settings.threshold is not None:  # 0.0 is a threshold
        return {skim: ThresholdRule(threshold=settings.threshold) for skim in skims}
    if settings.rule is not None:
        return dict.fromkeys(skims, settings.rule)
    given: dict[str, Any] = {}
    if by_hand.maximum_weight is not None:
        given["maximum_weight"] = by_hand.maximum_weight
    if by_hand.a is not None and by_hand.b is not None:
        return {skim: SamplingRule(a=by_hand.a, b=by_hand.b, **given) for skim in skims}
    if settings.fit_on is None:
        fitted = scorer.fitted_filter()
    else:
        fit = FilterFitSettings(cost=settings.cost, retention=by_hand.retention)
        fitted = fit_on_predictions(Path(settings.fit_on), skims, replace(fit, **given))
    if settings.efficiency is not None:
        thresholds = fitted.thresholds(skims, settings.efficiency)
        for skim, rule in thresholds.items():
            n, e = int(fitted.values[skim]["n_passing"]), settings.efficiency
            say(
                f"{skim}: score >= {rule.threshold:.4f} keeps {100 * e:g} +- "
                f"{100 * (e * (1 - e) / n) ** 0.5:.2g} % of the passing events ({n} in "
                f"{fitted.where})"
            )
        return dict(thresholds)
    if settings.fit_on is not None:
        for skim, entry in fitted.values.items():
            say(
                f"{skim}: a = {entry['a']:.4f} +- {entry['a_error']:.2g}, b = {entry['b']:.4f} +- "
                f"{entry['b_error']:.2g}, weights up to {entry['maximum_weight']:g}: speedup "
                f"{entry['speedup_validation']:.3f} +- {entry['speedup_validation_error']:.2g} "
                f"({entry['n_passing']} of {entry['n_events']} events of {fitted.where} pass)"
            )
    return {skim: replace(rule, **given) for skim, rule in fitted.rules(skims).items()}


def _kept_events(files: Sequence[Path]) -> Iterator[npt.NDArray[np.void]]:
    """Give keys and weights of the events of parts that are kept for any skim."""
    for file in files:
        for table in read_part(file, [*KEY_COLUMNS, "kept", "weight"])[0]:
            kept = table.filter(table.column("kept"))
            listed = np.zeros(len(kept), dtype=_EVENT_LIST)
            for name in _EVENT_LIST.names or ():
                listed[name] = kept.column(name).to_numpy()
            yield listed


def write_event_list(path: Path, pieces: Iterable[npt.NDArray[np.void]]) -> None:
    """Write keys and weights of the events to be simulated as .csv, .npy or .parquet."""
    import pandas as pd
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    names = _EVENT_LIST.names or ()
    if path.suffix == ".parquet":
        schema = pa.schema([(name, pa.from_numpy_dtype(_EVENT_LIST[name])) for name in names])
        with ParquetWriter(path, schema) as writer:
            for piece in pieces:
                writer.write_table(pa.table([piece[name] for name in names], schema=schema))
        return
    with open(path, "wb") as stream:
        written = 0
        if path.suffix == ".npy":
            _write_header(stream, written)
        for i, piece in enumerate(pieces):
            if path.suffix == ".npy":
                stream.write(piece.tobytes())
            else:
                frame = pd.DataFrame({name: piece[name] for name in names})
                frame.to_csv(stream, index=False, header=i == 0)
            written += len(piece)
        if path.suffix == ".npy":
            stream.seek(0)
            _write_header(stream, written)


def _write_header(stream: BinaryIO, n_events: int) -> None:
    """Write the head of a .npy file; NumPy leaves room in it for the number to grow."""
    descr = np.lib.format.dtype_to_descr(_EVENT_LIST)
    head = {"descr": descr, "fortran_order": False, "shape": (n_events,)}
    np.lib.format.write_array_header_1_0(stream, head)


def predict_split(
    run: RunDirectory,
    dataset: Dataset,
    split: str = "test",
    *,
    filter_fit: FilterFitSettings | None = None,
) -> Path:
    """Score one part of the dataset of a run and write its ``predictions.parquet``.

    Decisions are those of the fitted sampling rule, with the seed of the training; if there is no
    ``filter.json`` yet, the rule is fitted on validation events first.
    """
    scorer = KerasScorer(run)
    if not run.filter.is_file():
        fit_filter(run, dataset, filter_fit, scorer)
    seed = int(run.read_config().get("training", {}).get("seed") or 0)
    rows = split_of_run(run, dataset)[split]
    if not len(rows):
        raise InputError(
            f"there are no {split} events",
            where=dataset.path,
            next_step=f"raise data.fractions.{split}, or produce more events",
        )
    decider = Decider(scorer, scorer.fitted_filter().rules(scorer.label_names), seed, "sampling")
    with (
        PredictionsWriter(
            run.predictions, scorer.label_names, {**decider.information, "split": split}
        ) as writer,
        Progress(f"score {split} events", total=len(rows)) as progress,
    ):
        for start in range(0, len(rows), 20000):
            chunk = score_rows(scorer, dataset, rows[start : start + 20000])
            decider.write(writer, chunk)
            progress.add(len(chunk.event_type))
    return run.predictions
