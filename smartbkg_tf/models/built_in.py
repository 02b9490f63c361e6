"""The bases of branches, with the package's own: the JSON schema of ``train`` knows them all."""

# ruff: noqa: F401
from __future__ import annotations

from smartbkg_tf.models import decay_branches, particle_branches, tree_branches
from smartbkg_tf.models.branches import DecayBranch, ParticleBranch
