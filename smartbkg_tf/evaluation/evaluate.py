"""Evaluate one run after its training, or several models side by side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smartbkg_tf.evaluation.drawing import draw_comparison, draw_model
from smartbkg_tf.evaluation.evaluated import MADE_BY, Model, open_model, unique_names
from smartbkg_tf.evaluation.metrics import Estimate
from smartbkg_tf.evaluation.observables import read_observables
from smartbkg_tf.evaluation.paired import auc_differences
from smartbkg_tf.evaluation.report import SUMMARY_HEAD, summary_row, text_table, write_report
from smartbkg_tf.evaluation.results import evaluate_predictions
from smartbkg_tf.filtering.filter_file import rules_of
from smartbkg_tf.filtering.rules import Rule
from smartbkg_tf.runtime.files import atomic_directory, expand_inputs, read_json, write_json
from smartbkg_tf.runtime.progress import Progress, say
from smartbkg_tf.runtime.run_directory import RunDirectory
from smartbkg_tf.settings.evaluation import EvaluateSettings, MetricsSettings

#: What stands in the folder.
WRITTEN = ("metrics.json", "report.html", "plots")


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
    figures = draw_model(model, run.plots)
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
    paths = expand_inputs(settings.runs, option="runs", made_by=MADE_BY)
    models: list[Model] = []
    notes: list[str] = []
    values: dict[str, Any] = {"models": {}}
    inputs = [*paths] if settings.observables is None else [*paths, Path(settings.observables)]
    with atomic_directory(
        settings.output, overwrite=settings.overwrite, own=WRITTEN, inputs=inputs
    ) as folder:
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
        figures = draw_comparison(models, folder / "plots")
        for model in models:
            own = (
                folder / "plots" / model.name.replace("/", "_")
                if len(models) > 1
                else folder / "plots"
            )
            drawn = draw_model(model, own)
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
