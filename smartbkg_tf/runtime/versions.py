"""Versions of the software that made something."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from importlib import metadata

import smartbkg_tf

#: Distributions whose versions matter for a result.
SOFTWARE = (
    "python",
    "smartbkg_tf",
    "tensorflow",
    "keras",
    "numpy",
    "pandas",
    "pyarrow",
    "h5py",
    "tables",
    "uproot",
    "awkward",
    "numba",
    "scikit-learn",
    "scipy",
    "particle",
    "pythia8mc",
    "decaylanguage",
    "hydra-core",
    "omegaconf",
    "pydantic",
)


def versions(names: Iterable[str] = SOFTWARE) -> dict[str, str]:
    """Give the versions of Python ("python") and of packages; those not installed are left out."""
    found = {"python": platform.python_version(), "smartbkg_tf": smartbkg_tf.__version__}
    for name in names:
        if name not in found:
            try:
                found[name] = metadata.version(name)
            except metadata.PackageNotFoundError:
                continue
    return {name: found[name] for name in names if name in found}
