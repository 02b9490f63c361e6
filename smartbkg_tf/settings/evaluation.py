"""Settings of the command `evaluate`."""

from __future__ import annotations

from typing import Annotated, Any

from smartbkg_tf.settings.base import CommandSettings, Field, settings
from smartbkg_tf.settings.costs import CostSettings
from smartbkg_tf.settings.plugins import plugin


@settings
class MetricsSettings:
    """How results are calculated.

    Parameters
    ----------
    bootstrap : int, default 200
        Resamples for errors and bands.
    seed : int, default 0
        Of the resamples.
    efficiencies : list of float
        Working points: fractions of passing events that a threshold keeps. By default 0.99,
        0.95, 0.9, 0.8 and 0.5.
    cost : CostSettings
        For speedups.
    wrong_events : int, default 3
        Most wrongly scored events that are drawn as decay trees: so many that fail with the
        highest scores, and so many that pass with the lowest.
    overfitting_events : int, default 10000
        Training events that are compared with the test events, at most.
    importance_events : int, default 2000
        Test events of each skim whose inputs are shuffled; half of them pass, if there are as many.
    """

    bootstrap: int = Field(default=200, ge=10, le=10_000)
    seed: int = Field(default=0, ge=0)
    efficiencies: list[Annotated[float, Field(gt=0, le=1)]] = Field(
        default_factory=lambda: [0.99, 0.95, 0.9, 0.8, 0.5]
    )
    cost: CostSettings = Field(default_factory=CostSettings)
    wrong_events: int = Field(default=3, ge=0, le=50)
    overfitting_events: int = Field(default=10_000, ge=100)
    importance_events: int = Field(default=2000, ge=100)


@settings
class EvaluateSettings(CommandSettings):
    """Settings of the command `evaluate`.

    Parameters
    ----------
    runs : str or list of str, optional
        Run directories and predictions files (.parquet) to evaluate side by side; needed unless
        `from` is given.
    output : str, optional
        The folder that is written (metrics.json, plots, report.html); needed for `runs`, and for
        `from` that folder itself if not given.
    from : str, optional
        A folder with a report, whose figures and report.html are made again without events, from
        metrics.json and the JSON files of the figures.
    observables : str, optional
        A parquet file with the event key (experiment, run, event, production) and one
        column for each bias observable.
    understanding : bool, default False
        Ask the networks of run directories as well: score training events (overfitting), and events
        of which an input or a type of particles was shuffled or taken away (importance). A minute
        for a network of the default size.
    dataset : str, optional
        The dataset directory with the events of the models; None: where the runs were trained.
    metrics : MetricsSettings
        How results are calculated.
    plots : list of Plot
        Custom figures, ``[{_target_: my_module.MyPlot}]``, beside the built-in ones. They
        inherit `smartbkg_tf.evaluation.plots.Plot`.
    """

    runs: str | list[str] | None = Field(default=None, min_length=1)
    output: str | None = Field(default=None, min_length=1)
    from_: str | None = Field(default=None, alias="from", min_length=1)
    observables: str | None = None
    understanding: bool = False
    dataset: str | None = None
    metrics: MetricsSettings = Field(default_factory=MetricsSettings)
    plots: list[Annotated[Any, plugin("smartbkg_tf.evaluation.plots.Plot")]] = Field(
        default_factory=list
    )
