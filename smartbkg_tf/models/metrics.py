"""The area under the ROC curve of a vector of skims."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from smartbkg_tf.models.configurable import Configurable


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class SkimAUC(Configurable, keras.metrics.Metric):
    """Area under the ROC curve, streamed: histograms of the sigmoid of the logits.

    Unlike `keras.metrics.AUC` it works on logits and leaves out unknown labels: those below 0
    and those of weight 0. Other weights are ignored: as long as they depend on the label
    alone, the AUC does not depend on them. With 16384
    bins it agrees with the exact value to better than 1e-3 unless nearly all scores fall
    into a few bins, as those of an untrained network may.
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
        """Add a batch: labels, logits [batch, n_skims], and weights, 0 for unknown labels."""
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
        """Integrate the curve; 0 when no skim has both classes."""
        passing, failing = ops.convert_to_tensor(self.passing), ops.convert_to_tensor(self.failing)
        if self.skim is not None:
            passing = passing[self.skim : self.skim + 1]
            failing = failing[self.skim : self.skim + 1]
        below = ops.cumsum(failing, axis=1) - 0.5 * failing
        pairs = ops.sum(passing, axis=1) * ops.sum(failing, axis=1)
        area = ops.sum(passing * below, axis=1) / ops.maximum(pairs, 1.0)
        both = ops.cast(ops.greater(pairs, 0.0), "float32")
        return ops.sum(area * both) / ops.maximum(ops.sum(both), 1.0)
