"""Losses and metric of a vector of skims, some of whose labels may be unknown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from smartbkg_tf.models.costs import CostModel
from smartbkg_tf.models.replicas import over_replicas, replicas
from smartbkg_tf.settings.training import TrainingSettings


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class SkimCrossentropy(keras.losses.Loss):
    """Binary cross-entropy of logits, one for each event and skim.

    ``softplus(-z) + (1 - y) z`` for a logit z and a label y in 0..1. Labels below 0 are
    unknown and do not contribute. Weights may be given for each event and skim.

    Parameters
    ----------
    label_smoothing : float, default 0
        Labels 0 and 1 become s / 2 and 1 - s / 2.
    **kwargs
        As any Keras loss.
    """

    def __init__(self, label_smoothing: float = 0.0, **kwargs: Any) -> None:
        kwargs.setdefault("name", "skim_crossentropy")
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.label_smoothing = label_smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Compute the loss of every event and skim.

        Parameters
        ----------
        y_true : tensor [batch, n_skims]
            1 passes, 0 fails, below 0 unknown.
        y_pred : tensor [batch, n_skims]
            Logits.

        Returns
        -------
        tensor [batch, n_skims]
            Losses in nats.
        """
        logits = ops.cast(y_pred, "float32")
        known = ops.cast(ops.greater_equal(y_true, 0), "float32")
        labels = ops.clip(ops.cast(y_true, "float32"), 0.0, 1.0)
        labels = labels * (1.0 - self.label_smoothing) + 0.5 * self.label_smoothing
        return known * (ops.softplus(-logits) + (1.0 - labels) * logits)

    def get_config(self) -> dict[str, Any]:
        """Give the constructor's arguments.

        Returns
        -------
        dict
            Plain values.
        """
        return {**super().get_config(), "label_smoothing": self.label_smoothing}


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class SkimFocal(SkimCrossentropy):
    """Cross-entropy in which well classified events count less.

    The cross-entropy times ``|y - sigmoid(z)| ** gamma`` (Lin et al., arXiv:1708.02002; its
    alpha is a weight of classes).

    Parameters
    ----------
    gamma : float, default 2
        0 is plain cross-entropy.
    label_smoothing : float, default 0
        Labels 0 and 1 become s / 2 and 1 - s / 2.
    **kwargs
        As any Keras loss.
    """

    def __init__(self, gamma: float = 2.0, label_smoothing: float = 0.0, **kwargs: Any) -> None:
        kwargs.setdefault("name", "skim_focal")
        super().__init__(label_smoothing, **kwargs)
        self.gamma = gamma

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Compute the loss of every event and skim.

        Parameters
        ----------
        y_true : tensor [batch, n_skims]
            1 passes, 0 fails, below 0 unknown.
        y_pred : tensor [batch, n_skims]
            Logits.

        Returns
        -------
        tensor [batch, n_skims]
            Losses in nats.
        """
        crossentropy = super().call(y_true, y_pred)
        logits = ops.cast(y_pred, "float32")
        labels = ops.clip(ops.cast(y_true, "float32"), 0.0, 1.0)
        labels = labels * (1.0 - self.label_smoothing) + 0.5 * self.label_smoothing
        # Off zero: there the gradient of a power below 1 is infinite.
        distance = ops.maximum(ops.abs(labels - ops.sigmoid(logits)), 1e-7)
        return crossentropy * ops.power(distance, self.gamma)

    def get_config(self) -> dict[str, Any]:
        """Give the constructor's arguments.

        Returns
        -------
        dict
            Plain values.
        """
        return {**super().get_config(), "gamma": self.gamma}


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class SkimSpeedup(keras.losses.Loss):
    r"""Time with a sampling filter over the time without, at equal effective statistics.

    The filter keeps an event with the probability ``p = c + (1 - c) sigmoid(z)``, where
    c = 1 / maximum_weight is the least one, and gives it the weight 1 / p. The loss is
    `smartbkg_tf.models.costs.CostModel.ratio` of <p> over all events and <1 / p> over
    passing ones, averaged over skims. It is a quantity of a batch, not a mean over events:
    batches need some tens of passing and failing events each; a skim that lacks one of the
    two does not contribute. Natural mixtures are restored by the retention f,
    <p> = f <p>_passing + (1 - f) <p>_failing, so that balanced draws and weights of classes do
    not matter.

    Parameters
    ----------
    retention : sequence of float
        Natural fraction of passing events of each skim.
    generation : float, default 0.01
        Time of generation / time of simulation.
    network : float, default 0.001
        Time of the network / time of simulation.
    maximum_weight : float, default 20
        Largest weight of an event.
    **kwargs
        As any Keras loss.
    """

    def __init__(
        self,
        retention: Sequence[float],
        generation: float = 0.01,
        network: float = 0.001,
        maximum_weight: float = 20.0,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("name", "skim_speedup")
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.retention = [float(value) for value in retention]
        self.generation = generation
        self.network = network
        self.maximum_weight = maximum_weight

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Compute the loss of a batch.

        Parameters
        ----------
        y_true : tensor [batch, n_skims]
            1 passes, 0 fails, below 0 unknown.
        y_pred : tensor [batch, n_skims]
            Logits.
        sample_weight : tensor [batch] or [batch, n_skims], optional
            Weights of events within their class; 0 for unknown labels.

        Returns
        -------
        tensor []
            1 / speedup.
        """
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

        # Of the whole batch: a mean of ratios of its parts would be another quantity.
        n_passing, n_failing, kept_passing, kept_failing, weight_passing = ops.unstack(
            over_replicas(
                ops.stack(
                    [
                        ops.sum(values, axis=0)
                        for values in (
                            passing,
                            failing,
                            probability * passing,
                            probability * failing,
                            passing / probability,
                        )
                    ]
                )
            ),
            5,
        )
        n_passing_or_1 = ops.where(n_passing > 0.0, n_passing, 1.0)
        n_failing_or_1 = ops.where(n_failing > 0.0, n_failing, 1.0)
        share = ops.convert_to_tensor(self.retention, dtype="float32")
        kept = share * kept_passing / n_passing_or_1
        kept = kept + (1.0 - share) * kept_failing / n_failing_or_1
        ratio = CostModel(self.generation, self.network).ratio(
            kept, weight_passing / n_passing_or_1
        )
        both = ops.cast(ops.logical_and(n_passing > 0.0, n_failing > 0.0), "float32")
        loss = ops.sum(ratio * both) / ops.maximum(ops.sum(both), 1.0)
        # Each device gives its share: Keras adds up over the devices.
        return loss / replicas()

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Compute the loss of a batch without weights.

        Parameters
        ----------
        y_true : tensor [batch, n_skims]
            Labels.
        y_pred : tensor [batch, n_skims]
            Logits.

        Returns
        -------
        tensor []
            1 / speedup.
        """
        return self(y_true, y_pred)

    def get_config(self) -> dict[str, Any]:
        """Give the constructor's arguments.

        Returns
        -------
        dict
            Plain values.
        """
        return {
            **super().get_config(),
            "retention": self.retention,
            "generation": self.generation,
            "network": self.network,
            "maximum_weight": self.maximum_weight,
        }


def make_loss(
    training: TrainingSettings, n_skims: int, retention: Sequence[float] | None = None
) -> keras.losses.Loss:
    """Make the loss of the settings.

    Parameters
    ----------
    training : TrainingSettings
        With ``loss`` and ``label_smoothing``.
    n_skims : int
        Outputs of the network.
    retention : sequence of float, optional
        Natural fraction of passing events of each skim, where the settings give none; the
        loss *speedup* needs one of the two.

    Returns
    -------
    keras.losses.Loss
        Of logits.

    Raises
    ------
    ValueError
        When *speedup* knows no retention.
    """
    loss = training.loss
    if loss.name == "focal":
        return SkimFocal(loss.gamma, training.label_smoothing)
    if loss.name == "speedup":
        if loss.retention is not None:
            retention = [loss.retention] * n_skims
        if retention is None or len(retention) != n_skims:
            raise ValueError("the loss speedup needs the retention of each skim")
        return SkimSpeedup(
            retention,
            generation=loss.times.generation / loss.times.simulation,
            network=loss.times.network / loss.times.simulation,
            maximum_weight=loss.maximum_weight,
        )
    return SkimCrossentropy(training.label_smoothing)


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class SkimAUC(keras.metrics.Metric):
    """Area under the ROC curve, streamed: histograms of the sigmoid of the logits.

    Unlike `keras.metrics.AUC` it works on logits and leaves out unknown labels: those below 0
    and those of weight 0. Other weights are ignored: as long as they depend on the label
    alone, the AUC does not depend on them. With 16384
    bins it agrees with the exact value to better than 1e-3 unless nearly all scores fall
    into a few bins, as those of an untrained network may.

    Parameters
    ----------
    n_skims : int
        Length of the label vector.
    skim : int, optional
        Position of one skim; None averages over the skims that have both classes.
    bins : int, default 16384
        Bins between 0 and 1.
    **kwargs
        As any Keras metric.
    """

    def __init__(
        self, n_skims: int, skim: int | None = None, bins: int = 16384, **kwargs: Any
    ) -> None:
        kwargs.setdefault("name", "auc")
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.n_skims = n_skims
        self.skim = skim
        self.bins = bins
        self._direction = "up"
        self.passing = self.add_variable((n_skims, bins), initializer="zeros", name="passing")
        self.failing = self.add_variable((n_skims, bins), initializer="zeros", name="failing")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch to the histograms.

        Parameters
        ----------
        y_true : tensor [batch, n_skims]
            1 passes, 0 fails, below 0 unknown.
        y_pred : tensor [batch, n_skims]
            Logits.
        sample_weight : tensor [batch] or [batch, n_skims], optional
            0 for unknown labels; other values do not matter.
        """
        logits = ops.cast(y_pred, "float32")
        y_true = ops.cast(y_true, "float32")
        usable = ops.isfinite(logits)
        if sample_weight is not None:
            known = ops.not_equal(sample_weight, 0)
            usable = ops.logical_and(usable, ops.reshape(known, (ops.shape(known)[0], -1)))
        probability = ops.sigmoid(ops.where(usable, logits, 0.0))
        position = ops.cast(ops.floor(probability * self.bins), "int32")
        position = ops.clip(position, 0, self.bins - 1) + self.bins * ops.arange(self.n_skims)
        position = ops.reshape(position, (-1,))
        for histogram, chosen in (
            (self.passing, ops.greater(y_true, 0.5)),
            (
                self.failing,
                ops.logical_and(ops.less_equal(y_true, 0.5), ops.greater_equal(y_true, 0.0)),
            ),
        ):
            weight = ops.cast(ops.logical_and(chosen, usable), "float32")
            counts = ops.segment_sum(
                ops.reshape(weight, (-1,)), position, num_segments=self.n_skims * self.bins
            )
            histogram.assign_add(ops.reshape(counts, (self.n_skims, self.bins)))

    def result(self) -> Any:
        """Integrate the curve.

        Returns
        -------
        tensor []
            The area; 0 when no skim has both classes.
        """
        passing, failing = ops.convert_to_tensor(self.passing), ops.convert_to_tensor(self.failing)
        if self.skim is not None:
            passing = passing[self.skim : self.skim + 1]
            failing = failing[self.skim : self.skim + 1]
        below = ops.cumsum(failing, axis=1) - 0.5 * failing
        pairs = ops.sum(passing, axis=1) * ops.sum(failing, axis=1)
        area = ops.sum(passing * below, axis=1) / ops.maximum(pairs, 1.0)
        both = ops.cast(ops.greater(pairs, 0.0), "float32")
        return ops.sum(area * both) / ops.maximum(ops.sum(both), 1.0)

    def get_config(self) -> dict[str, Any]:
        """Give the constructor's arguments.

        Returns
        -------
        dict
            Plain values.
        """
        return {
            **super().get_config(),
            "n_skims": self.n_skims,
            "skim": self.skim,
            "bins": self.bins,
        }
