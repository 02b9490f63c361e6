"""Settings of the commands `apply` and `export`, and of the fit of the sampling rule."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import model_validator

from smartbkg_tf.settings.base import CommandSettings, Field, settings
from smartbkg_tf.settings.cluster import FarmSettings
from smartbkg_tf.settings.costs import CostSettings
from smartbkg_tf.settings.plugins import plugin

#: Kinds of event lists that `apply` writes, by their suffix.
EVENT_LIST_SUFFIXES = (".csv", ".npy", ".parquet")

#: Suffix of predictions by their format.
PREDICTIONS_SUFFIXES = {"parquet": ".parquet", "root": ".root"}
ROOT_SUFFIX = PREDICTIONS_SUFFIXES["root"]


@settings
class FilterFitSettings:
    """How the sampling rule is fitted on validation events.

    Parameters
    ----------
    maximum_weight : float, default 20
        No event gets a larger weight: the sampling probability never falls below
        1 / maximum_weight. basf2's default is 100; without such a floor one event can
        spoil a sample (measured: a floor of 0.05 kept every single draw above 1.2).
    cost : CostSettings
        What an event costs.
    retention : float, optional
        Natural fraction of passing events, where the validation events were enriched;
        by default the fraction among them.
    bootstrap : int, default 100
        Resamples for the errors.
    seed : int, default 0
        Of the resamples.
    """

    maximum_weight: float = Field(default=20.0, ge=1)
    cost: CostSettings = Field(default_factory=CostSettings)
    retention: float | None = Field(default=None, gt=0, lt=1)
    bootstrap: int = Field(default=100, ge=2, le=10_000)
    seed: int = Field(default=0, ge=0)


@settings
class SamplingSettings:
    """A sampling rule given explicitly instead of the fitted one.

    Parameters
    ----------
    a : float, optional
        Slope per unit of score; applies to every skim. By default the fitted one.
    b : float, optional
        Score (logit) from which on every event is kept. By default the fitted one.
    maximum_weight : float, optional
        Largest weight. By default the fitted one, or 20 with `a` and `b`.
    retention : float, optional
        With `ApplySettings.fit_on`: natural fraction of passing events, where those
        predictions were enriched; by default the fraction among them.
    """

    a: float | None = Field(default=None, ge=0)
    b: float | None = None
    maximum_weight: float | None = Field(default=None, ge=1)
    retention: float | None = Field(default=None, gt=0, lt=1)

    @model_validator(mode="after")
    def _both(self) -> SamplingSettings:
        if (self.a is None) != (self.b is None):
            raise ValueError("sampling.a and sampling.b belong together: give both or none")
        return self


@settings
class ApplySettings(CommandSettings):
    """Settings of the command `apply`.

    Parameters
    ----------
    run : str
        A run directory, a .keras file inside one, or an exported .onnx file.
    input : str or list of str
        Files (names, patterns, comma list; HDF5, parquet, mDST ROOT, HepMC3 or the public npz)
        or one dataset directory.
    output : str
        The file of predictions, ``.parquet`` or ``.root``.
    format : {"parquet", "root"}, optional
        By default that of the suffix of `output`; ``root`` is a TTree with the same columns.
    workers : int, default 1
        Processes, or jobs of a batch farm; each calculates on one core. They share the events in
        parts of at most `chunk_events`; the number does not change results.
    cluster : FarmSettings
        Where they run.
    method : {"score", "sampling", "threshold"}, default "sampling"
        ``score`` keeps everything with weight 1; ``sampling`` keeps an event with its
        sampling probability and weight 1 / probability; ``threshold`` keeps events with
        a score of at least `threshold`, which biases distributions.
    threshold : float, optional
        On the score (logit, so 0.0 is a threshold); ``method=threshold`` needs it or `efficiency`.
    efficiency : float, optional
        Instead of `threshold`: the fraction of passing events that is kept, measured on
        validation events.
    fit_on : str, optional
        Labelled predictions (.parquet, .root) of the same model on other events: the sampling
        rule, or the threshold of `efficiency`, is fitted on them instead of those of the training,
        with ``sampling.maximum_weight``, ``sampling.retention`` and ``cost``.
    rule : Rule, optional
        A custom sampling rule, ``{_target_: my_module.MyRule}``. It inherits
        `smartbkg_tf.filtering.rules.Rule` and replaces the fitted one for every skim.
    seed : int, default 0
        Of the sampling; with the event key it fixes every decision.
    key : {"all", "train_events", "decay_strings"}, default "all"
        Which tables of an HDF5 file are read.
    reader : Reader, optional
        A custom reader of event files, ``{_target_: my_module.MyReader}``, which inherits
        `smartbkg_tf.events.readers.Reader`.
    split : {"all", "train", "validation", "test"}, default "all"
        Which events of a dataset directory are taken (by the run's own fractions).
    events_output : str, optional
        Also write the keys and weights of kept events to this .csv, .npy or .parquet file.
    sampling : SamplingSettings
        Numbers of the sampling rule given explicitly instead of the fitted ones.
    cost : CostSettings
        For the expected speedup that is printed, and for `fit_on`.
    batch_size : int, optional
        Events scored at a time; does not change results but for the last bit. By default 256
        for Keras and 16 for ONNX Runtime, which is no faster with more.
    chunk_events : int, default 20000
        Events of one part, and held in memory at a time; does not change decisions (another
        number regroups events, which may change the last bit of a score).
    """

    run: str = Field(min_length=1, coerce_numbers_to_str=True)
    input: str | list[str] = Field(min_length=1)
    output: str = Field(min_length=1, examples=["predictions.parquet"])
    format: Literal["parquet", "root"] | None = None
    workers: int = Field(default=1, ge=1, le=1024)
    cluster: FarmSettings = Field(default_factory=FarmSettings)
    method: Literal["score", "sampling", "threshold"] = "sampling"
    threshold: float | None = None
    efficiency: float | None = Field(default=None, gt=0, le=1)
    fit_on: str | None = Field(default=None, min_length=1)
    rule: Annotated[Any, plugin("smartbkg_tf.filtering.rules.Rule")] | None = None
    seed: int = Field(default=0, ge=0)
    key: Literal["all", "train_events", "decay_strings"] = "all"
    reader: Annotated[Any, plugin("smartbkg_tf.events.readers.Reader")] | None = None
    split: Literal["all", "train", "validation", "test"] = "all"
    events_output: str | None = None
    sampling: SamplingSettings = Field(default_factory=SamplingSettings)
    cost: CostSettings = Field(default_factory=CostSettings)
    batch_size: int | None = Field(default=None, gt=0, le=1_000_000)
    chunk_events: int = Field(default=20000, gt=0, le=10_000_000)

    @model_validator(mode="after")
    def _fits_together(self) -> ApplySettings:
        problems = []
        # `is None`: a threshold of 0.0 is a threshold.
        given = [n for n in ("threshold", "efficiency") if getattr(self, n) is not None]
        if self.method == "threshold" and not given:
            problems.append(
                "method=threshold needs threshold=X (on the logit; 0.0 is p = 1/2) or efficiency=E"
            )
        if len(given) == 2:
            problems.append("threshold and efficiency exclude each other")
        if self.method != "threshold":
            problems.extend(f"{name} has no effect with method={self.method}" for name in given)
        by_hand: Any = self.sampling
        fitted = self.efficiency is not None or (
            self.method == "sampling" and by_hand.a is None and self.rule is None
        )
        if self.fit_on is not None and not fitted:
            problems.append("fit_on has no effect: nothing is fitted with these settings")
        if by_hand.retention is not None and self.fit_on is None:
            problems.append("sampling.retention has no effect without fit_on")
        numbers_given = (by_hand.a, by_hand.maximum_weight) != (None, None)
        if self.method != "sampling" and numbers_given:
            problems.append(f"sampling.* has no effect with method={self.method}")
        if self.method != "sampling" and self.rule is not None:
            problems.append(f"rule has no effect with method={self.method}")
        if self.rule is not None and numbers_given:
            problems.append("sampling.* has no effect on a custom rule")
        suffix = Path(self.output).suffix
        if suffix not in PREDICTIONS_SUFFIXES.values():
            problems.append(
                f"output must end in {' or '.join(PREDICTIONS_SUFFIXES.values())}, "
                f"not '{self.output}'"
            )
        elif self.format is not None and PREDICTIONS_SUFFIXES[self.format] != suffix:
            problems.append(f"format={self.format} does not fit the suffix of '{self.output}'")
        if self.events_output and Path(self.events_output).suffix not in EVENT_LIST_SUFFIXES:
            problems.append(
                f"events_output must end in {', '.join(EVENT_LIST_SUFFIXES)}, "
                f"not '{self.events_output}'"
            )
        if self.events_output and Path(self.events_output) == Path(self.output):
            problems.append("events_output and output are the same file")
        if problems:
            raise ValueError("; ".join(problems))
        return self


@settings
class ExportSettings(CommandSettings):
    """Settings of the command `export`.

    Parameters
    ----------
    run : str
        A run directory.
    output : str
        The folder that is written.
    format : {"onnx", "basf2"}, default "onnx"
        ``onnx`` for `apply`; ``basf2`` for the module SmartBackground, which decides event by
        event inside a simulation: the network must have been trained on tables with
        ``source.particles=generator``, ``features=smartbackground`` and without the decay string.
    skim_codes : mapping of str to int, optional
        With ``format=basf2``: the LFN code of every skim, as ``{fei_hadronic_b0: 11180100}``.
    opset : int, default 15
        Operator set of the ONNX file, 13 to 18.
    tolerance : float, default 1e-5
        Largest difference of a score between the exported file and the Keras model,
        relative to max(1, abs(score)); a larger one refuses the export.
    """

    run: str = Field(min_length=1)
    output: str = Field(min_length=1)
    format: Literal["onnx", "basf2"] = "onnx"
    skim_codes: dict[str, Annotated[int, Field(gt=0, lt=10**9)]] = Field(default_factory=dict)
    opset: int = Field(default=15, ge=13, le=18)
    tolerance: float = Field(default=1e-5, gt=0)

    @model_validator(mode="after")
    def _codes_belong_to_basf2(self) -> ExportSettings:
        if self.skim_codes and self.format != "basf2":
            raise ValueError("skim_codes has no effect without format=basf2")
        return self
