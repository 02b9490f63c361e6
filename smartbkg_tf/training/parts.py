"""A batch in parts of like length: the same step with less padding.

A batch of events in random order is padded to its longest event, nearly twice the mean length.
Batches of like length would need less, but their gradients lean towards short or long events,
which costs AUC (``data.length_buckets``). Here the events of a random batch are sorted, each part
of them goes through the network padded to its own longest event, and loss and gradient
are those of the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from smartbkg_tf.errors import ConfigurationError
from smartbkg_tf.models.batch_normalisation import MaskedBatchNormalization
from smartbkg_tf.settings.training import TrainingSettings
from smartbkg_tf.training.trimming import trim_padding

#: Arrays that tell how long an event is; the first one that is there.
_LEADERS = ("pdg_input", "decay_input")

Step = Callable[[Any], dict[str, Any]]


def check_parts(training: TrainingSettings, model: keras.Model) -> None:
    """Refuse a network that cannot be computed in parts.

    Parameters
    ----------
    training : TrainingSettings
        ``batch_parts``.
    model : keras.Model
        The network.

    Raises
    ------
    ConfigurationError
        With batch normalisation, whose moments would be those of a part; when the network reads
        nothing that tells the length of an event.
    """
    n = training.batch_parts
    where = f"training.batch_parts={n}"
    if n == 1:
        return
    normalised = [
        layer.name
        for layer in model._flatten_layers()
        if isinstance(layer, (keras.layers.BatchNormalization, MaskedBatchNormalization))
    ]
    if normalised:
        raise ConfigurationError(
            f"the network has batch normalisation ({normalised[0]}"
            + (f" and {len(normalised) - 1} more" if len(normalised) > 1 else "")
            + "), which would see only a part of the batch, all of like length",
            where=where,
            next_step="use training.batch_parts=1, or a network with layer normalisation",
        )
    if not {tensor.name for tensor in model.inputs} & set(_LEADERS):
        raise ConfigurationError(
            f"the length of an event is that of {' or '.join(_LEADERS)}, and the network reads "
            "neither",
            where=where,
            next_step="use training.batch_parts=1",
        )


def sorted_parts(inputs: dict[str, Any], n: int) -> tuple[list[dict[str, Any]], list[Any], Any]:
    """Sort the events of a batch by length and divide them.

    Parameters
    ----------
    inputs : dict of str to tf.Tensor [batch, ...]
        As a stream gives them.
    n : int
        Number of parts.

    Returns
    -------
    parts : list of dict of str to tf.Tensor
        The events from short to long, in parts that differ by at most one event, each padded to
        its longest event (`trim_padding`). No part is empty.
    sizes : list of tf.Tensor
        How many of the first events of each part count: all but for parts that would be empty,
        in a batch of fewer than `n` events, which hold one that stands elsewhere too.
    order : tf.Tensor [batch]
        Position in the batch of each event of the parts.
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
        # Some operations, such as a maximum, are not defined for no events.
        rows = order[first : tf.maximum(last, first + 1)]
        parts.append(trim_padding({name: tf.gather(x, rows) for name, x in inputs.items()}))
        sizes.append(last - first)
    return parts, sizes, order


def step_in_parts(model: keras.Model, n: int) -> Step:
    """Make a training step that computes every batch in parts.

    Keras's ``train_step`` but for the call of the network, and with its private functions for
    loss and metrics, which a test compares with Keras's own step.

    Parameters
    ----------
    model : keras.Model
        Compiled.
    n : int
        Number of parts; 1 gives Keras's step.

    Returns
    -------
    callable
        From a batch (inputs, labels, weights) to the metrics.
    """
    import tensorflow as tf

    if n == 1:
        return model.train_step  # type: ignore[no-any-return]

    def step(data: Any) -> dict[str, Any]:
        inputs, labels, weights = keras.utils.unpack_x_y_sample_weight(data)
        parts, sizes, order = sorted_parts(inputs, n)
        labels = tf.nest.map_structure(lambda values: tf.gather(values, order), labels)
        if weights is not None:
            weights = tf.nest.map_structure(lambda values: tf.gather(values, order), weights)
        with tf.GradientTape() as tape:
            outputs = tf.concat(
                [
                    model(part, training=True)[:size]
                    for part, size in zip(parts, sizes, strict=True)
                ],
                axis=0,
            )
            loss = model._compute_loss(
                x=inputs, y=labels, y_pred=outputs, sample_weight=weights, training=True
            )
            unscaled = loss * tf.cast(model.distribute_strategy.num_replicas_in_sync, loss.dtype)
            model._loss_tracker.update_state(unscaled, sample_weight=tf.shape(order)[0])
            loss = model.optimizer.scale_loss(loss)
        variables = model.trainable_weights
        model.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return model.compute_metrics(  # type: ignore[no-any-return]
            inputs, labels, outputs, sample_weight=weights
        )

    return step
