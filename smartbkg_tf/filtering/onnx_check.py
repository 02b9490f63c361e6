"""Compare an exported file with its Keras model, over every shape that events can have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.errors import InputError
from smartbkg_tf.filtering.model_description import ModelDescription
from smartbkg_tf.filtering.scorers import open_session

#: Name of an exported file's only output.
OUTPUT = "y_output"

Arrays = dict[str, npt.NDArray[Any]]


def random_inputs(
    model: Any, description: ModelDescription, batch: int, length: int, random: np.random.Generator
) -> Arrays:
    """Make inputs as `pad` makes them, with every special value.

    The first of `batch` events has `length` particles and tokens, the others may be shorter.
    """
    lengths = random.integers(0, length + 1, batch)
    lengths[0] = length
    arrays: Arrays = {}
    for tensor in model.inputs:
        shape = [batch, *(length if size is None else size for size in tensor.shape[1:])]
        if len(shape) == 1:
            arrays[tensor.name] = random.integers(0, 7, shape).astype(np.int32)
            continue
        real = np.arange(shape[1])[None, :] < np.minimum(lengths, shape[1])[:, None]
        if tensor.name == "mother_index_input":
            values = np.minimum(random.integers(-1, max(length, 1), shape), lengths[:, None] - 1)
            arrays[tensor.name] = np.where(real, values, -1).astype(np.int32)
        elif len(shape) == 3:
            values = random.normal(0, 1, shape) * random.choice([0.01, 1, 10], shape)
            # The last feature is the charge where there is one.
            values[..., -1] = np.rint(values[..., -1]).clip(-2, 2)
            arrays[tensor.name] = np.where(real[..., None], values, 0).astype(np.float32)
        else:
            size = int(description.vocabulary["size"])
            arrays[tensor.name] = np.where(real, random.integers(1, size, shape), 0).astype(
                np.int32
            )
    return arrays


def compare(
    model: Any, path: Path, description: ModelDescription, tolerance: float
) -> dict[str, Any]:
    """Compare the scores of an exported file with those of its Keras model.

    They may differ by `tolerance`, relative to max(1, abs(score)). Raises `InputError` when a
    shape is refused or scores differ by more, and returns what was compared.
    """
    import tensorflow as tf

    session = open_session(path)
    # Traced once, as scorers do; a call of the model for every shape takes ten times as long.
    read = {x.name: tf.TensorSpec([None, *x.shape[1:]], x.dtype) for x in model.inputs}
    scores = tf.function(lambda arrays: model(arrays, training=False), input_signature=[read])
    random = np.random.default_rng(0)
    longest = max(description.max_particles, description.max_tokens)
    fixed = all(None not in tensor.shape[1:] for tensor in model.inputs)
    lengths = [longest] if fixed else sorted({0, 1, 2, 3, 5, 17, longest, longest + 3})
    batches = (1, 2, 7)
    largest = 0.0
    for length in lengths:
        for batch in batches:
            arrays = random_inputs(model, description, batch, length, random)
            # Keras cannot convolve an empty axis; one padded particle is the same event.
            padded = arrays if length else random_inputs(model, description, batch, 1, random)
            if not length:
                for name, values in padded.items():
                    padded[name] = np.full_like(values, -1 if name == "mother_index_input" else 0)
                if "event_type_input" in arrays:
                    padded["event_type_input"] = arrays["event_type_input"]
            expected = scores(padded).numpy().astype(np.float32)
            # ONNX Runtime crashes on empty axes, so the scorer never sends them.
            found = np.asarray(session.run([OUTPUT], padded)[0])
            if found.shape != expected.shape or not np.isfinite(found).all():
                raise InputError(
                    f"the exported file gives shape {found.shape} for a batch of {batch} events of "
                    f"length {length}, Keras gives {expected.shape}; or a number is not finite",
                    where=path.name,
                )
            difference = np.abs(found - expected) / np.maximum(1.0, np.abs(expected))
            largest = max(largest, float(difference.max()))
            if largest > tolerance:
                raise InputError(
                    f"the exported file differs from Keras by {largest:.3g} at length {length}, "
                    f"batch {batch}; allowed is {tolerance:g}",
                    where=path.name,
                    next_step="report it with the model's layers (model.txt), or raise tolerance=",
                )
    return {
        "comparisons": len(lengths) * len(batches),
        "largest_difference": largest,
        "lengths": lengths,
        "batches": list(batches),
    }
