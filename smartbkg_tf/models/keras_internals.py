"""The private names of Keras that this package needs, each behind a function with a test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def every_layer(model: Any) -> Iterator[Any]:
    """Go through all layers of a model, those inside layers too, the model itself left out."""
    yield from model._flatten_layers(include_self=False)
