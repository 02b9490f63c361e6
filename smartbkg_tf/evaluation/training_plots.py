"""Figures of a training's history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from smartbkg_tf.evaluation.curves import training_curves
from smartbkg_tf.evaluation.figures import REFERENCE, line_styles, new_figure, outside_legend
from smartbkg_tf.evaluation.plots import Curves, Plot, Section
from smartbkg_tf.evaluation.results import EvaluatedModel
from smartbkg_tf.settings.base import settings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


#: What is shown of a training beside its results.
_FURTHER = ("learning_rate", "events_per_second")

_LABELS = {
    "loss": "loss (natural log)",
    "auc": "AUC",
    "learning_rate": "learning rate",
    "events_per_second": "training events / s",
}


@settings
class TrainingPlot(Plot):
    """Loss, AUC, learning rate and events/s over the epochs, from ``history.csv``."""

    title: ClassVar[str] = "Training history"
    caption: ClassVar[str] = (
        "Loss and AUC of training and validation events. Where validation stops improving while "
        "training goes on, the network begins to overfit; the best epoch (dotted) is the one kept. "
        "Below: the learning rate, and how fast the training went."
    )
    section: ClassVar[Section] = "training"

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
        quantities = list(dict.fromkeys([*quantities, *(n for n in _FURTHER if n in history)]))
        columns = min(len(quantities), 2) or 1
        rows = -(-len(quantities) // columns) or 1
        figure, panels = new_figure(
            4.6 * columns, 1.0 + 3.0 * rows, nrows=rows, ncols=columns, squeeze=False
        )
        for unused in panels.flat[len(quantities) :]:
            unused.set_visible(False)
        epochs = np.array(history["epoch"], dtype=np.float64)
        if len(epochs) and epochs[0] == 0:
            epochs = epochs + 1  # people count from 1
        for axes, quantity in zip(panels.flat, quantities, strict=False):
            _draw_quantity(axes, epochs, history, quantity)
        outside_legend(figure, columns=4)
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
        label = f"best validation {quantity.replace('auc', 'AUC')}: epoch {epochs[best]:.0f}"
        axes.axvline(epochs[best], label=label, **REFERENCE)
    axes.set(xlabel="epoch", ylabel=_LABELS.get(quantity, quantity))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.xaxis.minorticks_off()
    if quantity not in _FURTHER:
        return
    shown = np.array(history[quantity], dtype=np.float64)
    if quantity == "learning_rate" and np.nanmin(shown) > 0 and np.ptp(shown) > np.nanmin(shown):
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
