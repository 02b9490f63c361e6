"""Figures of what a filter saves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from smartbkg_tf.evaluation.conditions import SAMPLE, retention_in_words
from smartbkg_tf.evaluation.figures import (
    COLOURS,
    GREY,
    REFERENCE,
    draw_band,
    line_styles,
    new_figure,
    outside_legend,
    plain_decades,
)
from smartbkg_tf.evaluation.metrics import Estimate
from smartbkg_tf.evaluation.plots import Curves, Plot, Section
from smartbkg_tf.settings.base import settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STAR: dict[str, Any] = {"fmt": "*", "markersize": 13, "color": COLOURS[0]}
_CROSS: dict[str, Any] = {"fmt": "X", "markersize": 9, "color": COLOURS[1]}
_DIAMOND: dict[str, Any] = {"fmt": "D", "color": COLOURS[6]}


@settings
class SpeedupPlot(Plot):
    """Speedup against the simulated fraction: thresholds, sampling, and their limits."""

    title: ClassVar[str] = "What the filter saves"
    caption: ClassVar[str] = (
        "Time without the filter over time with it, against the simulated fraction of events. "
        "Thresholds save more than sampling but bias what they keep. Star: the fitted sampling "
        "rule. Cross: the threshold of these predictions. Diamond: the best that sampling by these "
        "scores could do. Dotted lines: a filter without mistakes, and the retention. Bands: 68 %."
    )
    section: ClassVar[Section] = "speedup"

    def draw(self, curves: Curves, title: str) -> Figure:
        """Draw."""
        (data,) = curves.values()
        figure, axes = new_figure(6.4, 4.8)
        shown = (("rule", "sampling (unbiased)"), ("threshold", "threshold (biased)"))
        for (name, label), style in zip(shown, line_styles(2), strict=True):
            if name in data:
                curve = data[name]
                draw_band(axes, curve, "fraction", "speedup", label=label, **style)
        for name, label, dashes in (
            ("root_posterior", "sampling by c sqrt(posterior), to compare", (0, (5, 2))),
            ("posterior", "sampling by c posterior, to compare", (0, (1, 1))),
        ):
            curve = data[name]
            axes.plot(
                curve["fraction"],
                curve["speedup"],
                color=GREY,
                linestyle=dashes,
                linewidth=1,
                label=label,
            )
        limits = data["limits"]
        # Each a point with its error: numbers, keys of fraction and speedup, marker, words.
        for numbers, fraction, key, marker, words in (
            (data.get("fitted_rule"), "simulated_fraction", "speedup", _STAR, "fitted rule"),
            (data.get("own_threshold"), "kept_fraction", "speedup", _CROSS, "own threshold"),
            (limits, "best_sampling_fraction", "best_sampling", _DIAMOND, "limit of sampling"),
        ):
            if numbers is not None:
                found = Estimate.of(numbers, key)
                label = f"{words}: {found.pretty}"
                axes.errorbar(numbers[fraction], found.value, found.error, label=label, **marker)
        perfect = Estimate.of(limits, "perfect_filter")
        axes.axhline(perfect.value, label=f"perfect filter: {perfect.pretty}", **REFERENCE)
        conditions = data["conditions"]
        retention = conditions["retention"]
        natural = "" if conditions["retention_from"] == SAMPLE else "natural "
        axes.axvline(retention, label=f"{natural}retention {retention:.3g}", **REFERENCE)
        axes.set(
            xscale="log",
            yscale="log",
            xlabel="simulated fraction of all events",
            ylabel="speedup",
            title=title,
            xlim=(min(retention, *data["threshold"]["fraction"]) * 0.8, 1.1),
            ylim=(0.5, perfect.value * 1.3),
        )
        _plain_ticks(axes.yaxis)
        plain_decades(axes.xaxis)
        outside_legend(figure, title=_at(data))
        return figure


@settings
class SpeedupDependencePlot(Plot):
    """Speedup against retention and against the three times."""

    title: ClassVar[str] = "Speedup for other skims and other costs"
    caption: ClassVar[str] = (
        "How the speedup changes with the natural retention and with the times for generation, "
        "network, and simulation with reconstruction, one at a time. The sampling rule is fitted "
        "anew for every value. Dotted vertical lines: the values of this evaluation."
    )
    section: ClassVar[Section] = "speedup"

    def draw(self, curves: Curves, title: str) -> Figure:
        """Draw a panel for each quantity."""
        (data,) = curves.values()
        figure, panels = new_figure(8.4, 6.6, nrows=2, ncols=2)
        labels = {
            "retention": "natural retention",
            "generation": "generation time / event",
            "network": "network time / event",
            "simulation": "simulation + reconstruction time / event",
        }
        kinds = {
            "fitted_rule": "sampling, fitted rule (unbiased)",
            "threshold": f"threshold, {100 * data['efficiency']:g} % of passing events (biased)",
            "best_sampling": "limit of sampling with these scores",
            "perfect": "perfect filter",
        }
        for axes, (name, label) in zip(panels.flat, labels.items(), strict=True):
            curve = data[name]
            for (kind, text), style in zip(kinds.items(), line_styles(len(kinds)), strict=True):
                if kind in curve:
                    axes.plot(curve["value"], curve[kind], label=text, marker=".", **style)
            axes.axvline(curve["nominal"], **REFERENCE)
            axes.set(xscale="log", yscale="log", xlabel=label, ylabel="speedup")
            _plain_ticks(axes.yaxis)
            plain_decades(axes.xaxis)
        figure.suptitle(title)
        outside_legend(figure, title=_at(data))
        return figure


@settings
class SamplingWeightsPlot(Plot):
    """Weights of the events that sampling keeps."""

    title: ClassVar[str] = "Weights of kept events"
    caption: ClassVar[str] = (
        "How many events sampling keeps with which weight. Weights of 1 cost no statistics; a few "
        "large weights among passing events can spoil a sample, which is why they are limited."
    )
    section: ClassVar[Section] = "speedup"

    def draw(self, curves: Curves, title: str) -> Figure:
        """Draw."""
        (data,) = curves.values()
        figure, axes = new_figure(6.0, 4.4)
        for name, style in zip(("failing", "passing"), line_styles(2), strict=True):
            kept = np.array(data[name])
            label = f"{name} events ({kept.sum():.0f} kept)"
            axes.stairs(kept, data["edges"], label=label, **style)
        axes.set(xscale="log", yscale="log", title=title)
        axes.set(xlabel="weight (1 / sampling probability)", ylabel="expected kept events / bin")
        _plain_ticks(axes.xaxis)
        plain_decades(axes.yaxis)
        outside_legend(figure, title=_at(data))
        return figure


def _at(data: Any) -> str:
    """Say for which retention a figure was made."""
    return f"at {retention_in_words(data['conditions'])}"


def _plain_ticks(axis: Any) -> None:
    """Write numbers of a short logarithmic axis as 2 and 0.5, not as powers of ten."""
    from matplotlib.ticker import LogLocator, ScalarFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(ScalarFormatter())
    axis.set_minor_formatter("")
