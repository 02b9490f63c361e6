"""Export a model to ONNX, and verify that the file gives the same scores.

Every export is loaded again and compared with Keras at every length that an event can have, in
batches of one and many, with missing mothers (-1) and padding. A file that differs is not kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from smartbkg_tf.dataset.information import check_vocabulary
from smartbkg_tf.errors import ConfigurationError, InputError
from smartbkg_tf.events.vocabulary import default_vocabulary
from smartbkg_tf.filtering.basf2_export import (
    CONFIGURATION,
    STEERING,
    WEIGHTS,
    check_exportable,
    compare_with_keras,
    module_graph,
    module_signature,
    payload,
    write_configuration,
)
from smartbkg_tf.filtering.filter_file import read_filter
from smartbkg_tf.filtering.model_description import ModelDescription, describe_run
from smartbkg_tf.filtering.onnx_files import Arrays, compare_scores, write_onnx
from smartbkg_tf.filtering.onnx_metadata import write_metadata
from smartbkg_tf.filtering.scorers import OnnxScorer, load_run_model
from smartbkg_tf.runtime.files import atomic_directory, read_json, sync
from smartbkg_tf.runtime.progress import say
from smartbkg_tf.runtime.run_directory import RunDirectory, open_run
from smartbkg_tf.runtime.versions import versions
from smartbkg_tf.settings.filtering import ExportSettings

#: Version of the description in the file.
FORMAT_VERSION = 2

#: Name of the only output.
OUTPUT = "y_output"

#: What the folder holds; ``model.json`` in those of earlier versions.
WRITTEN = ("model.onnx", "model.json")
BASF2_FILES = (WEIGHTS, CONFIGURATION, STEERING)


def export(settings: ExportSettings) -> Path:
    """Write a network as ONNX, with what must be known about it in the file; give its path."""
    run = open_run(settings.run)
    _check_packages()
    for_basf2 = settings.format == "basf2"
    own = BASF2_FILES if for_basf2 else WRITTEN
    with atomic_directory(
        settings.output, overwrite=settings.overwrite, own=own, inputs=[run.path]
    ) as folder:
        description = describe_run(run)
        check_vocabulary(run.dataset_information(), default_vocabulary(), run.dataset)
        model = in_float32(load_run_model(run), run)
        path = folder / own[0]
        if for_basf2:
            checks = _export_to_basf2(model, run, description, path, settings)
        else:
            convert(model, path, settings.opset)
            checks = compare(model, path, description, settings.tolerance)
            write_metadata(path, _describe(run, description, settings, checks))
            OnnxScorer(path)
        sync(path)
    result = Path(settings.output) / path.name
    say(
        f"exported {run.path} to {result}: {checks['comparisons']} comparisons with Keras, "
        f"largest difference of a score {checks['largest_difference']:.2g}"
    )
    if for_basf2:
        say(f"store it in a local conditions database: basf2 {result.with_name(STEERING)}")
    else:
        say(f"use it: python -m smartbkg_tf.apply run={result} input=... output=...")
    return result


def _export_to_basf2(
    model: Any,
    run: RunDirectory,
    description: ModelDescription,
    path: Path,
    settings: ExportSettings,
) -> dict[str, Any]:
    check_exportable(model, description, run.path)
    values = payload(description, read_filter(run.filter), settings.skim_codes)
    write_onnx(module_graph(model), module_signature(), "output", path, settings.opset)
    checks = compare_with_keras(model, path, description, settings.tolerance)
    write_configuration(path.parent, values)
    return checks


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


def convert(model: Any, path: Path, opset: int) -> None:
    """Write a float32 Keras model as ONNX, with dynamic batch and lengths, and fixed names."""
    import tensorflow as tf

    # The traced function takes its arguments by name, in the order of the model.
    signature = [
        tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype, name=tensor.name)
        for tensor in model.inputs
    ]
    names = [tensor.name for tensor in model.inputs]

    def function(*arrays: Any) -> Any:
        answer = model(dict(zip(names, arrays, strict=True)), training=False)
        return tf.cast(answer, tf.float32)

    write_onnx(function, signature, OUTPUT, path, opset, _name_dimensions)


def _name_dimensions(graph: Any) -> None:
    """Call the dynamic dimensions of batches by their names."""
    for tensor in (*graph.input, *graph.output):
        for axis, dimension in enumerate(tensor.type.tensor_type.shape.dim):
            if axis == 0:
                dimension.dim_param = "batch"
            elif not dimension.HasField("dim_value") or dimension.dim_value <= 0:
                dimension.dim_param = "token" if tensor.name == "decay_input" else "particle"


def _describe(
    run: RunDirectory,
    description: ModelDescription,
    settings: ExportSettings,
    checks: dict[str, Any],
) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "label_names": list(description.label_names),
        "encoding": description.encoding.plain(),
        "vocabulary": description.vocabulary,
        "particles": description.particles,
        "max_particles": description.max_particles,
        "max_tokens": description.max_tokens,
        "output": OUTPUT,
        "filter": read_json(run.filter) if run.filter.is_file() else None,
        "opset": settings.opset,
        # Without the largest difference: its last digits change from one comparison to the next.
        "checks": {"comparisons": checks["comparisons"], "tolerance": settings.tolerance},
        "software": versions(
            ("python", "smartbkg_tf", "tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime")
        ),
    }


def random_inputs(
    model: Any, description: ModelDescription, batch: int, length: int, random: np.random.Generator
) -> Arrays:
    """Make inputs as `pad` makes them, with every special value.

    The first of `batch` events has `length` particles and tokens, as far as such an event is not
    cut; the others may be shorter.
    """
    lengths = random.integers(0, length + 1, batch)
    lengths[0] = length
    arrays: Arrays = {}
    for tensor in model.inputs:
        most = description.max_tokens if tensor.name == "decay_input" else description.max_particles
        width = min(max(length, 1), most)
        shape = [batch, *(width if size is None else size for size in tensor.shape[1:])]
        if len(shape) == 1:
            arrays[tensor.name] = random.integers(0, 7, shape).astype(np.int32)
            continue
        real = np.arange(shape[1])[None, :] < np.minimum(lengths, shape[1])[:, None]
        if tensor.name == "mother_index_input":
            values = np.minimum(random.integers(-1, shape[1], shape), lengths[:, None] - 1)
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
    """Compare the file's scores with Keras, at every length of an event; see `compare_scores`."""
    random = np.random.default_rng(0)
    longest = max(description.max_particles, description.max_tokens)
    fixed = all(None not in tensor.shape[1:] for tensor in model.inputs)
    lengths = [longest] if fixed else list(range(1, longest + 1))

    def cases() -> Iterator[tuple[str, Arrays, Arrays]]:
        for length in lengths:
            for batch in (1, 5):
                arrays = random_inputs(model, description, batch, length, random)
                yield f"{batch} events of length {length}", arrays, arrays
        # An event without particles is scored as one place of padding.
        arrays = random_inputs(model, description, 1, 0, random)
        yield "an event without particles", arrays, arrays

    return compare_scores(model, path, OUTPUT, cases(), tolerance)
