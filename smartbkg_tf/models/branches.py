"""Branches by name: from a part of the event to one vector.

A branch is a function ``(network, inputs, sizes) -> KerasTensor [batch, channels]``. A new
one is registered with `register_branch` and is then a choice of ``model.particles.branch``
or ``model.decay.branch``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from smartbkg_tf.errors import ConfigurationError, did_you_mean
from smartbkg_tf.models.base import NNBaseClass

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
    reads : tuple of str
        The arrays that it needs.
    """

    kind: Kind
    name: str
    description: str
    build: Builder
    reads: tuple[str, ...]


_BRANCHES: dict[tuple[str, str], Branch] = {}

#: What a branch needs if it does not say otherwise.
READS: dict[str, tuple[str, ...]] = {
    "particles": ("particle_input", "pdg_input", "mother_pdg_input"),
    "decay": ("decay_input",),
}


def register_branch(
    kind: Kind, name: str, description: str, reads: tuple[str, ...] | None = None
) -> Callable[[Builder], Builder]:
    """Register a branch under a name.

    Parameters
    ----------
    kind : {"particles", "decay"}
        What it reads.
    name : str
        Its name in the configuration.
    description : str
        One line.
    reads : tuple of str, optional
        The arrays that it needs; `READS` by default.

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
        _BRANCHES[kind, name] = Branch(kind, name, description, build, reads or READS[kind])
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
