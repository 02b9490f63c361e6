"""The private names of Keras and `tf.distribute` that this package needs, each with a test."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

#: Numbers of groups of devices; those of one strategy are fewer than the distance.
_GROUPS = itertools.count(step=1000)

Clip = Callable[[list[Any]], list[Any]]


def every_layer(model: Any) -> Iterator[Any]:
    """Go through all layers of a model, those inside layers too, the model itself left out."""
    yield from model._flatten_layers(include_self=False)


def wrap_clipping(optimizer: Any, wrap: Callable[[Clip], Clip]) -> None:
    """Put something around an optimiser's clipping of a list of gradients."""
    optimizer._clip_gradients = wrap(optimizer._clip_gradients)


def averaged_weights(optimizer: Any) -> list[tuple[Any, Any]]:
    """Pair each weight that an optimiser with ``use_ema`` trains with its moving average."""
    averages = optimizer._model_variables_moving_average
    return list(zip(optimizer._trainable_variables, averages, strict=True))


def global_generator_state() -> Any:
    """Give the variable from which layers and initialisers without a seed draw theirs."""
    from keras.src.random.seed_generator import global_seed_generator

    return global_seed_generator().state


def settle_direction(callback: Any) -> None:
    """Let a callback that watches a quantity decide now whether less or more of it is better.

    Keras turns the sign of ``min_delta`` when it does so.
    """
    if getattr(callback, "monitor_op", 0) is None:
        callback._set_monitor_op()


def seed_generators(model: Any) -> Iterator[Any]:
    """Go through what the layers of a model draw their random numbers from."""
    for layer in every_layer(model):
        yield from layer._seed_generators


def set_loss_tracker(model: Any, tracker: Any) -> None:
    """Let a compiled model keep the mean loss of an epoch in another metric."""
    # As `compile` does it: an attribute that Keras notices would be one metric more.
    object.__setattr__(model, "_loss_tracker", tracker)


def mirrored_strategy(devices: Sequence[str]) -> Any:
    """Make a strategy whose sums do not meet those of earlier ones.

    A process keeps number of devices and shape of every sum by its key, and strategies of
    TensorFlow 2.21 begin with the same keys: a second network, or another number of devices, fails.
    """
    import tensorflow as tf

    class Mirrored(tf.distribute.MirroredStrategy):
        _collective_key_base = next(_GROUPS)

    return Mirrored(list(devices))
