"""Losses of a vector of skims, some of whose labels may be unknown, as Keras takes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from smartbkg_tf.models.configurable import Configurable
from smartbkg_tf.models.replicas import over_replicas, replicas
from smartbkg_tf.settings.costs import CostSettings


class SkimLoss(Configurable, keras.losses.Loss):
    """A loss of logits [batch, n_skims] in float32; labels below 0 are unknown."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"name": "skim_loss", "dtype": "float32", **kwargs})


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class SkimCrossentropy(SkimLoss):
    """Binary cross-entropy of logits, one for each event and skim.

    ``softplus(-z) + (1 - y) z`` for a logit z and a label y in 0..1, smoothed to s / 2 and
    1 - s / 2.
    Unknown labels do not contribute. Weights may be given for each event and skim.
    """

    def __init__(self, label_smoothing: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.label_smoothing = label_smoothing

    def labels(self, y_true: Any) -> Any:
        """Smooth the labels."""
        labels = ops.clip(ops.cast(y_true, "float32"), 0.0, 1.0)
        return labels * (1.0 - self.label_smoothing) + 0.5 * self.label_smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Compute the loss of every event and skim, tensors [batch, n_skims]."""
        logits = ops.cast(y_pred, "float32")
        known = ops.cast(ops.greater_equal(y_true, 0), "float32")
        return known * (ops.softplus(-logits) + (1.0 - self.labels(y_true)) * logits)


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class SkimFocal(SkimCrossentropy):
    """The cross-entropy times ``|y - sigmoid(z)| ** gamma``: well classified events count less.

    Lin et al., arXiv:1708.02002; its alpha is a weight of classes.
    """

    def __init__(self, gamma: float = 2.0, label_smoothing: float = 0.0, **kwargs: Any) -> None:
        super().__init__(label_smoothing, **kwargs)
        self.gamma = gamma

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Compute the loss of every event and skim, tensors [batch, n_skims]."""
        crossentropy = super().call(y_true, y_pred)
        probability = ops.sigmoid(ops.cast(y_pred, "float32"))
        # Off zero: there the gradient of a power below 1 is infinite.
        distance = ops.maximum(ops.abs(self.labels(y_true) - probability), 1e-7)
        return crossentropy * ops.power(distance, self.gamma)


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class SkimSpeedup(SkimLoss):
    r"""Time with a sampling filter over the time without, at equal effective statistics.

    The filter keeps an event with the probability ``p = c + (1 - c) sigmoid(z)``, where
    c = 1 / maximum_weight is the least one, and gives it the weight 1 / p. The loss is
    `smartbkg_tf.settings.costs.CostSettings.ratio` of <p> over all events and <1 / p> over
    passing ones, averaged over skims. It is a quantity of a batch, not a mean over events:
    batches need some tens of passing and failing events each; a skim that lacks one of the
    two does not contribute. Natural mixtures are restored by the retention f of each skim,
    <p> = f <p>_passing + (1 - f) <p>_failing, so that balanced draws and weights of classes do
    not matter. Times of generation and network are in units of that of the simulation.
    """

    def __init__(
        self,
        retention: Sequence[float],
        generation: float = 0.01,
        network: float = 0.001,
        maximum_weight: float = 20.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.retention = [float(value) for value in retention]
        self.generation = generation
        self.network = network
        self.maximum_weight = maximum_weight

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Compute 1 / speedup; weights [batch] or [batch, n_skims] are within a class."""
        logits = ops.cast(y_pred, "float32")
        labels = ops.cast(y_true, "float32")
        weight = ops.cast(ops.greater_equal(labels, 0.0), "float32")
        if sample_weight is not None:
            given = ops.cast(sample_weight, "float32")
            weight = weight * ops.reshape(given, (ops.shape(given)[0], -1))
        passing = weight * ops.cast(ops.greater(labels, 0.5), "float32")
        failing = weight * ops.cast(ops.less_equal(labels, 0.5), "float32")
        floor = 1.0 / self.maximum_weight
        probability = floor + (1.0 - floor) * ops.sigmoid(logits)

        quantities = (
            passing,
            failing,
            probability * passing,
            probability * failing,
            passing / probability,
        )
        # Of the whole batch: a mean of ratios of its parts would be another quantity.
        sums = over_replicas(ops.stack([ops.sum(values, axis=0) for values in quantities]))
        n_passing, n_failing, kept_passing, kept_failing, weight_passing = ops.unstack(sums, 5)
        n_passing_or_1 = ops.where(n_passing > 0.0, n_passing, 1.0)
        n_failing_or_1 = ops.where(n_failing > 0.0, n_failing, 1.0)
        share = ops.convert_to_tensor(self.retention, dtype="float32")
        kept = share * kept_passing / n_passing_or_1
        kept = kept + (1.0 - share) * kept_failing / n_failing_or_1
        cost = CostSettings(generation=self.generation, network=self.network)
        ratio = cost.ratio(kept, weight_passing / n_passing_or_1)
        both = ops.cast(ops.logical_and(n_passing > 0.0, n_failing > 0.0), "float32")
        loss = ops.sum(ratio * both) / ops.maximum(ops.sum(both), 1.0)
        # Each device gives its share: Keras adds up over the devices.
        return loss / replicas()

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Compute the loss of a batch without weights."""
        return self(y_true, y_pred)
