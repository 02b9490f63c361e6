"""Figures that explain a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from smartbkg_tf.evaluation.figures import (
    COLOURS,
    GREY,
    REFERENCE,
    line_styles,
    new_figure,
    outside_legend,
)
from smartbkg_tf.evaluation.metrics import Estimate
from smartbkg_tf.evaluation.plots import Curves, Plot, Section
from smartbkg_tf.settings.base import settings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class _ExplainingPlot(Plot):
    """A figure of the part "understanding"."""

    section: ClassVar[Section] = "understanding"


@settings
class OverfittingPlot(_ExplainingPlot):
    """Scores of training and of test events."""

    title: ClassVar[str] = "Training against test events"
    caption: ClassVar[str] = (
        "If points (test events) lie on the histograms (training events), the network knows its "
        "training events no better than new ones. An AUC of training events that is larger by many "
        "standard deviations means overfitting."
    )

    def draw(self, curves: Curves, title: str) -> Figure:
        """Draw."""
        (data,) = curves.values()
        figure, (axes, ratio) = new_figure(
            6.4, 5.6, nrows=2, sharex=True, gridspec_kw={"height_ratios": [3, 1]}
        )
        edges = np.array(data["edges"])
        centres, width = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
        for kind, style in zip(("failing", "passing"), line_styles(2), strict=True):
            train, test = (np.array(data[f"{n}_{kind}"], dtype=float) for n in ("train", "test"))
            scales = [numbers.sum() * width for numbers in (train, test)]
            label = f"{kind}, training ({train.sum():.0f} events)"
            axes.stairs(train / scales[0], edges, fill=True, alpha=0.25, color=style["color"])
            axes.stairs(train / scales[0], edges, label=label, color=style["color"])
            probability = data["ks"][kind]["probability"]
            points = {"fmt": "o" if kind == "failing" else "s", "markersize": 3.5}
            axes.errorbar(
                centres,
                test / scales[1],
                yerr=np.sqrt(test) / scales[1],
                color=style["color"],
                label=f"{kind}, test ({test.sum():.0f}; KS probability {probability:.2g})",
                **points,
            )
            good = (train > 0) & (test > 0)
            value = (test / scales[1])[good] / (train / scales[0])[good]
            error = value * np.sqrt(1 / test[good] + 1 / train[good])
            ratio.errorbar(centres[good], value, yerr=error, color=style["color"], **points)
        ratio.axhline(1.0, **REFERENCE)
        ratio.set(xlabel="score (logit)", ylabel="test / training", ylim=(0, 2))
        axes.set(ylabel="fraction of events / unit of score", title=title)
        axes.set_ylim(bottom=0)
        areas = [
            f"{name} {Estimate.of(data, f'auc_{name}').pretty}"
            for name in ("train", "test", "difference")
        ]
        outside_legend(figure, title=f"AUC: {', '.join(areas)}")
        return figure


#: What the parts of an event are called in figures, and the colour of each kind.
_KINDS = {
    "list": ("the whole list", COLOURS[1]),
    "input": ("an input", COLOURS[0]),
    "feature": ("a column of particle_input", COLOURS[2]),
    "type": ("a type of particles", COLOURS[0]),
}


class _ImportancePlot(_ExplainingPlot):
    """Losses of the AUC as bars, the largest first."""

    axis_label: ClassVar[str]

    def draw(self, curves: Curves, title: str) -> Figure:
        """Draw."""
        (data,) = curves.values()
        parts = sorted(data["parts"], key=lambda part: part["auc_loss"])
        figure, axes = new_figure(6.4, 1.4 + 0.27 * len(parts))
        places = np.arange(len(parts))
        for kind in dict.fromkeys(part["kind"] for part in data["parts"]):
            mine = [i for i, part in enumerate(parts) if part["kind"] == kind]
            word, colour = _KINDS[kind]
            axes.barh(
                places[mine],
                [parts[i]["auc_loss"] for i in mine],
                xerr=[parts[i]["auc_loss_error"] for i in mine],
                color=colour,
                alpha=0.75,
                error_kw={"elinewidth": 1, "ecolor": "#222222"},
                label=word,
            )
        axes.axvline(0, color=GREY, linewidth=0.8)
        axes.set_yticks(places, [part["name"] for part in parts])
        axes.set_ylim(-0.7, len(parts) - 0.3)
        axes.grid(visible=False, axis="y")
        axes.set(xlabel=self.axis_label, title=title)
        text = f"{data['n_events']} events, {data['n_passing']} of them pass"
        outside_legend(figure, columns=3, title=text)
        return figure


@settings
class InputImportancePlot(_ImportancePlot):
    """Loss of the AUC when an input is shuffled."""

    title: ClassVar[str] = "Importance of inputs"
    caption: ClassVar[str] = (
        "What the AUC loses when an input, or one column of the particles' features, is exchanged "
        "between particles or events. Near zero: the network does without it, also because another "
        "input tells the same. Errors are those of the paired difference."
    )
    axis_label: ClassVar[str] = "loss of AUC when shuffled"


@settings
class TypeImportancePlot(_ImportancePlot):
    """Loss of the AUC when a type of particles is taken away."""

    title: ClassVar[str] = "Importance of particle types"
    caption: ClassVar[str] = (
        "What the AUC loses when all particles of a type are taken out of the particle list and "
        "the decay string. Negative: the network does better without them."
    )
    axis_label: ClassVar[str] = "loss of AUC when taken away"


def _draw_groups(panels: Sequence[Axes], data: Mapping[str, Any], what: str) -> None:
    """Draw the kept fractions of passing (left) and failing events (right), groups downwards."""
    entries = data["groups"]
    places = np.arange(len(entries))[::-1]
    sides = (
        ("efficiency", "n_passing", "kept fraction of passing events", COLOURS[1]),
        ("false_rate", "n_failing", "kept fraction of failing events", COLOURS[0]),
    )
    for axes, (key, number, label, colour) in zip(panels, sides, strict=True):
        for place, entry in zip(places, entries, strict=True):
            if entry[key] is not None:
                low, high = entry[f"{key}_low"], entry[f"{key}_high"]
                axes.plot([low, high], [place, place], color=colour, linewidth=1.4)
                axes.plot([entry[key]], [place], "o", color=colour, markersize=4)
            axes.annotate(
                f"{entry[number]}",
                (1.0, place),
                xycoords=("axes fraction", "data"),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
                color=GREY,
            )
        if data["all"][key] is not None:
            axes.axvline(data["all"][key], label="all events", **REFERENCE)
        axes.set(xlabel=label, ylim=(-0.7, len(entries) - 0.3))
        axes.annotate(
            "events",
            (1.0, 1.0),
            xycoords="axes fraction",
            xytext=(4, 2),
            textcoords="offset points",
            fontsize=8,
            color=GREY,
        )
    panels[0].set_yticks(places, [entry["name"] for entry in entries])
    panels[0].set_ylabel(what)


class _GroupsPlot(_ExplainingPlot):
    """What is kept of groups of events at the working point."""

    rows: ClassVar[tuple[tuple[str, str], ...]]  # key of the data, text of the axis

    def data(self, model: Any, skim: str) -> dict[str, Any] | None:
        """Give the groups of all rows of panels."""
        curves = model.results[skim].curves
        found = {
            key: curves[f"kept_by_{key}"] for key, _ in self.rows if f"kept_by_{key}" in curves
        }
        point = model.results[skim].metrics.get("understanding", {})
        if not any(len(one["groups"]) for one in found.values()):
            return None
        return {"efficiency": point["efficiency"], "threshold": point["threshold"], **found}

    def draw(self, curves: Curves, title: str) -> Figure:
        """Draw."""
        (data,) = curves.values()
        rows = [(key, what) for key, what in self.rows if key in data]
        sizes = [len(data[key]["groups"]) + 1.6 for key, _ in rows]
        figure, panels = new_figure(
            7.4,
            0.9 + 0.27 * sum(sizes),
            nrows=len(rows),
            ncols=2,
            sharey="row",
            squeeze=False,
            gridspec_kw={"height_ratios": sizes},
        )
        for pair, (key, what) in zip(panels, rows, strict=True):
            _draw_groups(pair, data[key], what)
        figure.suptitle(title, fontsize="large")
        text = (
            f"threshold {data['threshold']:.3g} (efficiency {data['efficiency']:.3f}), bars: 68 %"
        )
        outside_legend(figure, title=text)
        return figure


@settings
class MultiplicityPlot(_GroupsPlot):
    """Kept fractions by the number of particles."""

    title: ClassVar[str] = "Kept events by multiplicity"
    caption: ClassVar[str] = (
        "Kept fractions of passing and failing events against the number of generated particles. "
        "A slope on the left means that the filter prefers small or large events: a bias."
    )
    rows = (
        ("n_particles", "particles of the event"),
        ("n_charged", "charged final-state\nparticles"),
    )


@settings
class EventTypePlot(_GroupsPlot):
    """Kept fractions by event type."""

    title: ClassVar[str] = "Kept events by event type"
    caption: ClassVar[str] = (
        "Kept fractions of passing and failing events of each event type, at one threshold for all."
    )
    rows = (("event_type", "event type"),)

    def data(self, model: Any, skim: str) -> dict[str, Any] | None:
        """Give the event types; nothing to see where there is only one."""
        data = super().data(model, skim)
        return data if data is not None and len(data["event_type"]["groups"]) > 1 else None


@settings
class DecayModePlot(_GroupsPlot):
    """Kept fractions by the decay of the B meson."""

    title: ClassVar[str] = "Kept events by decay mode"
    caption: ClassVar[str] = (
        "The 20 decays of B mesons (of tau leptons, in events without B) with the most passing "
        "events, charge-conjugate ones included. A mode far left of the dotted line is lost "
        "more often than others: analyses of this mode should not use a plain threshold."
    )
    rows = (("decay_mode", "decay in the event"),)
