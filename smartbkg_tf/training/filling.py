"""Fill batches so that several devices can share them evenly.

A device without events has no gradient, and one with fewer events than the others would give each
of them more weight.
"""

from __future__ import annotations

from typing import Any


def filled(stream: Any, devices: int) -> Any:
    """Add events without particles and of weight zero to batches that cannot be shared evenly.

    Losses divide by the number of rows: the weights of the others grow by as much, so that a
    batch has the loss and the gradient that it has without the additional rows. Masked batch
    normalisation does not see them.

    Parameters
    ----------
    stream : tf.data.Dataset
        Elements (inputs, labels, weights).
    devices : int
        The number of rows becomes a multiple of it.

    Returns
    -------
    tf.data.Dataset
        The same elements with some more rows.
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
        return more, longer(labels), longer(weights * growth)

    return stream.map(fill)
