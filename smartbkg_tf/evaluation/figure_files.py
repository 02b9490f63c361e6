"""All figures of an evaluation as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from smartbkg_tf.errors import ConfigurationError, UserError
from smartbkg_tf.evaluation.bias_plots import ObservablePlot
from smartbkg_tf.evaluation.figures import save_figure
from smartbkg_tf.evaluation.plots import Plot
from smartbkg_tf.evaluation.results import EvaluatedModel
from smartbkg_tf.evaluation.score_plots import (
    CalibrationPlot,
    PrecisionRecallPlot,
    RocPlot,
    ScoresPlot,
)
from smartbkg_tf.evaluation.training_plots import TrainingPlot
from smartbkg_tf.evaluation.understanding.plots import (
    DecayModePlot,
    EventTypePlot,
    InputImportancePlot,
    MultiplicityPlot,
    OverfittingPlot,
    TypeImportancePlot,
)
from smartbkg_tf.evaluation.understanding.tree_plot import WrongEventPlot
from smartbkg_tf.runtime.files import write_json

#: Built-in figures, in the order of the report within each section.
BUILT_IN: tuple[type[Plot], ...] = (
    RocPlot,
    PrecisionRecallPlot,
    ScoresPlot,
    CalibrationPlot,
    ObservablePlot,
    TrainingPlot,
    OverfittingPlot,
    InputImportancePlot,
    TypeImportancePlot,
    MultiplicityPlot,
    EventTypePlot,
    DecayModePlot,
    WrongEventPlot,
)


def draw_models(
    models: Sequence[EvaluatedModel], folder: Path, own: Sequence[Plot] = ()
) -> list[Path]:
    """Draw all figures, with their data as JSON beside them.

    The figures of a single model are in `folder`; those of several in a folder for each, and
    comparisons of them in `folder`. Gives the PNG files directly in `folder`.
    """
    figures = []
    several = len(models) > 1
    skims = list(dict.fromkeys(skim for model in models for skim in model.results))
    for plot in _all_plots(models, own):
        if plot.overlaid and not several:
            parts = [(models[0], skim, skim) for skim in skims]
            figures += _draw(plot, parts, folder / plot.name, "")
        elif plot.overlaid or not several:
            for skim in skims:
                having = [model for model in models if skim in model.results]
                parts = [(model, skim, model.name if several else skim) for model in having]
                # The first skim's figures have plain names, which scripts can rely on.
                name = plot.name if skim == skims[0] else f"{plot.name}_{skim}"
                figures += _draw(plot, parts, folder / name, skim)
    for model in models if several else ():
        draw_models([model], folder / model.name.replace("/", "_"), own)
    return figures


def _all_plots(models: Sequence[EvaluatedModel], own: Sequence[Plot]) -> list[Plot]:
    """List the built-in and custom plots; their names must differ."""
    plots = [*(plot for cls in BUILT_IN for plot in cls.instances(models)), *own]
    names = [plot.name for plot in plots]
    for name in names:
        if names.count(name) > 1:
            raise ConfigurationError(
                f"plots: {names.count(name)} figures are called '{name}'",
                next_step="give your class another name, or a property `name`",
            )
    return plots


def _draw(
    plot: Plot, parts: Sequence[tuple[EvaluatedModel, str, str]], file: Path, title: str
) -> list[Path]:
    """Draw one figure of the curves of models and skims, each with its label."""
    try:
        if type(plot).data is Plot.data and type(plot) not in BUILT_IN:
            raise NotImplementedError(f"{type(plot).__name__} has no method data(model, skim)")
        curves: dict[str, Any] = {}
        stored: Any = {}
        for model, skim, label in parts:
            data = plot.data(model, skim)
            if data is not None:
                curves[plot.legend(model, skim, label)] = data
                stored = {**stored, label: data} if plot.overlaid else data
        if not curves:
            return []
        write_json(file.with_name(f"{file.name}.json"), stored)
        return save_figure(plot.draw(curves, title), file)[:1]
    except UserError:
        raise
    except Exception as error:  # a user's plot may raise anything
        if type(plot) in BUILT_IN:
            raise
        raise ConfigurationError(
            f"the figure cannot be drawn ({type(error).__name__}: {error})",
            where=f"plots {type(plot).__module__}.{type(plot).__qualname__}",
        ) from error
