"""A trained network as a part of another one: boosted trees read its logits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from smartbkg_tf.errors import InputError
from smartbkg_tf.models.inputs import ANSWERS
from smartbkg_tf.models.loading import load_model, target_of
from smartbkg_tf.runtime.run_directory import open_trained

#: Where ``dataset.json`` says what the numbers that a network reads mean.
_MEANING = (("vocabulary", "vocabulary", "digest"), ("features", "encoding", "feature_names"))


def unlike_inputs(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str | None:
    """Say in what the inputs of two networks differ (values of ``dataset.json``), if they do."""
    for name, part, key in _MEANING:
        mine, other = (one[part].get(key) for one in (ours, theirs))
        if mine != other:
            return f"its data have another {name} ({other}) than those to train on ({mine})"
    return None


def require_same_inputs(path: str, information: Mapping[str, Any], setting: str) -> None:
    """Refuse the network of a run directory (in `setting`) whose inputs mean something else."""
    run = open_trained(path)
    if difference := unlike_inputs(information, run.dataset_information()):
        raise InputError(
            f"{setting}: {difference}: its weights would not fit",
            where=run.path,
            next_step="preprocess the data as those of that run, or leave the setting out",
        )


def frozen_network(path: str) -> Any:
    """Load the network of a run directory; it learns nothing."""
    run = open_trained(path)
    network = load_model(run.model, target_of(run.read_config()))
    network.name = ANSWERS
    network.trainable = False
    return network
