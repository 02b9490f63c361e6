"""The figures of an evaluation, and the data behind them as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from smartbkg_tf.evaluation import plots
from smartbkg_tf.evaluation.curves import training_curves
from smartbkg_tf.evaluation.evaluated import Model
from smartbkg_tf.evaluation.figures import save_figure
from smartbkg_tf.evaluation.metrics import Estimate
from smartbkg_tf.runtime.files import write_json


def draw_model(model: Model, folder: Path) -> list[Path]:
    """Draw the figures of one model and write their data as JSON.

    Parameters
    ----------
    model : Model
        A measured model.
    folder : pathlib.Path
        Where to write.

    Returns
    -------
    list of pathlib.Path
        The PNG files.

    Raises
    ------
    OutputError
        When a file cannot be written.
    """
    figures: list[Path] = []

    def keep(name: str, data: Any, figure: Any) -> None:
        write_json(folder / f"{name}.json", data)
        figures.append(save_figure(figure, folder / name)[0])

    roc = {skim: result.curves["roc"] for skim, result in model.results.items()}
    recall = {skim: result.curves["precision_recall"] for skim, result in model.results.items()}
    keep("roc", roc, plots.draw_roc(_labelled(model, roc, "AUC", "auc")))
    keep(
        "precision_recall",
        recall,
        plots.draw_precision_recall(_labelled(model, recall, "AP", "average_precision")),
    )
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


def _labelled(model: Model, curves: Mapping[str, Any], short: str, key: str) -> dict[str, Any]:
    """Write the area and its error behind each skim's name."""
    labelled = {}
    for skim, curve in curves.items():
        metrics = model.results[skim].metrics
        estimate = Estimate(metrics[key], metrics[f"{key}_error"])
        labelled[f"{skim}: {short} {estimate.pretty}"] = curve
    return labelled


def draw_comparison(models: Sequence[Model], folder: Path) -> list[Path]:
    """Overlay the curves of several models, one figure for each skim.

    Parameters
    ----------
    models : sequence of Model
        Measured models; nothing is drawn for a single one.
    folder : pathlib.Path
        Where to write.

    Returns
    -------
    list of pathlib.Path
        The PNG files.

    Raises
    ------
    OutputError
        When a file cannot be written.
    """
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
            figures.append(save_figure(draw(labelled, skim), folder / f"{kind}{suffix}")[0])
    return figures
