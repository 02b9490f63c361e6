"""What is done to batches between the stream of a dataset and the network."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

#: Lengths are multiples of this: fewer shapes, faster memory.
STEP = 8

#: What each row of a filled batch counts, so that the rows together are the events.
EVENTS = "events_of_a_row"

#: The array whose tokens tell the length, and those that are cut with it.
_GROUPS = {
    "pdg_input": ("particle_input", "pdg_input", "mother_pdg_input", "mother_index_input"),
    "decay_input": ("decay_input",),
}


def trim_padding(inputs: dict[str, Any]) -> dict[str, Any]:
    """Cut a batch to its longest event, rounded up; never shorter than 1.

    A batch comes padded to the length that the dataset was made for (100 particles, 150 tokens).
    Masked networks give the same scores without the rest, and a step costs in proportion.
    """
    import tensorflow as tf

    result = dict(inputs)
    for leader, group in _GROUPS.items():
        if leader not in inputs:
            continue
        used = tf.reduce_any(inputs[leader] != 0, axis=0)
        places = tf.range(1, tf.shape(used)[0] + 1)
        longest = tf.maximum(tf.reduce_max(tf.where(used, places, 0)), 1)
        length = (longest + STEP - 1) // STEP * STEP
        for name in group:
            if name in inputs:
                result[name] = inputs[name][:, :length]
    return result


def trimmed(stream: Any) -> Any:
    """Cut every batch of a tf.data stream of (inputs, labels[, weights])."""
    return stream.map(lambda inputs, *rest: (trim_padding(inputs), *rest))


def filled(stream: Any, devices: int) -> Any:
    """Add events without particles and of weight zero to batches that cannot be shared evenly.

    A device without events has no gradient, and one with fewer events than the others would give
    each of them more weight. Losses divide by the number of rows: the weights of the others grow
    by as much, so that a batch has the loss and the gradient that it has without the additional
    rows. Masked batch normalisation does not see them. A further array, `EVENTS`, tells how many
    events there are.
    """
    import tensorflow as tf

    if devices == 1:
        return stream

    def fill(inputs: dict[str, Any], labels: Any, weights: Any) -> tuple[Any, ...]:
        n_rows = tf.shape(labels)[0]
        missing = -n_rows % devices

        def longer(values: Any, value: int = 0) -> Any:
            paddings = [[0, missing], *([[0, 0]] * (len(values.shape) - 1))]
            return tf.pad(values, paddings, constant_values=value)

        more = {
            # -1: no mother.
            name: longer(values, -1 if name == "mother_index_input" else 0)
            for name, values in inputs.items()
        }
        growth = tf.cast((n_rows + missing) / n_rows, weights.dtype)
        more[EVENTS] = tf.fill([n_rows + missing], 1.0 / growth)
        return more, longer(labels), longer(weights * growth)

    return stream.map(fill)


class WaitingTime:
    """Seconds for which batches were waited for, but for the first one of a pass.

    Where several devices share batches, their own buffers are filled meanwhile, so that it is an
    upper bound.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._begin = 0.0

    def measure(self, stream: Any) -> Any:
        """Give the same tf.data stream, of unknown length, with its batches timed."""
        import tensorflow as tf

        def begin(number: Any) -> Any:
            self._begin = time.monotonic()
            return number

        def end(number: Any) -> Any:
            waited = time.monotonic() - self._begin
            self.seconds = 0.0 if number == 0 else self.seconds + waited
            return np.True_

        # Elements of a zip are made one after the other: the clock is started, the batch comes, and
        # the filter, which keeps everything, stops the clock. Declared stateless: under
        # `deterministic=true` nothing would be prefetched otherwise.
        clock = tf.data.Dataset.range(2**62).map(
            lambda number: tf.numpy_function(begin, [number], tf.int64, stateful=False)
        )

        def keep(number: Any, batch: Any) -> Any:
            kept = tf.numpy_function(end, [number], tf.bool, stateful=False)
            return tf.ensure_shape(kept, [])

        return tf.data.Dataset.zip((clock, stream)).filter(keep).map(lambda _, batch: batch)
