"""Figures from curve data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from smartbkg_tf.evaluation.figures import COLOURS, GREY, line_styles, new_figure


def draw_roc(curves: Mapping[str, Mapping[str, Any]], title: str = "") -> Figure:
    """Draw ROC curves over each other.

    Parameters
    ----------
    curves : mapping of str to mapping
        Legend text -> data of `curves.roc_curve`.
    title : str, optional
        Above the figure.

    Returns
    -------
    matplotlib.figure.Figure
        The figure.
    """
    figure, axes = new_figure(5.6, 5.2)
    for (name, curve), style in zip(curves.items(), line_styles(len(curves)), strict=True):
        axes.fill_between(
            curve["false_rate"],
            curve["low"],
            curve["high"],
            color=style["color"],
            alpha=0.2,
            linewidth=0,
        )
        axes.plot(curve["false_rate"], curve["efficiency"], label=name, **style)
    axes.plot([0, 1], [0, 1], color=GREY, linestyle=(0, (1, 3)), label="guess (AUC 0.5)")
    axes.set(
        xlim=(0, 1),
        ylim=(0, 1.005),
        xlabel="kept fraction of failing events",
        ylabel="kept fraction of passing events (efficiency)",
        title=title,
    )
    axes.legend(loc="lower right", frameon=False, title="bands: 68 % (bootstrap)")
    return figure


def draw_precision_recall(curves: Mapping[str, Mapping[str, Any]], title: str = "") -> Figure:
    """Draw precision-recall curves over each other.

    Parameters
    ----------
    curves : mapping of str to mapping
        Legend text -> data of `curves.precision_recall_curve`.
    title : str, optional
        Above the figure.

    Returns
    -------
    matplotlib.figure.Figure
        The figure.
    """
    figure, axes = new_figure(5.6, 5.2)
    for (name, curve), style in zip(curves.items(), line_styles(len(curves)), strict=True):
        axes.fill_between(
            curve["recall"],
            curve["low"],
            curve["high"],
            color=style["color"],
            alpha=0.2,
            linewidth=0,
        )
        axes.plot(curve["recall"], curve["precision"], label=name, **style)
    for retention in sorted({round(curve["retention"], 6) for curve in curves.values()}):
        axes.axhline(
            retention,
            color=GREY,
            linestyle=(0, (1, 3)),
            label=f"guess (retention {retention:.3g})",
        )
    axes.set(
        xlim=(0, 1),
        ylim=(0, 1.005),
        xlabel="recall (kept fraction of passing events)",
        ylabel="precision (passing fraction of kept events)",
        title=title,
    )
    axes.legend(loc="upper right", frameon=False, title="bands: 68 % (bootstrap)")
    return figure


def draw_training(history: Mapping[str, Sequence[float | None]], title: str = "") -> Figure:
    """Draw loss and AUC over the epochs.

    Parameters
    ----------
    history : mapping of str to sequence
        Columns of ``history.csv``.
    title : str, optional
        Above the figure.

    Returns
    -------
    matplotlib.figure.Figure
        The figure; one panel for each pair (x, val_x) among the columns.
    """
    quantities = [name for name in ("loss", "auc") if name in history] or [
        name for name in history if name != "epoch" and not name.startswith("val_")
    ][:1]
    figure, panels = new_figure(
        4.6 * max(len(quantities), 1), 4.0, ncols=max(len(quantities), 1), squeeze=False
    )
    epochs = np.array(history["epoch"], dtype=np.float64)
    if len(epochs) and epochs[0] == 0:
        epochs = epochs + 1  # people count from 1
    for axes, quantity in zip(panels[0], quantities, strict=False):
        _draw_quantity(axes, epochs, history, quantity)
    if title:
        figure.suptitle(title)
    return figure


def _draw_quantity(
    axes: Axes,
    epochs: np.ndarray[Any, Any],
    history: Mapping[str, Sequence[float | None]],
    quantity: str,
) -> None:
    marker = "o" if len(epochs) <= 30 else ""
    pairs = ((quantity, "training"), (f"val_{quantity}", "validation"))
    for (name, label), style in zip(pairs, line_styles(2), strict=True):
        if name in history:
            values = np.array(history[name], dtype=np.float64)
            axes.plot(epochs, values, label=label, marker=marker, markersize=3.5, **style)
    validation = np.array(history.get(f"val_{quantity}", []), dtype=np.float64)
    if np.isfinite(validation).any():
        best = int(np.nanargmin(validation) if quantity == "loss" else np.nanargmax(validation))
        axes.axvline(
            epochs[best],
            color=GREY,
            linestyle=(0, (1, 3)),
            label=f"best: epoch {epochs[best]:.0f}",
        )
    axes.set(
        xlabel="epoch", ylabel={"loss": "loss (natural log)", "auc": "AUC"}.get(quantity, quantity)
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False)


def draw_scores(histogram: Mapping[str, Any], title: str = "") -> Figure:
    """Draw the score's distributions and the sampling probability.

    Parameters
    ----------
    histogram : mapping
        Data of `curves.score_histogram`.
    title : str, optional
        Above the figure.

    Returns
    -------
    matplotlib.figure.Figure
        The figure.
    """
    figure, axes = new_figure(6.4, 4.6)
    edges = np.array(histogram["edges"])
    centres, widths = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    for name, style in zip(("failing", "passing"), line_styles(2), strict=True):
        counts = np.array(histogram[name], dtype=np.float64)
        scale = counts.sum() * widths
        density, error = counts / scale, np.sqrt(counts) / scale
        axes.stairs(
            density, edges, label=f"{name} events ({counts.sum():.0f})", fill=False, **style
        )
        axes.errorbar(centres, density, yerr=error, fmt="none", ecolor=style["color"], elinewidth=1)
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


def draw_reliability(curve: Mapping[str, Any], title: str = "") -> Figure:
    """Draw observed against predicted passing fractions.

    Parameters
    ----------
    curve : mapping
        Data of `curves.reliability`.
    title : str, optional
        Above the figure.

    Returns
    -------
    matplotlib.figure.Figure
        The figure.
    """
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
    axes.plot(ends, ends, color=GREY, linestyle=(0, (1, 3)), label="perfect calibration")
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


def draw_observable(data: Mapping[str, Any], name: str, title: str = "") -> Figure:
    """Draw an observable of all passing and of kept, weighted passing events.

    Parameters
    ----------
    data : mapping
        Data of `observables.compare_observable`.
    name : str
        Name of the observable, with its unit if known.
    title : str, optional
        Above the figure.

    Returns
    -------
    matplotlib.figure.Figure
        Two panels: distributions, and their ratio.
    """
    figure, (axes, ratio) = new_figure(
        5.8, 5.4, nrows=2, sharex=True, gridspec_kw={"height_ratios": [3, 1]}
    )
    edges = np.array(data["edges"])
    centres = (edges[1:] + edges[:-1]) / 2
    axes.stairs(
        data["all"], edges, color=COLOURS[0], label=f"all passing events ({data['n_passing']})"
    )
    axes.errorbar(
        centres,
        data["kept"],
        yerr=data["kept_error"],
        fmt="o",
        markersize=3.5,
        color=COLOURS[1],
        label=f"kept, weighted (effective number {data['effective_number']:.0f})",
    )
    axes.set(ylabel="events / bin", title=title)
    axes.set_ylim(bottom=0, top=axes.get_ylim()[1] * 1.25)
    axes.legend(frameon=False, loc="upper right")
    shown = [i for i, value in enumerate(data["ratio"]) if value is not None]
    ratio.errorbar(
        centres[shown],
        [data["ratio"][i] for i in shown],
        yerr=[data["ratio_error"][i] for i in shown],
        fmt="o",
        markersize=3.5,
        color=COLOURS[1],
    )
    ratio.axhline(1.0, color=GREY, linestyle=(0, (1, 3)))
    ratio.set(xlabel=name, ylabel="kept / all", ylim=(0, 2))
    return figure
