"""The package's own branches, by name."""

from __future__ import annotations

from typing import TypeVar

from smartbkg_tf.models import decay_branches, particle_branches, tree_branches
from smartbkg_tf.models.branches import Branch

B = TypeVar("B", bound=Branch)


def package_branches(base: type[B]) -> dict[str, type[B]]:
    """List the branches of a kind that have a name."""
    return {
        found.name: found
        for module in (particle_branches, tree_branches, decay_branches)
        for found in vars(module).values()
        if isinstance(found, type) and issubclass(found, base) and found.name
    }
