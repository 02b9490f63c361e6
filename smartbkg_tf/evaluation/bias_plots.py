"""Figures of bias observables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from smartbkg_tf.evaluation.figures import (
    COLOURS,
    REFERENCE,
    draw_band,
    line_styles,
    new_figure,
    outside_legend,
    plain_decades,
)
from smartbkg_tf.evaluation.plots import Curves, Plot, Section
from smartbkg_tf.evaluation.results import EvaluatedModel
from smartbkg_tf.settings.base import settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Units of the observables that `produce` makes.
_UNITS = {
    "Mbc": "GeV",
    "deltaE": "GeV",
    "visibleEnergyCMS": "GeV",
    "clusterEnergy": "GeV",
    "photonEnergy": "GeV",
    "photonEnergyCMS": "GeV",
    "missingEnergyCMS": "GeV",
    "missingMomentumCMS": "GeV",
    "missingMass2": "GeV$^2$",
}
#: A filter looks the same in every figure, whichever others there are.
_LABELS = {
    "threshold": "threshold",
    "reweighted": "threshold, reweighted by boosted trees",
    "sampling": "sampling, weighted",
}
_MARKERS = dict(zip(_LABELS, "osD", strict=True))
_COLOURS = dict(zip(_LABELS, COLOURS[1:4], strict=True))


@settings
class _OfObservable(Plot):
    """A figure that exists once for each observable.

    Parameters
    ----------
    observable : str
        Its name.
    """

    section: ClassVar[Section] = "bias"
    prefix: ClassVar[str]

    observable: str

    @classmethod
    def instances(cls, models: Sequence[EvaluatedModel]) -> Sequence[Any]:
        """Give one for each observable."""
        names = dict.fromkeys(
            name
            for model in models
            for result in model.results.values()
            for name in result.metrics.get("observables", {})
        )
        return [cls(observable=name) for name in names]

    @property
    def name(self) -> str:
        """Name of the files."""
        return f"{self.prefix}_{self.observable}"

    @property
    def axis_label(self) -> str:
        """The observable and its unit."""
        unit = _UNITS.get(self.observable)
        return self.observable if unit is None else f"{self.observable} [{unit}]"


@settings
class ObservablePlot(_OfObservable):
    """A bias observable of passing events before and after filters."""

    title: ClassVar[str] = "Bias observable {observable}"
    caption: ClassVar[str] = (
        "Passing events before (line) and after filters (points; thresholds normalised). Ratio: "
        "after / before. Pull: the difference over the error that the filter alone makes, since "
        "kept events are a subset; without bias most lie within 2. Asymmetry: (before - after) / "
        "(before + after)."
    )
    prefix: ClassVar[str] = "observable"

    def draw(self, curves: Curves, title: str) -> Figure:
        """Draw distributions, ratios, pulls and asymmetries."""
        (data,) = curves.values()
        figure, (axes, *panels) = new_figure(
            6.2, 8.2, nrows=4, sharex=True, gridspec_kw={"height_ratios": [3, 1.2, 1.2, 1.2]}
        )
        edges = np.array(data["edges"])
        centres, width = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
        label = f"all passing events ({data['n_passing']})"
        axes.stairs(data["all"], edges, color=COLOURS[0], label=label)
        shown = [kind for kind in _LABELS if kind in data["filters"]]
        for i, kind in enumerate(shown):
            curve = data["filters"][kind]
            # Side by side, so that no filter hides another one.
            x = centres + width * 0.2 * (i - (len(shown) - 1) / 2)
            style: dict[str, Any] = {
                "fmt": _MARKERS[kind],
                "markersize": 3.0,
                "elinewidth": 1,
                "color": _COLOURS[kind],
            }
            label = f"{_LABELS[kind]} (effective number {curve['effective_number']:.0f})"
            axes.errorbar(x, curve["kept"], yerr=curve["kept_error"], label=label, **style)
            for panel, name in zip(panels, ("ratio", "pull", "asymmetry"), strict=True):
                values = np.array(curve[name], dtype=np.float64)
                errors = curve.get(f"{name}_error")
                panel.errorbar(
                    x, values, None if errors is None else np.array(errors, np.float64), **style
                )
        axes.set(ylabel="events / bin", title=title)
        axes.set_ylim(bottom=0)
        for panel, label, level, least in (
            (panels[0], "ratio", 1.0, 0.05),
            (panels[1], "pull", 0.0, 3.5),
            (panels[2], "asymmetry", 0.0, 0.025),
        ):
            panel.axhline(level, **REFERENCE)
            panel.set_ylabel(label)
            _limit(panel, level, least, 1.0 if label == "pull" else 0.95)
        panels[-1].set_xlabel(self.axis_label)
        outside_legend(figure, columns=1)
        return figure


def _limit(axes: Any, level: float, least: float, quantile: float) -> None:
    """Centre a panel on a level: all pulls are seen, of ratios nine of ten."""
    points = np.concatenate([np.asarray(line.get_ydata(), np.float64) for line in axes.get_lines()])
    points = np.abs(points[np.isfinite(points)] - level)
    reach = float(np.quantile(points, quantile)) if len(points) else 0.0
    axes.set_ylim(level - max(1.3 * reach, least), level + max(1.3 * reach, least))


@settings
class EfficiencyPlot(_OfObservable):
    """Kept fraction of passing events in bins of an observable, for several thresholds."""

    title: ClassVar[str] = "Efficiency along {observable}"
    caption: ClassVar[str] = (
        "Fraction of passing events above the threshold in each bin, with Wilson's 68 % intervals, "
        "for thresholds that keep given fractions of all passing events. A flat line is a "
        "threshold without bias; a line that bends shapes the distribution."
    )
    prefix: ClassVar[str] = "efficiency"

    def draw(self, curves: Curves, title: str) -> Figure:
        """Draw a line for each threshold."""
        (data,) = curves.values()
        figure, axes = new_figure(6.2, 4.8)
        edges = np.array(data["edges"])
        centres = (edges[1:] + edges[:-1]) / 2
        scans = data["thresholds"]
        for scan, style in zip(scans, line_styles(len(scans)), strict=True):
            label = f"{100 * scan['efficiency']:.3g} % kept (score > {scan['threshold']:.3g})"
            draw_band(axes, {**scan, "centre": centres}, "centre", "value", label=label, **style)
            axes.axhline(scan["efficiency"], **REFERENCE)
        axes.set(
            ylim=(0, 1.02), xlabel=self.axis_label, ylabel="kept / all passing events", title=title
        )
        outside_legend(figure)
        return figure


@settings
class BiasRankingPlot(Plot):
    """Divergence of every observable, worst first."""

    title: ClassVar[str] = "Which observables are biased"
    caption: ClassVar[str] = (
        "Kullback-Leibler divergence between passing events after and before each filter. Ticks "
        "with bars show what random thinning to the same effective number gives: a point there is "
        "unbiased as far as these events can tell. Dotted line: the published limit 0.0015."
    )
    section: ClassVar[Section] = "bias"

    def draw(self, curves: Curves, title: str) -> Figure:
        """Draw a row for each observable."""
        (data,) = curves.values()
        names = data["observables"]
        figure, axes = new_figure(6.6, 1.6 + 0.42 * len(names))
        rows = np.arange(len(names), dtype=np.float64)
        shown = [kind for kind in _LABELS if kind in data["filters"]]
        for i, kind in enumerate(shown):
            values = {
                key: np.array(column, dtype=np.float64)
                for key, column in data["filters"][kind].items()
            }
            y = rows + 0.22 * (i - (len(shown) - 1) / 2)
            colour = _COLOURS[kind]
            axes.plot(
                values["kl"], y, _MARKERS[kind], color=colour, markersize=5, label=_LABELS[kind]
            )
            floor = values["kl_floor"]
            down = np.minimum(values["kl_floor_error"], 0.9 * floor)
            axes.errorbar(
                floor,
                y,
                xerr=[down, values["kl_floor_error"]],
                fmt="|",
                markersize=9,
                color=colour,
                alpha=0.6,
                label=f"random thinning like {_LABELS[kind].split(',')[0]}"
                if kind != "reweighted"
                else None,
            )
        axes.axvline(data["limit"], label=f"published limit {data['limit']:g}", **REFERENCE)
        axes.set_yticks(rows, names)
        axes.tick_params(axis="y", which="minor", left=False, right=False)
        axes.set(
            xscale="log",
            ylim=(len(names) - 0.4, -0.6),
            xlabel="Kullback-Leibler divergence (natural logarithm)",
            ylabel="observable",
            title=title,
        )
        plain_decades(axes.xaxis)
        outside_legend(figure)
        return figure
