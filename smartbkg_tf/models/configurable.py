"""A layer whose configuration is its constructor's arguments."""

from __future__ import annotations

import inspect
from typing import Any

import keras


class ConfigurableLayer(keras.layers.Layer):
    """A layer that keeps every argument of its constructor under its own name.

    That is its configuration. Masks are arguments of ``call``; Keras hands none on.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def get_config(self) -> dict[str, Any]:
        """Give the constructor's arguments, plain values."""
        parameters = inspect.signature(type(self).__init__).parameters.values()
        own = [p.name for p in parameters if p.kind is not p.VAR_KEYWORD and p.name != "self"]
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}

    def compute_mask(self, *_: Any, **__: Any) -> None:
        """Hand no mask on: every layer here is given its own."""
        return


class Float32Layer(ConfigurableLayer):
    """A layer that computes in float32 under every precision policy."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
