"""What layers are made of: a configuration from the constructor's arguments, and activations."""

from __future__ import annotations

import inspect
from typing import Any

import keras
from keras import ops

from smartbkg_tf.errors import did_you_mean


class Configurable:
    """Mixed into a class of Keras that keeps every argument of its constructor by its name."""

    def get_config(self) -> dict[str, Any]:
        """Give the constructor's arguments, plain values."""
        parameters = inspect.signature(type(self).__init__).parameters.values()
        own = [p.name for p in parameters if p.kind is not p.VAR_KEYWORD and p.name != "self"]
        inherited: dict[str, Any] = super().get_config()  # type: ignore[misc]
        return {**inherited, **{name: getattr(self, name) for name in own}}


class ConfigurableLayer(Configurable, keras.layers.Layer):
    """A layer that keeps every argument of its constructor under its own name.

    Masks are arguments of ``call``; Keras hands none on. Further arguments are those of any layer.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def compute_mask(self, *_: Any, **__: Any) -> None:
        """Hand no mask on: every layer here is given its own."""
        return


class Float32Layer(ConfigurableLayer):
    """A layer that computes in float32 under every precision policy."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})


#: Slope of the leaky ReLU for negative values: Keras' default, as in the original.
NEGATIVE_SLOPE = 0.3

ACTIVATIONS = ("leaky_relu", "relu", "silu", "gelu")


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class Gelu(ConfigurableLayer):
    """``x (1 + erf(x / sqrt 2)) / 2`` (Hendrycks and Gimpel, arXiv:1606.08415).

    Written with erf: Keras' own uses erfc, which ONNX Runtime cannot load.
    """

    def call(self, x: Any) -> Any:
        """Activate."""
        return 0.5 * x * (1.0 + ops.erf(x * 0.7071067811865476))


def activation_layer(activation: str, dtype: Any = None, **kwargs: Any) -> keras.layers.Layer:
    """Make the layer of an activation."""
    if activation == "leaky_relu":
        return keras.layers.LeakyReLU(negative_slope=NEGATIVE_SLOPE, dtype=dtype, **kwargs)
    if activation == "gelu":
        return Gelu(dtype=dtype, **kwargs)
    if activation in ACTIVATIONS:
        return keras.layers.Activation(activation, dtype=dtype, **kwargs)
    raise ValueError(
        f"activation '{activation}' is not known; {did_you_mean(activation, ACTIVATIONS)}"
    )
