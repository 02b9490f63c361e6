"""What this package takes from Keras under private names."""

from __future__ import annotations

import keras

from smartbkg_tf.models.keras_internals import every_layer


def test_layers_inside_layers_are_found() -> None:
    inputs = keras.Input((3,))
    inner = keras.Sequential([keras.layers.Dense(2, name="inside")], name="inner")
    model = keras.Model(inputs, inner(keras.layers.Dense(2, name="outside")(inputs)))
    names = [layer.name for layer in every_layer(model)]
    assert {"outside", "inner", "inside"} <= set(names)
    assert model.name not in names
