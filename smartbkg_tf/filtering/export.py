"""Export a model to ONNX, and verify that the file gives the same scores.

Every export is loaded again and compared with Keras over lengths 0, 1, 2, ..., batches
of one and many, missing mothers (-1) and padding. A file that differs is not kept.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.errors import ConfigurationError, InputError
from smartbkg_tf.filtering.model_description import ModelDescription, describe_run
from smartbkg_tf.filtering.scorers import load_run_model, open_session
from smartbkg_tf.runtime.files import atomic_directory, read_json, sha256, sync, write_json
from smartbkg_tf.runtime.progress import say
from smartbkg_tf.runtime.run_directory import RunDirectory, open_run
from smartbkg_tf.runtime.versions import versions
from smartbkg_tf.settings.filtering import ExportSettings

#: Version of the description beside the file.
FORMAT_VERSION = 1

#: Name of the only output.
OUTPUT = "y_output"

#: What the folder holds.
WRITTEN = ("model.json", "model.onnx", "model.onnx.data")

Arrays = dict[str, npt.NDArray[Any]]


def export(settings: ExportSettings) -> Path:
    """Write ``model.onnx`` and ``model.json``, which describes it; give the path of the first."""
    run = open_run(settings.run)
    _check_packages()
    with atomic_directory(
        settings.output, overwrite=settings.overwrite, own=WRITTEN, inputs=[run.path]
    ) as folder:
        description = describe_run(run)
        model = in_float32(load_run_model(run), run)
        path = folder / "model.onnx"
        convert(model, path, settings.opset)
        checks = compare(model, path, description, settings.tolerance)
        sync(path)
        write_json(path.with_suffix(".json"), _describe(run, description, path, settings, checks))
    result = Path(settings.output) / "model.onnx"
    say(
        f"exported {run.path} to {result}: {checks['comparisons']} comparisons with Keras, "
        f"largest difference of a score {checks['largest_difference']:.2g}"
    )
    say(f"use it: python -m smartbkg_tf.apply run={result} input=... output=...")
    return result


def _check_packages() -> None:
    needed = ("onnx", "onnxruntime", "tf2onnx")
    missing = [name for name in needed if name not in versions(needed)]
    if missing:
        raise ConfigurationError(
            f"the export needs {', '.join(missing)}, which are not installed",
            next_step="pip install 'smartbkg_tf[onnx]'",
        )


def in_float32(model: Any, run: RunDirectory) -> Any:
    """Rebuild a model of mixed precision in float32; give others back as they are.

    bfloat16 layers would export a file that nothing can load. The weights are float32 in any
    case and stay the same.
    """
    import keras

    from smartbkg_tf.models.keras_internals import every_layer

    policies = {
        layer.dtype_policy.compute_dtype
        for layer in every_layer(model)
        if layer.dtype_policy.compute_dtype
    }
    if policies <= {"float32"}:
        return model

    def plain(node: Any) -> Any:
        """Replace every dtype policy of a configuration."""
        if isinstance(node, dict):
            if node.get("class_name") == "DTypePolicy":
                return {**node, "config": {**node["config"], "name": "float32"}}
            return {key: plain(value) for key, value in node.items()}
        if isinstance(node, (list, tuple)):
            return type(node)(plain(value) for value in node)
        return (
            "float32"
            if node in ("mixed_bfloat16", "mixed_float16", "bfloat16", "float16")
            else node
        )

    try:
        rebuilt = keras.saving.deserialize_keras_object(
            plain(keras.saving.serialize_keras_object(model))
        )
        rebuilt.set_weights(model.get_weights())
    except Exception as error:  # a user's own layers may raise anything
        raise InputError(
            f"the model of mixed precision cannot be rebuilt in float32 ({error})",
            where=run.model,
            next_step="train with training.mixed_precision=null",
        ) from error
    return rebuilt


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the converter's chatter away; its errors are raised anyway."""
    loggers = [logging.getLogger(name) for name in ("tf2onnx", "tensorflow")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def convert(model: Any, path: Path, opset: int) -> None:
    """Write a float32 Keras model as ONNX, with dynamic batch and lengths, and fixed names."""
    import onnx
    import tensorflow as tf
    import tf2onnx

    # The traced function takes its arguments by name, in the order of the model.
    signature = [
        tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype, name=tensor.name)
        for tensor in model.inputs
    ]
    names = [tensor.name for tensor in model.inputs]

    @tf.function(input_signature=signature)  # type: ignore[untyped-decorator]
    def function(*arrays: Any) -> Any:
        answer = model(dict(zip(names, arrays, strict=True)), training=False)
        return tf.identity(tf.cast(answer, tf.float32), name=OUTPUT)

    try:
        with _quiet():
            proto, _ = tf2onnx.convert.from_function(
                function, input_signature=signature, opset=opset
            )
        _rename(proto, names)
        onnx.checker.check_model(proto)
    except Exception as error:  # the converter raises what it likes
        first = str(error).strip().splitlines() or [""]
        raise InputError(
            f"the model cannot be written as ONNX ({type(error).__name__}: {first[0]})",
            next_step="replace the layer that it names; 'Erfc' comes from activation='gelu', "
            "which can be written with keras.ops.erf",
        ) from error
    onnx.save(proto, os.fspath(path))


def _rename(proto: Any, names: list[str]) -> None:
    """Give inputs, output and dimensions the fixed names."""
    graph = proto.graph
    wanted = {tensor.name: tensor.name.split(":")[0] for tensor in graph.input}
    if set(wanted.values()) != set(names):
        raise ValueError(f"the exported inputs are {sorted(wanted)}, the model's {sorted(names)}")
    wanted[graph.output[0].name] = OUTPUT
    for node in graph.node:
        for links in (node.input, node.output):
            for i, link in enumerate(links):
                links[i] = wanted.get(link, link)
    for tensor in (*graph.input, *graph.output):
        tensor.name = wanted[tensor.name]
        for axis, dimension in enumerate(tensor.type.tensor_type.shape.dim):
            if axis == 0:
                dimension.dim_param = "batch"
            elif not dimension.HasField("dim_value") or dimension.dim_value <= 0:
                dimension.dim_param = "token" if tensor.name == "decay_input" else "particle"


def _describe(
    run: RunDirectory,
    description: ModelDescription,
    path: Path,
    settings: ExportSettings,
    checks: dict[str, Any],
) -> dict[str, Any]:
    stored = run.dataset_information()
    return {
        "format_version": FORMAT_VERSION,
        "sha256": sha256(path),
        "label_names": list(description.label_names),
        "encoding": stored["encoding"],
        "vocabulary": description.vocabulary,
        "particles": description.particles,
        "max_particles": description.max_particles,
        "max_tokens": description.max_tokens,
        "output": OUTPUT,
        "filter": read_json(run.filter) if run.filter.is_file() else None,
        "opset": settings.opset,
        "checks": checks,
        "software": versions(
            ("python", "smartbkg_tf", "tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime")
        ),
    }


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
