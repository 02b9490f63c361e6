"""The original's particle branches, padding left out everywhere.

Sizes are those of its files (kahn-jms/smartBKG, ``examples/train/models``, 2018-2020). Each
reads the normalised features, the charge as one-hot, and the embedded codes of the particle
and its mother.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from smartbkg_tf.errors import ConfigurationError
from smartbkg_tf.models.activations import activation_layer
from smartbkg_tf.models.attention import AdditiveSelfAttention
from smartbkg_tf.models.base import NNBaseClass
from smartbkg_tf.models.batch_normalisation import MaskedBatchNormalization
from smartbkg_tf.models.branches import register_branch
from smartbkg_tf.models.convolutions import ConvolutionBlock, MaskedConv1D, ResidualBlock
from smartbkg_tf.models.masks import MaskedAveragePooling
from smartbkg_tf.models.packing import PackedAveragePooling, gap_of
from smartbkg_tf.models.pooling import FixedLength, MaskedPairPooling, PairMask
from smartbkg_tf.models.residual import BottleneckBlock, PreactivationBlock, ResNeXtBlock

Sizes = Mapping[str, Any]
Inputs = Mapping[str, Any]


def _particles(network: NNBaseClass, inputs: Inputs, sizes: Sizes) -> tuple[Any, Any]:
    return network.particle_features(
        inputs, embedding=sizes["embedding"], share_embedding=sizes["share_embedding"]
    )


def _average(x: Any, mask: Any) -> Any:
    return MaskedAveragePooling(name="particle_average")(x, mask=mask)


def _packed(
    network: NNBaseClass, inputs: Inputs, sizes: Sizes, gap: int, align: int = 1
) -> tuple[Any, Any, Any]:
    return network.packed_particle_features(
        inputs,
        gap=gap,
        align=align,
        embedding=sizes["embedding"],
        share_embedding=sizes["share_embedding"],
    )


def _packed_average(x: Any, mask: Any, segments: Any, inputs: Inputs, stride: int = 1) -> Any:
    average = PackedAveragePooling(stride, name="particle_average")
    return average(x, mask, segments, inputs["pdg_input"])


def _block_options(sizes: Sizes) -> dict[str, Any]:
    return {"activation": sizes["activation"], "momentum": sizes["batch_norm_momentum"]}


def _pooled(x: Any, mask: Any, mode: str, number: int) -> tuple[Any, Any]:
    x = MaskedPairPooling(mode, name=f"pool_{number}")(x, mask=mask)
    return x, PairMask(name=f"pool_{number}_mask")(mask)


@register_branch("particles", "resnet", "residual 1D convolutions over the particle list")
def resnet_branch(network: NNBaseClass, inputs: Inputs, sizes: Sizes) -> Any:
    """Build the branch of `smartbkg_tf.settings.branches.ParticleBranchSettings`.

    Parameters
    ----------
    network : NNBaseClass
        The network.
    inputs : mapping of str to KerasTensor
        Its inputs.
    sizes : mapping
        The settings.

    Returns
    -------
    KerasTensor [batch, filters]
        The mean of the last block over the particles.
    """
    x, mask, segments = _packed(network, inputs, sizes, gap_of(sizes["kernel_sizes"]))
    for number, kernel_size in enumerate(sizes["kernel_sizes"], 1):
        x = ResidualBlock(
            sizes["filters"],
            kernel_size,
            sizes["activation"],
            sizes["batch_norm_momentum"],
            name=f"residual_{number}",
        )(x, mask=mask)
    return _packed_average(x, mask, segments, inputs)


@register_branch("particles", "resnet_preact", "100 residual blocks, normalisation in front")
def preactivation_branch(network: NNBaseClass, inputs: Inputs, sizes: Sizes) -> Any:
    """Build the branch of `smartbkg_tf.settings.branches.PreactivationSettings`.

    Parameters
    ----------
    network : NNBaseClass
        The network.
    inputs : mapping of str to KerasTensor
        Its inputs.
    sizes : mapping
        The settings.

    Returns
    -------
    KerasTensor [batch, filters]
        The mean over the particles.
    """
    x, mask, segments = _packed(network, inputs, sizes, gap_of([sizes["kernel_size"]]))
    x = MaskedConv1D(sizes["filters"], sizes["kernel_size"], use_bias=False, name="first")(
        x, mask=mask
    )
    for number in range(1, sizes["blocks"] + 1):
        x = PreactivationBlock(
            sizes["kernel_size"], name=f"residual_{number}", **_block_options(sizes)
        )(x, mask=mask)
    x = MaskedBatchNormalization(momentum=sizes["batch_norm_momentum"], name="last_normalisation")(
        x, mask=mask
    )
    x = activation_layer(sizes["activation"], name="last_activation")(x)
    return _packed_average(x, mask, segments, inputs)


def _staged(network: NNBaseClass, inputs: Inputs, sizes: Sizes) -> Any:
    kernels = [k for stage in sizes["stages"] for k in stage["kernel_sizes"]]
    if sizes["first_filters"] is not None:
        kernels.append(sizes["first_kernel_size"])
    halvings = sum(bool(stage["pool"]) for stage in sizes["stages"])
    x, mask, segments = _packed(network, inputs, sizes, gap_of(kernels, halvings), 2**halvings)
    if sizes["first_filters"] is not None:
        x = ConvolutionBlock(
            sizes["first_filters"],
            sizes["first_kernel_size"],
            name="first",
            **_block_options(sizes),
        )(x, mask=mask)
    for number, stage in enumerate(sizes["stages"], 1):
        for block in range(1, stage["blocks"] + 1):
            x = BottleneckBlock(
                stage["filters"],
                stage["kernel_sizes"],
                name=f"residual_{number}_{block}",
                **_block_options(sizes),
            )(x, mask=mask)
        if stage["pool"]:
            x, mask = _pooled(x, mask, "average", number)
    return _packed_average(x, mask, segments, inputs, 2**halvings)


@register_branch("particles", "resnet34", "16 residual blocks in four stages, two of 3 wide each")
def resnet34_branch(network: NNBaseClass, inputs: Inputs, sizes: Sizes) -> Any:
    """Build the branch of `smartbkg_tf.settings.branches.ResNet34Settings`.

    Parameters
    ----------
    network : NNBaseClass
        The network.
    inputs : mapping of str to KerasTensor
        Its inputs.
    sizes : mapping
        The settings.

    Returns
    -------
    KerasTensor [batch, first_filters]
        The mean over the particles.
    """
    return _staged(network, inputs, sizes)


@register_branch("particles", "resnet50", "16 residual blocks of three convolutions (1, 3, 1)")
def resnet50_branch(network: NNBaseClass, inputs: Inputs, sizes: Sizes) -> Any:
    """Build the branch of `smartbkg_tf.settings.branches.ResNet50Settings`.

    Parameters
    ----------
    network : NNBaseClass
        The network.
    inputs : mapping of str to KerasTensor
        Its inputs.
    sizes : mapping
        The settings.

    Returns
    -------
    KerasTensor [batch, first_filters]
        The mean over the particles.
    """
    return _staged(network, inputs, sizes)


@register_branch("particles", "conv1x1_resnet", "residual blocks on single particles, then wider")
def conv1x1_resnet_branch(network: NNBaseClass, inputs: Inputs, sizes: Sizes) -> Any:
    """Build the branch of `smartbkg_tf.settings.branches.PointwiseResNetSettings`.

    Parameters
    ----------
    network : NNBaseClass
        The network.
    inputs : mapping of str to KerasTensor
        Its inputs.
    sizes : mapping
        The settings.

    Returns
    -------
    KerasTensor [batch, column]
        The mean over the particles; without a first convolution as many channels as a
        particle has columns.
    """
    return _staged(network, inputs, sizes)


@register_branch("particles", "resnext", "residual blocks of convolutions in 16 groups")
def resnext_branch(network: NNBaseClass, inputs: Inputs, sizes: Sizes) -> Any:
    """Build the branch of `smartbkg_tf.settings.branches.ResNeXtSettings`.

    Parameters
    ----------
    network : NNBaseClass
        The network.
    inputs : mapping of str to KerasTensor
        Its inputs.
    sizes : mapping
        The settings.

    Returns
    -------
    KerasTensor [batch, filters]
        The mean over the particles.

    Raises
    ------
    ConfigurationError
        When the groups do not divide the filters.
    """
    if sizes["filters"] % sizes["cardinality"]:
        raise ConfigurationError(
            f"model.particles.cardinality={sizes['cardinality']} does not divide "
            f"filters={sizes['filters']}"
        )
    halvings = int(sizes["first_pool"])
    gap = gap_of([sizes["first_kernel_size"], *sizes["kernel_sizes"]], halvings)
    x, mask, segments = _packed(network, inputs, sizes, gap, 2**halvings)
    x = ConvolutionBlock(
        sizes["filters"], sizes["first_kernel_size"], name="first", **_block_options(sizes)
    )(x, mask=mask)
    if sizes["first_pool"]:
        x, mask = _pooled(x, mask, "max", 1)
    for number in range(1, sizes["blocks"] + 1):
        x = ResNeXtBlock(
            sizes["cardinality"],
            sizes["group_filters"],
            sizes["kernel_sizes"],
            name=f"residual_{number}",
            **_block_options(sizes),
        )(x, mask=mask)
    return _packed_average(x, mask, segments, inputs, 2**halvings)


def _convolutions(network: NNBaseClass, inputs: Inputs, sizes: Sizes) -> Any:
    if len(sizes["filters"]) != len(sizes["kernel_sizes"]):
        raise ConfigurationError(
            f"model.particles: {len(sizes['filters'])} filters, but "
            f"{len(sizes['kernel_sizes'])} kernel_sizes; one of each makes a convolution"
        )
    halvings = 0 if sizes["pool"] is None else len(sizes["filters"])
    gap = gap_of(sizes["kernel_sizes"], halvings)
    x, mask, segments = _packed(network, inputs, sizes, gap, 2**halvings)
    pairs = zip(sizes["filters"], sizes["kernel_sizes"], strict=True)
    for number, (filters, kernel_size) in enumerate(pairs, 1):
        x = ConvolutionBlock(
            filters, kernel_size, name=f"convolution_{number}", **_block_options(sizes)
        )(x, mask=mask)
        if sizes["pool"] is not None:
            x, mask = _pooled(x, mask, sizes["pool"], number)
    return _packed_average(x, mask, segments, inputs, 2**halvings)


@register_branch("particles", "conv1x1", "convolutions over single particles, then neighbours")
def conv1x1_branch(network: NNBaseClass, inputs: Inputs, sizes: Sizes) -> Any:
    """Build the branch of `smartbkg_tf.settings.branches.Conv1x1Settings`.

    Parameters
    ----------
    network : NNBaseClass
        The network.
    inputs : mapping of str to KerasTensor
        Its inputs.
    sizes : mapping
        The settings.

    Returns
    -------
    KerasTensor [batch, filters]
        The mean over the particles.

    Raises
    ------
    ConfigurationError
        When there are more or fewer filters than kernel sizes.
    """
    return _convolutions(network, inputs, sizes)


@register_branch("particles", "vanilla_cnn", "three convolutions with maxima of pairs")
def vanilla_branch(network: NNBaseClass, inputs: Inputs, sizes: Sizes) -> Any:
    """Build the branch of `smartbkg_tf.settings.branches.VanillaSettings`.

    Parameters
    ----------
    network : NNBaseClass
        The network.
    inputs : mapping of str to KerasTensor
        Its inputs.
    sizes : mapping
        The settings.

    Returns
    -------
    KerasTensor [batch, filters]
        The mean over the particles.

    Raises
    ------
    ConfigurationError
        When there are more or fewer filters than kernel sizes.
    """
    return _convolutions(network, inputs, sizes)


@register_branch("particles", "attention", "13 layers of additive self-attention")
def attention_branch(network: NNBaseClass, inputs: Inputs, sizes: Sizes) -> Any:
    """Build the branch of `smartbkg_tf.settings.branches.AttentionSettings`.

    Parameters
    ----------
    network : NNBaseClass
        The network.
    inputs : mapping of str to KerasTensor
        Its inputs.
    sizes : mapping
        The settings.

    Returns
    -------
    KerasTensor [batch, column]
        The mean over the particles.
    """
    x, mask = _particles(network, inputs, sizes)
    for number in range(1, sizes["layers"] + 1):
        x = AdditiveSelfAttention(sizes["units"], name=f"attention_{number}")(x, mask=mask)
        x = MaskedBatchNormalization(
            momentum=sizes["batch_norm_momentum"], name=f"normalisation_{number}"
        )(x, mask=mask)
    return _average(x, mask)


@register_branch("particles", "feed_forward", "dense layers over all particles side by side")
def feed_forward_branch(network: NNBaseClass, inputs: Inputs, sizes: Sizes) -> Any:
    """Build the branch of `smartbkg_tf.settings.branches.FeedForwardSettings`.

    Parameters
    ----------
    network : NNBaseClass
        The network.
    inputs : mapping of str to KerasTensor
        Its inputs.
    sizes : mapping
        The settings.

    Returns
    -------
    KerasTensor [batch, units]
        The last dense layer.

    Raises
    ------
    ConfigurationError
        When the network does not know how many particles an event may have.
    """
    x, mask = _particles(network, inputs, sizes)
    x = FixedLength(fixed_length(network, "max_particles"), name="fixed_particles")(x, mask=mask)
    x = keras.layers.Flatten(name="particles_flat")(x)
    for number, units in enumerate(sizes["units"], 1):
        name = f"particles_dense_{number}"
        x = keras.layers.Dense(units, use_bias=False, name=name)(x)
        x = MaskedBatchNormalization(
            momentum=sizes["batch_norm_momentum"], name=f"{name}_normalisation"
        )(x)
        x = activation_layer(sizes["activation"], name=f"{name}_activation")(x)
    return x


def fixed_length(network: NNBaseClass, name: str) -> int:
    """Give the length of an event for networks that need one.

    Parameters
    ----------
    network : NNBaseClass
        The network.
    name : {"max_particles", "max_tokens"}
        Which length.

    Returns
    -------
    int
        The length.

    Raises
    ------
    ConfigurationError
        When the network was not told.
    """
    length = getattr(network, name)
    if length is None:
        raise ConfigurationError(
            f"a feed_forward branch needs {name}: its first layer has weights for each place",
            next_step=f"give {name}= to the network",
        )
    return int(length)
