"""Figures of bias observables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from smartbkg_tf.evaluation.figures import COLOURS, REFERENCE, new_figure, outside_legend
from smartbkg_tf.evaluation.plots import Curves, Plot, Section
from smartbkg_tf.evaluation.results import EvaluatedModel
from smartbkg_tf.settings.base import settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@settings
class ObservablePlot(Plot):
    """A bias observable of all passing and of kept, weighted passing events.

    Parameters
    ----------
    observable : str
        Its name.
    """

    title: ClassVar[str] = "Bias observable {observable}"
    caption: ClassVar[str] = (
        "Kept events with their weights (points) against all passing events (line). The lower "
        "panel is their ratio: points that scatter around 1 within their errors show no bias."
    )
    section: ClassVar[Section] = "bias"

    observable: str

    @classmethod
    def instances(cls, models: Sequence[EvaluatedModel]) -> Sequence[ObservablePlot]:
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
        return f"observable_{self.observable}"

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
        shown = [i for i, value in enumerate(data["ratio"]) if value is not None]
        values, errors = ([data[key][i] for i in shown] for key in ("ratio", "ratio_error"))
        ratio.errorbar(centres[shown], values, yerr=errors, **points)
        ratio.axhline(1.0, **REFERENCE)
        ratio.set(xlabel=self.observable, ylabel="kept / all", ylim=(0, 2))
        outside_legend(figure)
        return figure
