"""The backbone of another run for a new skim."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import yaml

from smartbkg_tf.dataset.dataset import open_dataset
from smartbkg_tf.errors import InputError
from smartbkg_tf.models.loading import load_model
from smartbkg_tf.runtime.run_directory import RunDirectory
from smartbkg_tf.settings.training import FineTuningSettings
from smartbkg_tf.training.finetuning import open_source, take_backbone
from smartbkg_tf.training.fit import fit
from tests.datasets import write_dataset
from tests.samples import make_events
from tests.training.samples import tiny_settings

#: Keras 3.15 calls np.array on its variables in a way that NumPy 2 warns about.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def new_skims(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Other events, with two skims instead of one."""
    events = make_events(300, seed=8, skims=("new", "newer"))
    return write_dataset(tmp_path_factory.mktemp("new"), events, max_particles=40)


def weights(path: Path) -> dict[str, np.ndarray]:
    return {weight.path: weight.numpy() for weight in load_model(path).weights}


@pytest.mark.parametrize("backbone", ["frozen", "frozen_branches", "layerwise"])
def test_a_run_begins_with_the_backbone_of_another(
    run: RunDirectory, new_skims: Path, tmp_path: Path, backbone: str
) -> None:
    settings = tiny_settings(
        new_skims,
        tmp_path / "run",
        f"training.init_from={run.path}",
        f"training.fine_tuning.backbone={backbone}",
        "training.fine_tuning.first_layer_rate=0.001",
        "training/optimizer=sgd",
        "training.epochs=1",
    )
    tuned = fit(settings, open_dataset(new_skims))
    before, after = weights(run.model), weights(tuned.last_model)
    assert before.keys() == after.keys()
    assert after["y_output/kernel"].shape[1] == 2
    assert yaml.safe_load(tuned.metadata.read_text())["init_from"] == str(run.path)

    def moved(word: str) -> float:
        paths = [p for p in after if word in p and "moving" not in p]
        return max(float(np.abs(after[p] - before[p]).max()) for p in paths)

    learning = {"frozen": ("y_output",), "frozen_branches": ("y_output", "head_")}.get(backbone)
    if learning:
        assert all(moved(name) > 0 for name in learning)
        for path in after:
            if not path.startswith(learning):
                np.testing.assert_array_equal(after[path], before[path], err_msg=path)
    else:
        assert 0 < moved("pdg_embedding") < 1e-5
        assert moved("head_1/") > 10 * moved("pdg_embedding")


def make_model(run: RunDirectory) -> keras.Model:
    """Make a new network of the same kind."""
    model = load_model(run.model)
    for weight in model.weights:
        weight.assign(np.zeros(weight.shape))
    return model


def test_the_output_is_new_and_the_rest_is_that_of_the_best_epoch(run: RunDirectory) -> None:
    model = make_model(run)
    source = open_source(str(run.path), run.dataset_information())
    take_backbone(source, model, FineTuningSettings(backbone="free"))
    expected = weights(run.model)
    for weight in model.weights:
        if weight.path.startswith("y_output/"):
            assert not weight.numpy().any()
        else:
            np.testing.assert_array_equal(weight.numpy(), expected[weight.path])
    assert all(layer.trainable for layer in model.layers)


def test_another_architecture_is_refused(
    run: RunDirectory, dataset_path: Path, tmp_path: Path
) -> None:
    options = (f"training.init_from={run.path}", "model.head.units=[9]")
    with pytest.raises(InputError, match=r"head_1/kernel: \(\d+, 8\) there, \(\d+, 9\) here"):
        fit(tiny_settings(dataset_path, tmp_path / "run", *options), open_dataset(dataset_path))
    assert not (tmp_path / "run").exists()


def test_another_normalisation_is_refused(run: RunDirectory) -> None:
    source = open_source(str(run.path), run.dataset_information())
    other = keras.saving.load_model(run.model, compile=False)
    layer = other.get_layer("normalisation")
    changed = {k: dict(v) for k, v in layer.get_config()["features"].items()}
    changed["energy"]["scale"] = 0.5
    config = {**layer.get_config(), "features": changed}

    def clone(old: Any) -> Any:
        return type(old).from_config(config if old.name == "normalisation" else old.get_config())

    with pytest.raises(InputError, match="another normalisation"):
        take_backbone(
            source, keras.models.clone_model(other, clone_function=clone), FineTuningSettings()
        )


def test_other_data_are_refused(run: RunDirectory, tmp_path: Path) -> None:
    information = run.dataset_information()
    information["vocabulary"] = {**information["vocabulary"], "digest": "0"}
    with pytest.raises(InputError, match="another vocabulary"):
        open_source(str(run.path), information)
    information = run.dataset_information()
    information["encoding"] = {**information["encoding"], "feature_names": ["energy"]}
    with pytest.raises(InputError, match="another features"):
        open_source(str(run.path), information)
    with pytest.raises(InputError, match="does not exist"):
        open_source(str(tmp_path / "none"), information)


def test_constants_are_those_of_the_run(run: RunDirectory, tmp_path: Path) -> None:
    shutil.copytree(run.path, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    copy = RunDirectory(tmp_path / "run")
    source = open_source(str(copy.path), run.dataset_information())
    assert source.normalisation == run.dataset_information()["normalisation"]
    given = json.loads(json.dumps(source.normalisation))
    given["features"]["energy"]["scale"] = 7.0
    changed = dataclasses.replace(source, config={**source.config, "normalisation": given})
    assert changed.normalisation["features"]["energy"]["scale"] == 7.0
