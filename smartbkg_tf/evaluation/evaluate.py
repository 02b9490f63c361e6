"""Evaluate one run after its training, or several models side by side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smartbkg_tf.errors import ConfigurationError, did_you_mean
from smartbkg_tf.evaluation.comparison import compare_models, comparison_table
from smartbkg_tf.evaluation.figure_files import draw_models
from smartbkg_tf.evaluation.html_report import SUMMARY_HEAD, summary_row, write_report
from smartbkg_tf.evaluation.inputs import find_models, named_skims, unique_names
from smartbkg_tf.evaluation.redraw import WRITTEN, redraw_report
from smartbkg_tf.evaluation.results import EvaluatedModel, evaluate_model
from smartbkg_tf.evaluation.understanding.understand import understand
from smartbkg_tf.runtime.files import atomic_directory, expand_inputs, write_json
from smartbkg_tf.runtime.progress import Progress, say
from smartbkg_tf.runtime.run_directory import RunDirectory
from smartbkg_tf.runtime.text_table import text_table
from smartbkg_tf.settings.evaluation import EvaluateSettings, MetricsSettings


def evaluate_run(run: RunDirectory, settings: MetricsSettings | None = None) -> dict[str, Any]:
    """Measure a run on its test events; write metrics.json, plots and report.html.

    Gives what ``metrics.json`` holds: ``auc`` and ``auc_error`` of the first skim (``skim`` names
    it), and all numbers by skim under ``skims``.
    """
    settings = settings or MetricsSettings()
    model = evaluate_model(run.path, run.path.name, settings)
    for text in understand(model, settings):
        say(f"note: {text}")
    notes = model.notes + [
        f"{skim} was not evaluated: {reason}" for skim, reason in model.refused.items()
    ]
    values = {**model.metrics(), "notes": notes}
    draw_models([model], run.plots)
    write_json(run.metrics, values)
    write_report(run.path, run.path.name)
    for note in notes:
        say(f"warning: {note}")
    return values


def evaluate(settings: EvaluateSettings) -> Path:
    """Evaluate models side by side; write metrics.json, plots and report.html into a folder."""
    if settings.from_ is not None:
        return redraw_report(settings, Path(settings.from_))
    if settings.runs is None or settings.output is None:
        missing = "runs" if settings.runs is None else "output"
        raise ConfigurationError(
            f"{missing}: a value is needed",
            next_step="give runs=[RUN_DIR,...] output=DIR, or from=REPORT_DIR to draw again",
        )
    paths, notes = find_models(settings.runs)
    inputs = [*paths]
    if settings.observables is not None:
        inputs += expand_inputs(settings.observables, option="observables")
    skims = named_skims(paths) or ["skim"]
    if isinstance(settings.metrics.retention, Mapping):
        for name in settings.metrics.retention.keys() - {*skims}:
            raise ConfigurationError(
                f"metrics.retention: there is no skim '{name}'; {did_you_mean(name, skims)}"
            )
    models: list[EvaluatedModel] = []
    with atomic_directory(
        settings.output, overwrite=settings.overwrite, own=WRITTEN, inputs=inputs
    ) as folder:
        with Progress("evaluate", total=len(paths), unit="model") as progress:
            for path, name in zip(paths, unique_names(paths), strict=True):
                model = evaluate_model(path, name, settings.metrics, settings.observables, skims[0])
                models.append(model)
                unexplained = understand(
                    model,
                    settings.metrics,
                    dataset=settings.dataset,
                    ask=settings.understanding,
                )
                for text in unexplained:
                    say(f"note: {text}")
                progress.add(1)
        draw_models(models, folder / "plots", settings.plots)
        comparison = compare_models(
            {model.name: model.predictions for model in models},
            {model.name: model.conditions for model in models},
            settings.metrics.bootstrap,
            settings.metrics.seed,
        )
        for model in models:
            notes += [f"{model.name}: {note}" for note in model.notes]
            notes += [
                f"{model.name}: {skim} was not evaluated: {why}"
                for skim, why in model.refused.items()
            ]
        notes += comparison.notes
        metrics = {model.name: model.metrics() for model in models}
        first = metrics[models[0].name]
        write_json(
            folder / "metrics.json",
            {
                **{key: first[key] for key in ("auc", "auc_error", "skims")},
                "models": metrics,
                "auc_differences": comparison.differences,
                "comparison": comparison.skims,
                "notes": notes,
            },
        )
        # The best one first, by the AUC of its first skim.
        best_first = sorted(metrics, key=lambda name: -metrics[name]["auc"])
        results = {name: metrics[name]["skims"] for name in best_first}
        write_report(folder, Path(settings.output).name)
    lines = [summary_row(name, skim, of) for name in results for skim, of in results[name].items()]
    say(text_table(SUMMARY_HEAD, lines))
    for skim, of in comparison.skims.items():
        say(comparison_table(skim, of))
    for note in notes:
        say(f"warning: {note}")
    say(f"report: {Path(settings.output) / 'report.html'}")
    return Path(settings.output)
