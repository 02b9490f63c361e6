"""Optimisers, schedules and what watches validation."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import yaml

from smartbkg_tf.errors import ConfigurationError
from smartbkg_tf.models.optimisation import layer_rates, make_optimizer, watching_callbacks
from smartbkg_tf.runtime.command import configuration_directory
from smartbkg_tf.settings.base import validate
from smartbkg_tf.settings.training import TrainingSettings


def training(**values: Any) -> TrainingSettings:
    return validate(TrainingSettings, values)


def test_cosine_with_warmup() -> None:
    settings = training(
        epochs=10,
        learning_rate=0.1,
        schedule={"name": "cosine", "warmup_epochs": 2, "minimum": 0.001},
    )
    rate = make_optimizer(settings, steps_per_epoch=5).learning_rate
    schedule = make_optimizer(settings, steps_per_epoch=5)._learning_rate
    values = [float(schedule(step)) for step in range(0, 51)]
    assert float(rate) == 0.0
    np.testing.assert_allclose(values[:11], np.linspace(0, 0.1, 11), atol=1e-7)
    x = np.arange(41) / 40
    expected = 0.001 + (0.1 - 0.001) * 0.5 * (1 + np.cos(np.pi * x))
    np.testing.assert_allclose(values[10:], expected, rtol=1e-4, atol=1e-7)


def test_cosine_needs_to_know_the_steps() -> None:
    with pytest.raises(ValueError, match="steps_per_epoch"):
        make_optimizer(training(schedule={"name": "cosine"}))


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_weight_decay_shrinks_kernels_only(name: str) -> None:
    optimizer = make_optimizer(training(optimizer=name, weight_decay=0.1, learning_rate=0.1))
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
    optimizer = make_optimizer(training(optimizer="sgd", weight_decay=0, gradient_clipping=1.0))
    assert optimizer.global_clipnorm == 1.0
    assert make_optimizer(training(gradient_clipping=None)).global_clipnorm is None
    assert type(make_optimizer(training(optimizer="adam"))).__name__ == "Adam"


@pytest.mark.parametrize(("monitor", "mode"), [("val_loss", "min"), ("val_auc", "max")])
def test_only_validation_decides(monitor: str, mode: str) -> None:
    callbacks = watching_callbacks(training(monitor=monitor, early_stopping=3))
    assert [type(c).__name__ for c in callbacks] == ["ReduceLROnPlateau", "EarlyStopping"]
    assert {c.monitor for c in callbacks} == {monitor}
    assert {c.mode for c in callbacks} == {mode}


def test_nothing_watches_when_nothing_is_asked_for() -> None:
    assert watching_callbacks(training(early_stopping=None, schedule={"name": "constant"})) == []


@pytest.mark.parametrize("key", ["loss", "auc", "val_los"])
def test_training_quantities_cannot_be_watched(key: str) -> None:
    with pytest.raises(ConfigurationError, match="no choice"):
        training(monitor=key)


def test_averages_of_weights_when_asked_for() -> None:
    for name in ("adamw", "adam", "sgd"):
        optimizer = make_optimizer(training(optimizer=name, ema=0.9))
        assert optimizer.use_ema
        assert optimizer.ema_momentum == 0.9
        assert not make_optimizer(training(optimizer=name)).use_ema


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


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_every_layer_moves_at_its_own_rate(name: str) -> None:
    model = three_layers()
    settings = training(
        optimizer=name,
        learning_rate=0.1,
        weight_decay=0.0 if name == "adam" else 0.5,
        gradient_clipping=None,
        init_from="run",
        fine_tuning={"first_layer_rate": 0.01},
    )
    before = {weight.path: weight.numpy().copy() for weight in model.weights}
    reference = {}
    for layerwise in (False, True):
        for weight in model.weights:
            weight.assign(before[weight.path])
        optimizer = make_optimizer(settings, model=model if layerwise else None)
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
    cosine = {"name": "cosine"}
    assert watching_callbacks(training(schedule=cosine)) == []
    assert watching_callbacks(training(schedule=cosine, early_stopping=None)) == []
    (callback,) = watching_callbacks(training(schedule={"name": "constant"}))
    assert (type(callback).__name__, callback.patience) == ("EarlyStopping", 6)
    with pytest.raises(ConfigurationError, match="before its rate has fallen"):
        training(schedule=cosine, early_stopping=6)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"schedule": {"name": "cosine", "patience": 4}}, "schedule.patience .* only with plateau"),
        ({"schedule": {"name": "cosine", "factor": 0.5}}, "schedule.factor .* only with plateau"),
        ({"schedule": {"warmup_epochs": 1.0}}, "schedule.warmup_epochs .* only with cosine"),
        ({"schedule": {"name": "constant", "minimum": 0.1}}, "with plateau or cosine"),
        ({"loss": {"gamma": 3.0}}, "loss.gamma .* loss.name=crossentropy, only with focal"),
        ({"loss": {"name": "focal", "retention": 0.1}}, "loss.retention .* only with speedup"),
        ({"loss": {"times": {"network": 0.5}}}, "loss.times .* only with speedup"),
        ({"loss": {"name": "speedup"}, "label_smoothing": 0.1}, "label_smoothing .*=speedup"),
        ({"loss": {"name": "speedup"}, "class_weights": "balanced"}, "class_weights .*=speedup"),
        ({"optimizer": "adam", "weight_decay": 0.1}, "weight_decay=0.1 .* adamw or sgd"),
    ],
)
def test_keys_that_nothing_reads_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        training(**values)


def test_all_keys_that_nothing_reads_are_named_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        training(schedule={"name": "cosine", "patience": 4}, loss={"gamma": 3.0}, early_stopping=2)
    for key in ("schedule.patience", "loss.gamma", "early_stopping=2"):
        assert key in str(caught.value)


@pytest.mark.parametrize("schedule", ["plateau", "cosine", "constant"])
@pytest.mark.parametrize("loss", ["crossentropy", "focal", "speedup"])
@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
def test_defaults_of_the_yaml_are_no_choice(schedule: str, loss: str, optimizer: str) -> None:
    values = yaml.safe_load(
        (configuration_directory() / "training" / "default.yaml").read_text(encoding="utf-8")
    )
    values["schedule"]["name"], values["loss"]["name"] = schedule, loss
    training(**{**values, "optimizer": optimizer})
