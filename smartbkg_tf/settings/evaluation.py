"""Settings of the command `evaluate`."""

from __future__ import annotations

from typing import Annotated, Any

from smartbkg_tf.settings.base import CommandSettings, Field, settings
from smartbkg_tf.settings.costs import CostOverrides
from smartbkg_tf.settings.plugins import plugin

_Retention = Annotated[float, Field(gt=0, lt=1)]


@settings
class BiasSettings:
    """How distributions before and after a filter are compared.

    Parameters
    ----------
    efficiency : float, default 0.95
        Fraction of the passing events that the threshold keeps whose bias is shown, unless the
        predictions were made by a threshold.
    bins : int, default 20
        Of an observable.
    folds : int, default 5
        Folds of the boosted trees that reweight the events that a threshold keeps; 0 leaves the
        reweighting out.
    """

    efficiency: float = Field(default=0.95, gt=0, le=1)
    bins: int = Field(default=20, ge=2, le=1000)
    folds: int = Field(default=5, ge=0, le=100)


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
    retention : float or dict of str to float, optional
        Natural fraction of passing events, of every skim or by skim, for speedups and the natural
        mixture of event types, where the events were enriched. By default the one for which the
        sampling rule of the run was fitted (``filter.retention`` of `train`), else that of the
        events. Failing events are weighted, all by the same number.
    cost : CostOverrides
        For speedups.
    wrong_events : int, default 3
        Most wrongly scored events that are drawn as decay trees: so many that fail with the
        highest scores, and so many that pass with the lowest.
    overfitting_events : int, default 10000
        Training events that are compared with the test events, at most.
    importance_events : int, default 2000
        Test events of each skim whose inputs are shuffled; half of them pass, if there are as many.
    bias : BiasSettings
        For bias observables.
    """

    bootstrap: int = Field(default=200, ge=10, le=10_000)
    seed: int = Field(default=0, ge=0)
    efficiencies: list[Annotated[float, Field(gt=0, le=1)]] = Field(
        default_factory=lambda: [0.99, 0.95, 0.9, 0.8, 0.5]
    )
    retention: _Retention | dict[str, _Retention] | None = None
    cost: CostOverrides = Field(default_factory=CostOverrides)
    wrong_events: int = Field(default=3, ge=0, le=50)
    overfitting_events: int = Field(default=10_000, ge=100)
    importance_events: int = Field(default=2000, ge=100)
    bias: BiasSettings = Field(default_factory=BiasSettings)


@settings
class EvaluateSettings(CommandSettings):
    """Settings of the command `evaluate`.

    Parameters
    ----------
    runs : str or list of str, optional
        Run directories, folders of sweeps, and tables of predictions (.parquet, .root, .csv), also
        of other programs, to evaluate side by side; needed unless `from` is given.
    output : str, optional
        The folder that is written (metrics.json, plots, report.html); needed for `runs`, and for
        `from` that folder itself if not given.
    from : str, optional
        A folder with a report, whose figures and report.html are made again without events, from
        metrics.json and the JSON files of the figures.
    observables : str or list of str, optional
        Bias observables by event key (experiment, run, event, production): training tables (.h5),
        parquet tables or flat ROOT trees.
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
    observables: str | list[str] | None = None
    understanding: bool = False
    dataset: str | None = None
    metrics: MetricsSettings = Field(default_factory=MetricsSettings)
    plots: list[Annotated[Any, plugin("smartbkg_tf.evaluation.plots.Plot")]] = Field(
        default_factory=list
    )
