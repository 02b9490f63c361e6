"""What every figure of an evaluation is: data that are saved as JSON, and how they are drawn."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from smartbkg_tf.evaluation.results import EvaluatedModel
from smartbkg_tf.settings.plugins import Plugin, plain

if TYPE_CHECKING:
    from typing import Self

    from matplotlib.figure import Figure

#: Parts of the report, in its order.
Section = Literal["quality", "speedup", "bias", "training", "understanding", "custom"]

#: Curves by the text of the legend.
Curves = Mapping[str, Any]


class Plot(Plugin):
    """One figure of an evaluation: data that are saved as JSON, and how they are drawn.

    A custom figure inherits this class, is declared with
    `smartbkg_tf.settings.base.settings`, and is chosen by
    ``evaluate 'plots=[{_target_: my_module.WeightsPlot, bins: 30}]'``. It is drawn for every
    model and skim; its files are named after the class, in lower case and without "Plot":
    ``weights.png``. matplotlib is imported inside methods.

    Attributes
    ----------
    title : str
        Heading of the figure in the report; ``{field}`` stands for the value of a field. By
        default the words of the class's name.
    caption : str
        One or two sentences below the figure: what to see. By default the first line of the class's
        docstring. ``{field}`` as in the title.
    section : str, default "custom"
        Part of the report: quality, speedup, bias, training, understanding or custom.
    overlaid : bool, default False
        Whether curves of several skims, and of several models, share one figure.

    Examples
    --------
    ::

        import numpy as np

        from smartbkg_tf.evaluation.figures import new_figure
        from smartbkg_tf.evaluation.plots import Plot
        from smartbkg_tf.settings.base import settings

        @settings
        class WeightsPlot(Plot):
            title = "Weights of kept events"
            caption = "The further to the right, the more events each kept one stands for."
            bins: int = 20

            def data(self, model, skim):
                weights = model.predictions.skims[skim].weight
                counts, edges = np.histogram(weights[weights > 0], self.bins)
                return {"counts": counts.tolist(), "edges": edges.tolist()}

            def draw(self, curves, title):
                figure, axes = new_figure()
                for label, curve in curves.items():
                    axes.stairs(curve["counts"], curve["edges"], label=label)
                axes.set(xlabel="weight", ylabel="events", title=title)
                axes.legend()
                return figure
    """

    title: ClassVar[str] = ""
    caption: ClassVar[str] = ""
    section: ClassVar[Section] = "custom"
    overlaid: ClassVar[bool] = False

    @classmethod
    def instances(cls, models: Sequence[EvaluatedModel]) -> Sequence[Self]:
        """Give the figures of this class that built-in drawing makes: by default one."""
        return [cls()]

    @property
    def name(self) -> str:
        """Name of the files, without suffix: that of the class, without Plot.

        Letters that file names should not have become ``_``.
        """
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(self).__name__).lower()
        return words.removesuffix("_plot")

    @property
    def heading(self) -> str:
        """The title, filled in."""
        return self._filled(self.title) or self.name.replace("_", " ").capitalize()

    @property
    def explanation(self) -> str:
        """The caption, filled in."""
        return self._filled(self.caption) or (vars(type(self)).get("__doc__") or "").split("\n")[0]

    def _filled(self, text: str) -> str:
        return text.format(**plain(self))

    def data(self, model: EvaluatedModel, skim: str) -> dict[str, Any] | None:
        """Give what is drawn; by default the curve of the same name.

        Parameters
        ----------
        model : EvaluatedModel
            ``model.predictions.skims[skim]`` holds score, probability, kept, weight and label,
            arrays of equal length; ``model.results[skim]`` holds metrics and curves.
        skim : str
            One of ``model.results``.

        Returns
        -------
        dict or None
            Plain values, as JSON can hold them; None draws nothing.
        """
        curve: dict[str, Any] | None = model.results[skim].curves.get(self.name)
        return curve

    def legend(self, model: EvaluatedModel, skim: str, label: str) -> str:
        """Give the text of the legend for a curve; `label` names its skim or its model."""
        return label

    def draw(self, curves: Curves, title: str) -> Figure:
        """Draw.

        Parameters
        ----------
        curves : mapping of str to dict
            From `data`, by the text of the legend; a single one unless `overlaid`.
        title : str
            Above the figure; may be empty.

        Returns
        -------
        matplotlib.figure.Figure
            The figure, for example from `smartbkg_tf.evaluation.figures.new_figure`.
        """
        raise NotImplementedError(f"{type(self).__name__} has no method draw(curves, title)")
