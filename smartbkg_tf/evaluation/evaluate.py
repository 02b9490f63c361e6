"""Evaluate one run after its training, or several models side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smartbkg_tf.evaluation import plots
from smartbkg_tf.evaluation.curves import training_curves
from smartbkg_tf.evaluation.metrics import Estimate
from smartbkg_tf.evaluation.observables import read_observables
from smartbkg_tf.evaluation.paired import auc_differences
from smartbkg_tf.evaluation.report import SUMMARY_HEAD, summary_row, text_table, write_report
from smartbkg_tf.evaluation.results import SkimResult, evaluate_predictions
from smartbkg_tf.filtering.filter_file import rules_of
from smartbkg_tf.filtering.predictions import Predictions, read_predictions
from smartbkg_tf.filtering.rules import Rule
from smartbkg_tf.runtime.files import expand_inputs, read_json, whole_directory, write_json
from smartbkg_tf.runtime.progress import Progress, say
from smartbkg_tf.runtime.run_directory import RunDirectory
from smartbkg_tf.settings.errors import InputError
from smartbkg_tf.settings.evaluation import EvaluateSettings, MetricsSettings

_MADE_BY = "python -m smartbkg_tf.train model=resnet"


@dataclass(frozen=True)
class Model:
    """A model to evaluate: its name, its predictions, and its files.

    Parameters
    ----------
    name : str
        Unique among the models of one evaluation.
    predictions : Predictions
        Scores, decisions, labels; of this model alone.
    file : pathlib.Path
        Where they come from.
    run : RunDirectory, optional
        Its run directory.
    """

    name: str
    predictions: Predictions
    file: Path
    run: RunDirectory | None = None
    results: dict[str, SkimResult] = field(default_factory=dict)


def evaluate_run(run: RunDirectory, settings: MetricsSettings | None = None) -> dict[str, Any]:
    """Measure a run on its test events; write metrics.json, plots and report.html.

    Parameters
    ----------
    run : RunDirectory
        A run with ``predictions.parquet``.
    settings : MetricsSettings, optional
        Resamples, working points, costs.

    Returns
    -------
    dict
        What ``metrics.json`` holds: ``auc`` and ``auc_error`` of the first skim (``skim``
        names it), and all numbers by skim under ``skims``.

    Raises
    ------
    InputError
        When predictions are missing, or no skim has events of both kinds.
    """
    chosen = settings or MetricsSettings()
    model = open_model(run.path, run.path.name)
    refused = _measure(model, chosen)
    values = _metrics_of(model, refused)
    figures = _draw_model(model, run.plots)
    write_json(run.metrics, values)
    notes = [f"{skim} was not evaluated: {reason}" for skim, reason in refused.items()]
    write_report(
        run.path / "report.html",
        f"Run {run.path.name}",
        {model.name: values["skims"]},
        figures,
        notes,
    )
    for note in notes:
        say(f"warning: {note}")
    return values


def open_model(path: Path, name: str) -> Model:
    """Read the predictions of a run directory or of a file.

    Parameters
    ----------
    path : pathlib.Path
        A run directory with ``predictions.parquet``, or a predictions file.
    name : str
        What the model is called.

    Returns
    -------
    Model
        Not yet measured.

    Raises
    ------
    InputError
        When the predictions are missing or damaged.
    """
    if not path.is_dir():
        return Model(name, read_predictions(path), path)
    run = RunDirectory(path)
    if not run.predictions.is_file():
        raise InputError(
            "holds no predictions.parquet: it is no run directory, or its training did not end",
            where=path,
            next_step=f"run directories are made by: {_MADE_BY}; predictions for other events by: "
            "python -m smartbkg_tf.apply",
        )
    return Model(name, read_predictions(run.predictions), run.predictions, run)


def _measure(
    model: Model, settings: MetricsSettings, observables: str | None = None
) -> dict[str, str]:
    """Fill in the model's results; return why skims have none."""
    rules: dict[str, Rule] = {}
    calibrations: dict[str, tuple[float, float]] = {}
    if model.run is not None and model.run.filter.is_file():
        stored = read_json(model.run.filter)
        known = tuple(skim for skim in model.predictions.skims if skim in stored)
        rules.update(rules_of(stored, known, model.run.filter))
        for skim in known:
            calibration = stored[skim].get("calibration")
            if calibration:
                calibrations[skim] = (float(calibration["slope"]), float(calibration["intercept"]))
    results, refused = evaluate_predictions(
        model.predictions,
        settings,
        rules=rules,
        calibrations=calibrations,
        observables=(
            None if observables is None else read_observables(observables, model.predictions)
        ),
        where=str(model.file),
    )
    model.results.update(results)
    return refused


def _metrics_of(model: Model, refused: Mapping[str, str]) -> dict[str, Any]:
    skims = {name: result.metrics for name, result in model.results.items()}
    # The first skim's, or the first one's that could be evaluated at all.
    first, headline = next(iter(skims.items()))
    return {
        "auc": headline["auc"],
        "auc_error": headline["auc_error"],
        "skim": first,
        "skims": skims,
        "not_evaluated": dict(refused),
        "n_events": len(model.predictions),
        "predictions": model.predictions.information,
    }


def _draw_model(model: Model, folder: Path) -> list[Path]:
    """Draw the figures of one model; return the PNG files."""
    figures: list[Path] = []

    def keep(name: str, data: Any, figure: Any) -> None:
        write_json(folder / f"{name}.json", data)
        figures.append(plots.save_figure(figure, folder / name)[0])

    roc = {skim: result.curves["roc"] for skim, result in model.results.items()}
    recall = {skim: result.curves["precision_recall"] for skim, result in model.results.items()}
    keep("roc", roc, plots.draw_roc(_with_auc(model, roc)))
    keep("precision_recall", recall, plots.draw_precision_recall(_with_precision(model, recall)))
    for position, (skim, result) in enumerate(model.results.items()):
        # The first skim's figures have plain names, which scripts can rely on.
        suffix = "" if position == 0 else f"_{skim}"
        keep(
            f"scores{suffix}",
            result.curves["scores"],
            plots.draw_scores(result.curves["scores"], skim),
        )
        keep(
            f"calibration{suffix}",
            result.curves["reliability"],
            plots.draw_reliability(result.curves["reliability"], skim),
        )
        for name, data in result.curves.items():
            if name.startswith("observable_"):
                title = name.removeprefix("observable_")
                keep(f"{name}{suffix}", data, plots.draw_observable(data, title, skim))
    if model.run is not None and model.run.history.is_file():
        history = training_curves(model.run.history)
        keep("training", history, plots.draw_training(history))
    return figures


def _with_auc(model: Model, curves: Mapping[str, Any]) -> dict[str, Any]:
    return {
        f"{skim}: AUC {Estimate(m['auc'], m['auc_error']).pretty}": curves[skim]
        for skim, m in ((skim, model.results[skim].metrics) for skim in curves)
    }


def _with_precision(model: Model, curves: Mapping[str, Any]) -> dict[str, Any]:
    return {
        f"{skim}: AP {Estimate(m['average_precision'], m['average_precision_error']).pretty}": curves[
            skim
        ]
        for skim, m in ((skim, model.results[skim].metrics) for skim in curves)
    }


def unique_names(paths: Sequence[Path]) -> list[str]:
    """Give each path the shortest name that tells it from the others.

    Parameters
    ----------
    paths : sequence of pathlib.Path
        Run directories and files, all different.

    Returns
    -------
    list of str
        The last part of each path, with as many folders before it as are needed.
    """
    resolved = [path.resolve() for path in paths]
    parts = [
        (path.with_suffix("") if path.suffix == ".parquet" else path).parts for path in resolved
    ]
    depth = 1
    while depth < max(len(p) for p in parts) and len({p[-depth:] for p in parts}) < len(parts):
        depth += 1
    names = ["/".join(p[-depth:]) for p in parts]
    # x and x.parquet in one folder differ by their suffix alone.
    return names if len(set(names)) == len(names) else [str(path) for path in resolved]


def evaluate(settings: EvaluateSettings) -> Path:
    """Evaluate models side by side; write metrics.json, plots and report.html.

    Parameters
    ----------
    settings : EvaluateSettings
        Models, observables, output.

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    UserError
        When predictions or observables are missing or damaged, a model has no events of
        both kinds, or the output exists or cannot be written.
    """
    paths = expand_inputs(settings.runs, option="runs", made_by=_MADE_BY)
    models: list[Model] = []
    notes: list[str] = []
    values: dict[str, Any] = {"models": {}}
    with whole_directory(settings.output, overwrite=settings.overwrite) as folder:
        with Progress("evaluate", total=len(paths), unit="model") as progress:
            for path, name in zip(paths, unique_names(paths), strict=True):
                model = open_model(path, name)
                refused = _measure(model, settings.metrics, settings.observables)
                notes += [
                    f"{name}: {skim} was not evaluated: {why}" for skim, why in refused.items()
                ]
                values["models"][name] = _metrics_of(model, refused)
                models.append(model)
                progress.add(1)
        figures = _draw_comparison(models, folder / "plots")
        for model in models:
            own = (
                folder / "plots" / model.name.replace("/", "_")
                if len(models) > 1
                else folder / "plots"
            )
            drawn = _draw_model(model, own)
            figures += drawn if len(models) == 1 else []
        differences, remarks = auc_differences(
            {model.name: model.predictions for model in models},
            number=settings.metrics.bootstrap,
            seed=settings.metrics.seed,
        )
        notes += remarks
        values["auc_differences"] = differences
        first = values["models"][models[0].name]
        values = {
            "auc": first["auc"],
            "auc_error": first["auc_error"],
            "skims": first["skims"],
            **values,
        }
        write_json(folder / "metrics.json", values)
        rows = [
            [d["model"], d["other"], d["skim"], str(Estimate(d["difference"], d["error"]))]
            for d in differences
        ]
        write_report(
            folder / "report.html",
            "Evaluation",
            {model.name: values["models"][model.name]["skims"] for model in models},
            figures,
            notes,
            rows,
        )
    lines = [
        summary_row(model.name, skim, result.metrics)
        for model in models
        for skim, result in model.results.items()
    ]
    say(text_table(SUMMARY_HEAD, lines))
    if rows:
        say(text_table(("AUC difference", "other model", "skim", "difference"), rows))
    for note in notes:
        say(f"warning: {note}")
    say(f"report: {Path(settings.output) / 'report.html'}")
    return Path(settings.output)


def _draw_comparison(models: Sequence[Model], folder: Path) -> list[Path]:
    """Overlay the curves of several models, one figure for each skim."""
    if len(models) < 2:
        return []
    figures = []
    skims = list(dict.fromkeys(skim for model in models for skim in model.results))
    for position, skim in enumerate(skims):
        suffix = "" if position == 0 else f"_{skim}"
        having = [model for model in models if skim in model.results]
        for kind, draw, short, key in (
            ("roc", plots.draw_roc, "AUC", "auc"),
            ("precision_recall", plots.draw_precision_recall, "AP", "average_precision"),
        ):
            data = {model.name: model.results[skim].curves[kind] for model in having}
            labelled = {}
            for model in having:
                m = model.results[skim].metrics
                estimate = Estimate(m[key], m[f"{key}_error"])
                labelled[f"{model.name}: {short} {estimate.pretty}"] = data[model.name]
            write_json(folder / f"{kind}{suffix}.json", data)
            figures.append(plots.save_figure(draw(labelled, skim), folder / f"{kind}{suffix}")[0])
    return figures
