"""Which events train, which watch, and what each weighs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.errors import InputError
from smartbkg_tf.runtime.progress import say
from smartbkg_tf.settings.training import TrainSettings
from smartbkg_tf.training.label_weights import (
    SkimWeights,
    count_labels,
    require_both_classes,
    training_weights,
    validation_weights,
)

#: Fewer passing validation events than this are told about: their AUC decides little.
_FEW = 100


@dataclass(frozen=True)
class ChosenEvents:
    """Events of training and validation, with their weights in the loss."""

    train: npt.NDArray[np.int64]
    validation: npt.NDArray[np.int64]
    test: npt.NDArray[np.int64]
    #: Failing events for each passing one; None takes all.
    balance: float | None
    #: Training events of an epoch.
    events: int
    weights: SkimWeights
    validation_weights: SkimWeights
    #: Natural fraction of passing events of each skim.
    retention: npt.NDArray[np.float64]
    #: Passing training events of the skim that has fewest.
    passing: int


def choose_events(settings: TrainSettings, dataset: Any) -> ChosenEvents:
    """Split, check that there is something to learn, count and weigh."""
    labels = np.asarray(dataset.labels)
    names = list(dataset.label_names)
    if not names:
        raise InputError(
            "the dataset has no labels",
            where=dataset.path,
            next_step="produce tables with a skim, or give skim_files to produce source=mdst",
        )
    split = dataset.split(settings.data.fractions)
    # An event without any known label teaches nothing.
    known = np.any(labels >= 0, axis=1)
    train, validation = (split[part][known[split[part]]] for part in ("train", "validation"))
    require_both_classes(
        {
            "training": count_labels(labels[train]),
            "validation": count_labels(labels[validation]),
            "test": count_labels(labels[split["test"]]),
        },
        names,
        where=str(dataset.path),
    )
    every = count_labels(labels[train])
    balance = settings.data.balance
    if balance is not None and every.failing[0] <= balance * every.passing[0]:
        # There are no more than that: take all, leave no passing event out.
        balance = None
    drawn = count_labels(labels[train], balance)
    watched = count_labels(labels[validation])
    passing = int(watched.passing.min())
    if passing < _FEW:
        say(
            f"note: only {passing} validation events pass; the choice of the best epoch "
            f"is uncertain (AUC to about +-{0.3 / math.sqrt(passing):.2f})"
        )
    for name, share, growth in zip(names, drawn.known, drawn.growth, strict=True):
        if growth > 1.005:
            say(
                f"note: {name} is known for {100 * share:.3g} % of the training events; each of "
                f"its labels weighs {growth:.3g} times as much"
            )
    weights = training_weights(drawn, settings.training.class_weights, names)
    return ChosenEvents(
        train=train,
        validation=validation,
        test=split["test"],
        balance=balance,
        events=round(drawn.events),
        weights=weights,
        validation_weights=validation_weights(watched, drawn, weights),
        retention=every.share,
        passing=int(every.passing.min()),
    )
