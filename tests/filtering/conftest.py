"""A small trained run with two skims, made once by the real chain."""

from __future__ import annotations

import functools
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from smartbkg_tf.dataset.dataset import Dataset, open_dataset
from smartbkg_tf.events.table import EventTable
from smartbkg_tf.filtering import scorers
from smartbkg_tf.filtering.export import export
from smartbkg_tf.filtering.filter_fit import fit_filter
from smartbkg_tf.models.loading import save_model
from smartbkg_tf.models.registry import build
from smartbkg_tf.runtime.command import compose_settings
from smartbkg_tf.runtime.run_directory import RunDirectory
from smartbkg_tf.settings.filtering import ExportSettings, FilterFitSettings
from smartbkg_tf.settings.plugins import plain
from smartbkg_tf.settings.training import TrainSettings
from smartbkg_tf.training.run_folder import write_yaml
from smartbkg_tf.training.skim_losses import SkimCrossentropy
from tests.datasets import write_dataset
from tests.samples import make_events
from tests.shared import made_once

SKIMS = ("fei_hadronic_b0", "fei_hadronic_bplus")


@dataclass(frozen=True)
class Trained:
    """The run, its dataset, and the events that the dataset was made from."""

    run: RunDirectory
    dataset: Dataset
    events: EventTable
    tables: Path


def save(model: Any, path: Path) -> None:
    """Save a model; Keras 3.15 and NumPy 2.4 warn about each other on the way."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        save_model(model, path)


def make_events_and_run(folder: Path) -> None:
    """Train a few steps by hand: what is tested here is what comes after `fit`."""
    import keras

    path = write_dataset(folder, sample(), max_particles=60, max_tokens=90)
    dataset = open_dataset(path)
    settings = compose_settings(
        "train",
        TrainSettings,
        [
            "model=resnet",
            f"data.path={path}",
            "model.particles.filters=8",
            "model.particles.kernel_sizes=[4]",
            "model.decay.filters=8",
            "model.decay.kernel_sizes=[5]",
            "model.head.units=[16]",
        ],
    )
    keras.utils.set_random_seed(1)
    network = build(settings.model, dataset.information)
    network.model.compile(
        optimizer=keras.optimizers.Adam(0.01), loss=SkimCrossentropy(0.0), jit_compile=False
    )
    train = dataset.split(settings.data.fractions)["train"]
    for step in range(24):
        rows = train[np.arange(step * 128, step * 128 + 128) % len(train)]
        arrays = dataset.batch(rows, inputs=network.input_names)
        network.model.train_on_batch(arrays, dataset.labels[rows].astype(np.float32))
    run = RunDirectory(folder / "run")
    run.path.mkdir()
    save(network.model, run.model)
    write_yaml(run.config, plain(settings))
    write_yaml(run.metadata, {"max_particles": 60, "max_tokens": 90})
    shutil.copyfile(dataset.path / "dataset.json", run.dataset)


def sample() -> EventTable:
    return make_events(600, seed=3, skims=SKIMS)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    """Give the run without a fitted filter, or before it is fitted; its model is read once."""
    folder = made_once(tmp_path_factory, "filtering", make_events_and_run)
    dataset = open_dataset(folder / "dataset")
    run, tables = RunDirectory(folder / "run"), folder / "tables" / "events_0.h5"
    load = scorers.load_run_model
    model = functools.cache(lambda: load(run))

    def load_once(wanted: RunDirectory, path: Path | None = None) -> Any:
        return model() if (path or wanted.model) == run.model else load(wanted, path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scorers, "load_run_model", load_once)
        yield Trained(run, dataset, sample(), tables)


@pytest.fixture(scope="session")
def fitted(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Give the same run with its filter fitted."""

    def fit(_: Path) -> None:
        fit_filter(trained.run, trained.dataset, FilterFitSettings(bootstrap=10))

    made_once(tmp_path_factory, "filtering_fitted", fit)
    return trained


@pytest.fixture(scope="session")
def onnx_model(fitted: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the exported run, which processes open without TensorFlow."""

    def write(folder: Path) -> None:
        export(ExportSettings(run=str(fitted.run.path), output=str(folder / "onnx")))

    return made_once(tmp_path_factory, "filtering_onnx", write) / "onnx" / "model.onnx"


@pytest.fixture
def run_copy(fitted: Trained, tmp_path: Path) -> RunDirectory:
    """Copy the run, so that a test may damage it."""
    return RunDirectory(Path(shutil.copytree(fitted.run.path, tmp_path / "run")))
