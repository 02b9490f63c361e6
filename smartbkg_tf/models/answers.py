"""A trained network as a part of another one: boosted trees read its logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from smartbkg_tf.errors import InputError
from smartbkg_tf.models.inputs import ANSWERS
from smartbkg_tf.models.loading import load_model, target_of
from smartbkg_tf.runtime.run_directory import open_trained


def frozen_network(path: str, *, feature_names: Sequence[str], vocabulary: int) -> Any:
    """Load the network of a run directory; it learns nothing."""
    run = open_trained(path)
    information = run.dataset_information()
    for what, ours, theirs in (
        ("features", list(feature_names), information["encoding"]["feature_names"]),
        ("vocabulary sizes", vocabulary, information["vocabulary"]["size"]),
    ):
        if ours != theirs:
            raise InputError(
                f"model.head.forest.answers: its data have other {what} ({theirs}) than those to "
                f"train on ({ours})",
                where=run.path,
                next_step="preprocess the data as those of that run, or leave it out",
            )
    network = load_model(run.model, target_of(run.read_config()))
    network.name = ANSWERS
    network.trainable = False
    return network
