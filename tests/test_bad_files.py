"""Values of wrong types in the files that commands read: one clear message, or no effect."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from smartbkg_tf.dataset.information import read_information, with_checksum
from smartbkg_tf.errors import ConfigurationError, InputError, OutputError, UserError
from smartbkg_tf.filtering.filter_file import read_filter
from smartbkg_tf.filtering.model_description import describe_run, description_of
from smartbkg_tf.filtering.onnx_metadata import read_metadata
from smartbkg_tf.generation.manifest import Manifest
from smartbkg_tf.runtime.command import compose_settings
from smartbkg_tf.runtime.files import read_json, read_yaml
from smartbkg_tf.runtime.run_directory import RunDirectory
from smartbkg_tf.runtime.sweeps.jobs import Job
from smartbkg_tf.runtime.sweeps.table import best_validation, sweep_rows
from smartbkg_tf.settings.generation import ProduceSettings
from smartbkg_tf.settings.plugins import plain
from smartbkg_tf.settings.stored import EXPORTED, check_stored
from smartbkg_tf.settings.training import TrainSettings
from smartbkg_tf.training.run_folder import unfinished_run
from tests.datasets import write_dataset
from tests.samples import make_events

WRONG: tuple[Any, ...] = (
    None, True, -1, 0, 3.5, 1e308, float("nan"), 10**30, "x", "", [], [None], [[1]], {}, {"a": 1},
)  # fmt: skip
#: Whole files.
OTHER = ("", "null", "3", "[]", "{}", '"x"', "[" * 100_000, '{"a":' * 20_000, "9" * 5000, "NaN")

FILTER = {
    "b0": {
        "a": 0.8,
        "b": -0.4,
        "maximum_weight": 20.0,
        "retention": 0.05,
        "cost": {"generation": 0.01, "network": 0.001, "simulation": 1.0},
        "n_events": 40,
        "calibration": {"slope": 3.4, "intercept": -0.2},
    }
}
METADATA = {
    "software": {"tensorflow": "2.21.0"},
    "dataset": {"digest": "8ef7f8ce0475bec4", "label_names": ["b0"]},
    "max_particles": 100,
    "max_tokens": 150,
    "timings": {"training_seconds": 12.8},
    "result": {"epochs": 2, "best_epoch": 2},
}


def places(values: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in nested values; of a list the first one."""
    if place:
        yield place
    items = values.items() if isinstance(values, dict) else ()
    for key, value in [*items, *(enumerate(values[:1]) if isinstance(values, list) else ())]:
        yield from places(value, (*place, key))


def swapped(values: Any) -> Iterator[tuple[tuple[Any, ...], Any, Any]]:
    """Each place with values of other types: place, what stands there, all values."""
    for place in places(values):
        for wrong in WRONG:
            result = copy.deepcopy(values)
            node = result
            for key in place[:-1]:
                node = node[key]
            if type(node[place[-1]]) is not type(wrong):
                node[place[-1]] = wrong
                yield place, wrong, result


def refused(work: Callable[[], object]) -> str:
    """Give the message of a `UserError`, empty without; anything else fails the test."""
    try:
        work()
    except UserError as error:
        return str(error)
    return ""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """Write the files of a run that need no network."""
    folder = tmp_path_factory.mktemp("runs")
    information = json.loads((write_dataset(folder, make_events(30)) / "dataset.json").read_text())
    run = RunDirectory(folder / "0_run")
    run.path.mkdir()
    settings = compose_settings("train", TrainSettings, [f"run_dir={run.path}"])
    run.config.write_text(yaml.safe_dump(plain(settings)))
    run.metadata.write_text(yaml.safe_dump(METADATA))
    run.dataset.write_text(json.dumps(information))
    run.filter.write_text(json.dumps(FILTER))
    run.history.write_text("epoch,val_auc,val_loss\n2,0.8,0.5\n")
    run.metrics.write_text('{"auc": 0.8, "auc_error": 0.1}')
    return run


@pytest.fixture
def file(run: RunDirectory, request: pytest.FixtureRequest) -> Iterator[Path]:
    """One file of the run, put back afterwards."""
    path = run.path / request.param
    content = path.read_bytes()
    yield path
    path.write_bytes(content)


@pytest.mark.parametrize("file", ["dataset.json"], indirect=True)
def test_dataset_json(file: Path, run: RunDirectory) -> None:
    """Signed again, so that only the types tell; statistics and sources are free text."""
    information = json.loads(file.read_text())
    free = ("sources", "software", "counts", "statistics", "normalisation", "checksum", "units")
    for place, wrong, values in list(swapped(information))[::5]:
        try:
            file.write_text(json.dumps(with_checksum(values)))
        except ValueError:  # NaN cannot be signed
            continue
        message = refused(lambda: read_information(run.path))
        again = refused(lambda: describe_run(run))
        if place[0] not in free and place[-1] not in (*free, "definition", "codes_file", "xxh3"):
            assert "dataset.json" in message, (place, wrong)
            assert again, (place, wrong)


@pytest.mark.parametrize("file", ["filter.json"], indirect=True)
def test_filter_json(file: Path) -> None:
    for place, wrong, values in swapped(FILTER):
        file.write_text(json.dumps(values))
        message = refused(lambda: read_filter(file).rules(("b0",)))
        used = place[-1] in ("a", "b", "maximum_weight", "slope", "intercept", "b0")
        if used and type(wrong) is not int:
            assert "filter.json" in message, (place, wrong)


@pytest.mark.parametrize("file", ["metadata.yaml"], indirect=True)
def test_metadata_yaml(file: Path, run: RunDirectory) -> None:
    for place, wrong, values in list(swapped(METADATA))[::2]:
        file.write_text(yaml.safe_dump(values))
        message = refused(lambda: describe_run(run))
        best_validation(run)
        sweep_rows([Job(0, run.path, ())])
        if place[0] in ("max_particles", "max_tokens") and wrong is not None:
            assert "metadata.yaml" in message, (place, wrong)


@pytest.mark.parametrize("file", ["config.yaml"], indirect=True)
def test_config_yaml_of_an_unfinished_run(file: Path, run: RunDirectory) -> None:
    config = yaml.safe_load(file.read_text())
    settings = compose_settings("train", TrainSettings, [f"run_dir={run.path}"])
    assert unfinished_run(settings) == run
    for place, wrong, values in list(swapped(config))[::29]:
        file.write_text(yaml.safe_dump(values))
        message = refused(lambda: unfinished_run(settings))
        assert not message or str(run.path) in message, (place, wrong)
        sweep_rows([Job(0, run.path, ())])


def test_metadata_of_an_exported_model(run: RunDirectory) -> None:
    information = json.loads(run.dataset.read_text())
    encoding = {k: v for k, v in information["encoding"].items() if v is not None}
    exported = {
        "format_version": 2,
        "label_names": ["b0"],
        "encoding": encoding,
        "vocabulary": information["vocabulary"],
        "particles": "tables",
        "max_particles": 100,
        "max_tokens": 150,
        "filter": FILTER,
    }

    def read(values: dict[str, Any]) -> None:
        entries = {name: json.dumps(value) for name, value in values.items()}
        found = read_metadata(session_with(entries), Path("model.onnx"))
        check_stored(EXPORTED, found, Path("model.onnx"), next_step="")
        description_of(found, Path("model.onnx"))

    read(exported)
    for place, wrong, values in swapped(exported):
        message = refused(partial(read, values))
        used = len(place) == 1 or place[-1] in ("features", "a", "b", "maximum_weight", "digest")
        if used and type(wrong) is not int and (place[0], wrong) != ("filter", None):
            assert "model.onnx" in message, (place, wrong, message)
    for text in OTHER:
        if text not in ("null", "3", "[]", "{}", '"x"', "NaN"):
            session = session_with({"a": text})
            message = refused(partial(read_metadata, session, Path("model.onnx")))
            assert "its entry 'a' is not JSON" in message


def session_with(entries: dict[str, str]) -> Any:
    """Stand in for a session of ONNX Runtime; its metadata are read alone."""
    return SimpleNamespace(get_modelmeta=lambda: SimpleNamespace(custom_metadata_map=entries))


def test_production_json(tmp_path: Path) -> None:
    settings = compose_settings("produce", ProduceSettings, [f"output={tmp_path}"])
    manifest = Manifest(tmp_path, settings)
    state = {"mixed_00000.h5": {"size": 3, "modified": 5, "sha256": "ab"}}
    manifest.chunks = {
        "mixed_00000.h5": {
            "name": "mixed_00000.h5",
            "event_type": "mixed",
            "n_events": 10,
            "passing": {"b0": 1},
            "unknown_codes": {},
            "made_from": {"chunk": 0},
            "files": state,
            "side_files": {},
        }
    }
    manifest.save()
    content = json.loads(manifest.path.read_text())
    for place, wrong, values in list(swapped(content))[::5]:
        if place[0] in ("settings", "software", "made_by") and len(place) > 2:
            continue
        manifest.path.write_text(json.dumps(values))
        message = refused(lambda: Manifest(tmp_path, settings))
        if place[-1] in ("format_version", "settings_hash"):
            assert str(tmp_path) in message, (place, wrong)


def test_a_folder_in_the_place_of_a_record(tmp_path: Path) -> None:
    (tmp_path / "production.json").mkdir()
    settings = compose_settings("produce", ProduceSettings, [f"output={tmp_path}"])
    with pytest.raises(OutputError, match="is a folder"):
        Manifest(tmp_path, settings)


def test_folders_and_names_in_the_configuration(tmp_path: Path) -> None:
    for folder in (tmp_path / "nowhere", tmp_path / ("n" * 300)):
        with pytest.raises(ConfigurationError, match="no such folder"):
            compose_settings("train", TrainSettings, [], str(folder))
    for name in ("[1]", "{a: 1}"):
        with pytest.raises(ConfigurationError):
            compose_settings("train", TrainSettings, [f"model.particles.branch={name}"])


@pytest.mark.parametrize("text", OTHER)
def test_whole_files(text: str, tmp_path: Path, run: RunDirectory) -> None:
    (tmp_path / "f.json").write_text(text)
    refused(lambda: read_json(tmp_path / "f.json"))
    with pytest.raises(InputError, match=r"f\.json"):
        read_filter(tmp_path / "f.json").rules(("b0",))
    if text != "{}":
        with pytest.raises(InputError, match=r"f\.json"):
            read_yaml(tmp_path / "f.json")
