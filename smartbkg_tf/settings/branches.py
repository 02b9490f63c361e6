"""Settings of the branches of a network: one class for each branch, sizes as published.

Sizes of the original are those of its files (kahn-jms/smartBKG, ``examples/train/models``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Tag

from smartbkg_tf.settings.base import Field, settings

#: What stands between the layers.
Activation = Literal["leaky_relu", "relu", "silu", "gelu"]

PositiveInt = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]


def _list(*values: int) -> Any:
    return Field(default_factory=lambda: list(values), min_length=1)


@settings
class OwnBranchSettings:
    """A branch of one's own, registered with `smartbkg_tf.models.branches.register_branch`.

    Parameters
    ----------
    branch : str
        The name that it is registered under.
    parameters : dict of str to object
        Whatever it reads; further keys beside ``branch`` are taken as such, too.
    """

    branch: str
    parameters: dict[str, Any] = Field(default_factory=dict)


def _gathered(value: Any) -> Any:
    """Take every further key as a parameter: only the branch knows which there are."""
    if not isinstance(value, Mapping):
        return value
    known = ("branch", "parameters")
    further = {key: value[key] for key in value if key not in known}
    result = {key: value[key] for key in value if key in known}
    if further and isinstance(result.get("parameters", {}), Mapping):
        result["parameters"] = {**result.get("parameters", {}), **further}
    return result


@settings
class _Embedded:
    """What every branch of particles has.

    Parameters
    ----------
    embedding : int, default 8
        Dimensions of the embedding of a PDG code.
    share_embedding : bool, default True
        One embedding for a particle and its mother, or two.
    activation : {"leaky_relu", "relu", "silu", "gelu"}
        Behind the layers.
    """

    embedding: PositiveInt = 8
    share_embedding: bool = True
    activation: Activation = "leaky_relu"


@settings
class _Normalised(_Embedded):
    """What branches with batch normalisation have.

    Parameters
    ----------
    batch_norm_momentum : float, default 0.9
        Share of the old moving average kept at each step. Keras' 0.99 lags behind at the
        few hundred steps of an epoch, and the validation loss jumps.
    """

    batch_norm_momentum: Share = 0.9


@settings
class ParticleBranchSettings(_Normalised):
    """``resnet``: the original's best particle branch.

    Parameters
    ----------
    branch : "resnet"
        Which branch this is.
    filters : int, default 64
        Filters of every convolution.
    kernel_sizes : list of int, default [4, 3, 3, 3]
        One residual block for each.
    """

    branch: Literal["resnet"] = "resnet"
    filters: PositiveInt = 64
    kernel_sizes: list[PositiveInt] = _list(4, 3, 3, 3)


@settings
class PreactivationSettings(_Normalised):
    """``resnet_preact``: normalisation and activation in front of each convolution.

    Parameters
    ----------
    branch : "resnet_preact"
        Which branch this is.
    filters : int, default 64
        Filters of every convolution.
    kernel_size : int, default 3
        Width of every convolution.
    blocks : int, default 100
        Residual blocks of two convolutions.
    """

    branch: Literal["resnet_preact"] = "resnet_preact"
    filters: PositiveInt = 64
    kernel_size: PositiveInt = 3
    blocks: PositiveInt = 100


@settings
class StageSettings:
    """Equal residual blocks, one after the other.

    Parameters
    ----------
    blocks : int
        How many.
    filters : int
        Filters inside a block; its output has as many channels as its input.
    kernel_sizes : list of int, default [3, 3]
        Widths of the convolutions of a block.
    pool : bool, default False
        Average neighbouring pairs of particles behind the stage, which halves the length.
    """

    blocks: PositiveInt
    filters: PositiveInt
    kernel_sizes: list[PositiveInt] = _list(3, 3)
    pool: bool = False


def _stages(*stages: tuple[int, int, list[int], bool]) -> Any:
    def make() -> list[StageSettings]:
        return [
            StageSettings(blocks=blocks, filters=filters, kernel_sizes=kernel_sizes, pool=pool)
            for blocks, filters, kernel_sizes, pool in stages
        ]

    return Field(default_factory=make, min_length=1)


@settings
class _Staged(_Normalised):
    """Residual blocks in stages.

    Parameters
    ----------
    first_filters : int or None, default 64
        Filters of a convolution in front of the blocks; None leaves it out.
    first_kernel_size : int, default 7
        Its width.
    """

    first_filters: PositiveInt | None = 64
    first_kernel_size: PositiveInt = 7


@settings
class ResNet34Settings(_Staged):
    """``resnet34``: 3, 4, 6 and 3 blocks of two convolutions.

    Parameters
    ----------
    branch : "resnet34"
        Which branch this is.
    stages : list of StageSettings
        The blocks.
    """

    branch: Literal["resnet34"] = "resnet34"
    stages: list[StageSettings] = _stages(
        (3, 64, [3, 3], True),
        (4, 128, [3, 3], True),
        (6, 256, [3, 3], True),
        (3, 512, [3, 3], False),
    )


@settings
class ResNet50Settings(_Staged):
    """``resnet50``: 3, 4, 6 and 3 blocks of three convolutions.

    Parameters
    ----------
    branch : "resnet50"
        Which branch this is.
    stages : list of StageSettings
        The blocks.
    """

    branch: Literal["resnet50"] = "resnet50"
    stages: list[StageSettings] = _stages(
        (3, 64, [1, 3, 1], False),
        (4, 128, [1, 3, 1], True),
        (6, 256, [1, 3, 1], True),
        (3, 512, [1, 3, 1], False),
    )


@settings
class PointwiseResNetSettings(_Staged):
    """``conv1x1_resnet``: blocks on single particles first, then on neighbours.

    Parameters
    ----------
    branch : "conv1x1_resnet"
        Which branch this is.
    stages : list of StageSettings
        The blocks.
    """

    branch: Literal["conv1x1_resnet"] = "conv1x1_resnet"
    first_filters: PositiveInt | None = None
    stages: list[StageSettings] = _stages(
        (4, 64, [1, 1], False), (4, 128, [3, 3], False), (4, 64, [3, 3], False)
    )


@settings
class ResNeXtSettings(_Normalised):
    """``resnext``: residual blocks whose channels are split into groups.

    Parameters
    ----------
    branch : "resnext"
        Which branch this is.
    filters : int, default 64
        Channels of the blocks and of the convolution in front of them.
    first_kernel_size : int, default 3
        Width of that convolution.
    first_pool : bool, default True
        Take the larger of each pair of neighbours behind it.
    blocks : int, default 2
        Grouped blocks.
    cardinality : int, default 16
        Groups; divides `filters`.
    group_filters : int, default 4
        Filters inside each group.
    kernel_sizes : list of int, default [1, 3, 1]
        Widths of the convolutions of a block.
    """

    branch: Literal["resnext"] = "resnext"
    filters: PositiveInt = 64
    first_kernel_size: PositiveInt = 3
    first_pool: bool = True
    blocks: PositiveInt = 2
    cardinality: PositiveInt = 16
    group_filters: PositiveInt = 4
    kernel_sizes: list[PositiveInt] = _list(1, 3, 1)


@settings
class Conv1x1Settings(_Normalised):
    """``conv1x1``: convolutions over single particles, then over neighbours.

    Parameters
    ----------
    branch : "conv1x1"
        Which branch this is.
    filters : list of int, default [32, 32, 64, 64]
        Filters of each convolution.
    kernel_sizes : list of int, default [1, 1, 3, 3]
        Width of each convolution.
    pool : {"max", "average"} or None, default None
        Joins pairs of neighbours behind each convolution.
    """

    branch: Literal["conv1x1"] = "conv1x1"
    filters: list[PositiveInt] = _list(32, 32, 64, 64)
    kernel_sizes: list[PositiveInt] = _list(1, 1, 3, 3)
    pool: Literal["max", "average"] | None = None


@settings
class VanillaSettings(_Normalised):
    """``vanilla_cnn``: convolutions, each followed by the maximum of neighbouring pairs.

    Parameters
    ----------
    branch : "vanilla_cnn"
        Which branch this is.
    filters : list of int, default [64, 64, 64]
        Filters of each convolution.
    kernel_sizes : list of int, default [3, 3, 3]
        Width of each convolution.
    pool : {"max", "average"} or None, default "max"
        Joins pairs of neighbours behind each convolution.
    """

    branch: Literal["vanilla_cnn"] = "vanilla_cnn"
    filters: list[PositiveInt] = _list(64, 64, 64)
    kernel_sizes: list[PositiveInt] = _list(3, 3, 3)
    pool: Literal["max", "average"] | None = "max"


@settings
class AttentionSettings(_Normalised):
    """``attention``: additive self-attention, layer after layer.

    Parameters
    ----------
    branch : "attention"
        Which branch this is.
    units : int, default 32
        Hidden units of each layer.
    layers : int, default 13
        How many.
    """

    branch: Literal["attention"] = "attention"
    units: PositiveInt = 32
    layers: PositiveInt = 13


@settings
class FeedForwardSettings(_Normalised):
    """``feed_forward``: dense layers over all particles side by side.

    Parameters
    ----------
    branch : "feed_forward"
        Which branch this is.
    units : list of int, default [2056, 2056, 2056, 512]
        Widths of the dense layers.
    """

    branch: Literal["feed_forward"] = "feed_forward"
    units: list[PositiveInt] = _list(2056, 2056, 2056, 512)


@settings
class GcnSettings(_Embedded):
    """``gcn``: convolutions over the decay tree (Kipf and Welling, arXiv:1609.02907).

    Parameters
    ----------
    branch : "gcn"
        Which branch this is.
    units : int, default 128
        Width of every layer.
    dense_layers : int, default 3
        Dense layers on each particle, in front.
    graph_layers : int, default 3
        Graph convolutions.
    """

    branch: Literal["gcn"] = "gcn"
    activation: Activation = "relu"
    units: PositiveInt = 128
    dense_layers: int = Field(default=3, ge=0)
    graph_layers: PositiveInt = 3


@settings
class GatGapSettings(_Embedded):
    """``gatgap``: graph attention with global attention pooling (Belle II generators package).

    Parameters
    ----------
    branch : "gatgap"
        Which branch this is.
    units : int, default 32
        Width of each head and of the global vector.
    heads : int, default 4
        Heads of each layer.
    layers : int, default 6
        Graph attention layers.
    """

    branch: Literal["gatgap"] = "gatgap"
    units: PositiveInt = 32
    heads: PositiveInt = 4
    layers: PositiveInt = 6


@settings
class TransformerSettings(_Embedded):
    """``transformer``: attention over particles, biased by the decay tree.

    Parameters
    ----------
    branch : "transformer"
        Which branch this is.
    units : int, default 64
        Width.
    heads : int, default 4
        Heads; divides `units`.
    layers : int, default 4
        Encoder blocks.
    expansion : int, default 3
        Width of the feed-forward part of a block, in `units`.
    dropout : float, default 0.1
        Share of the outputs of attention and feed-forward dropped in training.
    distance : int, default 4
        Ancestors up to this distance have a bias of their own; all others share one.
    pooling : {"class", "attention"}
        A class token that attends to all particles, or a learned weight for each.
    """

    branch: Literal["transformer"] = "transformer"
    embedding: PositiveInt = 16
    share_embedding: bool = False
    activation: Activation = "gelu"
    units: PositiveInt = 64
    heads: PositiveInt = 4
    layers: PositiveInt = 4
    expansion: PositiveInt = 3
    dropout: Share = 0.1
    distance: PositiveInt = 4
    pooling: Literal["class", "attention"] = "class"


@settings
class TreeNetSettings(_Embedded):
    """``treenet``: messages along the decay tree, and one vector for each B.

    Parameters
    ----------
    branch : "treenet"
        Which branch this is.
    units : int, default 64
        Width of a particle's state.
    hidden : int, default 96
        Width inside a layer.
    layers : int, default 4
        Rounds of messages.
    heads : int, default 4
        Heads of the pooling over each B.
    side_units : int, default 64
        Width of the vector of a B.
    dropout : float, default 0.1
        Share of hidden values dropped in training.
    side_summaries : bool, default True
        Sums and counts over the detectable particles of each B go into its vector.
    """

    branch: Literal["treenet"] = "treenet"
    embedding: PositiveInt = 12
    share_embedding: bool = False
    activation: Activation = "silu"
    units: PositiveInt = 64
    hidden: PositiveInt = 96
    layers: PositiveInt = 4
    heads: PositiveInt = 4
    side_units: PositiveInt = 64
    dropout: Share = 0.1
    side_summaries: bool = True


@settings
class DecayBranchSettings:
    """``wide_cnn``: the original's decay branch.

    Parameters
    ----------
    branch : "wide_cnn"
        Which branch this is.
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
    activation : {"leaky_relu", "relu", "silu", "gelu"}
        After every normalisation and dense layer.
    batch_norm_momentum : float, default 0.9
        As for the particle branches.
    """

    branch: Literal["wide_cnn"] = "wide_cnn"
    embedding: PositiveInt = 8
    filters: PositiveInt = 64
    kernel_sizes: list[PositiveInt] = _list(4, 5, 6, 7, 8, 9)
    units: PositiveInt = 128
    dropout: Share = 0.4
    out: PositiveInt = 32
    activation: Activation = "leaky_relu"
    batch_norm_momentum: Share = 0.9


@settings
class CnnLstmSettings:
    """``cnn_lstm``: a convolution and a recurrent layer over the decay string.

    Parameters
    ----------
    branch : "cnn_lstm"
        Which branch this is.
    embedding : int, default 8
        Dimensions of the embedding of a token.
    filters : int, default 64
        Filters of the convolution.
    kernel_size : int, default 3
        Its width.
    units : int, default 64
        Units of the LSTM.
    dense : list of int, default [256, 64]
        Widths of the dense layers behind it.
    dropout : float, default 0.5
        Share of the first one's outputs dropped in training.
    activation : {"leaky_relu", "relu", "silu", "gelu"}
        After the convolution and every dense layer.
    batch_norm_momentum : float, default 0.9
        As for the particle branches.
    """

    branch: Literal["cnn_lstm"] = "cnn_lstm"
    embedding: PositiveInt = 8
    filters: PositiveInt = 64
    kernel_size: PositiveInt = 3
    units: PositiveInt = 64
    dense: list[PositiveInt] = _list(256, 64)
    dropout: Share = 0.5
    activation: Activation = "leaky_relu"
    batch_norm_momentum: Share = 0.9


@settings
class DecayFeedForwardSettings:
    """``feed_forward``: dense layers over all tokens side by side.

    Parameters
    ----------
    branch : "feed_forward"
        Which branch this is.
    embedding : int, default 8
        Dimensions of the embedding of a token.
    units : list of int, default [1024, 1024, 512]
        Widths of the dense layers.
    activation : {"leaky_relu", "relu", "silu", "gelu"}
        After every dense layer.
    """

    branch: Literal["feed_forward"] = "feed_forward"
    embedding: PositiveInt = 8
    units: list[PositiveInt] = _list(1024, 1024, 512)
    activation: Activation = "leaky_relu"


_PARTICLES: dict[str, Any] = {
    "resnet": ParticleBranchSettings,
    "resnet_preact": PreactivationSettings,
    "resnet34": ResNet34Settings,
    "resnet50": ResNet50Settings,
    "resnext": ResNeXtSettings,
    "conv1x1": Conv1x1Settings,
    "conv1x1_resnet": PointwiseResNetSettings,
    "vanilla_cnn": VanillaSettings,
    "attention": AttentionSettings,
    "feed_forward": FeedForwardSettings,
    "gcn": GcnSettings,
    "gatgap": GatGapSettings,
    "transformer": TransformerSettings,
    "treenet": TreeNetSettings,
}
_DECAY: dict[str, Any] = {
    "wide_cnn": DecayBranchSettings,
    "cnn_lstm": CnnLstmSettings,
    "feed_forward": DecayFeedForwardSettings,
}


def _tag(known: Mapping[str, Any], default: str) -> Any:
    """Tell the class by ``branch``; a name that is not known is a branch of one's own."""

    def tag(value: Any) -> str:
        if isinstance(value, Mapping):
            name = value.get("branch", default)
        else:
            name = getattr(value, "branch", "own")
        return name if isinstance(name, str) and name in known else "own"

    return Discriminator(tag)


AnyParticleBranch = Annotated[
    Annotated[ParticleBranchSettings, Tag("resnet")]
    | Annotated[PreactivationSettings, Tag("resnet_preact")]
    | Annotated[ResNet34Settings, Tag("resnet34")]
    | Annotated[ResNet50Settings, Tag("resnet50")]
    | Annotated[ResNeXtSettings, Tag("resnext")]
    | Annotated[Conv1x1Settings, Tag("conv1x1")]
    | Annotated[PointwiseResNetSettings, Tag("conv1x1_resnet")]
    | Annotated[VanillaSettings, Tag("vanilla_cnn")]
    | Annotated[AttentionSettings, Tag("attention")]
    | Annotated[FeedForwardSettings, Tag("feed_forward")]
    | Annotated[GcnSettings, Tag("gcn")]
    | Annotated[GatGapSettings, Tag("gatgap")]
    | Annotated[TransformerSettings, Tag("transformer")]
    | Annotated[TreeNetSettings, Tag("treenet")]
    | Annotated[OwnBranchSettings, BeforeValidator(_gathered), Tag("own")],
    _tag(_PARTICLES, "resnet"),
]

AnyDecayBranch = Annotated[
    Annotated[DecayBranchSettings, Tag("wide_cnn")]
    | Annotated[CnnLstmSettings, Tag("cnn_lstm")]
    | Annotated[DecayFeedForwardSettings, Tag("feed_forward")]
    | Annotated[OwnBranchSettings, BeforeValidator(_gathered), Tag("own")],
    _tag(_DECAY, "wide_cnn"),
]
