"""A batch in micro-batches of similar length: the same step with less padding.

A batch of events in random order is padded to its longest event, nearly twice the mean length.
Batches of similar length would need less, but their gradients lean towards short or long events,
which costs AUC. Here the events of a random batch are sorted, each micro-batch goes through the
network padded to its own longest event, and loss and gradient are those of the whole batch.
"""

from __future__ import annotations

import functools
from typing import Any

import keras

from smartbkg_tf.errors import ConfigurationError
from smartbkg_tf.models.batch_normalisation import MaskedBatchNormalization
from smartbkg_tf.models.keras_internals import every_layer
from smartbkg_tf.models.packing import packs
from smartbkg_tf.settings.training import TrainingSettings
from smartbkg_tf.training.input_pipeline import trim_padding

#: Arrays that tell how long an event is; the first one that is there.
_LEADERS = ("pdg_input", "decay_input")

#: Micro-batches of "auto", where a network can be computed in some.
DEFAULT = 4


def number_of_micro_batches(training: TrainingSettings, model: keras.Model, devices: int) -> int:
    """Choose how many for a network, or refuse a number that it cannot be computed in."""
    wanted = training.micro_batches
    if wanted == 1:
        return 1
    normalised = [
        layer.name
        for layer in every_layer(model)
        if isinstance(layer, (keras.layers.BatchNormalization, MaskedBatchNormalization))
    ]
    has_length = bool({tensor.name for tensor in model.inputs} & set(_LEADERS))
    if wanted == "auto":
        # Packed batches have no padding that could be saved; XLA compiles every length anew.
        impossible = normalised or not has_length or training.xla or packs(model)
        return 1 if impossible or training.batch_size // devices < DEFAULT else DEFAULT
    where = f"training.micro_batches={wanted}"
    if normalised:
        more = f" and {len(normalised) - 1} more" if len(normalised) > 1 else ""
        raise ConfigurationError(
            f"the network has batch normalisation ({normalised[0]}{more}), which would see only a "
            "part of the batch, all of similar length",
            where=where,
            next_step="use training.micro_batches=auto, or a network with layer normalisation",
        )
    if not has_length:
        raise ConfigurationError(
            f"the length of an event is that of {' or '.join(_LEADERS)}, and the network reads "
            "neither",
            where=where,
            next_step="use training.micro_batches=auto",
        )
    return wanted


def sorted_parts(inputs: dict[str, Any], n: int) -> tuple[list[dict[str, Any]], list[Any], Any]:
    """Sort the events of a batch by length and divide them into `n` parts.

    Gives the parts, each padded to its longest event; how many of the first events of each part
    count (in a batch of fewer than `n` events a part holds one that stands elsewhere, too: some
    operations are not defined for no events); and the place in the batch of each of their events.
    """
    import tensorflow as tf

    leader = next(inputs[name] for name in _LEADERS if name in inputs)
    places = tf.range(1, tf.shape(leader)[1] + 1)
    lengths = tf.reduce_max(tf.where(leader != 0, places, 0), axis=1)
    order = tf.argsort(lengths, stable=True)
    n_events = tf.shape(order)[0]
    parts, sizes = [], []
    for i in range(n):
        first, last = n_events * i // n, n_events * (i + 1) // n
        rows = order[first : tf.maximum(last, first + 1)]
        parts.append(trim_padding({name: tf.gather(x, rows) for name, x in inputs.items()}))
        sizes.append(last - first)
    return parts, sizes, order


def use_micro_batches(model: keras.Model, n: int) -> None:
    """Let a model compute the batches that it is trained on in `n` micro-batches.

    Only its call is another one, so that any training step keeps its meaning, a user's too.
    """
    import tensorflow as tf

    if n == 1:
        return
    whole = functools.partial(type(model).call, model)

    def call(inputs: dict[str, Any], training: bool | None = None, **options: Any) -> Any:
        if not training:
            return whole(inputs, training=training, **options)
        parts, sizes, order = sorted_parts(inputs, n)
        outputs = [
            whole(part, training=True, **options)[:size]
            for part, size in zip(parts, sizes, strict=True)
        ]
        return tf.gather(tf.concat(outputs, axis=0), tf.argsort(order))

    model.call = call
