"""Figures of scores and labels: ROC, precision and recall, distributions, calibration."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from smartbkg_tf.evaluation.figures import (
    COLOURS,
    REFERENCE,
    draw_band,
    draw_histogram,
    line_styles,
    new_figure,
    outside_legend,
    plain_decades,
)
from smartbkg_tf.evaluation.metrics import Estimate
from smartbkg_tf.evaluation.plots import Curves, Plot, Section
from smartbkg_tf.evaluation.results import EvaluatedModel
from smartbkg_tf.settings.base import settings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class _AreaPlot(Plot):
    """Curves with bands over each other, with the area below each in the legend."""

    overlaid: ClassVar[bool] = True
    area: ClassVar[tuple[str, str]]  # its short name, and its key in ``metrics.json``
    columns: ClassVar[tuple[str, str]]  # x and y of the curve
    axis_labels: ClassVar[tuple[str, str]]

    def legend(self, model: EvaluatedModel, skim: str, label: str) -> str:
        """Add the area and its error."""
        short, key = self.area
        return f"{label}: {short} {Estimate.of(model.results[skim].metrics, key).pretty}"

    def draw(self, curves: Curves, title: str) -> Figure:
        """Draw."""
        x, y = self.columns
        figure, axes = new_figure(5.4, 5.6)
        for (label, curve), style in zip(curves.items(), line_styles(len(curves)), strict=True):
            draw_band(axes, curve, x, y, label=label, **style)
        self._draw_guess(axes, curves)
        axes.set(xlim=(0, 1), ylim=(0, 1.005), title=title)
        axes.set(xlabel=self.axis_labels[0], ylabel=self.axis_labels[1])
        outside_legend(figure, title="bands: 68 % (bootstrap)")
        return figure

    def _draw_guess(self, axes: Axes, curves: Curves) -> None:
        """Draw the curve of a random guess."""
        raise NotImplementedError


@settings
class RocPlot(_AreaPlot):
    """ROC curves over each other."""

    title: ClassVar[str] = "ROC curve"
    caption: ClassVar[str] = (
        "How many passing events are kept (up is better) and how many failing events are kept with "
        "them (left is better). The closer a curve comes to the upper left corner, the better; the "
        "dotted diagonal is a guess."
    )
    section: ClassVar[Section] = "quality"

    area = ("AUC", "auc")
    columns = ("false_rate", "efficiency")
    axis_labels = (
        "kept fraction of failing events",
        "kept fraction of passing events (efficiency)",
    )

    def _draw_guess(self, axes: Axes, curves: Curves) -> None:
        axes.plot([0, 1], [0, 1], label="guess (AUC 0.5)", **REFERENCE)


@settings
class PrecisionRecallPlot(_AreaPlot):
    """Precision-recall curves over each other."""

    title: ClassVar[str] = "Precision and recall"
    caption: ClassVar[str] = (
        "Of what a threshold keeps, how much passes. A guess stays at the retention (dotted line); "
        "with rare passing events this figure shows differences that a ROC curve hides."
    )
    section: ClassVar[Section] = "quality"

    area = ("AP", "average_precision")
    columns = ("recall", "precision")
    axis_labels = (
        "recall (kept fraction of passing events)",
        "precision (passing fraction of kept events)",
    )

    def _draw_guess(self, axes: Axes, curves: Curves) -> None:
        for retention in sorted({round(curve["retention"], 6) for curve in curves.values()}):
            axes.axhline(retention, label=f"guess (retention {retention:.3g})", **REFERENCE)


@settings
class ScoresPlot(Plot):
    """Distributions of the score, and the sampling probability."""

    title: ClassVar[str] = "Distribution of the score"
    caption: ClassVar[str] = (
        "The further apart the two histograms, the better the separation. The sampling probability "
        "(right axis) says which events are simulated: 1 where events pass, small where they fail."
    )
    section: ClassVar[Section] = "quality"

    def draw(self, curves: Curves, title: str) -> Figure:
        """Draw."""
        (histogram,) = curves.values()
        figure, axes = new_figure(6.4, 5.0)
        edges = np.array(histogram["edges"])
        for name, style in zip(("failing", "passing"), line_styles(2), strict=True):
            counts = np.array(histogram[name], dtype=np.float64)
            scale = counts.sum() * np.diff(edges)
            label = f"{name} events ({counts.sum():.0f})"
            errors = np.sqrt(counts) / scale
            draw_histogram(axes, counts / scale, edges, yerr=errors, label=label, **style)
        axes.set(xlabel="score (logit)", ylabel="fraction of events / unit of score", title=title)
        axes.set(xlim=(edges[0], edges[-1]), ylim=(0, axes.get_ylim()[1]))
        if "probability" in histogram:
            axes.tick_params(axis="y", which="both", right=False)
            right = axes.twinx()
            right.plot(
                histogram["score"],
                histogram["probability"],
                color=COLOURS[2],
                linestyle="-.",
                label="sampling probability (right axis)",
            )
            right.set(ylim=(0, 1.05), ylabel="sampling probability")
            right.tick_params(axis="y", which="both", left=False)
        outside_legend(figure)
        return figure


@settings
class CalibrationPlot(Plot):
    """Observed against predicted passing fractions."""

    title: ClassVar[str] = "Calibration"
    caption: ClassVar[str] = (
        "Whether a predicted passing fraction is what is observed. Points on the dotted diagonal: "
        "the score can be read as a probability, and the sampling rule is close to the best one."
    )
    section: ClassVar[Section] = "quality"

    def draw(self, curves: Curves, title: str) -> Figure:
        """Draw."""
        (curve,) = curves.values()
        figure, axes = new_figure(5.4, 5.6)
        predicted, observed = np.array(curve["predicted"]), np.array(curve["observed"])
        # On logarithmic axes an error bar must not reach zero.
        down = np.minimum(curve["error"], 0.9 * observed)
        axes.errorbar(
            predicted,
            observed,
            yerr=[down, curve["error"]],
            fmt="o",
            color=COLOURS[0],
            label="bins with equal numbers of passing events",
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
        plain_decades(axes.xaxis, axes.yaxis)
        outside_legend(figure)
        return figure
