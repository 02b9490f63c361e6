"""Settings of the networks: one class per file in ``conf/model``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import field_validator

from smartbkg_tf.settings.base import Field, settings
from smartbkg_tf.settings.branches import (
    Activation,
    AnyDecayBranch,
    AnyParticleBranch,
    DecayBranchSettings,
    ParticleBranchSettings,
    PositiveInt,
)

#: Which parts of an event a network reads.
Inputs = Literal["combined", "particles", "decay"]


@settings
class ModelSettings:
    """What every network has.

    Parameters
    ----------
    target : str
        Import path of the class, ``module.Class``; the key ``_target_`` in a configuration.
    inputs : {"combined", "particles", "decay"}
        Which branches there are: both, the particle list, or the decay string.
    event_type : bool, default False
        Tell the network the type of the event: mixed, charged, uubar, ...
    parameters : dict of str to object
        Further arguments of the constructor of a class of one's own.
    """

    target: str = Field(alias="_target_", min_length=1)
    inputs: Inputs = "combined"
    event_type: bool = False
    parameters: dict[str, Any] = Field(default_factory=dict)

    @field_validator("target")
    @classmethod
    def _is_a_path(cls, target: str) -> str:
        parts = target.split(".")
        if len(parts) < 2 or not all(part.isidentifier() for part in parts):
            raise ValueError(
                f"'{target}' is no import path; write module.Class, e.g. my_module.MyNet"
            )
        return target


@settings
class HeadSettings:
    """What stands between the branches and the output, sizes as in the original.

    Parameters
    ----------
    units : list of int, default [256, 128]
        Widths of the dense layers.
    dropout : float, default 0.4
        Share of the first layer's outputs dropped in training.
    activation : {"leaky_relu", "relu", "silu", "gelu"}
        After every dense layer.
    event_units : int, default 0
        Width of a dense layer that reads soft steps of `event_columns` and gives its outputs to
        the head beside them; 0: the columns alone. Refused without such columns.
    event_dropout : float, default 0.2
        Share of its inputs and outputs dropped in training.
    """

    units: list[PositiveInt] = Field(default_factory=lambda: [256, 128])
    dropout: float = Field(default=0.4, ge=0, lt=1)
    activation: Activation = "leaky_relu"
    event_units: int = Field(default=0, ge=0)
    event_dropout: float = Field(default=0.2, ge=0, lt=1)


@settings
class CandidateSettings:
    """A learned detector in front of a skim's candidates (`smartbkg_tf.models.candidates`).

    Parameters
    ----------
    embedding : int, default 8
        Dimensions of the embedding of a particle's PDG code.
    units : int, default 32
        Width of the candidates' vectors; inner layers are twice as wide.
    traits : int, default 8
        Numbers that each particle hands to its candidates.
    draws : int, default 64
        Imagined measurements of each event.
    softness : float, default 0.5
        Width of their steps, in logits.
    """

    embedding: PositiveInt = 8
    units: PositiveInt = 32
    traits: PositiveInt = 8
    draws: PositiveInt = 64
    softness: float = Field(default=0.5, gt=0)


@settings
class BranchedSettings(ModelSettings):
    """Branches for particles and decay string, and a head.

    Parameters
    ----------
    name : str
        The file in ``conf/model`` that these settings started from.
    particles : settings of a particle branch, or None
        None where there is none, for example in a network of the decay string.
    decay : settings of a decay branch, or None
        None where there is none.
    summaries : bool, default False
        Give sums and counts over the detectable particles to the head; the model computes
        them.
    event_columns : list of str, default []
        Columns of the feature set that have one value for the whole event; the head gets them, too
        (with `candidates` the head alone).
    candidates : CandidateSettings or None
        For feature sets with candidates of a skim (`smartbkg_tf.encoding.candidate_columns`).
    head : HeadSettings
        Sizes of the head.
    """

    name: Literal[
        "resnet_preact",
        "resnet34",
        "resnet50",
        "resnext",
        "conv1x1",
        "conv1x1_resnet",
        "vanilla_cnn",
        "attention",
        "feed_forward",
        "wide_cnn",
        "cnn_lstm",
        "gcn",
        "gatgap",
        "transformer",
        "treenet",
    ] = "treenet"
    target: str = Field(
        default="smartbkg_tf.models.network.BranchedNetwork", alias="_target_", min_length=1
    )
    particles: AnyParticleBranch | None = None
    decay: AnyDecayBranch | None = None
    summaries: bool = False
    event_columns: list[str] = Field(default_factory=list)
    candidates: CandidateSettings | None = None
    head: HeadSettings = Field(default_factory=HeadSettings)


@settings
class ResNetSettings(ModelSettings):
    """The original's ResNet; any other branch may take the place of its own.

    Parameters
    ----------
    name : "resnet"
        Which settings class this is.
    particles : settings of a particle branch, or None
        Sizes of the particle branch.
    decay : settings of a decay branch, or None
        Sizes of the decay branch.
    summaries : bool, default False
        As `BranchedSettings`.
    event_columns : list of str, default []
        As `BranchedSettings`.
    candidates : CandidateSettings or None
        As `BranchedSettings`.
    head : HeadSettings
        Sizes of the head.
    """

    name: Literal["resnet"] = "resnet"
    target: str = Field(default="smartbkg_tf.models.resnet.ResNet", alias="_target_", min_length=1)
    particles: AnyParticleBranch | None = Field(default_factory=ParticleBranchSettings)
    decay: AnyDecayBranch | None = Field(default_factory=DecayBranchSettings)
    summaries: bool = False
    event_columns: list[str] = Field(default_factory=list)
    candidates: CandidateSettings | None = None
    head: HeadSettings = Field(default_factory=HeadSettings)


@settings
class CustomModelSettings(ModelSettings):
    """A class of one's own; its arguments stand in ``parameters``.

    Parameters
    ----------
    name : "custom"
        Which settings class this is.
    """

    name: Literal["custom"] = "custom"


#: The settings of any network; ``name`` tells them apart.
AnyModelSettings = Annotated[
    ResNetSettings | BranchedSettings | CustomModelSettings, Field(discriminator="name")
]
