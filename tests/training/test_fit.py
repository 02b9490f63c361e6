"""Training on a small dataset, from settings to the run directory."""

from __future__ import annotations

import csv
import math
import re
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import yaml
from sklearn.metrics import roc_auc_score

from smartbkg_tf.dataset import stream
from smartbkg_tf.dataset.dataset import open_dataset
from smartbkg_tf.errors import ConfigurationError, InputError, OutputError, UserError
from smartbkg_tf.models.base import NNBaseClass
from smartbkg_tf.models.loading import load_model
from smartbkg_tf.runtime.run_directory import RunDirectory, open_run
from smartbkg_tf.settings.base import validate
from smartbkg_tf.settings.training import TrainingSettings, TrainSettings
from smartbkg_tf.training.devices import device_scope
from smartbkg_tf.training.fit import fit
from tests.datasets import write_dataset
from tests.samples import make_events
from tests.training.samples import SHARED_RUN, history, tiny_settings, without_times

#: Keras 3.15 calls np.array on its variables in a way that NumPy 2 warns about.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def test_everything_is_in_the_run_directory(run: RunDirectory, dataset_path: Path) -> None:
    assert open_run(run.path) == run
    assert {path.name for path in run.path.iterdir()} == {
        "checkpoints",
        "config.yaml",
        "metadata.yaml",
        "dataset.json",
        "model.keras",
        "last.keras",
        "history.csv",
        "tensorboard",
        "model.txt",
        # Only where Graphviz and pydot are.
        *(["model.svg"] if run.drawing.exists() else []),
    }
    assert run.dataset.read_bytes() == (dataset_path / "dataset.json").read_bytes()
    assert len(history(run)) == 4


def test_configuration_and_metadata(run: RunDirectory, dataset_path: Path) -> None:
    config = yaml.safe_load(run.config.read_text())
    assert validate(TrainSettings, config).training.epochs == 4
    assert config["model"]["_target_"] == "smartbkg_tf.models.network.BranchedNetwork"
    metadata = yaml.safe_load(run.metadata.read_text())
    dataset = open_dataset(dataset_path)
    split = dataset.split()
    assert metadata["dataset"]["digest"] == dataset.digest
    assert metadata["dataset"]["train"] == len(split["train"])
    assert metadata["dataset"]["validation"] == len(split["validation"])
    assert (metadata["max_particles"], metadata["max_tokens"]) == (40, 150)
    assert metadata["seeds"]["training"] == 1
    assert metadata["result"]["epochs"] == 4
    assert metadata["timings"]["events_per_second"] > 0
    passing = int((dataset.labels[split["train"], 0] == 1).sum())
    assert metadata["dataset"]["events_per_epoch"] == passing + round(1.5 * passing)


def test_the_best_model_is_the_one_with_the_lowest_validation_loss(run: RunDirectory) -> None:
    losses = [row["val_loss"] for row in history(run)]
    best = int(np.argmin(losses)) + 1
    assert yaml.safe_load(run.metadata.read_text())["result"]["best_epoch"] == best


def test_history_holds_validation_events_weighted_as_in_training(
    run: RunDirectory, dataset_path: Path
) -> None:
    dataset = open_dataset(dataset_path)
    split = dataset.split()
    best = min(history(run), key=lambda row: row["val_loss"])
    model = load_model(run.model)
    labels = dataset.labels[split["validation"], 0]
    logits = np.asarray(model(dataset.batch(split["validation"], "particles")))[:, 0]
    # One passing event to 1.5 failing ones, as in training, instead of the natural mixture.
    passing = (labels == 1).mean()
    weight = np.where(labels == 1, 0.4 / passing, 0.6 / (1 - passing))
    losses = np.logaddexp(0, np.where(labels == 1, -logits, logits))
    assert best["val_loss"] == pytest.approx((losses * weight).mean(), rel=1e-4)
    assert best["val_auc"] == pytest.approx(roc_auc_score(labels, logits), abs=2e-3)


def test_last_model_is_ready_to_go_on(run: RunDirectory) -> None:
    last = keras.saving.load_model(run.last_model)
    steps = math.ceil(yaml.safe_load(run.metadata.read_text())["dataset"]["events_per_epoch"] / 64)
    assert int(last.optimizer.iterations) == 4 * steps


@pytest.mark.parametrize("seed", [pytest.param(1, marks=pytest.mark.slow), 4])
def test_same_seed_same_history_another_seed_another(
    run: RunDirectory, dataset_path: Path, tmp_path: Path, seed: int
) -> None:
    options = (*SHARED_RUN, f"training.seed={seed}", "training.epochs=1")
    again = fit(tiny_settings(dataset_path, tmp_path / "run", *options), open_dataset(dataset_path))
    first, other = (without_times(history(r))[0] for r in (run, again))
    assert (first == other) is (seed == 1)


def test_training_and_validation_events_differ_and_follow_the_seed(
    dataset_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = open_dataset(dataset_path)
    seen: dict[str, Any] = {}

    def watch(name: str) -> Any:
        real = getattr(stream, name)

        def wrapped(data: Any, indices: Any, **options: Any) -> Any:
            seen[name] = (set(np.asarray(indices).tolist()), options)
            return real(data, indices, **options)

        return wrapped

    class EnoughError(Exception):
        pass

    def no_training(*_: Any, **__: Any) -> None:
        raise EnoughError

    for name in ("training_stream", "evaluation_stream"):
        monkeypatch.setattr(stream, name, watch(name))
    monkeypatch.setattr(NNBaseClass, "fit", no_training)
    options = ("training.epochs=1", "training.seed=17", "data.max_particles=20")
    with pytest.raises(EnoughError):
        fit(tiny_settings(dataset_path, tmp_path / "run", *options), dataset)
    (trained, how), (watched, how_watched) = seen["training_stream"], seen["evaluation_stream"]
    tested = set(dataset.split()["test"].tolist())
    assert not trained & watched
    assert not (trained | watched) & tested
    assert len(trained | watched | tested) == len(dataset)
    assert how["seed"] == 17
    assert how["max_particles"] == how_watched["max_particles"] == 20
    metadata = yaml.safe_load((tmp_path / "run" / "metadata.yaml").read_text())
    assert metadata["max_particles"] == 20


def test_a_network_that_the_data_cannot_feed_leaves_nothing_behind(tmp_path: Path) -> None:
    strings = make_events(300, seed=2)
    path = write_dataset(tmp_path / "data", strings, key="decay_strings")
    with pytest.raises(UserError, match="particle"):
        fit(tiny_settings(path, tmp_path / "run"), open_dataset(path))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_xla_trains_the_same_network(dataset_path: Path, tmp_path: Path) -> None:
    # Warnings are errors here: Keras would warn if it fell back to uncompiled steps.
    dataset = open_dataset(dataset_path)
    options = (
        "training.epochs=1",
        "training.xla=true",
        "training.batch_size=500",
        "model.inputs=decay",
        "model.decay.filters=4",
        "model.decay.kernel_sizes=[4]",
    )
    run = fit(tiny_settings(dataset_path, tmp_path / "run", *options), dataset)
    validation = dataset.split()["validation"]
    logits = np.asarray(load_model(run.model)(dataset.batch(validation, "decay")))[:, 0]
    labels = dataset.labels[validation, 0]
    passing, trained = (labels == 1).mean(), dataset.labels[dataset.split()["train"], 0].mean()
    weight = np.where(labels == 1, trained / passing, (1 - trained) / (1 - passing))
    losses = np.logaddexp(0, np.where(labels == 1, -logits, logits))
    assert history(run)[0]["val_loss"] == pytest.approx((losses * weight).mean(), rel=1e-4)


def test_a_network_learns_and_stops_early(dataset_path: Path, tmp_path: Path) -> None:
    settings = tiny_settings(
        dataset_path,
        tmp_path / "run",
        "model.inputs=decay",
        "model.decay.filters=8",
        "model.decay.kernel_sizes=[4]",
        "training.epochs=40",
        "training.early_stopping=2",
        "training.learning_rate=0.02",
        "training.schedule.patience=0",
        "training.monitor=val_auc",
    )
    run = fit(settings, open_dataset(dataset_path))
    rows = history(run)
    assert max(row["val_auc"] for row in rows) > 0.6
    assert len(rows) < 40
    assert yaml.safe_load(run.metadata.read_text())["result"]["stopped_early"] is True
    # The plateau schedule followed the validation events.
    best, rate = 0.0, 0.02
    for row in rows:
        # The history holds the rate after the schedule has looked at the epoch.
        rate, best = (rate, row["val_auc"]) if row["val_auc"] > best else (0.3 * rate, best)
        assert row["learning_rate"] == pytest.approx(max(rate, 1e-6), rel=1e-4)


def test_several_skims_with_unknown_labels_and_weights_of_their_own(tmp_path: Path) -> None:
    events = make_events(500, seed=2, skims=("one", "two"))
    # The same labels, two thirds of them known: only the weights make a difference.
    events.labels["two"][:] = events.labels["one"]
    events.labels["two"][::3] = -1
    path = write_dataset(tmp_path / "data", events, max_particles=40)
    dataset = open_dataset(path)
    options = (
        "+training.class_weights={one: {passing: 20.0}, two: {failing: 20.0}}",
        "training.learning_rate=0.005",
    )
    run = fit(tiny_settings(path, tmp_path / "run", *options), dataset)
    assert {"auc_one", "auc_two", "val_auc_two"} <= set(history(run)[0])
    model = load_model(run.model)
    assert model.output_shape == (None, 2)
    scores = np.asarray(model(dataset.batch(dataset.split()["test"], "particles")))
    assert scores[:, 0].mean() > scores[:, 1].mean() + 0.5


def test_lengths_that_do_not_fit_the_events(dataset_path: Path, tmp_path: Path) -> None:
    dataset = open_dataset(dataset_path)
    longest = dataset.information["max_lengths"]
    assert 5 < longest["particles"] <= 40
    asked = ("data.max_particles=1000000", "data.max_tokens=2000")
    with pytest.raises(ConfigurationError) as caught:
        fit(tiny_settings(dataset_path, tmp_path / "run", *asked), dataset)
    assert "data.max_particles=1000000: the longest event has" in str(caught.value)
    assert "use at most 40" in str(caught.value)
    assert f"data.max_tokens=2000: the longest event has {longest['tokens']}" in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_one_class_is_refused_before_anything_is_written(
    dataset_path: Path, tmp_path: Path
) -> None:
    # A validation part so small that none of its events passes.
    options = ("data.fractions={train: 0.98, validation: 0.004, test: 0.016}",)
    dataset = open_dataset(dataset_path)
    validation = dataset.split({"train": 0.98, "validation": 0.004, "test": 0.016})["validation"]
    assert len(set(dataset.labels[validation, 0])) == 1, "choose another fraction"
    with pytest.raises(InputError, match=r"validation events have no (passing|failing) event of"):
        fit(tiny_settings(dataset_path, tmp_path / "run", *options), dataset)
    assert not (tmp_path / "run").exists()


def test_an_existing_run_is_refused_and_stays(
    run: RunDirectory, dataset_path: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run.path, copy)
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    with pytest.raises(OutputError, match="overwrite=true"):
        fit(tiny_settings(dataset_path, copy), open_dataset(dataset_path))
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before


def test_divergence_stops_at_once_and_names_the_events(dataset_path: Path, tmp_path: Path) -> None:
    dataset = open_dataset(dataset_path)
    settings = tiny_settings(
        dataset_path,
        tmp_path / "run",
        "training/optimizer=sgd",
        "training.learning_rate=1e30",
        "training.gradient_clipping=null",
    )
    words = r"diverged: loss is \S+ in epoch 1; [\s\S]* training batch (\d)[\s\S]*learning_rate"
    with pytest.raises(UserError, match=words) as caught:
        fit(settings, dataset)
    assert not (tmp_path / "run" / "done.json").exists()
    found = re.search(words, str(caught.value))
    assert found is not None
    bad = list(csv.DictReader((tmp_path / "run" / "bad_batch.csv").read_text().splitlines()))
    # The batch as the stream gives it.
    train = stream.training_stream(
        dataset,
        dataset.split()["train"],
        batch_size=64,
        inputs="particles",
        seed=1,
        balance=None,
    )
    labels = [batch[1].numpy()[:, 0] for batch in train][int(found[1]) - 1]
    skim = dataset.label_names[0]
    assert [float(row[f"label_{skim}"]) for row in bad] == labels.tolist()
    for row in bad:
        position = int(row["position"])
        assert int(row["event"]) == dataset.keys["event"][position]
        assert int(row["run"]) == dataset.keys["run"][position]


def test_precision_of_one_run_does_not_reach_the_next() -> None:
    training = validate(TrainingSettings, {"mixed_precision": "bfloat16"})
    with pytest.raises(UserError), device_scope(training):
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
        raise UserError("ended by something")
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision_trains(dataset_path: Path, tmp_path: Path, precision: str) -> None:
    options = ("training.epochs=1", f"training.mixed_precision={precision}")
    run = fit(tiny_settings(dataset_path, tmp_path / "run", *options), open_dataset(dataset_path))
    model = load_model(run.model)
    assert precision in {layer.compute_dtype for layer in model.layers}
    assert math.isfinite(history(run)[0]["val_loss"])
