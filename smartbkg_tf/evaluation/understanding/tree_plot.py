"""An event drawn as its decay tree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from smartbkg_tf.evaluation.figures import COLOURS, GREY, new_figure
from smartbkg_tf.evaluation.plots import Curves, Plot, Section
from smartbkg_tf.evaluation.results import EvaluatedModel
from smartbkg_tf.evaluation.understanding.wrong_events import KINDS
from smartbkg_tf.events.table import KEY_COLUMNS
from smartbkg_tf.settings.base import settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SIZE = 8.5  # of the font, points
_ROW = 0.235  # inches
_GAP = 0.3  # inches between the columns of the tree


@settings
class WrongEventPlot(Plot):
    """One of the most wrongly scored events.

    Parameters
    ----------
    kind : str
        ``false_positive`` (fails, and scores high) or ``false_negative``.
    rank : int
        1 is the worst.
    """

    title: ClassVar[str] = "Wrongly scored event: {kind} {rank}"
    caption: ClassVar[str] = (
        "The decay tree of an event that fails with one of the highest scores (false positive) or "
        "passes with one of the lowest (false negative). Numbers are energies in GeV; "
        "final-state particles are blue; the network does not read those in grey, because the list "
        "is cut."
    )
    section: ClassVar[Section] = "understanding"

    kind: str
    rank: int

    @classmethod
    def instances(cls, models: Sequence[EvaluatedModel]) -> Sequence[WrongEventPlot]:
        """Give one for each event."""
        curves = {name for m in models for result in m.results.values() for name in result.curves}
        plots = []
        for kind in KINDS:
            ranks = sorted(int(n.rpartition("_")[2]) for n in curves if n.startswith(f"{kind}_"))
            plots += [cls(kind=kind, rank=rank) for rank in ranks]
        return plots

    @property
    def heading(self) -> str:
        """The title, filled in."""
        return super().heading.replace("_", " ")

    @property
    def name(self) -> str:
        """Name of the files."""
        return f"{self.kind}_{self.rank}"

    def draw(self, curves: Curves, title: str) -> Figure:
        """Draw the tree from left to right, daughters below each other."""
        (event,) = curves.values()
        particles = event["particles"]
        nodes = _layout(particles)
        texts = [_label(particle) for particle in particles]
        widths = _widths(texts)
        columns = [0.0] * (1 + max((depth for depth, _ in nodes), default=0))
        for (depth, _), width in zip(nodes, widths, strict=True):
            columns[depth] = max(columns[depth], width)
        left = [sum(columns[:i]) + i * _GAP for i in range(len(columns))]
        n_rows = 1 + max((row for _, row in nodes), default=0)
        width, height = max(left[-1] + columns[-1], 5.6), _ROW * n_rows
        figure, axes = new_figure(width + 0.3, height + 0.9)
        axes.set(xlim=(-0.05, width + 0.05), ylim=(n_rows - 0.4, -0.6))
        axes.axis("off")
        for i, particle in enumerate(particles):
            depth, row = nodes[i]
            read, final = particle["read"], not any(p["mother"] == i for p in particles)
            colour = "#b0b0b0" if not read else (COLOURS[0] if final else "#000000")
            axes.text(
                left[depth], row, texts[i], fontsize=_SIZE, color=colour, va="center_baseline"
            )
            mother = particle["mother"]
            if mother >= 0:
                above, mother_row = nodes[mother]
                x = [
                    left[above] + widths[mother] + 0.04,
                    left[depth] - _GAP * 0.55,
                    left[depth] - 0.05,
                ]
                axes.plot([x[0], x[1], x[1], x[2]], [mother_row, mother_row, row, row],
                          color=GREY, linewidth=0.7, solid_joinstyle="round")  # fmt: skip
        does = "fails" if event["kind"] == KINDS[0] else "passes"
        key = ", ".join(f"{name} {event[name]}" for name in KEY_COLUMNS)
        skim = f"{title}: " if title else ""
        axes.set_title(
            f"{skim}{does}, score {event['score']:.2f}\n{event['event_type']}; {key}",
            fontsize=10,
            loc="left",
        )
        return figure


def _label(particle: Mapping[str, Any]) -> str:
    energy = particle["energy"]
    return particle["name"] if energy is None else f"{particle['name']}  {energy:.2f}"


def _layout(particles: Sequence[Mapping[str, Any]]) -> list[tuple[int, float]]:
    """Give depth and row of every particle: final ones below each other, mothers in the middle."""
    daughters: dict[int, list[int]] = {}
    for i, particle in enumerate(particles):
        daughters.setdefault(particle["mother"], []).append(i)
    nodes: list[tuple[int, float]] = [(0, 0.0)] * len(particles)
    row = 0

    def place(i: int, depth: int) -> float:
        nonlocal row
        below = [place(daughter, depth + 1) for daughter in daughters.get(i, ())]
        if below:
            y = (below[0] + below[-1]) / 2
        else:
            y, row = float(row), row + 1
        nodes[i] = (depth, y)
        return y

    for root in daughters.get(-1, ()):
        place(root, 0)
    return nodes


def _widths(texts: Sequence[str]) -> list[float]:
    """Measure labels, in inches."""
    from matplotlib.font_manager import FontProperties

    figure, _ = new_figure()
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    font = FontProperties(size=_SIZE)
    return [
        renderer.get_text_width_height_descent(text, font, ismath="$" in text)[0] / figure.dpi
        for text in texts
    ]
