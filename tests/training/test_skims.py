"""Some of a dataset's labels are learned: everything downstream knows only those."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from smartbkg_tf.dataset import stream
from smartbkg_tf.dataset.dataset import open_dataset
from smartbkg_tf.errors import ConfigurationError, InputError
from smartbkg_tf.events.table import EventTable
from smartbkg_tf.filtering.predictions import read_predictions
from smartbkg_tf.runtime.files import read_json
from smartbkg_tf.runtime.run_directory import RunDirectory, open_run
from smartbkg_tf.train import run as train
from smartbkg_tf.training.divergence import write_bad_batch
from smartbkg_tf.training.fit import fit
from tests.datasets import write_dataset
from tests.samples import make_events
from tests.training.samples import tiny_settings

#: Keras 3.15 calls np.array on its variables in a way that NumPy 2 warns about.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SKIMS = ("common", "rare", "never")


def events() -> EventTable:
    """Events with three skims, of which the last one keeps nothing."""
    table = make_events(600, seed=7, skims=SKIMS)
    rare = np.where(np.arange(600) % 5 == 0, 1, 0).astype(np.int8)
    unknown = np.where(np.arange(600) % 7 == 0, -1, rare).astype(np.int8)
    labels = {"common": table.labels["common"], "rare": unknown, "never": np.zeros_like(rare)}
    return replace(table, labels=labels)


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("several"), events(), max_particles=40)


@pytest.fixture(scope="module")
def chosen_run(several: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """Train one skim of three, with the whole command."""
    folder = tmp_path_factory.mktemp("chosen") / "run"
    settings = tiny_settings(
        several,
        folder,
        "data.skims=rare",
        "data.balance=1.0",
        "training.epochs=1",
        "+training.class_weights={rare: {passing: 2.0}}",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("smartbkg_tf.evaluation.evaluate.draw_models", lambda *_: [])
        train(settings)
    return open_run(folder)


def test_one_chosen_skim_is_learned_as_if_there_were_no_others(
    several: Path, tmp_path: Path
) -> None:
    table = events()
    alone = replace(table, labels={"common": table.labels["common"]})
    path = write_dataset(tmp_path, alone, max_particles=40)
    options = (
        *("data.balance=1.0", "training.class_weights=balanced", "training.epochs=1"),
        *("model.inputs=decay", "model.decay.filters=4", "model.decay.kernel_sizes=[4]"),
    )
    histories = []
    for data, more in ((path, ()), (several, ("data.skims=[common]",))):
        settings = tiny_settings(data, tmp_path / f"run{len(histories)}", *options, *more)
        rows = csv.DictReader(fit(settings, open_dataset(data)).history.read_text().splitlines())
        histories.append([{k: row[k] for k in ("loss", "val_loss", "val_auc")} for row in rows])
    assert histories[0] == histories[1]


def test_records_predictions_and_metrics_name_the_chosen_skim_only(
    chosen_run: RunDirectory, several: Path
) -> None:
    information = chosen_run.dataset_information()
    assert information["label_names"] == ["rare"]
    assert list(information["counts"]["labels"]) == ["rare"]
    assert yaml.safe_load(chosen_run.config.read_text())["data"]["skims"] == ["rare"]
    assert list(read_json(chosen_run.filter)) == ["rare"]
    predictions = read_predictions(chosen_run.predictions)
    assert list(predictions.skims) == ["rare"]
    dataset = open_dataset(several)
    rows = dataset.split()["test"]
    np.testing.assert_array_equal(predictions.skims["rare"].label, dataset.labels[rows, 1])
    metrics = read_json(chosen_run.metrics)
    assert metrics["skim"] == "rare"
    assert list(metrics["skims"]) == ["rare"]


def test_balance_follows_the_first_chosen_skim(several: Path) -> None:
    dataset = open_dataset(several, ["rare", "common"])
    train_events = dataset.split()["train"]
    batches = stream.training_stream(
        dataset, train_events, batch_size=64, inputs="decay", seed=1, balance=1.0
    )
    labels = np.concatenate([y.numpy() for _, y, _ in batches])
    known = dataset.labels[train_events, 0]
    assert labels[:, 0].sum() == np.count_nonzero(known == 1)
    assert len(labels) == 2 * np.count_nonzero(known == 1)


def test_bad_batches_list_the_chosen_labels(several: Path, tmp_path: Path) -> None:
    dataset = open_dataset(several, ["rare", "common"])
    write_bad_batch(tmp_path / "bad.csv", dataset, np.array([3, 1]))
    rows = list(csv.DictReader((tmp_path / "bad.csv").read_text().splitlines()))
    assert [name for name in rows[0] if name.startswith("label_")] == ["label_rare", "label_common"]
    everything = np.asarray(open_dataset(several).labels)
    assert [int(row["label_rare"]) for row in rows] == everything[[3, 1], 1].tolist()


def test_only_chosen_skims_need_both_classes(several: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no passing event of 'never'") as caught:
        fit(tiny_settings(several, tmp_path / "a"), open_dataset(several))
    assert "'common'" not in str(caught.value)
    with pytest.raises(InputError, match="'never'"):
        fit(tiny_settings(several, tmp_path / "b", "data.skims=[never]"), open_dataset(several))


def test_an_unknown_skim_is_refused_with_the_nearest_name(several: Path, tmp_path: Path) -> None:
    settings = tiny_settings(several, tmp_path / "run", "data.skims=[rares, commen]")
    with pytest.raises(ConfigurationError, match="did you mean 'rare'") as caught:
        train(settings)
    assert "did you mean 'common'" in str(caught.value), "all problems at once"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("text", ["[rare, common]", "'rare,common'", "'rare, common'"])
def test_a_text_with_commas_is_a_list(several: Path, text: str) -> None:
    settings = tiny_settings(several, None, f"data.skims={text}")
    assert settings.data.skims == ["rare", "common"]


@pytest.mark.parametrize(
    ("text", "message"),
    [("[]", "names of skims are needed"), ("'a,,b'", "names of skims"), ("[a, a]", "'a' is named")],
)
def test_no_name_or_a_name_twice_is_refused(several: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        tiny_settings(several, None, f"data.skims={text}")


def test_an_unfinished_run_of_other_skims_is_not_continued(
    chosen_run: RunDirectory, several: Path
) -> None:
    from smartbkg_tf.settings.plugins import plain
    from smartbkg_tf.training.run_folder import changed_keys

    old = yaml.safe_load(chosen_run.config.read_text())
    new = plain(tiny_settings(several, None, "data.skims=[common]"))
    assert "data.skims: ['rare'] -> ['common']" in changed_keys(old, new)
