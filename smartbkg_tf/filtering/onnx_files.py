"""Write TensorFlow functions as ONNX files, and compare the files with their networks."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.errors import InputError
from smartbkg_tf.filtering.scorers import open_session

Arrays = dict[str, npt.NDArray[Any]]


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
        _put_in_order(proto.graph)
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


def _put_in_order(graph: Any) -> None:
    """Order and name nodes and constants by how the output needs them.

    The converter keeps them in sets and numbers them anew in every call: the same network would
    be another file each time.
    """
    graph.doc_string = ""
    if any(a.HasField("g") or a.graphs for node in graph.node for a in node.attribute):
        return  # a loop, whose body uses names of the outside
    made_by = {link: node for node in graph.node for link in node.output}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    fixed = {tensor.name for tensor in (*graph.input, *graph.output)}
    nodes, used, names = [], [], {"": ""}
    todo: list[tuple[str, bool]] = [(tensor.name, False) for tensor in reversed(graph.output)]
    while todo:
        link, ready = todo.pop()
        if link in names or (link in fixed and link not in made_by):
            continue
        if link in constants:
            used.append(constants[link])
        elif not ready:
            todo += [(link, True), *((above, False) for above in reversed(made_by[link].input))]
            continue
        else:
            nodes.append(made_by[link])
        for made in made_by[link].output if ready else [link]:
            names[made] = made if made in fixed else f"t{len(names)}"
    for node in nodes:
        node.name = ""
        for links in (node.input, node.output):
            links[:] = [names.get(link, link) for link in links]
    for tensor in used:
        tensor.name = names[tensor.name]
    for kept, ordered in ((graph.node, nodes), (graph.initializer, used)):
        copies = [type(item).FromString(item.SerializeToString()) for item in ordered]
        del kept[:]
        kept.extend(copies)
    del graph.value_info[:]


def compare_scores(
    model: Any,
    path: Path,
    output: str,
    cases: Iterable[tuple[str, Arrays, Arrays]],
    tolerance: float,
) -> dict[str, Any]:
    """Compare the scores of a file with those of its Keras model.

    Each case is a name, what the file is fed, and the same as a batch for Keras. Scores may differ
    by `tolerance`, relative to max(1, abs(score)); `InputError` beyond, and for other shapes.
    """
    import tensorflow as tf

    session = open_session(path)
    # Traced once, as scorers do; a call of the model for every shape takes ten times as long.
    read = {x.name: tf.TensorSpec([None, *x.shape[1:]], x.dtype) for x in model.inputs}
    scores = tf.function(lambda arrays: model(arrays, training=False), input_signature=[read])
    largest, n = 0.0, 0
    for name, fed, batch in cases:
        n += 1
        expected = scores(batch).numpy().astype(np.float32)
        # basf2's file answers for one event, without the axis of the batch.
        found = np.atleast_2d(session.run([output], fed)[0])
        if found.shape != expected.shape or not np.isfinite(found).all():
            raise InputError(
                f"the exported file gives shape {found.shape} for {name}, Keras gives "
                f"{expected.shape}; or a number is not finite",
                where=path.name,
            )
        difference = np.abs(found - expected) / np.maximum(1.0, np.abs(expected))
        largest = max(largest, float(difference.max()))
        if largest > tolerance:
            raise InputError(
                f"the exported file differs from Keras by {largest:.3g} for {name}; allowed is "
                f"{tolerance:g}",
                where=path.name,
                next_step="report it with the model's layers (model.txt), or raise tolerance=",
            )
    return {"comparisons": n, "largest_difference": largest}
