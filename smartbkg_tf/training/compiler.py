"""Whether a network is compiled with XLA: what `training.xla=auto` means."""

from __future__ import annotations

import dataclasses
from typing import Any

from smartbkg_tf.settings.models import ModelSettings
from smartbkg_tf.settings.training import TrainingSettings

#: Branches that XLA makes faster on a CPU, by `benchmarks/training.py --parts models`
#: (docs/performance.md, "Training").
FASTER_WITH_XLA = frozenset({"transformer"})


def resolve_xla(training: TrainingSettings, model: ModelSettings) -> TrainingSettings:
    """Replace ``xla=auto`` by what is faster.

    Parameters
    ----------
    training : TrainingSettings
        With ``xla`` and ``device``.
    model : ModelSettings
        The network.

    Returns
    -------
    TrainingSettings
        With ``xla`` true on a CPU when every branch of the network gains by it, else false.
        On a GPU it has not been measured and is off.
    """
    if training.xla != "auto":
        return training
    return dataclasses.replace(training, xla=_all_gain(model) and not _on_gpu(training))


def _all_gain(model: ModelSettings) -> bool:
    inputs = getattr(model, "inputs", "combined")
    kinds = [kind for kind, other in (("particles", "decay"), ("decay", "particles"))
             if inputs != other]  # fmt: skip
    branches: list[Any] = [getattr(getattr(model, kind, None), "branch", None) for kind in kinds]
    return all(branch in FASTER_WITH_XLA for branch in branches)


def _on_gpu(training: TrainingSettings) -> bool:
    if training.device == "cpu":
        return False
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))
