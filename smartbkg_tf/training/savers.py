"""Saving the best and the last model, with averaged weights where they are wanted."""

from __future__ import annotations

import math
from typing import Any

import keras

from smartbkg_tf.models.base import NNBaseClass
from smartbkg_tf.models.keras_internals import averaged_weights
from smartbkg_tf.runtime.run_directory import RunDirectory


def improves(value: float, best: float | None, mode: str) -> bool:
    """Tell whether a value is better than the best one so far; NaN never is."""
    if math.isnan(value):
        return False
    return best is None or (value < best if mode == "min" else value > best)


class SaveModels(keras.callbacks.Callback):
    """Save the network after every epoch, and as the best one whenever `monitor` improves."""

    def __init__(self, network: NNBaseClass, run: RunDirectory, monitor: str, mode: str) -> None:
        super().__init__()
        self.network = network
        self.run = run
        self.monitor = monitor
        self.mode = mode
        self.best: float | None = None
        self.best_epoch: int | None = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Compare and save; the optimiser's state is saved, too."""
        value = float((logs or {})[self.monitor])
        if improves(value, self.best, self.mode):
            self.network.save(self.run.model)
            self.best, self.best_epoch = value, epoch + 1
        self.network.save(self.run.last_model)


class AveragedWeights(keras.callbacks.Callback):
    """Validate and save with the optimiser's averages of the weights, and go on without.

    Comes after the callbacks that save. Keras's SwapEMAWeights adds and subtracts to swap, which
    rounds the weights.
    """

    def __init__(self) -> None:
        super().__init__()
        self._pairs: list[tuple[Any, Any]] = []

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Take the averages."""
        optimizer = getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)
        averaged = averaged_weights(optimizer)
        self._pairs = [(weight, weight.numpy()) for weight, _ in averaged]
        for weight, average in averaged:
            weight.assign(average.numpy())

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Take the weights back."""
        for weight, value in self._pairs:
            weight.assign(value)
        self._pairs = []
