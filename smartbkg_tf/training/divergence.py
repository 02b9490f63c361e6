"""The first batch whose loss or gradient is not finite, and the events in it."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from smartbkg_tf.runtime.files import atomic_file

#: Losses beyond this mean that training has diverged.
HUGE = 1e6

#: Executions between two looks at the counts on a GPU, where each look waits for it.
LOOK = 10

#: Parts of the key of an event.
KEY = ("experiment", "run", "event", "production")


class DivergenceError(Exception):
    """A step of training or validation gave a number that is not finite.

    `batch` counts from 0, from the beginning of the epoch or of the validation.
    """

    def __init__(self, part: str, epoch: int, batch: int, loss: float) -> None:
        super().__init__(f"{part} diverged in epoch {epoch + 1}, batch {batch + 1}: {loss}")
        self.part = part
        self.epoch = epoch
        self.batch = batch
        self.loss = loss


class _Watch:
    """Counts steps, and those before the first bad one, inside the compiled function."""

    def __init__(self, model: keras.Model, step: Any, *, weights: bool) -> None:
        import tensorflow as tf

        self._strategy = model.distribute_strategy
        with self._strategy.scope():
            # Each device counts for itself.
            self._counts = counts = tf.Variable(
                [0, 0],
                dtype=tf.int64,
                trainable=False,
                synchronization=tf.VariableSynchronization.ON_READ,
                aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
            )

        def watched(data: Any) -> Any:
            logs = step(data)
            loss = tf.cast(logs["loss"], tf.float32)
            good = tf.math.is_finite(loss) & (tf.abs(loss) < HUGE)
            if weights and model.trainable_variables:
                # A gradient may be NaN where the loss is finite. A norm is one number of every
                # weight, and NaN if one of them is.
                values = [tf.convert_to_tensor(w.value) for w in model.trainable_variables]
                good &= tf.math.is_finite(tf.linalg.global_norm(values))
            seen, healthy = tf.unstack(tf.convert_to_tensor(counts))
            healthy += tf.cast((healthy == seen) & good, tf.int64)
            counts.assign(tf.stack([seen + 1, healthy]))
            return logs

        self.step = watched

    def begin(self) -> None:
        """Count from 0."""
        self._counts.assign(np.zeros(2, np.int64))

    @property
    def bad(self) -> int | None:
        """The first bad step; None if there is none."""
        counts = np.stack(
            [c.numpy() for c in self._strategy.experimental_local_results(self._counts)]
        )
        seen, healthy = counts.min(axis=0)
        return int(healthy) if healthy < seen else None


class StopOnDivergence(keras.callbacks.Callback):
    """End the training by `DivergenceError` soon after the first bad step.

    Made after ``compile``: it puts its counters around the steps of the model, a user's too.
    """

    def __init__(self, model: keras.Model) -> None:
        super().__init__()
        import tensorflow as tf

        self._look = LOOK if tf.config.list_logical_devices("GPU") else 1
        self._train = _Watch(model, model.train_step, weights=True)
        self._test = _Watch(model, model.test_step, weights=False)
        model.train_step, model.test_step = self._train.step, self._test.step
        self._executions = 0
        self._epoch = 0
        self._loss: Any = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Count the steps of this epoch."""
        self._epoch, self._executions = epoch, 0
        self._train.begin()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Look at the training from time to time."""
        self._executions += 1
        self._loss = (logs or {}).get("loss", 0.0)
        if self._executions % self._look == 0:
            self._check("training", self._train, self._loss)

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Look at the last steps of training, and count those of validation."""
        self._check("training", self._train, self._loss)
        self._test.begin()

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        """Look at the validation."""
        self._check("validation", self._test, (logs or {}).get("loss", 0.0))

    def _check(self, part: str, watch: _Watch, loss: Any) -> None:
        if watch.bad is not None:
            raise DivergenceError(part, self._epoch, watch.bad, float(loss))


def write_bad_batch(path: Path, dataset: Any, rows: npt.NDArray[np.int64]) -> None:
    """Write keys and labels of the events at some positions of a dataset as CSV."""
    labels = np.asarray(dataset.labels)[rows]
    keys = [np.asarray(dataset.keys[part])[rows] for part in KEY]
    with atomic_file(path) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([*KEY, *(f"label_{name}" for name in dataset.label_names), "position"])
        writer.writerows(zip(*keys, *labels.T, rows, strict=True))
