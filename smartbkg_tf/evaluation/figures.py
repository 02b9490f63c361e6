"""How figures look and how they are written: PNG for screens, PDF for papers.

Only matplotlib's object interface and its Agg renderer are used: no global state, no
display. Colours: Okabe and Ito's set, which colour-blind readers can tell apart; curves differ
in line style, too. matplotlib is imported when the first figure is made.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from smartbkg_tf.runtime.files import atomic_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Okabe and Ito (2008), without yellow, which is too light for lines.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES = ("-", "--", "-.", ":")
#: For what is only there to compare with.
GREY = "#666666"
#: A line to compare with.
REFERENCE: dict[str, Any] = {"color": GREY, "linestyle": (0, (1, 3))}


def new_figure(width: float = 6.0, height: float = 4.5, **subplots: Any) -> tuple[Figure, Any]:
    """Make an empty figure.

    Parameters
    ----------
    width, height : float, default 6.0, 4.5
        Inches.
    **subplots : object
        For `matplotlib.figure.Figure.subplots`.

    Returns
    -------
    figure : matplotlib.figure.Figure
        With the Agg renderer.
    axes : matplotlib.axes.Axes or array of them
        Where to draw.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(**subplots)
    for axis in np.ravel(np.asarray(axes, dtype=object)):
        axis.grid(visible=True, color="#dddddd", linewidth=0.6)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def outside_legend(figure: Figure, *, columns: int = 2, title: str | None = None) -> None:
    """Put one legend of all panels below the axes, where it hides no data."""
    handles: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(
        handles.values(),
        handles.keys(),
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        title=title,
    )


def save_figure(figure: Figure, path: str | Path) -> list[Path]:
    """Write a figure as PNG and PDF; `path` has no suffix."""
    base = Path(path)
    files = [base.with_name(f"{base.name}.png"), base.with_name(f"{base.name}.pdf")]
    for file in files:
        # Without a date, so that the same numbers give the same bytes.
        metadata = {"CreationDate": None} if file.suffix == ".pdf" else {}
        with atomic_file(file) as partial:
            figure.savefig(partial, dpi=150, metadata=metadata)
    return files


def line_styles(number: int) -> Iterator[dict[str, Any]]:
    """Give each curve its own ``color`` and ``linestyle``."""
    for i in range(number):
        yield {"color": COLOURS[i % len(COLOURS)], "linestyle": STYLES[i % len(STYLES)]}
