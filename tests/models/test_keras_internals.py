"""What this package takes from Keras and TensorFlow under private names."""

from __future__ import annotations

import keras
import numpy as np

from smartbkg_tf.models.keras_internals import (
    averaged_weights,
    every_layer,
    global_generator_state,
    mirrored_strategy,
    seed_generators,
    set_loss_tracker,
    settle_direction,
    wrap_clipping,
)


def test_layers_inside_layers_are_found() -> None:
    inputs = keras.Input((3,))
    inner = keras.Sequential([keras.layers.Dense(2, name="inside")], name="inner")
    model = keras.Model(inputs, inner(keras.layers.Dense(2, name="outside")(inputs)))
    names = [layer.name for layer in every_layer(model)]
    assert {"outside", "inner", "inside"} <= set(names)
    assert model.name not in names


def trained(optimizer: keras.optimizers.Optimizer) -> keras.Model:
    """Train one weight, 1, by a step along the gradient 3."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.layers[0].kernel.assign([[1.0]])
    model.compile(optimizer, loss=lambda true, found: found, jit_compile=False)
    model.train_on_batch(np.array([[3.0]]), np.zeros((1, 1)))
    return model


def test_clipping_is_wrapped() -> None:
    optimizer = keras.optimizers.SGD(1.0, global_clipnorm=0.5)
    wrap_clipping(optimizer, lambda clip: lambda gradients: [2 * g for g in clip(gradients)])
    assert float(trained(optimizer).layers[0].kernel[0, 0]) == 0.0


def test_weights_have_their_averages() -> None:
    model = trained(keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5))
    ((weight, average),) = averaged_weights(model.optimizer)
    assert weight.path == model.layers[0].kernel.path
    np.testing.assert_allclose(weight, [[0.7]], rtol=1e-6)
    assert float(weight[0, 0]) <= float(average[0, 0]) < 1.0


def test_the_global_generator_is_what_a_seed_sets() -> None:
    keras.utils.set_random_seed(4)
    before = np.array(global_generator_state())
    keras.initializers.GlorotUniform()((2, 2))
    keras.layers.Dropout(0.5)(np.ones((1, 3)), training=True)
    keras.utils.set_random_seed(4)
    np.testing.assert_array_equal(global_generator_state(), before)


def test_a_callback_knows_its_direction_early() -> None:
    stopping = keras.callbacks.EarlyStopping("val_auc", mode="max", min_delta=0.1)
    assert stopping.monitor_op is None
    settle_direction(stopping)
    assert stopping.monitor_op(2.0, 1.0)
    before = stopping.min_delta
    settle_direction(stopping)
    assert stopping.min_delta == before
    settle_direction(keras.callbacks.Callback())


def test_layers_tell_what_they_draw_from() -> None:
    inner = keras.Sequential([keras.layers.Dropout(0.5, name="inside")])
    model = keras.Sequential([keras.Input((3,)), inner, keras.layers.GaussianNoise(1.0)])
    expected = [inner.layers[0].seed_generator, model.layers[1].seed_generator]
    assert {id(one) for one in seed_generators(model)} == {id(one) for one in expected}


def test_the_mean_loss_is_kept_elsewhere() -> None:
    class Twice(keras.metrics.Mean):
        def result(self) -> float:
            return 2.0 * super().result()

    model = trained(keras.optimizers.SGD(0.0))
    names = model.metrics_names
    tracker = Twice(name="loss")
    set_loss_tracker(model, tracker)
    assert model.metrics[0] is tracker
    assert model.metrics_names == names
    assert model.evaluate(np.array([[3.0]]), np.zeros((1, 1)), verbose=0) == 6.0


def test_strategies_have_keys_of_their_own() -> None:
    """Trainings on several devices in one process are in tests/training/test_devices.py."""
    first, second = (mirrored_strategy(["CPU:0"]).extended._collective_key_base for _ in "ab")
    assert second - first >= 1000
