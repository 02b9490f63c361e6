"""The figures of an evaluation, built-in and custom ones."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from smartbkg_tf.errors import ConfigurationError, UserError
from smartbkg_tf.evaluation.curves import training_curves
from smartbkg_tf.evaluation.figures import COLOURS, REFERENCE, line_styles, new_figure, save_figure
from smartbkg_tf.evaluation.metrics import Estimate
from smartbkg_tf.evaluation.results import EvaluatedModel
from smartbkg_tf.runtime.files import write_json
from smartbkg_tf.settings.base import settings
from smartbkg_tf.settings.plugins import Plugin

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Curves by the text of the legend.
Curves = Mapping[str, Any]


class Plot(Plugin):
    """One figure of an evaluation: data that are saved as JSON, and how they are drawn.

    A custom figure inherits this class, is declared with
    `smartbkg_tf.settings.base.settings`, and is chosen by
    ``evaluate 'plots=[{_target_: my_module.WeightsPlot, bins: 30}]'``. It is drawn for every
    model and skim; its files are named after the class, in lower case and without "Plot":
    ``weights.png``. matplotlib is imported inside methods.

    Attributes
    ----------
    overlaid : bool, default False
        Whether curves of several skims, and of several models, share one figure.

    Examples
    --------
    ::

        import numpy as np

        from smartbkg_tf.evaluation.figures import new_figure
        from smartbkg_tf.evaluation.plots import Plot
        from smartbkg_tf.settings.base import settings

        @settings
        class WeightsPlot(Plot):
            bins: int = 20

            def data(self, model, skim):
                weights = model.predictions.skims[skim].weight
                counts, edges = np.histogram(weights[weights > 0], self.bins)
                return {"counts": counts.tolist(), "edges": edges.tolist()}

            def draw(self, curves, title):
                figure, axes = new_figure()
                for label, curve in curves.items():
                    axes.stairs(curve["counts"], curve["edges"], label=label)
                axes.set(xlabel="weight", ylabel="events", title=title)
                axes.legend()
                return figure
    """

    overlaid: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """Name of the files, without suffix: that of the class, without Plot."""
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(self).__name__).lower()
        return words.removesuffix("_plot")

    def data(self, model: EvaluatedModel, skim: str) -> dict[str, Any] | None:
        """Give what is drawn; by default the curve of the same name.

        Parameters
        ----------
        model : EvaluatedModel
            ``model.predictions.skims[skim]`` holds score, probability, kept, weight and label,
            arrays of equal length; ``model.results[skim]`` holds metrics and curves.
        skim : str
            One of ``model.results``.

        Returns
        -------
        dict or None
            Plain values, as JSON can hold them; None draws nothing.
        """
        curves = model.results[skim].curves
        if self.name not in curves:
            raise NotImplementedError(f"{type(self).__name__} has no method data(model, skim)")
        curve: dict[str, Any] = curves[self.name]
        return curve

    def legend(self, model: EvaluatedModel, skim: str, label: str) -> str:
        """Give the text of the legend for a curve; `label` names its skim or its model."""
        return label

    def draw(self, curves: Curves, title: str) -> Figure:
        """Draw.

        Parameters
        ----------
        curves : mapping of str to dict
            From `data`, by the text of the legend; a single one unless `overlaid`.
        title : str
            Above the figure; may be empty.

        Returns
        -------
        matplotlib.figure.Figure
            The figure, for example from `smartbkg_tf.evaluation.figures.new_figure`.
        """
        raise NotImplementedError(f"{type(self).__name__} has no method draw(curves, title)")


class _AreaPlot(Plot):
    """Curves with bands over each other, with the area below each in the legend."""

    overlaid: ClassVar[bool] = True
    area: ClassVar[tuple[str, str]]  # its short name, and its key in ``metrics.json``
    columns: ClassVar[tuple[str, str]]  # x and y of the curve
    axis_labels: ClassVar[tuple[str, str]]
    legend_place: ClassVar[str]

    def legend(self, model: EvaluatedModel, skim: str, label: str) -> str:
        """Add the area and its error."""
        short, key = self.area
        return f"{label}: {short} {Estimate.of(model.results[skim].metrics, key).pretty}"

    def draw(self, curves: Curves, title: str) -> Figure:
        """Draw."""
        x, y = self.columns
        figure, axes = new_figure(5.6, 5.2)
        for (label, curve), style in zip(curves.items(), line_styles(len(curves)), strict=True):
            band = (curve[x], curve["low"], curve["high"])
            axes.fill_between(*band, color=style["color"], alpha=0.2, linewidth=0)
            axes.plot(curve[x], curve[y], label=label, **style)
        self._draw_guess(axes, curves)
        axes.set(xlim=(0, 1), ylim=(0, 1.005), title=title)
        axes.set(xlabel=self.axis_labels[0], ylabel=self.axis_labels[1])
        axes.legend(loc=self.legend_place, frameon=False, title="bands: 68 % (bootstrap)")
        return figure

    def _draw_guess(self, axes: Axes, curves: Curves) -> None:
        """Draw the curve of a random guess."""
        raise NotImplementedError


@settings
class RocPlot(_AreaPlot):
    """ROC curves over each other."""

    area = ("AUC", "auc")
    columns = ("false_rate", "efficiency")
    axis_labels = (
        "kept fraction of failing events",
        "kept fraction of passing events (efficiency)",
    )
    legend_place = "lower right"

    def _draw_guess(self, axes: Axes, curves: Curves) -> None:
        axes.plot([0, 1], [0, 1], label="guess (AUC 0.5)", **REFERENCE)


@settings
class PrecisionRecallPlot(_AreaPlot):
    """Precision-recall curves over each other."""

    area = ("AP", "average_precision")
    columns = ("recall", "precision")
    axis_labels = (
        "recall (kept fraction of passing events)",
        "precision (passing fraction of kept events)",
    )
    legend_place = "upper right"

    def _draw_guess(self, axes: Axes, curves: Curves) -> None:
        for retention in sorted({round(curve["retention"], 6) for curve in curves.values()}):
            axes.axhline(retention, label=f"guess (retention {retention:.3g})", **REFERENCE)


@settings
class ScoresPlot(Plot):
    """Distributions of the score, and the sampling probability."""

    def draw(self, curves: Curves, title: str) -> Figure:
        """Draw."""
        (histogram,) = curves.values()
        figure, axes = new_figure(6.4, 4.6)
        edges = np.array(histogram["edges"])
        centres, widths = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
        for name, style in zip(("failing", "passing"), line_styles(2), strict=True):
            counts = np.array(histogram[name], dtype=np.float64)
            scale = counts.sum() * widths
            density, error = counts / scale, np.sqrt(counts) / scale
            axes.stairs(density, edges, label=f"{name} events ({counts.sum():.0f})", **style)
            bars = {"fmt": "none", "ecolor": style["color"], "elinewidth": 1}
            axes.errorbar(centres, density, yerr=error, **bars)
        axes.set(xlabel="score (logit)", ylabel="fraction of events / unit of score", title=title)
        axes.set_ylim(bottom=0, top=axes.get_ylim()[1] * 1.25)
        handles, labels = axes.get_legend_handles_labels()
        if "probability" in histogram:
            right = axes.twinx()
            right.plot(
                histogram["score"],
                histogram["probability"],
                color=COLOURS[2],
                linestyle="-.",
                label="sampling probability (right axis)",
            )
            right.set(ylim=(0, 1.25), ylabel="sampling probability")
            right.set_yticks(np.linspace(0, 1, 6))
            right.spines[["top"]].set_visible(False)
            more = right.get_legend_handles_labels()
            handles, labels = handles + more[0], labels + more[1]
        axes.legend(handles, labels, loc="upper left", frameon=False)
        return figure


@settings
class CalibrationPlot(Plot):
    """Observed against predicted passing fractions."""

    def draw(self, curves: Curves, title: str) -> Figure:
        """Draw."""
        (curve,) = curves.values()
        figure, axes = new_figure(5.2, 4.8)
        predicted, observed = np.array(curve["predicted"]), np.array(curve["observed"])
        # On logarithmic axes an error bar must not reach zero.
        down = np.minimum(curve["error"], 0.9 * observed)
        axes.errorbar(
            predicted,
            observed,
            yerr=[down, curve["error"]],
            fmt="o",
            color=COLOURS[0],
            label="bins of equal numbers of passing events",
        )
        ends = np.array([min(predicted.min(), observed.min()) / 2, 1.0])
        axes.plot(ends, ends, label="perfect calibration", **REFERENCE)
        axes.set(
            xscale="log",
            yscale="log",
            xlim=ends,
            ylim=ends,
            title=title,
            xlabel="predicted passing fraction",
            ylabel="observed passing fraction",
        )
        axes.legend(loc="lower right", frameon=False)
        return figure


@settings
class ObservablePlot(Plot):
    """A bias observable of all passing and of kept, weighted passing events.

    Parameters
    ----------
    observable : str
        Its name.
    """

    observable: str

    @property
    def name(self) -> str:
        """Name of the files."""
        return f"observable_{self.observable}"

    def data(self, model: EvaluatedModel, skim: str) -> dict[str, Any] | None:
        """Give the two distributions; None without passing events."""
        curve: dict[str, Any] | None = model.results[skim].curves.get(self.name)
        return curve

    def draw(self, curves: Curves, title: str) -> Figure:
        """Draw the distributions, and their ratio below."""
        (data,) = curves.values()
        figure, (axes, ratio) = new_figure(
            5.8, 5.4, nrows=2, sharex=True, gridspec_kw={"height_ratios": [3, 1]}
        )
        edges = np.array(data["edges"])
        centres = (edges[1:] + edges[:-1]) / 2
        points: dict[str, Any] = {"fmt": "o", "markersize": 3.5, "color": COLOURS[1]}
        label = f"all passing events ({data['n_passing']})"
        axes.stairs(data["all"], edges, color=COLOURS[0], label=label)
        label = f"kept, weighted (effective number {data['effective_number']:.0f})"
        axes.errorbar(centres, data["kept"], yerr=data["kept_error"], label=label, **points)
        axes.set(ylabel="events / bin", title=title)
        axes.set_ylim(bottom=0, top=axes.get_ylim()[1] * 1.25)
        axes.legend(frameon=False, loc="upper right")
        shown = [i for i, value in enumerate(data["ratio"]) if value is not None]
        values, errors = ([data[key][i] for i in shown] for key in ("ratio", "ratio_error"))
        ratio.errorbar(centres[shown], values, yerr=errors, **points)
        ratio.axhline(1.0, **REFERENCE)
        ratio.set(xlabel=self.observable, ylabel="kept / all", ylim=(0, 2))
        return figure


@settings
class TrainingPlot(Plot):
    """Loss and AUC over the epochs, a panel for each pair (x, val_x) of ``history.csv``."""

    def data(self, model: EvaluatedModel, skim: str) -> dict[str, Any] | None:
        """Give the history, once for all skims."""
        if skim != next(iter(model.results)) or model.run is None:
            return None
        return training_curves(model.run.history) if model.run.history.is_file() else None

    def draw(self, curves: Curves, title: str) -> Figure:
        """Draw without the title, which would name a skim."""
        (history,) = curves.values()
        quantities = [name for name in ("loss", "auc") if name in history] or [
            name for name in history if name != "epoch" and not name.startswith("val_")
        ][:1]
        columns = max(len(quantities), 1)
        figure, panels = new_figure(4.6 * columns, 4.0, ncols=columns, squeeze=False)
        epochs = np.array(history["epoch"], dtype=np.float64)
        if len(epochs) and epochs[0] == 0:
            epochs = epochs + 1  # people count from 1
        for axes, quantity in zip(panels[0], quantities, strict=False):
            _draw_quantity(axes, epochs, history, quantity)
        return figure


def _draw_quantity(
    axes: Axes,
    epochs: np.ndarray[Any, Any],
    history: Mapping[str, Sequence[float | None]],
    quantity: str,
) -> None:
    from matplotlib.ticker import MaxNLocator

    marker = "o" if len(epochs) <= 30 else ""
    pairs = ((quantity, "training"), (f"val_{quantity}", "validation"))
    for (name, label), style in zip(pairs, line_styles(2), strict=True):
        if name in history:
            values = np.array(history[name], dtype=np.float64)
            axes.plot(epochs, values, label=label, marker=marker, markersize=3.5, **style)
    validation = np.array(history.get(f"val_{quantity}", []), dtype=np.float64)
    if np.isfinite(validation).any():
        best = int(np.nanargmin(validation) if quantity == "loss" else np.nanargmax(validation))
        axes.axvline(epochs[best], label=f"best: epoch {epochs[best]:.0f}", **REFERENCE)
    axes.set(
        xlabel="epoch", ylabel={"loss": "loss (natural log)", "auc": "AUC"}.get(quantity, quantity)
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False)


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
    observables = dict.fromkeys(
        name
        for model in models
        for result in model.results.values()
        for name in result.metrics.get("observables", {})
    )
    plots = [
        *(RocPlot(), PrecisionRecallPlot(), ScoresPlot(), CalibrationPlot(), TrainingPlot()),
        *(ObservablePlot(observable=name) for name in observables),
        *own,
    ]
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
        if type(plot).__module__ == __name__:
            raise
        raise ConfigurationError(
            f"the figure cannot be drawn ({type(error).__name__}: {error})",
            where=f"plots {type(plot).__module__}.{type(plot).__qualname__}",
        ) from error
