"""Saving, and averages of weights."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from smartbkg_tf.models.loading import save_model
from smartbkg_tf.runtime.run_directory import RunDirectory
from smartbkg_tf.training.savers import AveragedWeights, SaveModels, improves

#: Keras 3.15 calls np.array on its variables in a way that NumPy 2 warns about.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


class Network:
    """The part of a network that saves."""

    def __init__(self, model: keras.Model) -> None:
        self.model = model

    def save(self, path: Path) -> None:
        save_model(self.model, path)


def tiny_model() -> keras.Model:
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    model.compile("sgd", "mse", jit_compile=False)
    return model


@pytest.mark.parametrize(
    ("value", "best", "mode", "expected"),
    [
        (0.5, None, "min", True),
        (0.5, 0.6, "min", True),
        (0.6, 0.6, "min", False),
        (0.7, 0.6, "max", True),
        (math.nan, None, "min", False),
        (math.nan, 0.6, "max", False),
    ],
)
def test_improvement(value: float, best: float | None, mode: str, expected: bool) -> None:
    assert improves(value, best, mode) is expected


def test_the_best_epoch_stays_on_the_disk(tmp_path: Path) -> None:
    model = tiny_model()
    callback = SaveModels(Network(model), RunDirectory(tmp_path), "val_auc", "max")  # type: ignore[arg-type]
    callback.set_model(model)
    for epoch, auc in enumerate([0.6, 0.8, 0.7]):
        model.set_weights([np.full((2, 1), epoch, np.float32), np.zeros(1, np.float32)])
        callback.on_epoch_end(epoch, {"val_auc": auc})
    assert (callback.best, callback.best_epoch) == (0.8, 2)
    kept = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_array_equal(kept.get_weights()[0], np.full((2, 1), 1.0))
    with pytest.raises(KeyError):
        callback.on_epoch_end(3, {"val_loss": 0.1})


def test_the_last_epoch_keeps_the_state_of_the_optimiser(tmp_path: Path) -> None:
    model = tiny_model()
    callback = SaveModels(Network(model), RunDirectory(tmp_path), "loss", "min")  # type: ignore[arg-type]
    model.fit(np.ones((8, 2)), np.ones((8, 1)), batch_size=2, verbose=0, callbacks=[callback])
    again = keras.saving.load_model(tmp_path / "last.keras")
    assert int(again.optimizer.iterations) == 4


def test_validation_and_saving_take_the_averages() -> None:
    class Kernels(keras.callbacks.Callback):
        def __init__(self) -> None:
            super().__init__()
            self.steps: list[np.ndarray] = []
            self.tested: list[np.ndarray] = []
            self.saved: list[np.ndarray] = []

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.steps.append(self.model.get_weights()[0])

        def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
            self.tested.append(self.model.get_weights()[0])

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.saved.append(self.model.get_weights()[0])

    model, kernels, later = tiny_model(), Kernels(), Kernels()
    model.compile(
        keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.7), "mse", jit_compile=False
    )
    x, y = np.random.default_rng(1).normal(size=(10, 2)), np.ones((10, 1))
    model.fit(
        x, y, batch_size=2, epochs=2, verbose=0, validation_data=(x, y), validation_batch_size=10,
        callbacks=[kernels, AveragedWeights(), later],
    )  # fmt: skip
    average = kernels.steps[0]
    for i, kernel in enumerate(kernels.steps):
        average = 0.7 * average + 0.3 * kernel
        if i in (4, 9):
            for found in (kernels.saved, kernels.tested):
                np.testing.assert_allclose(found[i // 5], average, rtol=1e-5, atol=1e-7)
            # The weights that learn are as without averages.
            np.testing.assert_array_equal(later.saved[i // 5], kernel)
