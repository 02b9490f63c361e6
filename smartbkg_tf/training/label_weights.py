"""Weights of events in the loss, for training and for validation.

Training events may be a balanced draw, validation events keep the natural mixture. A
network trained on a mixture of which a fraction pi passes learns logits that are shifted
against the natural ones; its plain validation loss would mostly measure that shift and
early stopping would follow it. So validation events are weighted such that passing and
failing ones carry the same shares of the total weight as in training: both losses then
estimate the same quantity. The AUC of a skim does not depend on such weights.

Every skim counts alike: the labels of one that is known for a part of the events weigh more, so
that the loss is the mean over skims of their means over known labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from smartbkg_tf.dataset.order import balanced_counts
from smartbkg_tf.errors import ConfigurationError, InputError, Problems, did_you_mean
from smartbkg_tf.settings.training import ClassWeights

#: No label weighs more than so many of a skim that is known for all events: with very few known
#: labels, each would shake the whole network.
LARGEST = 10.0


@dataclass(frozen=True)
class LabelCounts:
    """Labels of one part of the data: expected numbers in an epoch, float64 [n_skims]."""

    passing: npt.NDArray[np.float64]
    failing: npt.NDArray[np.float64]
    #: Whatever of their labels is known.
    events: float

    @property
    def share(self) -> npt.NDArray[np.float64]:
        """Fraction that passes, among events of known label [n_skims]."""
        return self.passing / np.maximum(self.passing + self.failing, 1e-300)

    @property
    def known(self) -> npt.NDArray[np.float64]:
        """Fraction of the events whose label is known [n_skims]."""
        return (self.passing + self.failing) / max(self.events, 1e-300)

    @property
    def growth(self) -> npt.NDArray[np.float64]:
        """What the labels of each skim weigh so that every skim counts alike [n_skims]."""
        return np.minimum(1.0 / np.maximum(self.known, 1e-300), LARGEST)


def count_labels(labels: npt.NDArray[np.int8], balance: float | None = None) -> LabelCounts:
    """Count passing and failing events, as an epoch draws them.

    Labels [n_events, n_skims] are 1, 0, or -1 for unknown; `balance` failing events of the first
    skim are drawn for each passing one, None takes all.
    """
    labels = np.asarray(labels)
    drawn = np.ones(len(labels))
    if balance is not None:
        first = labels[:, 0]
        passing, failing = int((first == 1).sum()), int((first == 0).sum())
        kept = balanced_counts(passing, failing, balance)
        drawn = np.where(first == 1, kept[0] / max(passing, 1), kept[1] / max(failing, 1))
        # Without a label of the first skim an event belongs to neither class.
        drawn[first < 0] = 0.0
    return LabelCounts(
        passing=((labels == 1) * drawn[:, None]).sum(axis=0, dtype=np.float64),
        failing=((labels == 0) * drawn[:, None]).sum(axis=0, dtype=np.float64),
        events=float(drawn.sum()),
    )


def require_both_classes(
    counts: dict[str, LabelCounts], label_names: Sequence[str], where: str | None = None
) -> None:
    """Refuse parts of the data in which a skim has no passing or no failing event."""
    problems = Problems()
    for part, count in counts.items():
        for i, name in enumerate(label_names):
            passing, failing = int(count.passing[i]), int(count.failing[i])
            if passing and failing:
                continue
            lacking = "passing" if not passing else "failing"
            both = " and no failing" if not passing and not failing else ""
            problems.add(
                f"{part} events have no {lacking}{both} event of '{name}' "
                f"({passing} passing, {failing} failing)"
            )
    problems.raise_if_any(
        "every part of the data needs passing and failing events",
        kind=InputError,
        where=where,
        next_step="use more events, check the labels that were given to produce, "
        "or change data.fractions",
    )


@dataclass(frozen=True)
class SkimWeights:
    """Weights in the loss by skim and label, float32 [n_skims]."""

    passing: npt.NDArray[np.float32]
    failing: npt.NDArray[np.float32]

    def table(self, label_names: Sequence[str]) -> dict[str, tuple[float, float]]:
        """Write the weights as the streams take them: (failing, passing) by skim."""
        pairs = zip(self.failing.tolist(), self.passing.tolist(), strict=True)
        return dict(zip(label_names, pairs, strict=True))


def training_weights(
    counts: LabelCounts,
    class_weights: str | ClassWeights | Mapping[str, ClassWeights] | None,
    label_names: Sequence[str] = (),
) -> SkimWeights:
    """Weigh training events by the setting, times `LabelCounts.growth`.

    "balanced" keeps the mean weight of known labels; a mapping gives the weights of some skims,
    and 1 to the others.
    """
    ones = np.ones_like(counts.passing)
    if class_weights is None:
        passing, failing = ones, ones
    elif isinstance(class_weights, ClassWeights):
        passing, failing = ones * class_weights.passing, ones * class_weights.failing
    elif isinstance(class_weights, Mapping):
        passing, failing = ones.copy(), ones.copy()
        for name, pair in class_weights.items():
            if name not in label_names:
                raise ConfigurationError(
                    f"training.class_weights.{name}: there is no such skim; "
                    f"{did_you_mean(name, label_names)}"
                )
            place = list(label_names).index(name)
            passing[place], failing[place] = pair.passing, pair.failing
    else:
        passing, failing = 0.5 / counts.share, 0.5 / (1.0 - counts.share)
    return SkimWeights(
        (passing * counts.growth).astype(np.float32), (failing * counts.growth).astype(np.float32)
    )


def validation_weights(
    counts: LabelCounts, training: LabelCounts, weights: SkimWeights
) -> SkimWeights:
    """Give validation events the mixture of the training loss.

    The mean weight of all labels of a skim is 1, unknown ones included.
    """
    passing = training.passing * weights.passing
    share = passing / (passing + training.failing * weights.failing)
    return SkimWeights(
        (share / counts.share * counts.growth).astype(np.float32),
        ((1.0 - share) / (1.0 - counts.share) * counts.growth).astype(np.float32),
    )
