"""Targets and weights of a batch: unknown labels weigh nothing, classes may weigh more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from smartbkg_tf.dataset.dataset import Dataset
from smartbkg_tf.errors import ConfigurationError, InputError, did_you_mean

#: What `class_weight_table` understands.
ClassWeights = str | Mapping[str, Sequence[float]] | Sequence[float] | None


def class_weight_table(
    dataset: Dataset, indices: npt.NDArray[np.int64], class_weights: ClassWeights
) -> npt.NDArray[np.float32]:
    """Give the weight of a failing and of a passing event for every skim, float32 [n_skims, 2].

    `class_weights` is None (1 for all), ``"balanced"`` (n / (2 n_class), so that both classes weigh
    the same altogether and the mean weight is 1), a pair (failing, passing) for all skims, or a
    mapping from skim to such a pair (1 for skims that are not named). ConfigurationError when a
    skim is not known or a weight is not a finite number >= 0; InputError when weights are to be
    balanced and a skim has events of one class only.
    """
    names = dataset.label_names
    table = np.ones((len(names), 2), dtype=np.float32)
    if class_weights is None:
        return table
    if isinstance(class_weights, str):
        if class_weights != "balanced":
            raise ConfigurationError(
                f"class_weights: '{class_weights}' is not a choice; "
                f"{did_you_mean(class_weights, ['balanced'])}"
            )
        labels = dataset.labels[indices]
        counts = np.stack([np.count_nonzero(labels == c, axis=0) for c in (0, 1)], axis=1)
        one_class = [names[i] for i in np.flatnonzero((counts == 0).any(axis=1))]
        if one_class:
            raise InputError(
                f"class weights cannot be balanced: {', '.join(one_class)} has events of one "
                "class only",
                where=dataset.path,
            )
        table[:] = counts.sum(axis=1, keepdims=True) / (2.0 * counts)
        return table
    pairs: Mapping[str, Sequence[float]] = (
        class_weights if isinstance(class_weights, Mapping) else dict.fromkeys(names, class_weights)
    )
    for name, pair in pairs.items():
        if name not in names:
            raise ConfigurationError(f"class_weights.{name}: {did_you_mean(name, names)}")
        values = np.asarray(pair, dtype=np.float64).reshape(-1)
        if len(values) != 2 or not np.all(np.isfinite(values)) or np.any(values < 0):
            raise ConfigurationError(
                f"class_weights.{name}: two weights (failing, passing) >= 0 are needed, not {pair}"
            )
        table[names.index(name)] = values
    return table


def targets(labels: npt.NDArray[np.int8]) -> npt.NDArray[np.float32]:
    """Turn labels [batch, n_skims] into what a loss reads, float32; 0 for unknown, of weight 0."""
    return np.maximum(labels, 0).astype(np.float32)


def weights(
    labels: npt.NDArray[np.int8], table: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Give every label [batch, n_skims] its weight of the table [n_skims, 2]; 0 for unknown labels.

    float32 [batch] for a single skim, as Keras expects it, else [batch, n_skims].
    """
    skims = np.arange(labels.shape[1])
    result = np.where(labels < 0, np.float32(0), table[skims, np.maximum(labels, 0)])
    return result[:, 0] if labels.shape[1] == 1 else result
