"""Cut the padding that no event of a batch needs.

A batch comes padded to the length that the dataset was made for (100 particles, 150 tokens);
its longest event rarely reaches that. Masked networks give the same scores without the
rest, and a step costs in proportion to the length.
"""

from __future__ import annotations

from typing import Any

#: Lengths are multiples of this: fewer shapes, faster memory.
STEP = 8

#: The array whose tokens tell the length, and those that are cut with it.
_GROUPS = {
    "pdg_input": ("particle_input", "pdg_input", "mother_pdg_input", "mother_index_input"),
    "decay_input": ("decay_input",),
}


def trim_padding(inputs: dict[str, Any]) -> dict[str, Any]:
    """Cut a batch to its longest event, rounded up.

    Parameters
    ----------
    inputs : dict of str to tf.Tensor
        A batch as a stream gives it.

    Returns
    -------
    dict of str to tf.Tensor
        The same arrays with shorter second axes; never shorter than 1.
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
    """Cut every batch of a stream.

    Parameters
    ----------
    stream : tf.data.Dataset
        Elements (inputs, labels[, weights]).

    Returns
    -------
    tf.data.Dataset
        The same elements with less padding.
    """
    return stream.map(lambda inputs, *rest: (trim_padding(inputs), *rest))
