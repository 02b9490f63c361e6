"""Settings of ``python -m smartbkg_tf.preprocess`` and of the split by event."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import model_validator

from smartbkg_tf.settings.base import CommandSettings, Field, settings
from smartbkg_tf.settings.cluster import FarmSettings
from smartbkg_tf.settings.encoding import FeatureSetChoice
from smartbkg_tf.settings.normalisation import NormalisationSettings
from smartbkg_tf.settings.plugins import plugin

#: Rounding that fractions such as 0.7 + 0.15 + 0.15 may show.
_ROUNDING = 1e-9


@settings
class SplitFractions:
    """Which part of the events is trained on, watched during training, and kept for the end.

    The part of an event follows from its key alone (`smartbkg_tf.dataset.split`): more
    data, other files or another order never move an event from one part to another.

    Parameters
    ----------
    train : float, default 0.7
        Fraction of events to train on. It may be made smaller alone (learning curves):
        validation and test events stay the same ones.
    validation : float, default 0.15
        Fraction for model selection and for the fit of the filter.
    test : float, default 0.15
        Fraction for the final numbers.

    Raises
    ------
    ValueError
        When the three together exceed 1.
    """

    train: float = Field(default=0.7, ge=0, le=1)
    validation: float = Field(default=0.15, ge=0, le=1)
    test: float = Field(default=0.15, ge=0, le=1)

    @model_validator(mode="after")
    def _check_sum(self) -> SplitFractions:
        total = self.train + self.validation + self.test
        if total > 1 + _ROUNDING:
            raise ValueError(
                f"the fractions train + validation + test make {total:.6g}, which exceeds 1"
            )
        return self


@settings
class PreprocessSettings(CommandSettings):
    """Settings of ``python -m smartbkg_tf.preprocess``.

    Parameters
    ----------
    input : str or list of str, optional
        Training tables (HDF5, parquet) or mDST files: names, glob patterns, several
        separated by commas. Needed unless `verify` is set.
    output : str
        The dataset directory to write (or, with `verify`, to check).
    key : {"all", "train_events", "decay_strings"}, default "all"
        Which part of the tables is read. ``decay_strings`` gives a dataset for
        ``model.inputs=decay`` only.
    features : str or dict, default "original"
        ``original``, ``smartbackground``, or ``_target_`` (the import path) and arguments of a
        class of your own; see `EncodingSettings`.
    max_particles : int, default 100
        Particles of an event that a model reads by default.
    max_tokens : int, default 150
        Decay tokens of an event that a model reads by default.
    mode : {"strict", "lenient"}, default "strict"
        What happens to events that cannot be used: ``strict`` reports all of them and
        writes nothing; ``lenient`` drops them and records how many.
    workers : int, default 1
        Processes, or jobs of the `cluster`, that read files, and parts of large HDF5 files, at the
        same time. The result does not depend on it.
    seed : int, default 1
        Decides the order in which events are stored.
    chunk_events : int, default 10000
        Events held in memory at a time. The result does not depend on it.
    reader : Reader, optional
        A reader of your own for files that the package does not know:
        ``{_target_: my_module.MyReader}``, a class that inherits
        `smartbkg_tf.events.readers.Reader`.
    normalisation : NormalisationSettings
        Constants that are handed on to models in ``dataset.json``; the arrays
        themselves hold physical values.
    cluster : FarmSettings
        Where files are read and encoded.
    verify : bool, default False
        Write nothing; check every byte of the dataset `output` against its hashes.
    """

    input: str | list[str] | None = None
    output: str = Field(min_length=1)
    key: Literal["all", "train_events", "decay_strings"] = "all"
    features: FeatureSetChoice = "original"
    max_particles: int = Field(default=100, gt=0, le=32767)
    max_tokens: int = Field(default=150, gt=0, le=1_000_000)
    mode: Literal["strict", "lenient"] = "strict"
    workers: int = Field(default=1, gt=0, le=1024)
    seed: int = Field(default=1, ge=0, lt=2**63)
    chunk_events: int = Field(default=10_000, gt=0, le=10_000_000)
    reader: Annotated[Any, plugin("smartbkg_tf.events.readers.Reader")] | None = None
    normalisation: NormalisationSettings
    cluster: FarmSettings = Field(default_factory=FarmSettings)
    verify: bool = False
