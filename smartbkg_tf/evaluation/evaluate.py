"""Evaluate one run after its training, or several models side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from smartbkg_tf.evaluation.evaluated_model import MADE_BY, EvaluatedModel, open_model, unique_names
from smartbkg_tf.evaluation.html_report import SUMMARY_HEAD, summary_row, write_report
from smartbkg_tf.evaluation.metrics import Estimate
from smartbkg_tf.evaluation.observables import read_observables
from smartbkg_tf.evaluation.paired import auc_differences
from smartbkg_tf.evaluation.plots import draw_models
from smartbkg_tf.evaluation.results import evaluate_predictions
from smartbkg_tf.filtering.filter_file import read_filter
from smartbkg_tf.filtering.rules import SamplingRule
from smartbkg_tf.runtime.files import atomic_directory, expand_inputs, write_json
from smartbkg_tf.runtime.progress import Progress, say
from smartbkg_tf.runtime.run_directory import RunDirectory
from smartbkg_tf.runtime.text_table import text_table
from smartbkg_tf.settings.evaluation import EvaluateSettings, MetricsSettings

#: What the folder holds.
WRITTEN = ("metrics.json", "report.html", "plots")


def evaluate_run(run: RunDirectory, settings: MetricsSettings | None = None) -> dict[str, Any]:
    """Measure a run on its test events; write metrics.json, plots and report.html.

    Gives what ``metrics.json`` holds: ``auc`` and ``auc_error`` of the first skim (``skim`` names
    it), and all numbers by skim under ``skims``.
    """
    model = open_model(run.path, run.path.name)
    _measure(model, settings or MetricsSettings())
    values = _metrics_of(model)
    figures = draw_models([model], run.plots)
    write_json(run.metrics, values)
    notes = [f"{skim} was not evaluated: {reason}" for skim, reason in model.refused.items()]
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
    model: EvaluatedModel, settings: MetricsSettings, observables: str | None = None
) -> None:
    """Fill in the model's results, and why skims have none."""
    rules: dict[str, SamplingRule] = {}
    calibrations: dict[str, tuple[float, float]] = {}
    if model.run is not None and model.run.filter.is_file():
        fitted = read_filter(model.run.filter)
        rules = fitted.rules([skim for skim in model.predictions.skims if skim in fitted.values])
        calibrations = fitted.calibrations()
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
    model.refused.update(refused)


def _metrics_of(model: EvaluatedModel) -> dict[str, Any]:
    skims = {name: result.metrics for name, result in model.results.items()}
    # The first skim's, or the first one's that could be evaluated at all.
    first, headline = next(iter(skims.items()))
    return {
        "auc": headline["auc"],
        "auc_error": headline["auc_error"],
        "skim": first,
        "skims": skims,
        "not_evaluated": dict(model.refused),
        "n_events": len(model.predictions),
        "predictions": model.predictions.information,
    }


def evaluate(settings: EvaluateSettings) -> Path:
    """Evaluate models side by side; write metrics.json, plots and report.html into a folder."""
    paths = expand_inputs(settings.runs, option="runs", made_by=MADE_BY)
    inputs = [*paths] if settings.observables is None else [*paths, Path(settings.observables)]
    models: list[EvaluatedModel] = []
    with atomic_directory(
        settings.output, overwrite=settings.overwrite, own=WRITTEN, inputs=inputs
    ) as folder:
        with Progress("evaluate", total=len(paths), unit="model") as progress:
            for path, name in zip(paths, unique_names(paths), strict=True):
                models.append(open_model(path, name))
                _measure(models[-1], settings.metrics, settings.observables)
                progress.add(1)
        figures = draw_models(models, folder / "plots", settings.plots)
        differences, remarks = auc_differences({model.name: model.predictions for model in models})
        notes = [
            f"{model.name}: {skim} was not evaluated: {why}"
            for model in models
            for skim, why in model.refused.items()
        ] + remarks
        metrics = {model.name: _metrics_of(model) for model in models}
        first = metrics[models[0].name]
        write_json(
            folder / "metrics.json",
            {
                **{key: first[key] for key in ("auc", "auc_error", "skims")},
                "models": metrics,
                "auc_differences": differences,
            },
        )
        rows = [
            [d["model"], d["other"], d["skim"], str(Estimate(d["difference"], d["error"]))]
            for d in differences
        ]
        write_report(
            folder / "report.html",
            "Evaluation",
            {name: values["skims"] for name, values in metrics.items()},
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
