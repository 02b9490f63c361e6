"""Export a model to ONNX, and verify that the file gives the same scores.

Every export is loaded again and compared with Keras over lengths 0, 1, 2, ..., batches
of one and many, missing mothers (-1) and padding. A file that differs is not kept.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from smartbkg_tf.errors import ConfigurationError, InputError
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
from smartbkg_tf.filtering.onnx_check import OUTPUT, compare
from smartbkg_tf.filtering.scorers import load_run_model
from smartbkg_tf.runtime.files import atomic_directory, read_json, sha256, sync, write_json
from smartbkg_tf.runtime.progress import say
from smartbkg_tf.runtime.run_directory import RunDirectory, open_run
from smartbkg_tf.runtime.versions import versions
from smartbkg_tf.settings.filtering import ExportSettings

#: Version of the description beside the file.
FORMAT_VERSION = 1

#: What the folder holds.
WRITTEN = ("model.onnx", "model.json", "model.onnx.data")
BASF2_FILES = (WEIGHTS, CONFIGURATION, STEERING)


def export(settings: ExportSettings) -> Path:
    """Write a network as ONNX, and what must be known about it beside it; give the file's path."""
    run = open_run(settings.run)
    _check_packages()
    for_basf2 = settings.format == "basf2"
    own = BASF2_FILES if for_basf2 else WRITTEN
    with atomic_directory(
        settings.output, overwrite=settings.overwrite, own=own, inputs=[run.path]
    ) as folder:
        description = describe_run(run)
        model = in_float32(load_run_model(run), run)
        path = folder / own[0]
        if for_basf2:
            checks = _export_to_basf2(model, run, description, path, settings)
        else:
            convert(model, path, settings.opset)
            checks = compare(model, path, description, settings.tolerance)
            write_json(
                path.with_suffix(".json"), _describe(run, description, path, settings, checks)
            )
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


def write_onnx(
    function: Callable[..., Any],
    signature: list[Any],
    output: str,
    path: Path,
    opset: int,
    finish: Callable[[Any], None] = lambda graph: None,
) -> None:
    """Write a TensorFlow function as ONNX, with the names of its signature and of its output."""
    import onnx
    import tensorflow as tf
    import tf2onnx

    @tf.function(input_signature=signature)  # type: ignore[untyped-decorator]
    def traced(*arrays: Any) -> Any:
        return tf.identity(function(*arrays), name=output)

    try:
        with _quiet():
            proto, _ = tf2onnx.convert.from_function(traced, input_signature=signature, opset=opset)
        _rename(proto.graph, [spec.name for spec in signature], output)
        finish(proto.graph)
        onnx.checker.check_model(proto)
    except Exception as error:  # the converter raises what it likes
        first = str(error).strip().splitlines() or [""]
        raise InputError(
            f"the model cannot be written as ONNX ({type(error).__name__}: {first[0]})",
            next_step="replace the layer that it names; 'Erfc' comes from activation='gelu', "
            "which can be written with keras.ops.erf",
        ) from error
    onnx.save(proto, os.fspath(path))


def _rename(graph: Any, names: list[str], output: str) -> None:
    """Give inputs and output the fixed names."""
    wanted = {tensor.name: tensor.name.split(":")[0] for tensor in graph.input}
    if set(wanted.values()) != set(names):
        raise ValueError(f"the exported inputs are {sorted(wanted)}, the model's {sorted(names)}")
    wanted[graph.output[0].name] = output
    for node in graph.node:
        for links in (node.input, node.output):
            for i, link in enumerate(links):
                links[i] = wanted.get(link, link)
    for tensor in (*graph.input, *graph.output):
        tensor.name = wanted[tensor.name]


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
