"""``export format=basf2``, fed exactly as basf2's SmartBackground module would feed it.

What the module computes is replayed in plain Python (`tests.encoding.reference`, written from its
rules alone) on whole lists of particles; our own path reads, encodes and scores the same file.
"""

from __future__ import annotations

import json
import shutil
import sys
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import onnxruntime
import pytest

from smartbkg_tf.dataset.build import build_dataset
from smartbkg_tf.dataset.dataset import open_dataset
from smartbkg_tf.dataset.information import read_information
from smartbkg_tf.errors import ConfigurationError, InputError
from smartbkg_tf.events.hdf5 import write_hdf5
from smartbkg_tf.events.mdst import iterate_mdst
from smartbkg_tf.events.table import EVENT_TYPES, EventTable, concatenate
from smartbkg_tf.events.vocabulary import Vocabulary, default_vocabulary
from smartbkg_tf.filtering.basf2_export import MODULE_EVENT_TYPES, pdg_indices
from smartbkg_tf.filtering.export import export
from smartbkg_tf.filtering.rules import SamplingRule
from smartbkg_tf.filtering.scorers import KerasScorer
from smartbkg_tf.models.registry import build
from smartbkg_tf.runtime.command import compose_settings
from smartbkg_tf.runtime.files import write_json
from smartbkg_tf.runtime.run_directory import RunDirectory
from smartbkg_tf.settings.filtering import ExportSettings
from smartbkg_tf.settings.plugins import plain
from smartbkg_tf.settings.training import TrainSettings
from smartbkg_tf.training.run_folder import write_yaml
from tests.datasets import preprocess_settings, write_dataset
from tests.encoding.reference import smartbackground_event
from tests.encoding.tables import table_of
from tests.encoding.test_features import MDST
from tests.encoding.test_generator_particles import full_lists
from tests.filtering.conftest import SKIMS, Trained, save
from tests.mdst_twin import write_generator_list
from tests.samples import make_events

CODES = {SKIMS[0]: 11180100, SKIMS[1]: 11180200}
RULES = {
    SKIMS[0]: {"a": 0.5, "b": 1.25, "maximum_weight": 20.0},
    SKIMS[1]: {"a": 0.75, "b": -0.5, "maximum_weight": 30.0},
}
SMALL = {
    "resnet": ["model.particles.filters=8", "model.particles.kernel_sizes=[4,3]"],
    "transformer": ["model.particles.layers=1", "model.event_type=true"],
    "treenet": ["model.event_type=true"],
}


@pytest.fixture(scope="module")
def dataset_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a dataset of continuum lists, as they are right after generation."""
    folder = tmp_path_factory.mktemp("generator")
    write_generator_list(folder / "a.root", 60, seed=5)
    table = concatenate(
        list(iterate_mdst(folder / "a.root", particles="generator", event_type="ccbar"))
    )
    random = np.random.default_rng(0)
    labels = {skim: random.integers(0, 2, len(table)).astype(np.int8) for skim in SKIMS}
    write_hdf5(folder / "a.h5", replace(table, labels=labels), particles="generator")
    return build_dataset(
        preprocess_settings(
            str(folder / "a.h5"), folder / "dataset", features="smartbackground", max_particles=40
        )
    )


def make_run(folder: Path, dataset_path: Path, model: str) -> RunDirectory:
    """Make a run directory of an untrained network: its scores are as good as any here."""
    dataset = open_dataset(dataset_path)
    settings = compose_settings(
        "train",
        TrainSettings,
        [f"model={model}", f"data.path={dataset_path}", "model.inputs=particles",
         "model.head.units=[16]", *SMALL[model]],
    )  # fmt: skip
    keras.utils.set_random_seed(3)
    network = build(settings.model, dataset.information)
    # A new network's last layer may start from zero.
    for weight in network.model.trainable_variables:
        noise = np.random.default_rng(len(weight.path)).normal(0, 0.1, weight.shape)
        weight.assign_add(noise.astype(np.float32))
    run = RunDirectory(folder / model)
    run.path.mkdir()
    save(network.model, run.model)
    write_yaml(run.config, plain(settings))
    write_yaml(run.metadata, {})
    shutil.copyfile(dataset_path / "dataset.json", run.dataset)
    write_json(run.filter, RULES)
    return run


@pytest.fixture(scope="module")
def resnet(dataset_path: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return make_run(tmp_path_factory.mktemp("runs"), dataset_path, "resnet")


@pytest.fixture(scope="module")
def folder(resnet: RunDirectory) -> Path:
    """Export that run once."""
    return exported(resnet, resnet.path.parent / "basf2").parent


def exported(run: RunDirectory, output: Path, **options: Any) -> Path:
    options.setdefault("skim_codes", CODES)
    return export(ExportSettings(run=str(run.path), output=str(output), format="basf2", **options))


class Module:
    """What basf2's module does with one event, by the files of an export alone."""

    def __init__(self, folder: Path) -> None:
        self.configuration = json.loads((folder / "config.json").read_text())
        self.session = onnxruntime.InferenceSession(str(folder / "weights.onnx"))

    def logits(self, particles: list[dict[str, Any]], event_type: str) -> np.ndarray:
        event = smartbackground_event(particles)
        n = len(event["pdg"])
        index = self.configuration["pdgMapping"]
        found = self.session.run(
            ["output"],
            {
                "x": np.array(event["x"], dtype=np.float32).reshape(n, 8),
                "pdg": np.array([index.get(str(p), 0) for p in event["pdg"]], dtype=np.int32),
                "mother": np.array(event["mother"], dtype=np.int32),
                "c": np.array(self.configuration["eventtypeMapping"][event_type], dtype=np.int32),
            },
        )[0]
        assert found.shape == (len(self.configuration["skimcodesMapping"]),)
        assert found.dtype == np.float32
        return found

    def probability(self, logit: float, code: int) -> float:
        a, b = self.configuration["paramMapping"][str(code)]
        e, most = a * (logit - b), self.configuration["maxWeight"]
        return 1.0 if e > 0 else 1 / most if e < -np.log(most) else float(np.exp(e))


@pytest.mark.parametrize(
    "model",
    [name if name != "treenet" else pytest.param(name, marks=pytest.mark.slow) for name in SMALL],
)
def test_the_module_gets_our_logits(model: str, dataset_path: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path, dataset_path, model)
    file = exported(run, tmp_path / "basf2")
    assert {p.name for p in file.parent.iterdir()} == {
        "weights.onnx", "config.json", "store_payload.py",
    }  # fmt: skip
    graph = onnx.load(file).graph
    shapes = {
        tensor.name: (
            onnx.TensorProto.DataType.Name(tensor.type.tensor_type.elem_type),
            len(tensor.type.tensor_type.shape.dim),
        )
        for tensor in (*graph.input, *graph.output)
    }
    assert shapes == {
        "x": ("FLOAT", 2), "pdg": ("INT32", 1), "mother": ("INT32", 1), "c": ("INT32", 0),
        "output": ("FLOAT", 1),
    }  # fmt: skip
    module, scorer = Module(file.parent), KerasScorer(run, batch_size=16)
    write_generator_list(tmp_path / "twin.root", 25, seed=8)
    files = {tmp_path / "twin.root": "uubar"}
    if MDST.is_file():
        files[MDST] = "mixed"
    scorer.description = replace(scorer.description, max_particles=200)  # nothing is cut here
    seen = set()
    for path, event_type in files.items():
        table = concatenate(list(iterate_mdst(path, particles="generator", event_type=event_type)))
        expected = scorer.score_events(table)
        lists = full_lists(path)
        assert len(lists) == len(expected) > 0
        for event, ours in zip(lists, expected, strict=True):
            found = module.logits(event, event_type)
            np.testing.assert_allclose(found, ours, rtol=1e-5, atol=1e-5)
            seen.update(np.round(found, 4).tolist())
            for i, skim in enumerate(SKIMS):
                rule = SamplingRule(**{**RULES[skim], "maximum_weight": 30.0})
                p = rule.probability(ours[i : i + 1])[0]
                assert module.probability(float(found[i]), CODES[skim]) == pytest.approx(
                    p, rel=1e-4
                )
    assert len(seen) > 20, "events must differ, or nothing is compared"
    if "model.event_type=true" in SMALL[model]:
        event = next(event for event in lists if len(event) > 5)
        logits = {t: tuple(module.logits(event, t).tolist()) for t in MODULE_EVENT_TYPES}
        assert len(set(logits.values())) == len(EVENT_TYPES)


def test_unknown_codes_and_single_particles(resnet: RunDirectory, folder: Path) -> None:
    module, scorer = Module(folder), KerasScorer(resnet, batch_size=1)

    def particle(pdg: int, mother: int | None = None) -> dict[str, Any]:
        return {"pdg": pdg, "status": 1, "mother": mother, "E": 1.5, "px": 0.3, "py": 0.1,
                "pz": 1.4, "t": 2.0, "x": 0.0, "y": 0.1, "z": 0.2}  # fmt: skip

    for event in ([particle(22)], [particle(987654321)], [particle(511), particle(123456, 0)]):
        table = as_table(event)
        np.testing.assert_allclose(
            module.logits(event, "mixed"), scorer.score_events(table)[0], rtol=1e-5, atol=1e-5
        )
    unknown = Vocabulary([11, -11, 22])
    assert pdg_indices(unknown) == {11: 1, -11: 2, 22: 3}
    assert len(module.configuration["pdgMapping"]) == len(default_vocabulary())


def as_table(event: list[dict[str, Any]]) -> EventTable:
    return table_of([[{"charge": 0.0, "mass": 0.0, **p} for p in event]])


def test_the_configuration(folder: Path) -> None:
    values = json.loads((folder / "config.json").read_text())
    assert values["skimcodesMapping"] == {"11180100": 0, "11180200": 1}
    assert values["skimnamesMapping"] == {"11180100": SKIMS[0], "11180200": SKIMS[1]}
    assert values["paramMapping"] == {"11180100": [0.5, 1.25], "11180200": [0.75, -0.5]}
    assert values["maxWeight"] == 30.0
    # The numbers that versions of the module without this mapping have built in.
    assert values["eventtypeMapping"] == {
        "ccbar": 0, "charged": 1, "ddbar": 2, "mixed": 3, "ssbar": 4, "taupair": 5, "uubar": 6,
    }  # fmt: skip
    assert min(values["pdgMapping"].values()) == 1
    compile((folder / "store_payload.py").read_text(), "store_payload.py", "exec")


def test_what_the_module_cannot_use_is_refused(
    fitted: Trained, resnet: RunDirectory, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as error:
        exported(fitted.run, tmp_path / "no")
    for words in ("features=original", "source.particles=generator", "reads decay_input"):
        assert words in str(error.value)
    run = resnet
    for codes, words in (
        ({}, "the skim fei_hadronic_b0 has no code"),
        ({**CODES, "other": 5}, "other is not a skim of this model"),
        (dict.fromkeys(SKIMS, 11180100), "the same code"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            exported(run, tmp_path / "no", skim_codes=codes)
    with pytest.raises(InputError, match="differs from Keras by"):
        exported(run, tmp_path / "no", tolerance=1e-30)
    assert not (tmp_path / "no").exists()
    with pytest.raises(ConfigurationError, match="skim_codes has no effect"):
        compose_settings(
            "export", ExportSettings, [f"run={run.path}", "output=x", "skim_codes={a: 1}"]
        )


def test_the_steering_file_stores_both_payloads(folder: Path, dataset_path: Path) -> None:
    """Run it against stand-ins of ROOT's C++ classes, which basf2 brings."""
    calls: list[tuple[Any, ...]] = []

    class Kind:
        def __init__(self, make: Any) -> None:
            self.make = make

        def __getitem__(self, kinds: Any) -> Any:
            return self.make

    class Vector(list):  # type: ignore[type-arg]
        push_back = list.append

    class Database:
        @staticmethod
        def Instance() -> type:
            return Database

        @staticmethod
        def storeData(name: str, payload: Any, when: Any) -> None:
            calls.append((name, payload, when))

        @staticmethod
        def addPayload(name: str, file: str, when: Any) -> None:
            assert Path(file).read_bytes() == (folder / "weights.onnx").read_bytes()
            calls.append((name, when))

    root: Any = types.ModuleType("ROOT")
    root.std = types.SimpleNamespace(unordered_map=Kind(dict), vector=Kind(Vector), string=str)
    always = object()
    root.Belle2 = types.SimpleNamespace(
        SmartBackgroundConfig=lambda *arguments: arguments,
        IntervalOfValidity=types.SimpleNamespace(always=lambda: always),
        Database=Database,
    )
    steering = folder / "store_payload.py"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "ROOT", root)
        exec(compile(steering.read_text(), str(steering), "exec"), {"__file__": str(steering)})
    (name, payload, when), weights = calls
    assert (name, when, weights) == (
        "SmartBackgroundConfig", always, ("SmartBKGWeights.onnx", always),
    )  # fmt: skip
    pdg, skims, parameters, names, event_types, most = payload
    assert pdg[22] == pdg_indices(default_vocabulary())[22]
    assert skims == {11180100: 0, 11180200: 1}
    assert parameters == {11180100: [0.5, 1.25], 11180200: [0.75, -0.5]}
    assert names == {11180100: SKIMS[0], 11180200: SKIMS[1]}
    assert event_types["mixed"] == 3
    assert most == 30.0
    assert read_information(dataset_path)["particles"] == "generator"


def test_a_network_of_b_pairs_without_radiation_is_refused(tmp_path: Path) -> None:
    """Tables that lack what the module keeps would give other logits, silently."""
    path = write_dataset(
        tmp_path, make_events(60, seed=2, skims=SKIMS), features="smartbackground", max_particles=40
    )
    run = make_run(tmp_path, path, "resnet")
    with pytest.raises(InputError, match="tables lack the virtual particles"):
        exported(run, tmp_path / "no")
