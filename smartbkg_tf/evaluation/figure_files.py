"""All figures of an evaluation as files: PNG, PDF and JSON, with an index to draw them again."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from smartbkg_tf.errors import ConfigurationError, InputError, UserError, did_you_mean
from smartbkg_tf.evaluation.bias_plots import BiasRankingPlot, EfficiencyPlot, ObservablePlot
from smartbkg_tf.evaluation.figures import figure_style, save_figure
from smartbkg_tf.evaluation.plots import Plot
from smartbkg_tf.evaluation.results import EvaluatedModel
from smartbkg_tf.evaluation.score_plots import (
    CalibrationPlot,
    PrecisionRecallPlot,
    RocPlot,
    ScoresPlot,
)
from smartbkg_tf.evaluation.speedup_plots import (
    SamplingWeightsPlot,
    SpeedupDependencePlot,
    SpeedupPlot,
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
from smartbkg_tf.runtime.files import atomic_file, read_json, write_json
from smartbkg_tf.settings.plugins import make_plugin, plain

#: Built-in figures, in the order of the report within each section.
BUILT_IN: tuple[type[Plot], ...] = (
    RocPlot,
    PrecisionRecallPlot,
    ScoresPlot,
    CalibrationPlot,
    SpeedupPlot,
    SpeedupDependencePlot,
    SamplingWeightsPlot,
    BiasRankingPlot,
    ObservablePlot,
    EfficiencyPlot,
    TrainingPlot,
    OverfittingPlot,
    InputImportancePlot,
    TypeImportancePlot,
    MultiplicityPlot,
    EventTypePlot,
    DecayModePlot,
    WrongEventPlot,
)

_PLOT = "smartbkg_tf.evaluation.plots.Plot"
#: The index in the folder of the figures.
INDEX = "figures.json"
#: Letters of a file name, at most; more are cut off.
_LONGEST = 100


@dataclass(frozen=True)
class DrawnFigure:
    """An entry of the index: what the report says of a figure, and how it is drawn again."""

    file: str  # below the folder of the index, without suffix
    plot: dict[str, Any]  # ``_target_`` and arguments
    heading: str
    caption: str
    section: str
    title: str  # above the figure: the skim, or nothing
    legend: dict[str, str]  # texts of the legend, by the key of the curve in the JSON file
    in_report: bool  # not those of each model beside the comparison of several ones


def draw_models(models: Sequence[EvaluatedModel], folder: Path, own: Sequence[Plot] = ()) -> None:
    """Draw all figures, with their data as JSON beside them and an index.

    The figures of a single model are in `folder`; those of several in a folder for each, and
    comparisons of them in `folder`.
    """
    figures = list(_draw_side_by_side(models, folder, own))
    if len(models) > 1:
        folders = file_names(model.name for model in models)
        for model in models:
            part = folders[model.name]
            figures += [
                replace(figure, file=f"{part}/{figure.file}", in_report=False)
                for figure in _draw_side_by_side([model], folder / part, own)
            ]
    write_json(folder / INDEX, {"figures": [asdict(figure) for figure in figures]})


def _draw_side_by_side(
    models: Sequence[EvaluatedModel], folder: Path, own: Sequence[Plot]
) -> Iterator[DrawnFigure]:
    """Draw what shows one model, or all of several in one figure."""
    several = len(models) > 1
    skims = list(dict.fromkeys(skim for model in models for skim in model.results))
    plots = _all_plots(models, own)
    # The first skim's figures have plain names, which scripts can rely on.
    asked = {
        (plot.name, skim): plot.name if skim == skims[0] else f"{plot.name}\0{skim}"
        for plot in plots
        for skim in skims
    }
    files = file_names(asked.values())
    for plot in plots:
        if plot.overlaid and not several:
            parts = [(models[0], skim, skim) for skim in skims]
            yield from _draw(plot, parts, folder / files[plot.name], "")
        elif plot.overlaid or not several:
            for skim in skims:
                having = [model for model in models if skim in model.results]
                parts = [(model, skim, model.name if several else skim) for model in having]
                yield from _draw(plot, parts, folder / files[asked[plot.name, skim]], skim)


def file_names(names: Iterable[str]) -> dict[str, str]:
    """Give each name a file name of its own, whatever the order of the names.

    Letters that files should not have become ``_``; where that makes two names equal, the one that
    was not changed keeps its own and others get a hash of theirs.
    """
    readable = {name: re.sub(r"[^A-Za-z0-9_.+-]+", "_", name)[:_LONGEST] for name in names}
    number = Counter(readable.values())
    return {
        name: file
        if number[file] == 1 or file == name
        else f"{file}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
        for name, file in readable.items()
    }


def _all_plots(models: Sequence[EvaluatedModel], own: Sequence[Plot]) -> list[Plot]:
    """List the built-in and custom plots; their names must differ."""
    plots = [*(plot for cls in BUILT_IN for plot in cls.instances(models)), *own]
    names = [plot.name for plot in plots]
    for name in names:
        if names.count(name) > 1 or f"{name}.json" == INDEX:
            raise ConfigurationError(
                f"plots: {names.count(name)} figures are called '{name}'",
                next_step="give your class another name, or a property `name`",
            )
    return plots


def _draw(
    plot: Plot, parts: Sequence[tuple[EvaluatedModel, str, str]], file: Path, title: str
) -> Iterator[DrawnFigure]:
    """Draw one figure of the curves of models and skims, each with its label."""
    stored: dict[str, Any] = {}
    legend: dict[str, str] = {}
    with _explained(plot):
        if type(plot).data is Plot.data and type(plot) not in BUILT_IN:
            raise NotImplementedError(f"{type(plot).__name__} has no method data(model, skim)")
        for model, skim, label in parts:
            data = plot.data(model, skim)
            if data is not None:
                stored[label], legend[label] = data, plot.legend(model, skim, label)
    if stored:
        data = stored if plot.overlaid else next(iter(stored.values()))
        yield _drawn(plot, data, file, legend, title)


def _drawn(
    plot: Plot, data: Mapping[str, Any], file: Path, legend: Mapping[str, str], title: str
) -> DrawnFigure:
    """Write the data of a figure as JSON, and draw it of them."""
    with _explained(plot), figure_style():
        write_json(file.with_name(f"{file.name}.json"), data)
        curves = {text: data[label] if plot.overlaid else data for label, text in legend.items()}
        save_figure(plot.draw(curves, title), file)
        words = (plot.heading, plot.explanation, plot.section)
        return DrawnFigure(file.name, plain(plot), *words, title, dict(legend), in_report=True)


@contextlib.contextmanager
def _explained(plot: Plot) -> Iterator[None]:
    """Say of which custom figure an error comes: its methods may raise anything."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if type(plot) in BUILT_IN:
            raise
        raise ConfigurationError(
            f"the figure cannot be drawn ({type(error).__name__}: {error})",
            where=f"plots {type(plot).__module__}.{type(plot).__qualname__}",
        ) from error


def read_index(folder: Path) -> list[DrawnFigure]:
    """Read which figures a folder holds; none where nothing was drawn."""
    file = folder / INDEX
    if not file.is_file():
        return []
    try:
        figures = [DrawnFigure(**values) for values in read_json(file)["figures"]]
        for figure in figures:
            # A report may come from anywhere: what it names lies in its own folder.
            if Path(figure.file).is_absolute() or ".." in Path(figure.file).parts:
                raise ValueError(f"{figure.file} is not in this folder")
        return figures
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"is not an index of figures ({error})", where=file, next_step="evaluate the runs again"
        ) from error


def redraw(source: Path, folder: Path, own: Sequence[Plot] = ()) -> list[str]:
    """Draw all figures of `source` into `folder` (it may be the same) from their JSON files.

    A plot of `own` replaces the class of the figures of its name. Gives remarks: a custom figure
    whose class cannot be imported is copied as it stands.
    """
    figures = read_index(source)
    chosen = {plot.name: plot for plot in own}
    remarks, drawn, found = [], [], set()
    for figure in figures:
        try:
            plot = make_plugin(_PLOT, figure.plot)
        except ValueError as error:
            remarks.append(f"the figure {figure.file} was not drawn again: {error}")
            if folder != source:
                _copy(source, folder, figure.file)
            drawn.append(figure)
            continue
        found.add(plot.name)
        plot = chosen.get(plot.name, plot)
        data = read_json((source / figure.file).with_name(f"{Path(figure.file).name}.json"))
        again = _drawn(plot, data, folder / figure.file, figure.legend, figure.title)
        drawn.append(replace(again, file=figure.file, in_report=figure.in_report))
    for name in chosen.keys() - found:
        raise ConfigurationError(
            f"plots: there are no data of a figure '{name}'; {did_you_mean(name, found)}",
            where=source,
            next_step="evaluate the runs with this figure: runs=[...] instead of from=",
        )
    write_json(folder / INDEX, {"figures": [asdict(figure) for figure in drawn]})
    return remarks


def _copy(source: Path, folder: Path, name: str) -> None:
    for suffix in (".json", ".png", ".pdf"):
        file = (source / name).with_name(f"{Path(name).name}{suffix}")
        if file.is_file():
            with atomic_file(folder / file.relative_to(source)) as partial:
                partial.write_bytes(file.read_bytes())
