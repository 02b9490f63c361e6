"""Settings of the networks: one class per file in ``conf/model``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import field_validator

from smartbkg_tf.settings.base import Field, settings

#: Which parts of an event a network reads.
Inputs = Literal["combined", "particles", "decay"]

#: What stands between the layers.
Activation = Literal["leaky_relu", "relu", "silu"]

PositiveInt = Annotated[int, Field(gt=0)]


@settings
class ModelSettings:
    """What every network has.

    Parameters
    ----------
    target : str
        Import path of the class, ``module.Class``; the key ``_target_`` in a configuration.
    inputs : {"combined", "particles", "decay"}
        Which branches there are: both, the particle list, or the decay string.
    parameters : dict of str to object
        Further arguments of the constructor of a class of one's own.
    """

    target: str = Field(alias="_target_", min_length=1)
    inputs: Inputs = "combined"
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
class ParticleBranchSettings:
    """The branch that reads the particle list, sizes as in the original.

    Parameters
    ----------
    branch : str, default "resnet"
        Name of a registered particle branch.
    embedding : int, default 8
        Dimensions of the embedding of a PDG code.
    share_embedding : bool, default True
        One embedding for a particle and its mother, or two.
    filters : int, default 64
        Filters of every convolution.
    kernel_sizes : list of int, default [4, 3, 3, 3]
        One residual block for each.
    activation : {"leaky_relu", "relu", "silu"}
        After every normalisation.
    batch_norm_momentum : float, default 0.9
        Share of the old moving average kept at each step. Keras' 0.99 lags behind at the
        few hundred steps of an epoch, and the validation loss jumps.
    """

    branch: str = "resnet"
    embedding: PositiveInt = 8
    share_embedding: bool = True
    filters: PositiveInt = 64
    kernel_sizes: list[PositiveInt] = Field(default_factory=lambda: [4, 3, 3, 3], min_length=1)
    activation: Activation = "leaky_relu"
    batch_norm_momentum: float = Field(default=0.9, ge=0, lt=1)


@settings
class DecayBranchSettings:
    """The branch that reads the decay string, sizes as in the original.

    Parameters
    ----------
    branch : str, default "wide_cnn"
        Name of a registered decay branch.
    embedding : int, default 8
        Dimensions of the embedding of a token.
    filters : int, default 64
        Filters of each of the parallel convolutions.
    kernel_sizes : list of int, default [4, 5, 6, 7, 8, 9]
        One parallel convolution for each.
    units : int, default 128
        Width of the first dense layer.
    dropout : float, default 0.4
        Share of its outputs dropped in training.
    out : int, default 32
        Width of the branch's output.
    activation : {"leaky_relu", "relu", "silu"}
        After every normalisation and dense layer.
    batch_norm_momentum : float, default 0.9
        See `ParticleBranchSettings`.
    """

    branch: str = "wide_cnn"
    embedding: PositiveInt = 8
    filters: PositiveInt = 64
    kernel_sizes: list[PositiveInt] = Field(
        default_factory=lambda: [4, 5, 6, 7, 8, 9], min_length=1
    )
    units: PositiveInt = 128
    dropout: float = Field(default=0.4, ge=0, lt=1)
    out: PositiveInt = 32
    activation: Activation = "leaky_relu"
    batch_norm_momentum: float = Field(default=0.9, ge=0, lt=1)


@settings
class HeadSettings:
    """What stands between the branches and the output, sizes as in the original.

    Parameters
    ----------
    units : list of int, default [256, 128]
        Widths of the dense layers.
    dropout : float, default 0.4
        Share of the first layer's outputs dropped in training.
    activation : {"leaky_relu", "relu", "silu"}
        After every dense layer.
    """

    units: list[PositiveInt] = Field(default_factory=lambda: [256, 128])
    dropout: float = Field(default=0.4, ge=0, lt=1)
    activation: Activation = "leaky_relu"


@settings
class ResNetSettings(ModelSettings):
    """The original's ResNet.

    Parameters
    ----------
    name : "resnet"
        Which settings class this is.
    particles : ParticleBranchSettings
        Sizes of the particle branch.
    decay : DecayBranchSettings
        Sizes of the decay branch.
    head : HeadSettings
        Sizes of the head.
    """

    name: Literal["resnet"] = "resnet"
    target: str = Field(default="smartbkg_tf.models.resnet.ResNet", alias="_target_", min_length=1)
    particles: ParticleBranchSettings = Field(default_factory=ParticleBranchSettings)
    decay: DecayBranchSettings = Field(default_factory=DecayBranchSettings)
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
AnyModelSettings = Annotated[ResNetSettings | CustomModelSettings, Field(discriminator="name")]
