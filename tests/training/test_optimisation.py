"""Optimisers, schedules and what watches validation."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from smartbkg_tf.errors import ConfigurationError
from smartbkg_tf.models.base import NNBaseClass
from smartbkg_tf.runtime.command import compose_settings
from smartbkg_tf.settings.base import validate
from smartbkg_tf.settings.training import TrainingSettings, TrainSettings
from smartbkg_tf.training.optimizers import layer_rates

ROOM = "smartbkg_tf.training"
COSINE = {"_target_": f"{ROOM}.schedules.Cosine"}
CONSTANT = {"_target_": f"{ROOM}.schedules.Constant"}


def optimizer_of(name: str, **values: Any) -> dict[str, Any]:
    return {"_target_": f"{ROOM}.optimizers.{name}", **values}


def training(**values: Any) -> TrainingSettings:
    return validate(TrainingSettings, values)


def make_optimizer(settings: TrainingSettings, steps: int, model: Any = None) -> Any:
    return settings.optimizer.for_training(settings, steps, model)


def callbacks_of(**values: Any) -> list[Any]:
    return NNBaseClass.callbacks(None, training(**values))  # type: ignore[arg-type]


def test_cosine_with_warmup() -> None:
    settings = training(
        epochs=10,
        learning_rate=0.1,
        schedule={**COSINE, "warmup_epochs": 2, "minimum": 0.001},
    )
    rate = make_optimizer(settings, 5).learning_rate
    schedule = make_optimizer(settings, 5)._learning_rate
    values = [float(schedule(step)) for step in range(0, 51)]
    assert float(rate) == 0.0
    np.testing.assert_allclose(values[:11], np.linspace(0, 0.1, 11), atol=1e-7)
    x = np.arange(41) / 40
    expected = 0.001 + (0.1 - 0.001) * 0.5 * (1 + np.cos(np.pi * x))
    np.testing.assert_allclose(values[10:], expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", ["AdamW", "SGD"])
def test_weight_decay_shrinks_kernels_only(name: str) -> None:
    optimizer = make_optimizer(
        training(optimizer=optimizer_of(name, weight_decay=0.1), learning_rate=0.1), 1
    )
    layer = keras.layers.Dense(2, bias_initializer="ones")
    layer.build((None, 2))
    table = keras.layers.Embedding(3, 2, embeddings_initializer="ones")
    table.build(None)
    weights = [*layer.weights, *table.weights]
    before = [weight.numpy().copy() for weight in weights]
    optimizer.build(weights)
    optimizer.apply([tf.zeros(weight.shape) for weight in weights])
    np.testing.assert_allclose(weights[0].value, before[0] * (1 - 0.01), rtol=1e-5)
    np.testing.assert_array_equal(weights[1].value, before[1])
    np.testing.assert_array_equal(weights[2].value, before[2])


def test_gradients_are_clipped_by_their_global_norm() -> None:
    settings = training(optimizer=optimizer_of("SGD", weight_decay=0), gradient_clipping=1.0)
    assert make_optimizer(settings, 1).global_clipnorm == 1.0
    assert make_optimizer(training(gradient_clipping=None), 1).global_clipnorm is None
    assert type(make_optimizer(training(optimizer=optimizer_of("Adam")), 1)).__name__ == "Adam"


@pytest.mark.parametrize(("monitor", "mode"), [("val_loss", "min"), ("val_auc", "max")])
def test_only_validation_decides(monitor: str, mode: str) -> None:
    callbacks = callbacks_of(monitor=monitor, early_stopping=3)
    assert [type(c).__name__ for c in callbacks] == ["ReduceLROnPlateau", "EarlyStopping"]
    assert {c.monitor for c in callbacks} == {monitor}
    assert {c.mode for c in callbacks} == {mode}


def test_nothing_watches_when_nothing_is_asked_for() -> None:
    assert callbacks_of(early_stopping=None, schedule=CONSTANT) == []


@pytest.mark.parametrize("key", ["loss", "auc", "val_los"])
def test_training_quantities_cannot_be_watched(key: str) -> None:
    with pytest.raises(ConfigurationError, match="not a choice"):
        training(monitor=key)


def test_averages_of_weights_when_asked_for() -> None:
    for name in ("AdamW", "Adam", "SGD"):
        chosen = optimizer_of(name)
        optimizer = make_optimizer(training(optimizer=chosen, ema=0.9), 1)
        assert optimizer.use_ema
        assert optimizer.ema_momentum == 0.9
        assert not make_optimizer(training(optimizer=chosen), 1).use_ema


def three_layers() -> Any:
    inputs = keras.Input((2,))
    x = keras.layers.Dense(3, name="first")(inputs)
    x = keras.layers.Activation("tanh")(x)
    x = keras.layers.Dense(3, name="second")(x)
    return keras.Model(inputs, keras.layers.Dense(1, name="y_output")(x))


def test_rates_rise_towards_the_output() -> None:
    model = three_layers()
    rates = layer_rates(model, 0.04)
    assert rates.keys() == {weight.path for weight in model.trainable_weights}
    assert rates["first/kernel"] == rates["first/bias"] == pytest.approx(0.04)
    assert rates["second/kernel"] == pytest.approx(0.2)
    assert rates["y_output/kernel"] == 1.0
    model.get_layer("first").trainable = False
    assert layer_rates(model, 0.04).keys() == {weight.path for weight in model.trainable_weights}


@pytest.mark.parametrize("name", ["AdamW", "Adam", "SGD"])
def test_every_layer_moves_at_its_own_rate(name: str) -> None:
    model = three_layers()
    settings = training(
        optimizer=optimizer_of(name, **({} if name == "Adam" else {"weight_decay": 0.5})),
        learning_rate=0.1,
        gradient_clipping=None,
        init_from="run",
        fine_tuning={"first_layer_rate": 0.01},
    )
    before = {weight.path: weight.numpy().copy() for weight in model.weights}
    reference = {}
    for layerwise in (False, True):
        for weight in model.weights:
            weight.assign(before[weight.path])
        optimizer = make_optimizer(settings, 1, model if layerwise else None)
        optimizer.build(model.trainable_variables)
        optimizer.apply([tf.ones(weight.shape) for weight in model.trainable_variables])
        moved = {weight.path: weight.numpy() - before[weight.path] for weight in model.weights}
        if not layerwise:
            reference = moved
    for layer, rate in (("first", 0.01), ("second", 0.1), ("y_output", 1.0)):
        for part in ("kernel", "bias"):
            path = f"{layer}/{part}"
            # The decay of kernels follows the rate too; up to the product of both.
            expected = rate * reference[path]
            np.testing.assert_allclose(moved[path], expected, rtol=0.06, atol=1e-5, err_msg=path)
    again = type(optimizer).from_config(optimizer.get_config())
    assert again.rates == optimizer.rates


def test_a_cosine_is_followed_to_its_end() -> None:
    """A run must not stop at the full rate."""
    assert callbacks_of(schedule=COSINE) == []
    assert callbacks_of(schedule=COSINE, early_stopping=None) == []
    (callback,) = callbacks_of(schedule=CONSTANT)
    assert (type(callback).__name__, callback.patience) == ("EarlyStopping", 6)
    with pytest.raises(ConfigurationError, match="before the rate of Cosine has fallen"):
        training(schedule=COSINE, early_stopping=6)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["training/schedule=cosine", "++training.schedule.patience=4"], "schedule.patience"),
        (["training/schedule=constant", "++training.schedule.minimum=0.1"], "schedule.minimum"),
        (["++training.schedule.warmup_epochs=1"], "schedule.warmup_epochs"),
        (["++training.loss.gamma=3"], "loss.gamma"),
        (["training/loss=focal", "++training.loss.retention=0.1"], "loss.retention"),
        (["training/loss=speedup", "++training.loss.label_smoothing=0.1"], "loss.label_smoothing"),
        (["training/optimizer=adam", "++training.optimizer.weight_decay=0.1"], "weight_decay"),
    ],
)
def test_keys_of_other_choices_are_unknown(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{message}: there is no such key"):
        compose_settings("train", TrainSettings, overrides)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.schedule.name=cosine", "schedule.name=cosine is training/schedule=cosine now"),
        ("training.loss.name=focal", "loss.name=focal is training/loss=focal now"),
        ("training.optimizer=sgd", "optimizer=sgd is training/optimizer=sgd now"),
        ("training.loss.times.network=1", "loss.times is training.loss.cost now"),
        ("training.batch_parts=4", "batch_parts is training.micro_batches now"),
        ("training.weight_decay=0", "weight_decay is training.optimizer.weight_decay now"),
        ("training.label_smoothing=0", "label_smoothing is training.loss.label_smoothing now"),
        ("training.checkpoint.seconds=9", "is saved after every epoch"),
    ],
)
def test_what_was_written_before_is_answered_with_what_is_written_now(
    override: str, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        compose_settings("train", TrainSettings, [f"++{override}"])


def test_class_weights_mean_nothing_for_a_speedup() -> None:
    with pytest.raises(ConfigurationError, match="class_weights has no meaning with Speedup"):
        training(loss={"_target_": f"{ROOM}.losses.Speedup"}, class_weights="balanced")


@pytest.mark.parametrize("first", range(3))
@pytest.mark.parametrize("second", range(3))
def test_every_choice_goes_with_every_other(first: int, second: int) -> None:
    """In nine of 27 combinations every pair occurs."""
    schedule = ("plateau", "cosine", "constant")[first]
    loss = ("crossentropy", "focal", "speedup")[second]
    optimizer = ("adamw", "adam", "sgd")[(first + second) % 3]
    choices = {"schedule": schedule, "loss": loss, "optimizer": optimizer}
    overrides = [f"training/{group}={choice}" for group, choice in choices.items()]
    chosen = compose_settings("train", TrainSettings, overrides).training
    for group, choice in choices.items():
        assert type(getattr(chosen, group)).__name__.lower() == choice
