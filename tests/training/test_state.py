"""What is kept of a run beside its place."""

from __future__ import annotations

import random

import keras
import numpy as np
import pytest

from smartbkg_tf.errors import InputError
from smartbkg_tf.training.state import (
    finite,
    read_callbacks,
    read_random,
    read_variables,
    variable_groups,
    write_callbacks,
    write_random,
    write_variables,
)


def model_of(units: int, *, seed: int = 1, trained: bool = True) -> keras.Model:
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((2,))
    x = keras.layers.Dense(units)(inputs)
    x = keras.layers.Dropout(0.5)(x)
    model = keras.Model(inputs, keras.layers.Dense(1)(x))
    model.compile("adam", "mse", metrics=["mae"])
    if not trained:
        return model
    model.train_on_batch(np.ones((4, 2), np.float32), np.ones((4, 1), np.float32))
    return model


def test_variables_go_from_one_model_to_another() -> None:
    first, second = model_of(3), model_of(3, seed=2)
    groups = {name: len(variables) for name, variables in variable_groups(first).items()}
    # Four weights and the state of dropout; rate, step and two moments of each weight; the
    # sums and counts of loss and metric.
    assert groups == {"model": 5, "optimizer": 10, "metrics": 4, "random": 1}
    arrays = read_variables(first)
    others = read_variables(second)
    assert any((value != others[name]).any() for name, value in arrays.items())
    write_variables(second, arrays)
    for name, value in read_variables(second).items():
        np.testing.assert_array_equal(value, arrays[name], err_msg=name)
    x = np.ones((4, 2), np.float32)
    results = [m.train_on_batch(x, x[:, :1], return_dict=True) for m in (first, second)]
    assert results[0] == results[1]


def test_a_checkpoint_of_another_network_is_refused() -> None:
    arrays = read_variables(model_of(3))
    with pytest.raises(InputError, match=r"kernel has the shape \(2, 4\), not \(2, 3\)"):
        write_variables(model_of(4), arrays)
    del arrays["optimizer/00000"]
    with pytest.raises(InputError, match="9 variables of the optimizer, not 10"):
        write_variables(model_of(3), arrays)


def feed(callback: keras.callbacks.Callback, values: list[float], first: int = 0) -> None:
    for epoch, value in enumerate(values, first):
        callback.on_epoch_end(epoch, {"val_loss": value})


@pytest.mark.parametrize("kind", ["stopping", "plateau"])
@pytest.mark.parametrize("at", range(7))
def test_callbacks_go_on_as_if_nothing_had_happened(kind: str, at: int) -> None:
    losses = [1.0, 0.9, 0.895, 0.8, 0.79, 0.795, 0.798]

    def make() -> keras.callbacks.Callback:
        if kind == "stopping":
            callback = keras.callbacks.EarlyStopping(
                "val_loss", min_delta=0.02, patience=3, restore_best_weights=True
            )
        else:
            callback = keras.callbacks.ReduceLROnPlateau(
                "val_loss", min_delta=0.02, patience=1, cooldown=1, factor=0.5
            )
        callback.set_model(model_of(2, trained=False))
        callback.on_train_begin()
        return callback

    whole = make()
    feed(whole, losses)
    first = make()
    feed(first, losses[:at])
    values, arrays = read_callbacks([first])
    second = make()
    write_callbacks([second], values, arrays)
    second.model.optimizer.learning_rate = float(first.model.optimizer.learning_rate)
    feed(second, losses[at:], at)
    assert read_callbacks([second])[0] == read_callbacks([whole])[0]
    for name, array in read_callbacks([whole])[1].items():
        np.testing.assert_array_equal(read_callbacks([second])[1][name], array)
    rates = [float(c.model.optimizer.learning_rate) for c in (whole, second)]
    assert rates[0] == rates[1]
    # The case is one in which something happens.
    assert whole.model.stop_training if kind == "stopping" else rates[0] < 1e-3


def test_other_callbacks_are_refused() -> None:
    values, arrays = read_callbacks([keras.callbacks.EarlyStopping()])
    with pytest.raises(InputError, match="EarlyStopping, not ReduceLROnPlateau"):
        write_callbacks([keras.callbacks.ReduceLROnPlateau()], values, arrays)


def test_random_numbers_go_on() -> None:
    state = read_random()
    expected = [random.random(), np.random.normal(), np.random.normal()]  # noqa: NPY002
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002
    write_random(*state)
    assert [random.random(), np.random.normal(), np.random.normal()] == expected  # noqa: NPY002


@pytest.mark.parametrize(
    ("value", "good"),
    [(0.7, True), (-3.0, True), (float("nan"), False), (float("inf"), False), (2e6, False)],
)
def test_losses_to_go_on_with(value: float, good: bool) -> None:
    assert finite(value) is good
