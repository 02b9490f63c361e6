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
    """

    bootstrap: int = Field(default=200, ge=10, le=10_000)
    seed: int = Field(default=0, ge=0)
    efficiencies: list[Annotated[float, Field(gt=0, le=1)]] = Field(
        default_factory=lambda: [0.99, 0.95, 0.9, 0.8, 0.5]
    )
    cost: CostSettings = Field(default_factory=CostSettings)


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
    metrics: MetricsSettings = Field(default_factory=MetricsSettings)
    plots: list[Annotated[Any, plugin("smartbkg_tf.evaluation.plots.Plot")]] = Field(
        default_factory=list
    )
