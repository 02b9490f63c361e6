"""How figures look and how they are written: PNG for screens, PDF for papers.

Ticks and lines are those of mplhep's ATLAS style. Only matplotlib's object interface and its Agg
renderer are used: no display. Colours: Okabe and Ito's set, which colour-blind readers can
tell apart; curves differ in line style, too. matplotlib is imported when the first figure is made.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from smartbkg_tf.runtime.files import atomic_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

#: Okabe and Ito (2008), without yellow, which is too light for lines.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES = ("-", "--", "-.", ":")
#: For what is only there to compare with.
GREY = "#666666"
#: A line to compare with.
REFERENCE: dict[str, Any] = {"color": GREY, "linestyle": (0, (1, 3))}

#: What differs from mplhep's style. The font comes with matplotlib: the same figures everywhere.
_STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "mathtext.fontset": "dejavusans",
    "mathtext.default": "regular",
    "font.size": 11,
    "axes.titlesize": "medium",
    "axes.labelsize": "medium",
    "axes.labelpad": 5,
    "axes.unicode_minus": True,
    "axes.autolimit_mode": "data",
    "axes.xmargin": 0.03,
    "axes.formatter.limits": (-4, 5),
    "axes.formatter.use_mathtext": False,  # a quarter of the time of a figure
    "xtick.labelsize": "small",
    "ytick.labelsize": "small",
    "ytick.major.size": 6,
    "ytick.minor.size": 3,
    "xtick.major.size": 6,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "legend.fontsize": "small",
    "legend.title_fontsize": "small",
    "legend.borderpad": 0.3,
    "legend.handlelength": 2.6,
}


@contextlib.contextmanager
def figure_style() -> Iterator[None]:
    """Draw and save inside this block: the style of figures, and nothing that stays behind."""
    import matplotlib as mpl
    from mplhep.styles.atlas import ATLAS

    style: dict[Any, Any] = {**ATLAS, **_STYLE}
    with mpl.rc_context(style):
        yield


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
        axis.set_axisbelow(True)
    return figure, axes


def outside_legend(figure: Figure, *, columns: int = 2, title: str | None = None) -> None:
    """Put one legend of all panels below the axes, where it hides no data.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        From `new_figure`.
    columns : int, default 2
        At most; long texts get fewer.
    title : str, optional
        Above the legend.
    """
    handles: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if not handles:
        return
    # A letter of the small font is about 0.075 inches wide, a line beside it 0.5.
    longest = max(len(label) for label in handles) * 0.075 + 0.5
    fitting = max(int(figure.get_figwidth() / longest), 1)
    figure.legend(
        handles.values(),
        handles.keys(),
        loc="outside lower center",
        ncols=min(columns, fitting, len(handles)),
        frameon=False,
        title=title,
    )


def plain_decades(*axes: Axis) -> None:
    """Write 0.01 on logarithmic axes, not a power of ten: easier to read, and quicker to draw."""
    for axis in axes:
        axis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.set_minor_formatter("")


def draw_histogram(axes: Axes, counts: Any, edges: Any, **style: Any) -> None:
    """Draw counts [n] between edges [n + 1] as steps with error bars (``yerr`` [n])."""
    from mplhep import histplot

    histplot(counts, edges, ax=axes, flow="none", **style)


def draw_band(axes: Axes, curve: Mapping[str, Any], x: str, y: str, **style: Any) -> None:
    """Draw a curve [n] with the band between its ``low`` and ``high``; points of None are left out.

    `x` and `y` name its columns; `style` has a ``color``.
    """
    names = (x, y, "low", "high")
    columns = np.array([curve[name] for name in names], dtype=np.float64)
    place, value, low, high = columns[:, np.isfinite(columns).all(axis=0)]
    axes.fill_between(place, low, high, color=style["color"], alpha=0.2, linewidth=0)
    axes.plot(place, value, **style)


def save_figure(figure: Figure, path: str | Path) -> list[Path]:
    """Write a figure as PNG and PDF; `path` has no suffix."""
    base = Path(path)
    files = [base.with_name(f"{base.name}.png"), base.with_name(f"{base.name}.pdf")]
    for file in files:
        # Without a date, so that the same numbers give the same bytes.
        metadata = {"CreationDate": None} if file.suffix == ".pdf" else {}
        with atomic_file(file) as partial:
            figure.savefig(partial, dpi=150, metadata=metadata)
        figure.set_layout_engine("none")  # it stays as it was found: half of the time
    return files


def line_styles(number: int) -> Iterator[dict[str, Any]]:
    """Give each curve its own ``color`` and ``linestyle``."""
    for i in range(number):
        yield {"color": COLOURS[i % len(COLOURS)], "linestyle": STYLES[i % len(STYLES)]}
