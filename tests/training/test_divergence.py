"""The first batch whose loss or gradient is not finite."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from smartbkg_tf.training import divergence
from smartbkg_tf.training.divergence import DivergenceError, StopOnDivergence

N, BATCH = 40, 8


def data() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    x = random.normal(size=(N, 3)).astype(np.float32)
    return x, (x[:, :1] > 0).astype(np.float32)


def dense(steps: int = 1) -> keras.Model:
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    model.compile("adam", "mse", steps_per_execution=steps, jit_compile=False)
    return model


def train(model: keras.Model, x: np.ndarray, watched: np.ndarray | None = None) -> None:
    good, y = data()
    stream = tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH)
    checked = tf.data.Dataset.from_tensor_slices((good if watched is None else watched, y))
    options = {"verbose": 0, "shuffle": False, "callbacks": [StopOnDivergence(model)]}
    model.fit(stream, validation_data=checked.batch(16), epochs=2, **options)


@pytest.mark.parametrize("look", [1, 10])
@pytest.mark.parametrize(("steps", "batch"), [(1, 3), (2, 2), (2, 4)])
def test_the_first_bad_batch_is_found(
    monkeypatch: pytest.MonkeyPatch, look: int, steps: int, batch: int
) -> None:
    monkeypatch.setattr(divergence, "LOOK", look)
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda _: ["a GPU"])
    x, _ = data()
    x[batch * BATCH + 5, 1] = np.nan
    with pytest.raises(DivergenceError) as caught:
        train(dense(steps), x)
    error = caught.value
    assert (error.part, error.epoch, error.batch) == ("training", 0, batch)
    assert not np.isfinite(error.loss)


def test_a_gradient_that_is_not_finite_is_blamed_on_its_own_batch() -> None:
    class Root(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            # At 0 the value is 0 and the gradient infinite.
            return keras.ops.sqrt(keras.ops.abs(x))

    keras.utils.set_random_seed(1)
    inputs = keras.Input((3,))
    model = keras.Model(inputs, Root()(keras.layers.Dense(1, use_bias=False)(inputs)))
    model.compile("sgd", "mse", jit_compile=False)
    x, _ = data()
    x[2 * BATCH] = 0.0
    with pytest.raises(DivergenceError) as caught:
        train(model, x)
    assert caught.value.batch == 2


def test_bad_validation_events_are_found() -> None:
    watched, _ = data()
    watched[20] = np.inf
    with pytest.raises(DivergenceError) as caught:
        train(dense(), data()[0], watched)
    assert (caught.value.part, caught.value.batch) == ("validation", 1)


@pytest.mark.parametrize(("loss", "good"), [(0.7, True), (-3.0, True), (2e6, False)])
def test_losses_to_go_on_with(loss: float, good: bool) -> None:
    class Given(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            self.add_loss(loss + 0.0 * keras.ops.sum(x))
            return x

    inputs = keras.Input((3,))
    model = keras.Model(inputs, Given()(keras.layers.Dense(1)(inputs)))
    model.compile(
        keras.optimizers.SGD(0.0),
        lambda y, p: 0.0 * keras.ops.sum(p, axis=-1),
        jit_compile=False,
    )
    if good:
        train(model, data()[0])
    else:
        with pytest.raises(DivergenceError):
            train(model, data()[0])
