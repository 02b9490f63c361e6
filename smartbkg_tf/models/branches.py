"""Branches by name: from a part of the event to one vector.

A branch is a function ``(network, inputs, sizes) -> KerasTensor [batch, channels]``. A new
one is registered with `register_branch` and is then a choice of ``model.particles.branch``
or ``model.decay.branch``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import keras

from smartbkg_tf.models.activations import activation_layer
from smartbkg_tf.models.base import NNBaseClass
from smartbkg_tf.models.layers import ConvolutionBlock, MaskedAveragePooling, ResidualBlock
from smartbkg_tf.settings.errors import ConfigurationError, did_you_mean

Kind = Literal["particles", "decay"]
Builder = Callable[[NNBaseClass, Mapping[str, Any], Mapping[str, Any]], Any]


@dataclass(frozen=True)
class Branch:
    """A registered branch.

    Parameters
    ----------
    kind : {"particles", "decay"}
        What it reads.
    name : str
        Its name in the configuration.
    description : str
        One line.
    build : callable
        Makes it.
    """

    kind: Kind
    name: str
    description: str
    build: Builder


_BRANCHES: dict[tuple[str, str], Branch] = {}


def register_branch(kind: Kind, name: str, description: str) -> Callable[[Builder], Builder]:
    """Register a branch under a name.

    Parameters
    ----------
    kind : {"particles", "decay"}
        What it reads.
    name : str
        Its name in the configuration.
    description : str
        One line.

    Returns
    -------
    callable
        A decorator that leaves the function as it is.

    Raises
    ------
    ValueError
        When the name is taken.
    """

    def decorate(build: Builder) -> Builder:
        if (kind, name) in _BRANCHES:
            raise ValueError(f"there is a {kind} branch '{name}' already")
        _BRANCHES[kind, name] = Branch(kind, name, description, build)
        return build

    return decorate


def branches(kind: Kind) -> dict[str, Branch]:
    """List the branches of a kind.

    Parameters
    ----------
    kind : {"particles", "decay"}
        What they read.

    Returns
    -------
    dict of str to Branch
        By name.
    """
    return {name: branch for (of, name), branch in _BRANCHES.items() if of == kind}


def find_branch(kind: Kind, name: str) -> Branch:
    """Find a branch by name.

    Parameters
    ----------
    kind : {"particles", "decay"}
        What it reads.
    name : str
        Its name in the configuration.

    Returns
    -------
    Branch
        The branch.

    Raises
    ------
    ConfigurationError
        When no branch has this name.
    """
    known = branches(kind)
    if name not in known:
        raise ConfigurationError(
            f"model.{kind}.branch: there is no branch '{name}'; {did_you_mean(name, known)}"
        )
    return known[name]


def build_branch(
    kind: Kind, network: NNBaseClass, inputs: Mapping[str, Any], sizes: Mapping[str, Any]
) -> Any:
    """Build the branch that ``sizes["branch"]`` names.

    Parameters
    ----------
    kind : {"particles", "decay"}
        What it reads.
    network : NNBaseClass
        The network that it becomes a part of.
    inputs : mapping of str to KerasTensor
        The inputs of the network.
    sizes : mapping
        Settings of the branch.

    Returns
    -------
    KerasTensor [batch, channels]
        What the head reads.

    Raises
    ------
    ConfigurationError
        When no branch has this name.
    """
    return find_branch(kind, str(sizes["branch"])).build(network, inputs, sizes)


@register_branch("particles", "resnet", "residual 1D convolutions over the particle list")
def resnet_branch(network: NNBaseClass, inputs: Mapping[str, Any], sizes: Mapping[str, Any]) -> Any:
    """Build the original's particle branch.

    Parameters
    ----------
    network : NNBaseClass
        The network.
    inputs : mapping of str to KerasTensor
        Its inputs.
    sizes : mapping
        As `smartbkg_tf.settings.models.ParticleBranchSettings`.

    Returns
    -------
    KerasTensor [batch, filters]
        The mean of the last block over the particles.
    """
    x, mask = network.particle_features(
        inputs, embedding=sizes["embedding"], share_embedding=sizes["share_embedding"]
    )
    for number, kernel_size in enumerate(sizes["kernel_sizes"], 1):
        x = ResidualBlock(
            sizes["filters"],
            kernel_size,
            sizes["activation"],
            sizes["batch_norm_momentum"],
            name=f"residual_{number}",
        )(x, mask=mask)
    return MaskedAveragePooling(name="particle_average")(x, mask=mask)


@register_branch("decay", "wide_cnn", "parallel 1D convolutions over the decay string")
def wide_cnn_branch(
    network: NNBaseClass, inputs: Mapping[str, Any], sizes: Mapping[str, Any]
) -> Any:
    """Build the original's decay branch.

    Parameters
    ----------
    network : NNBaseClass
        The network.
    inputs : mapping of str to KerasTensor
        Its inputs.
    sizes : mapping
        As `smartbkg_tf.settings.models.DecayBranchSettings`.

    Returns
    -------
    KerasTensor [batch, out]
        The second dense layer.
    """
    x, mask = network.token_features(inputs, embedding=sizes["embedding"])
    columns = []
    for number, kernel_size in enumerate(sizes["kernel_sizes"], 1):
        column = ConvolutionBlock(
            sizes["filters"],
            kernel_size,
            sizes["activation"],
            sizes["batch_norm_momentum"],
            name=f"convolution_{number}",
        )(x, mask=mask)
        columns.append(
            MaskedAveragePooling(name=f"convolution_{number}_average")(column, mask=mask)
        )
    joined = columns[0]
    if len(columns) > 1:
        joined = keras.layers.Concatenate(name="decay_features")(columns)
    x = keras.layers.Dense(sizes["units"], name="decay_dense")(joined)
    x = activation_layer(sizes["activation"], name="decay_dense_activation")(x)
    x = keras.layers.Dropout(sizes["dropout"], name="decay_dropout")(x)
    x = keras.layers.Dense(sizes["out"], name="decay_out")(x)
    return activation_layer(sizes["activation"], name="decay_out_activation")(x)
