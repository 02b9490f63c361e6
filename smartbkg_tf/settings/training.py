"""Settings of the command train: data, optimisation, devices, run directory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import field_validator, model_validator
from pydantic_core import ArgsKwargs

from smartbkg_tf.settings.base import CommandSettings, Field, settings
from smartbkg_tf.settings.filtering import FilterFitSettings
from smartbkg_tf.settings.models import ModelSettings
from smartbkg_tf.settings.normalisation import NormalisationSettings
from smartbkg_tf.settings.plugins import plugin
from smartbkg_tf.settings.preprocessing import SplitFractions
from smartbkg_tf.settings.sources import EventType


@settings
class DemoSettings:
    """The sample that is produced when no data are given.

    Parameters
    ----------
    event_types : list of str, default ["mixed"]
        What to generate with Pythia 8.
    n_events : int, default 100000
        Events of each type.
    seed : int, default 1
        Of generator and detector.
    skim : str, default "fei_hadronic_b0"
        The selection to predict.
    workers : int, default 0
        Processes; 0 is one for each core.
    cache : str, optional
        Folder that keeps the sample. Default: ``$SMARTBKG_TF_CACHE``, else
        ``$XDG_CACHE_HOME/smartbkg_tf``, else ``~/.cache/smartbkg_tf``.
    """

    event_types: list[EventType] = Field(default=["mixed"], min_length=1)
    n_events: int = Field(default=100_000, gt=0, le=2_000_000_000)
    seed: int = Field(default=1, ge=0)
    skim: str = Field(default="fei_hadronic_b0", min_length=1)
    workers: int = Field(default=0, ge=0, le=1024)
    cache: str | None = None


@settings
class DataSettings:
    """Which events to train on.

    Parameters
    ----------
    path : str, optional
        A dataset directory (made by ``preprocess``), the public Belle data set (npz), or a
        folder with arrays of the original project; without it a small sample is produced
        first.
    skims : list of str, optional
        The labels to learn, in this order: the outputs of the network. null learns all that
        the dataset holds. A text with commas counts as a list.
    fractions : SplitFractions
        Shares of training, validation and test; a hash of the event's key decides, so no
        event ever moves.
    balance : float or None, default 3
        Failing events for each passing one in a training epoch, drawn anew every epoch; with
        several skims the first one decides. null takes all. Validation and test keep the
        natural mixture.
    max_particles : int, optional
        Particles of an event that are read; null reads all that the dataset holds.
    max_tokens : int, optional
        Tokens of a decay string that are read; null reads all that the dataset holds.
    symmetries : list of {"charge_conjugation", "mirror"}
        Training events are replaced by their images with probability 1/2 each, anew in every
        epoch: all particles by their antiparticles, y by -y. The skim must treat both alike.
        Default: none.
    demo : DemoSettings
        The sample to produce when there is no path.
    """

    path: str | None = None
    skims: list[str] | None = None
    fractions: SplitFractions = Field(default_factory=SplitFractions)
    balance: float | None = Field(default=3.0, gt=0)
    max_particles: int | None = Field(default=None, gt=0)
    max_tokens: int | None = Field(default=None, gt=0)
    symmetries: list[Literal["charge_conjugation", "mirror"]] = Field(default_factory=list)
    demo: DemoSettings = Field(default_factory=DemoSettings)

    @field_validator("skims", mode="before")
    @classmethod
    def _names(cls, skims: Any) -> Any:
        names = skims.split(",") if isinstance(skims, str) else skims
        if not isinstance(names, list):
            return names
        names = [name.strip() if isinstance(name, str) else name for name in names]
        if not names or "" in names:
            raise ValueError("names of skims are needed, such as [a, b]; null takes all")
        twice = [name for i, name in enumerate(names) if name in names[:i]]
        if twice:
            raise ValueError(f"'{twice[0]}' is named more than once")
        return names


@settings
class ClassWeights:
    """Weights of passing and failing events in the loss.

    Parameters
    ----------
    passing : float, default 1
        Of events that pass the skim.
    failing : float, default 1
        Of events that fail it.
    """

    passing: float = Field(default=1.0, gt=0)
    failing: float = Field(default=1.0, gt=0)


@settings
class FineTuningSettings:
    """What happens to the backbone, the layers before the output, of another run.

    Parameters
    ----------
    backbone : {"layerwise", "frozen", "frozen_branches", "free"}
        Learn more slowly the further a layer stands from the output; leave all as it is, so
        that only the output learns; leave the branches as they are, so that head and output
        learn; learn at the common rate.
    first_layer_rate : float, default 0.1
        Learning rate of the first layer over that of the output; in between the rates form
        a geometric series (layerwise; Howard and Ruder, arXiv:1801.06146).
    """

    backbone: Literal["layerwise", "frozen", "frozen_branches", "free"] = "layerwise"
    first_layer_rate: float = Field(default=0.1, gt=0, le=1)


@settings
class MLflowSettings:
    """Where MLflow records runs.

    Parameters
    ----------
    tracking_uri : str, optional
        Server or folder; null leaves it to MLflow (``MLFLOW_TRACKING_URI``).
    experiment : str, default "smartbkg_tf"
        Name of the experiment.
    """

    tracking_uri: str | None = None
    experiment: str = Field(default="smartbkg_tf", min_length=1)


_Optimizer = Annotated[Any, plugin("smartbkg_tf.training.optimizers.TrainingOptimizer")]
_Loss = Annotated[Any, plugin("smartbkg_tf.training.losses.TrainingLoss")]
_Schedule = Annotated[Any, plugin("smartbkg_tf.training.schedules.Schedule")]
_Callback = Annotated[Any, plugin("smartbkg_tf.training.callbacks.TrainingCallback")]

#: Epochs of early_stopping=auto.
_PATIENCE = 6


def _default(target: str) -> Any:
    return Field(default_factory=lambda: {"_target_": f"smartbkg_tf.training.{target}"})


#: Keys of before, and what is written now.
_MOVED = {
    "batch_parts": "is training.micro_batches now",
    "checkpoint": "is gone: the state of a run is saved after every epoch; for a shorter time "
    "between two checkpoints use training.sub_epochs",
    "label_smoothing": "is training.loss.label_smoothing now",
    "weight_decay": "is training.optimizer.weight_decay now",
}

#: What a configuration chooses by group and ``_target_``, and where the package's own classes are.
_GROUPS = ("schedule", "loss", "optimizer")
_ROOM = "smartbkg_tf.training."


def _moved(values: Mapping[str, Any]) -> Iterator[str]:
    """Say what replaces keys of before."""
    for key, answer in _MOVED.items():
        if key in values:
            yield f"{key} {answer}"
    for group in _GROUPS:
        value = values.get(group)
        if isinstance(value, str):
            yield f"{group}={value} is training/{group}={value} now"
        elif isinstance(value, Mapping) and str(value.get("_target_")).startswith(_ROOM):
            if "name" in value:
                yield f"{group}.name={value['name']} is training/{group}={value['name']} now"
            if "times" in value:
                yield f"{group}.times is training.{group}.cost now"


@settings
class TrainingSettings:
    """How the weights are found.

    Parameters
    ----------
    epochs : int, default 30
        At most so many passes over the training events.
    sub_epochs : int, default 1
        Parts of a pass, of equally many batches. Each is treated as an epoch: it ends with
        validation, a look at the schedule, a checkpoint and a row of the history; patiences count
        them. For very long passes.
    batch_size : int, default 256
        Events in one step.
    seed : int, default 1
        Of weights, dropout, shuffling and the draw of failing events.
    optimizer : TrainingOptimizer
        How gradients move the weights: ``training/optimizer=adamw|adam|sgd``, or a class of a
        user's own by ``_target_``; default AdamW.
    learning_rate : float, default 1e-3
        At the start, or after the warm-up.
    gradient_clipping : float, optional
        Largest global norm of the gradient; null does not clip.
    ema : float, optional
        Momentum of an exponential moving average of the weights; validation and the saved
        models then use the averages. null takes the weights themselves.
    loss : TrainingLoss
        What is minimised: ``training/loss=crossentropy|focal|speedup``, or a class of a user's own;
        default Crossentropy.
    class_weights : "balanced", ClassWeights, dict of str to ClassWeights, or null
        "balanced" gives passing and failing events the same total weight; null leaves
        them as they are drawn; weights for all skims, or by skim (1 for those not named).
    monitor : {"val_loss", "val_auc"}
        What decides about the best epoch, early stopping and the plateau schedule.
    early_stopping : "auto", int or null, default "auto"
        Stop after so many epochs without improvement; null never does. "auto" is 6, and null
        for a schedule whose rate falls to the end, such as Cosine: a number is refused there.
    schedule : Schedule
        The learning rate: ``training/schedule=plateau|cosine|constant``, or a class of a user's
        own; default Plateau.
    callbacks : list of TrainingCallback
        What else happens; none by default.
    mixed_precision : {"float16", "bfloat16"} or null
        Arithmetic of hidden layers; weights and output stay float32.
    micro_batches : "auto" or int, default "auto"
        Parts of similar length in which the events of a batch go through the network, each padded
        to its own longest event; loss and gradient are those of the whole batch. "auto" is 4, and
        1 for networks with batch normalisation or packed batches, and with `xla`.
    steps_per_execution : int, default 1
        Batches in one call of the compiled step, on one device.
    xla : bool, default False
        Compile with XLA. All batches are then padded to one length, because every length is
        compiled anew; on a CPU no network that was measured gains by it
        (docs/performance.md).
    device : {"auto", "cpu", "gpu"}
        "auto" uses GPUs where there are some; "gpu" fails early when there is none.
    devices : "auto" or int, default "auto"
        How many share each batch: "auto" takes all GPUs there are. More than one need a
        `batch_size` that they can share evenly. With ``device="cpu"`` the processor is divided
        into so many logical devices, to try what several devices do.
    deterministic : bool, default True
        Same seed, same history, on a GPU too (some operations are slower there). Without
        effect together with `xla`, which repeats itself on a CPU anyway.
    init_from : str, optional
        Run directory whose network gives the layers before the output (the backbone), or
        ``preset:belle2`` for the one that comes with the package.
    fine_tuning : FineTuningSettings
        What happens to them.
    mlflow : MLflowSettings, optional
        Record the run with MLflow; null does not.
    progress : bool, default True
        Show progress inside an epoch.
    """

    epochs: int = Field(default=30, gt=0, le=1_000_000)
    sub_epochs: int = Field(default=1, gt=0, le=10_000)
    batch_size: int = Field(default=256, gt=0, le=1_000_000)
    seed: int = Field(default=1, ge=0, lt=2**31)
    optimizer: _Optimizer = _default("optimizers.AdamW")
    learning_rate: float = Field(default=1e-3, gt=0)
    gradient_clipping: float | None = Field(default=1.0, gt=0)
    ema: float | None = Field(default=None, gt=0, lt=1)
    loss: _Loss = _default("losses.Crossentropy")
    class_weights: Literal["balanced"] | ClassWeights | dict[str, ClassWeights] | None = None
    monitor: Literal["val_loss", "val_auc"] = "val_loss"
    early_stopping: Literal["auto"] | Annotated[int, Field(gt=0)] | None = "auto"
    schedule: _Schedule = _default("schedules.Plateau")
    callbacks: list[_Callback] = Field(default_factory=list)
    mixed_precision: Literal["float16", "bfloat16"] | None = None
    micro_batches: Literal["auto"] | Annotated[int, Field(gt=0, le=32)] = "auto"
    steps_per_execution: int = Field(default=1, gt=0, le=64)
    xla: bool = False
    device: Literal["auto", "cpu", "gpu"] = "auto"
    devices: Literal["auto"] | Annotated[int, Field(gt=0, le=64)] = "auto"
    deterministic: bool = True
    init_from: str | None = Field(default=None, min_length=1)
    fine_tuning: FineTuningSettings = Field(default_factory=FineTuningSettings)
    mlflow: MLflowSettings | None = None
    progress: bool = True

    @property
    def mode(self) -> Literal["min", "max"]:
        """Whether less or more of the monitored quantity is better."""
        return "min" if self.monitor == "val_loss" else "max"

    @property
    def patience(self) -> int | None:
        """Epochs without improvement after which the training stops; None: it does not."""
        if self.early_stopping != "auto":
            return self.early_stopping
        return None if self.schedule.falls_to_the_end else _PATIENCE

    @model_validator(mode="before")
    @classmethod
    def _refuse_old_keys(cls, values: Any) -> Any:
        given = values.kwargs if isinstance(values, ArgsKwargs) else values
        problems = list(_moved(given)) if isinstance(given, Mapping) else []
        if problems:
            raise ValueError("; ".join(problems))
        return values

    @model_validator(mode="after")
    def _every_key_has_a_meaning(self) -> TrainingSettings:
        problems = []
        if self.class_weights and not self.loss.takes_class_weights:
            problems.append(f"class_weights has no meaning with {type(self.loss).__name__}")
        if self.schedule.falls_to_the_end and isinstance(self.early_stopping, int):
            problems.append(
                f"early_stopping={self.early_stopping} would end a run before the rate of "
                f"{type(self.schedule).__name__} has fallen; leave it out, or use "
                "training/schedule=plateau"
            )
        if problems:
            raise ValueError("; ".join(problems))
        return self


@settings
class TrainSettings(CommandSettings):
    """Everything that ``python -m smartbkg_tf.train`` understands.

    Parameters
    ----------
    model : ModelSettings
        The network.
    data : DataSettings
        The events.
    training : TrainingSettings
        The optimisation.
    normalisation : NormalisationSettings, optional
        Constants of the normalisation layer; null takes those of the dataset.
    filter : FilterFitSettings
        How the sampling rule is fitted on validation events.
    run_dir : str, optional
        Where the run is written; null makes ``runs/<date>_<time>_<model>-<inputs>``.
            With ``--multirun``, the folder of the whole sweep.
    strict_repro : bool, default False
        Refuse to train with code that no commit names: changed files, or no git checkout.
    """

    model: ModelSettings
    data: DataSettings = Field(default_factory=DataSettings)
    training: TrainingSettings = Field(default_factory=TrainingSettings)
    normalisation: NormalisationSettings | None = None
    filter: FilterFitSettings = Field(default_factory=FilterFitSettings)
    run_dir: str | None = None
    strict_repro: bool = False

    @field_validator("run_dir")
    @classmethod
    def _not_empty(cls, run_dir: str | None) -> str | None:
        if run_dir is not None and not run_dir.strip():
            raise ValueError("is empty; give a folder or leave it out")
        return run_dir
