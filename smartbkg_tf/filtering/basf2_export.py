"""Export a network for basf2's ``SmartBackground`` module: one event a call, no batch axis.

The module has preprocessing rules and an interface of its own (basf2, ``skim`` package):
it feeds ``x`` float32 [n, 8] (t - t0, x - x0, y - y0, z - z0, E, px, py, pz; ns, cm, GeV),
``pdg`` int32 [n], ``mother`` int32 [n] and ``c`` int32 [] and reads ``output`` float32
[skims], logits. What it feeds is the feature set ``smartbackground``, so that only a
network trained on that, and on all generated particles, can be exported. Inside the graph
the batch axis is added and the module's index of a PDG code (0: unknown) becomes our token
(0: padding, 1: unknown).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.errors import ConfigurationError, InputError, Problems, did_you_mean
from smartbkg_tf.events.table import EVENT_TYPES
from smartbkg_tf.events.vocabulary import FIRST_CODE, UNKNOWN, Vocabulary, default_vocabulary
from smartbkg_tf.filtering.filter_file import FittedFilter
from smartbkg_tf.filtering.model_description import ModelDescription
from smartbkg_tf.filtering.onnx_files import Arrays, compare_scores
from smartbkg_tf.runtime.files import write_json

#: What the folder holds.
WEIGHTS, CONFIGURATION, STEERING = "weights.onnx", "config.json", "store_payload.py"

#: The module numbers event types in alphabetical order; some of its versions take the numbers
#: from the payload, others have them built in.
MODULE_EVENT_TYPES = tuple(sorted(EVENT_TYPES))

#: What turns the module's index of a PDG code into our token: its 0 is our `UNKNOWN`.
_SHIFT = UNKNOWN

#: Inputs that the graph can make of what the module feeds.
_POSSIBLE = (
    *("particle_input", "pdg_input", "mother_pdg_input", "mother_index_input"),
    "event_type_input",
)


def check_exportable(model: Any, description: ModelDescription, where: Path) -> None:
    """Refuse networks that read what the module does not feed; all reasons at once."""
    problems = Problems()
    features = description.encoding.features
    if features != "smartbackground":
        problems.add(
            f"it was trained with features={features}; the module computes those of "
            "features=smartbackground"
        )
    if description.particles != "generator":
        problems.add(
            "its training tables lack the virtual particles and the photons of initial- and "
            "final-state radiation, which the module keeps (source.particles=generator)"
        )
    for tensor in model.inputs:
        if tensor.name not in _POSSIBLE:
            problems.add(f"it reads {tensor.name}, which the module does not have")
        elif None not in tensor.shape[1:] and tensor.name != "event_type_input":
            problems.add(f"its input {tensor.name} has the fixed length {tensor.shape[1]}")
    problems.raise_if_any(
        "cannot be used by basf2's SmartBackground module",
        kind=InputError,
        where=where,
        next_step="produce with source.particles=generator, preprocess with "
        "features=smartbackground, train with model.inputs=particles, and export that run",
    )


def module_graph(model: Any) -> Any:
    """Give a function of ``x``, ``pdg``, ``mother`` and ``c`` that returns logits [skims]."""
    import tensorflow as tf

    names = [tensor.name for tensor in model.inputs]
    order = [EVENT_TYPES.index(name) for name in MODULE_EVENT_TYPES]

    def function(x: Any, pdg: Any, mother: Any, c: Any) -> Any:
        tokens = pdg + _SHIFT
        of_mothers = tf.where(mother >= 0, tf.gather(tokens, tf.maximum(mother, 0)), 0)
        arrays = {
            "particle_input": x,
            "pdg_input": tokens,
            "mother_pdg_input": of_mothers,
            "mother_index_input": mother,
            "event_type_input": tf.gather(tf.constant(order, tf.int32), c),
        }
        answer = model({name: arrays[name][None] for name in names}, training=False)
        return tf.cast(answer, tf.float32)[0]

    return function


def module_signature() -> list[Any]:
    """Give the inputs of the module's graph, in its order."""
    import tensorflow as tf

    return [
        tf.TensorSpec([None, 8], tf.float32, name="x"),
        tf.TensorSpec([None], tf.int32, name="pdg"),
        tf.TensorSpec([None], tf.int32, name="mother"),
        tf.TensorSpec([], tf.int32, name="c"),
    ]


def pdg_indices(vocabulary: Vocabulary) -> dict[int, int]:
    """Give the module's index (from 1) of every PDG code of a vocabulary."""
    return {int(code): i + FIRST_CODE - _SHIFT for i, code in enumerate(vocabulary.codes.tolist())}


def payload(
    description: ModelDescription, fitted: FittedFilter, codes: Mapping[str, int]
) -> dict[str, Any]:
    """Make the arguments of the payload class ``SmartBackgroundConfig``, by their names."""
    skims = description.label_names
    problems = Problems()
    for skim in skims:
        if skim not in codes:
            problems.add(f"the skim {skim} has no code")
    for skim in codes:
        if skim not in skims:
            problems.add(f"{skim} is not a skim of this model; {did_you_mean(skim, skims)}")
    if len(set(codes.values())) < len(codes):
        problems.add("two skims have the same code")
    example = ", ".join(f"{skim}: {11180100 + 100 * i}" for i, skim in enumerate(skims))
    problems.raise_if_any(
        "skim_codes does not fit the skims",
        kind=ConfigurationError,
        next_step=f"give the LFN code of every skim, as in 'skim_codes={{{example}}}' "
        "(in basf2: the attribute `code` of a skim)",
    )
    rules = fitted.rules(skims)
    return {
        "pdgMapping": {str(code): i for code, i in pdg_indices(default_vocabulary()).items()},
        "skimcodesMapping": {str(codes[skim]): i for i, skim in enumerate(skims)},
        "paramMapping": {str(codes[skim]): [rules[skim].a, rules[skim].b] for skim in skims},
        "skimnamesMapping": {str(codes[skim]): skim for skim in skims},
        "eventtypeMapping": {name: i for i, name in enumerate(MODULE_EVENT_TYPES)},
        "maxWeight": max(rule.maximum_weight for rule in rules.values()),
    }


def compare_with_keras(
    model: Any, path: Path, description: ModelDescription, tolerance: float
) -> dict[str, Any]:
    """Compare the file's logits with Keras, at every length of an event; see `compare_scores`."""
    random = np.random.default_rng(0)
    n_codes = len(default_vocabulary())

    def cases() -> Iterator[tuple[str, Arrays, Arrays]]:
        for n in range(1, description.max_particles + 1):
            values = random.normal(0, 1, (n, 8)) * random.choice([0.01, 1, 10], (n, 8))
            fed: Arrays = {
                "x": values.astype(np.float32),
                "pdg": random.integers(0, n_codes + 1, n).astype(np.int32),
                "mother": random.integers(-1, np.arange(1, n + 1)).astype(np.int32),
                "c": np.array(n % len(EVENT_TYPES), dtype=np.int32),
            }
            yield f"an event of {n} particles", fed, as_batch(model, fed)

    return compare_scores(model, path, "output", cases(), tolerance)


def as_batch(model: Any, fed: Mapping[str, npt.NDArray[Any]]) -> Arrays:
    """Turn what the module feeds into a batch of one event as our own encoder makes it."""
    tokens = fed["pdg"] + _SHIFT
    mother = fed["mother"]
    event_type = EVENT_TYPES.index(MODULE_EVENT_TYPES[int(fed["c"])])
    arrays = {
        "particle_input": fed["x"],
        "pdg_input": tokens,
        "mother_pdg_input": np.where(mother >= 0, tokens[np.maximum(mother, 0)], 0),
        "mother_index_input": mother,
        "event_type_input": np.int32(event_type),
    }
    return {
        tensor.name: np.asarray(arrays[tensor.name])[None].astype(tensor.dtype)
        for tensor in model.inputs
    }


def write_configuration(folder: Path, values: Mapping[str, Any]) -> None:
    """Write the payload's values and the steering file that stores both payloads."""
    write_json(folder / CONFIGURATION, values)
    (folder / STEERING).write_text(_STEERING, encoding="utf-8")


#: Runs inside basf2 only.
_STEERING = '''\
"""Store an exported network in a local conditions database: ``basf2 store_payload.py``.

Writes ``localdb/`` in the current folder. Use it in a steering file before the path is run:

    basf2.conditions.prepend_testing_payloads("localdb/database.txt")

The numbers in ``config.json`` belong to ``weights.onnx``; never mix files of two exports.
"""

import json
from pathlib import Path

from ROOT import Belle2, std

here = Path(__file__).resolve().parent
values = json.loads((here / "config.json").read_text(encoding="utf-8"))


def integers(kind, mapping):
    """Make a C++ map with integer keys."""
    result = std.unordered_map["int", kind]()
    for key, value in mapping.items():
        result[int(key)] = value
    return result


parameters = std.unordered_map["int", std.vector["float"]]()
for code, numbers in values["paramMapping"].items():
    pair = std.vector["float"]()
    for number in numbers:
        pair.push_back(number)
    parameters[int(code)] = pair
event_types = std.unordered_map[std.string, "int32_t"]()
for name, index in values["eventtypeMapping"].items():
    event_types[name] = index

configuration = Belle2.SmartBackgroundConfig(
    integers("int", values["pdgMapping"]),
    integers("uint16_t", values["skimcodesMapping"]),
    parameters,
    integers(std.string, values["skimnamesMapping"]),
    event_types,
    values["maxWeight"],
)
always = Belle2.IntervalOfValidity.always()
database = Belle2.Database.Instance()
database.storeData("SmartBackgroundConfig", configuration, always)
database.addPayload("SmartBKGWeights.onnx", str(here / "weights.onnx"), always)
print("stored SmartBackgroundConfig and SmartBKGWeights.onnx in localdb/")
'''
