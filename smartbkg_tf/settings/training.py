"""Settings of the command train: data, optimisation, devices, run directory."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import field_validator, model_validator

from smartbkg_tf.settings.base import CommandSettings, Field, settings
from smartbkg_tf.settings.filtering import FilterFitSettings
from smartbkg_tf.settings.models import ModelSettings
from smartbkg_tf.settings.normalisation import NormalisationSettings
from smartbkg_tf.settings.preprocessing import SplitFractions

EventType = Literal["mixed", "charged", "uubar", "ddbar", "ssbar", "ccbar", "taupair"]


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
    n_events: int = Field(default=100_000, gt=0)
    seed: int = Field(default=1, ge=0)
    skim: str = Field(default="fei_hadronic_b0", min_length=1)
    workers: int = Field(default=0, ge=0)
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
    length_buckets : int, optional
        Training and validation events are sorted by length, some thousand shuffled ones at
        a time, and each batch is padded to the smallest of so many widths that holds its
        longest event. An event's score does not depend on it, but training on batches of
        equal lengths costs AUC (docs/performance.md). Convolutional networks need none:
        they train on events that are put end to end. null: fully random batches.
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
    length_buckets: int | None = Field(default=None, gt=0, le=64)
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
class ScheduleSettings:
    """How the learning rate changes; validation events decide, never training events.

    Parameters
    ----------
    name : {"plateau", "cosine", "constant"}
        Lower it when the monitored validation quantity stands still; follow half a
        cosine over all epochs; leave it.
    warmup_epochs : float, default 0
        The rate first rises linearly over so many epochs (cosine only).
    factor : float, default 0.3
        Factor of each lowering (plateau).
    patience : int, default 2
        Epochs without improvement before it (plateau).
    minimum : float, default 1e-6
        The rate falls no lower (plateau), or to this value (cosine).
    """

    name: Literal["plateau", "cosine", "constant"] = "plateau"
    warmup_epochs: float = Field(default=0.0, ge=0)
    factor: float = Field(default=0.3, gt=0, lt=1)
    patience: int = Field(default=2, ge=0)
    minimum: float = Field(default=1e-6, ge=0)


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
class EventTimes:
    """What an event costs, in any unit of time; only the ratios matter.

    Parameters
    ----------
    generation : float, default 0.01
        Generating it.
    network : float, default 0.001
        Encoding and scoring it.
    simulation : float, default 1
        Detector simulation and reconstruction.
    """

    generation: float = Field(default=0.01, ge=0)
    network: float = Field(default=0.001, ge=0)
    simulation: float = Field(default=1.0, gt=0)


@settings
class LossSettings:
    """What is minimised.

    Parameters
    ----------
    name : {"crossentropy", "focal", "speedup"}
        Binary cross-entropy; cross-entropy that counts well classified events less (Lin et
        al., arXiv:1708.02002); time with the filter over time without it at equal effective
        statistics, of a filter that keeps events with the sigmoid of their logit.
    gamma : float, default 2
        Cross-entropies are multiplied by |label - probability| to this power (focal).
    times : EventTimes
        What an event costs (speedup).
    retention : float, optional
        Natural fraction of passing events (speedup); null takes that of the training events,
        for each skim.
    maximum_weight : float, default 20
        Sampling probabilities are at least 1 / maximum_weight (speedup).
    """

    name: Literal["crossentropy", "focal", "speedup"] = "crossentropy"
    gamma: float = Field(default=2.0, ge=0)
    times: EventTimes = Field(default_factory=EventTimes)
    retention: float | None = Field(default=None, gt=0, lt=1)
    maximum_weight: float = Field(default=20.0, gt=1)


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


@settings
class CheckpointSettings:
    """How often the state of a run is saved; after every epoch it always is.

    Parameters
    ----------
    seconds : float, optional
        Time between two checkpoints inside an epoch; null saves none by time.
    batches : int, optional
        Batches between two checkpoints inside an epoch; null saves none by count.
    """

    seconds: float | None = Field(default=300.0, gt=0)
    batches: int | None = Field(default=None, gt=0)


#: Defaults that are no plain ones: epochs of "auto", and a decay that Adam does not read.
_PATIENCE = 6
_WEIGHT_DECAY = 1e-4


@settings
class TrainingSettings:
    """How the weights are found.

    Parameters
    ----------
    epochs : int, default 30
        At most so many passes over the training events.
    sub_epochs : int, default 1
        Parts of a pass. Each is treated as an epoch: it ends with validation, a look at the
        schedule and a row of the history; patiences count them. For very long passes.
    batch_size : int, default 256
        Events in one step.
    seed : int, default 1
        Of weights, dropout, shuffling and the draw of failing events.
    optimizer : {"adamw", "adam", "sgd"}
        AdamW: Loshchilov and Hutter, arXiv:1711.05101.
    learning_rate : float, default 1e-3
        At the start, or after the warm-up.
    weight_decay : float, default 1e-4
        Of kernels only; embeddings, biases and normalisation are left alone.
    gradient_clipping : float, optional
        Largest global norm of the gradient; null does not clip.
    ema : float, optional
        Momentum of an exponential moving average of the weights; validation and the saved
        models then use the averages. null takes the weights themselves.
    loss : LossSettings
        What is minimised.
    label_smoothing : float, default 0
        Labels 0 and 1 become s / 2 and 1 - s / 2 (cross-entropies).
    class_weights : "balanced", ClassWeights, dict of str to ClassWeights, or null
        "balanced" gives passing and failing events the same total weight; null leaves
        them as they are drawn; weights for all skims, or by skim (1 for those not named).
    monitor : {"val_loss", "val_auc"}
        What decides about the best epoch, early stopping and the plateau schedule.
    early_stopping : "auto", int or null, default "auto"
        Stop after so many epochs without improvement; null never does. "auto" is 6, and null
        for the cosine schedule, whose rate falls at the end only: a number is refused there.
    schedule : ScheduleSettings
        The learning rate.
    mixed_precision : {"float16", "bfloat16"} or null
        Arithmetic of hidden layers; weights and output stay float32.
    batch_parts : int, default 1
        Parts of like length in which the events of a batch go through the network, each padded to
        its own longest event; loss and gradient are those of the whole batch. For networks
        without batch normalisation.
    steps_per_execution : int, default 1
        Batches in one call of the compiled step.
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
    checkpoint : CheckpointSettings
        How often the state is saved, from which the same command continues.
    init_from : str, optional
        Run directory whose network gives the layers before the output (the backbone).
    fine_tuning : FineTuningSettings
        What happens to them.
    mlflow : MLflowSettings, optional
        Record the run with MLflow; null does not.
    progress : bool, default True
        Show progress inside an epoch.
    """

    epochs: int = Field(default=30, gt=0)
    sub_epochs: int = Field(default=1, gt=0)
    batch_size: int = Field(default=256, gt=0)
    seed: int = Field(default=1, ge=0, lt=2**31)
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=_WEIGHT_DECAY, ge=0)
    gradient_clipping: float | None = Field(default=1.0, gt=0)
    ema: float | None = Field(default=None, gt=0, lt=1)
    loss: LossSettings = Field(default_factory=LossSettings)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    class_weights: Literal["balanced"] | ClassWeights | dict[str, ClassWeights] | None = None
    monitor: Literal["val_loss", "val_auc"] = "val_loss"
    early_stopping: Literal["auto"] | Annotated[int, Field(gt=0)] | None = "auto"
    schedule: ScheduleSettings = Field(default_factory=ScheduleSettings)
    mixed_precision: Literal["float16", "bfloat16"] | None = None
    batch_parts: int = Field(default=1, gt=0, le=32)
    steps_per_execution: int = Field(default=1, gt=0, le=64)
    xla: bool = False
    device: Literal["auto", "cpu", "gpu"] = "auto"
    devices: Literal["auto"] | Annotated[int, Field(gt=0, le=64)] = "auto"
    deterministic: bool = True
    checkpoint: CheckpointSettings = Field(default_factory=CheckpointSettings)
    init_from: str | None = Field(default=None, min_length=1)
    fine_tuning: FineTuningSettings = Field(default_factory=FineTuningSettings)
    mlflow: MLflowSettings | None = None
    progress: bool = True

    @property
    def patience(self) -> int | None:
        """Epochs without improvement after which the training stops; None: it does not."""
        if self.early_stopping != "auto":
            return self.early_stopping
        return None if self.schedule.name == "cosine" else _PATIENCE

    @model_validator(mode="after")
    def _every_key_has_a_meaning(self) -> TrainingSettings:
        problems = [
            *_without_meaning("schedule", self.schedule, _OF_SCHEDULES),
            *_without_meaning("loss", self.loss, _OF_LOSSES),
        ]
        if self.loss.name == "speedup":
            for key, value in (
                ("label_smoothing", self.label_smoothing),
                ("class_weights", self.class_weights),
            ):
                if value:
                    problems.append(f"{key} has no meaning with loss.name=speedup")
        if self.optimizer == "adam" and self.weight_decay not in (0.0, _WEIGHT_DECAY):
            problems.append(
                f"weight_decay={self.weight_decay} has no meaning with optimizer=adam, only with "
                "adamw or sgd"
            )
        if self.schedule.name == "cosine" and isinstance(self.early_stopping, int):
            problems.append(
                f"early_stopping={self.early_stopping} would end a run with schedule.name=cosine "
                "before its rate has fallen; leave it out, or use schedule.name=plateau"
            )
        if problems:
            raise ValueError("; ".join(problems))
        return self


#: Which schedules, and which losses, read a key.
_OF_SCHEDULES: dict[str, tuple[str, ...]] = {
    "warmup_epochs": ("cosine",),
    "factor": ("plateau",),
    "patience": ("plateau",),
    "minimum": ("plateau", "cosine"),
}
_OF_LOSSES: dict[str, tuple[str, ...]] = {
    "gamma": ("focal",),
    "times": ("speedup",),
    "retention": ("speedup",),
    "maximum_weight": ("speedup",),
}


def _without_meaning(group: str, chosen: Any, read_by: dict[str, tuple[str, ...]]) -> list[str]:
    """Name keys that were changed although the choice does not read them."""
    defaults = type(chosen)()
    return [
        f"{group}.{key} has no meaning with {group}.name={chosen.name}, only with "
        + " or ".join(names)
        for key, names in read_by.items()
        if chosen.name not in names and getattr(chosen, key) != getattr(defaults, key)
    ]


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
        In a sweep, the folder of the whole sweep.
    """

    model: ModelSettings
    data: DataSettings = Field(default_factory=DataSettings)
    training: TrainingSettings = Field(default_factory=TrainingSettings)
    normalisation: NormalisationSettings | None = None
    filter: FilterFitSettings = Field(default_factory=FilterFitSettings)
    run_dir: str | None = None

    @field_validator("run_dir")
    @classmethod
    def _not_empty(cls, run_dir: str | None) -> str | None:
        if run_dir is not None and not run_dir.strip():
            raise ValueError("is empty; give a folder or leave it out")
        return run_dir
