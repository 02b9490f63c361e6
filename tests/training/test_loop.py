"""The loop over epochs: Keras's arithmetic, places, the first bad batch, averages."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from tensorflow.python.framework import config

from smartbkg_tf.dataset.stream import EpochCounter
from smartbkg_tf.training.checkpoints import Checkpoints
from smartbkg_tf.training.loop import Clock, DivergenceError, Plan, TrainingLoop

N, BATCH = 40, 8


def data() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    x = random.normal(size=(N, 3)).astype(np.float32)
    return x, (x[:, :1] > 0).astype(np.float32)


def make_model(dropout: float = 0.3, **options: Any) -> keras.Model:
    keras.utils.set_random_seed(4)
    inputs = keras.Input((3,))
    x = keras.layers.Dense(5, activation="tanh")(inputs)
    x = keras.layers.Dropout(dropout)(x)
    model = keras.Model(inputs, keras.layers.Dense(1)(x))
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01, **options), loss, metrics=["mae"])
    return model


class Rows(keras.callbacks.Callback):
    """Keeps the logs of epochs, and the batches that were seen."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[dict[str, float]] = []
        self.batches: list[int] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.batches.append(batch)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.rows.append(dict(logs))


def make_loop(
    model: keras.Model,
    folder: Path,
    *callbacks: Any,
    passes: int = 2,
    parts: int = 1,
    x: np.ndarray | None = None,
    watched: np.ndarray | None = None,
    **options: Any,
) -> TrainingLoop:
    features, labels = data()
    x = features if x is None else x
    counter = EpochCounter(parts=True)

    def batches() -> Any:
        for batch in range(counter.first_batch, counter.last_batch or 0):
            rows = slice(batch * BATCH, (batch + 1) * BATCH)
            yield x[rows], labels[rows]

    signature = (tf.TensorSpec((None, 3)), tf.TensorSpec((None, 1)))
    stream = tf.data.Dataset.from_generator(batches, output_signature=signature)
    check = tf.data.Dataset.from_tensor_slices((features if watched is None else watched, labels))
    return TrainingLoop(
        model,
        stream=stream,
        watched=check.batch(16),
        counter=counter,
        plan=Plan(passes, parts, N // BATCH),
        callbacks=callbacks,
        checkpoints=Checkpoints(folder),
        **options,
    )


@given(st.integers(1, 5), st.integers(1, 12), st.data())
def test_parts_of_passes_are_all_of_them(passes: int, batches: int, more: st.DataObject) -> None:
    parts = more.draw(st.integers(1, batches))
    plan = Plan(passes, parts, batches)
    places = [plan.place(epoch) for epoch in range(plan.epochs)]
    seen = [(number, b) for number, first, last in places for b in range(first, last)]
    assert seen == [(number, b) for number in range(passes) for b in range(batches)]
    sizes = [last - first for _, first, last in places]
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= 1


def test_the_clock_leaves_out_the_first_step() -> None:
    clock = Clock()
    clock.step(5.0, 1)
    assert (clock.waited, clock.worked, clock.batches) == (0, 0, 0)
    time.sleep(0.02)
    clock.step(0.01, 4)
    assert (clock.waited, clock.batches) == (0.01, 4)
    assert 0.02 <= clock.worked < 5


@pytest.fixture(scope="module")
def keras_fit() -> tuple[list[dict[str, float]], list[np.ndarray]]:
    """Train the same model on the same data with Keras's own loop."""
    model, rows = make_model(), Rows()
    x, y = data()
    stream = tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH)
    watched = tf.data.Dataset.from_tensor_slices((x, y)).batch(16)
    model.fit(stream, validation_data=watched, epochs=2, verbose=0, shuffle=False, callbacks=[rows])
    return rows.rows, model.get_weights()


def test_xla_is_the_same_arithmetic(tmp_path: Path) -> None:
    # Keras compiles nothing with XLA where a fit before has asked for determinism.
    config.disable_op_determinism()
    losses = []
    for xla in (False, True):
        # XLA draws other dropout.
        model, rows = make_model(dropout=0.0), Rows()
        model.jit_compile = xla
        make_loop(model, tmp_path, rows).run()
        losses.append([row["val_loss"] for row in rows.rows])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize("steps", [1, 2])
def test_the_arithmetic_is_that_of_keras(
    tmp_path: Path, keras_fit: tuple[list[dict[str, float]], list[np.ndarray]], steps: int
) -> None:
    model, rows = make_model(), Rows()
    make_loop(model, tmp_path, rows, steps_per_execution=steps).run()
    for ours, theirs in zip(rows.rows, keras_fit[0], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-6)
    for a, b in zip(model.get_weights(), keras_fit[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    # Five batches: with two in a call the last one comes alone.
    assert rows.batches == ([0, 1, 2, 3, 4] if steps == 1 else [1, 3, 4]) * 2


def test_epochs_that_are_parts_of_a_pass_see_the_same_batches(
    tmp_path: Path, keras_fit: tuple[list[dict[str, float]], list[np.ndarray]]
) -> None:
    model, rows = make_model(), Rows()
    make_loop(model, tmp_path, rows, parts=2).run()
    assert len(rows.rows) == 4
    assert rows.batches == [0, 1, 0, 1, 2] * 2
    for a, b in zip(model.get_weights(), keras_fit[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    assert rows.rows[1]["val_loss"] == pytest.approx(keras_fit[0][0]["val_loss"], rel=1e-5)


@pytest.mark.parametrize(("steps", "batch"), [(1, 3), (2, 2), (2, 4)])
def test_the_first_bad_batch_is_found(tmp_path: Path, steps: int, batch: int) -> None:
    x, _ = data()
    x[batch * BATCH + 5, 1] = np.nan
    loop = make_loop(make_model(), tmp_path, x=x, steps_per_execution=steps, batches=1)
    with pytest.raises(DivergenceError) as caught:
        loop.run()
    error = caught.value
    assert (error.part, error.epoch, error.batch) == ("training", 0, batch)
    # What is saved is from before, and finite.
    kept = Checkpoints(tmp_path).newest()
    assert kept is not None
    assert kept.batch == batch // steps * steps
    assert all(np.isfinite(a).all() for a in kept.arrays.values())


def test_a_gradient_that_is_no_number_is_blamed_on_its_own_batch(tmp_path: Path) -> None:
    class Root(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            # At 0 the value is 0 and the gradient infinite.
            return keras.ops.sqrt(keras.ops.abs(x))

    keras.utils.set_random_seed(1)
    inputs = keras.Input((3,))
    model = keras.Model(inputs, Root()(keras.layers.Dense(1, use_bias=False)(inputs)))
    model.compile("sgd", "mse")
    x, _ = data()
    x[2 * BATCH] = 0.0
    with pytest.raises(DivergenceError) as caught:
        make_loop(model, tmp_path, x=x).run()
    assert caught.value.batch == 2


def test_bad_validation_events_are_found(tmp_path: Path) -> None:
    watched, _ = data()
    watched[20] = np.inf
    with pytest.raises(DivergenceError) as caught:
        make_loop(make_model(), tmp_path, watched=watched).run()
    assert (caught.value.part, caught.value.batch) == ("validation", 1)
    assert Checkpoints(tmp_path).newest() is None


def test_validation_and_saving_take_the_averages(tmp_path: Path) -> None:
    class Kernels(keras.callbacks.Callback):
        def __init__(self) -> None:
            super().__init__()
            self.steps: list[np.ndarray] = []
            self.saved: list[np.ndarray] = []

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.steps.append(self.model.get_weights()[0])

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.saved.append(self.model.get_weights()[0])

    model, kernels, rows = make_model(use_ema=True, ema_momentum=0.7), Kernels(), Rows()
    make_loop(model, tmp_path, kernels, rows, ema=True).run()
    average = kernels.steps[0]
    for i, kernel in enumerate(kernels.steps):
        average = 0.7 * average + 0.3 * kernel
        if i in (4, 9):
            np.testing.assert_allclose(kernels.saved[i // 5], average, rtol=1e-5, atol=1e-7)
    # The weights that learn are as without averages, and stay in the model.
    np.testing.assert_array_equal(model.get_weights()[0], kernels.steps[-1])


def test_checkpoints_by_time(tmp_path: Path) -> None:
    loop = make_loop(make_model(), tmp_path, passes=1, seconds=1e-6)
    loop.run()
    names = [path.name for path in Checkpoints(tmp_path).paths()]
    assert names == ["epoch_00001_batch_000000000.npz", "epoch_00000_batch_000000004.npz"]
