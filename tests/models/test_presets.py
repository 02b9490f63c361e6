"""Trained networks that come with the package."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import yaml

from smartbkg_tf.dataset.dataset import open_dataset
from smartbkg_tf.errors import InputError
from smartbkg_tf.models.answers import frozen_network
from smartbkg_tf.models.loading import load_model
from smartbkg_tf.runtime.run_directory import PRESETS, open_trained
from tests.models.model_test_case import graph
from tests.models.test_answers import train
from tests.training.samples import history, small_dataset

NAMES = sorted(path.name for path in PRESETS.iterdir() if path.is_dir())


def test_names() -> None:
    assert "belle2" in NAMES
    with pytest.raises(InputError, match="no preset 'belle'; there are: belle2"):
        open_trained("preset:belle")


@pytest.mark.parametrize("name", NAMES)
def test_what_is_in_it(name: str) -> None:
    """Small, without a state of the optimiser, and nothing about the machine that made it."""
    run = open_trained(f"preset:{name}")
    assert sum(path.stat().st_size for path in run.path.iterdir()) < 5e6
    metadata = run.read_metadata()
    assert metadata["result"]["val_auc"] > 0.93
    assert metadata["seeds"]["training"] > 0
    assert "hardware" not in metadata
    texts = [yaml.safe_dump(run.read_config()), yaml.safe_dump(metadata), run.dataset.read_text()]
    for text in texts:
        for place in ("/tmp", "/home", "/work", "/root", "\\\\"):
            assert place not in text
    model = load_model(run.model)
    assert getattr(model, "optimizer", None) is None
    names = run.dataset_information()["label_names"]
    assert model.output_shape == (None, len(names))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_dataset(tmp_path_factory.mktemp("presets"))


def test_its_questions_are_answered(dataset: Path) -> None:
    """More than n tracks: the logits fall with n and grow with the charged particles."""
    information = open_trained("preset:belle2").dataset_information()
    network = frozen_network("preset:belle2")
    data = open_dataset(dataset)
    events = data.batch(np.arange(100), [x.name for x in network.inputs])
    logits = np.asarray(graph(network)(events))
    names = information["label_names"]
    tracks = [names.index(name) for name in names if name.startswith("nTracks_")]
    passing = 1 / (1 + np.exp(-logits[:, tracks].astype(float)))
    assert np.all(np.diff(passing.mean(axis=0)) < 0)
    charge = np.asarray(events["particle_input"])[
        ..., information["encoding"]["feature_names"].index("charge")
    ]
    stable = np.abs(charge).sum(axis=1)
    assert np.corrcoef(stable, logits[:, tracks].mean(axis=1))[0, 1] > 0.5


@pytest.mark.slow
def test_a_training_begins_with_it(dataset: Path, tmp_path: Path) -> None:
    run = train(
        dataset,
        tmp_path / "run",
        *("model=treenet_trees", "training.init_from=preset:belle2", "training.epochs=1"),
        *("model.head.forest.answers=preset:belle2", "model.head.forest.trees=10"),
    )
    assert len(history(run)) == 1
    tuned = load_model(run.model)
    events = open_dataset(dataset).batch(np.arange(20), [x.name for x in tuned.inputs])
    read = keras.Model(tuned.inputs, tuned.get_layer("quantities_and_answers").output)
    before = load_model(open_trained("preset:belle2").model)
    theirs = {x.name: events[x.name] for x in before.inputs}
    np.testing.assert_allclose(
        np.asarray(read(events))[:, -before.output_shape[-1] :],
        np.asarray(graph(before)(theirs)),
        atol=1e-4,
    )
