"""``model=trees`` through training, loading and export, and the bins of quantities."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from smartbkg_tf.dataset.dataset import open_dataset
from smartbkg_tf.errors import ConfigurationError, InputError
from smartbkg_tf.models.forest import MeanWithForest
from smartbkg_tf.models.loading import load_model
from smartbkg_tf.models.network import BranchedNetwork
from smartbkg_tf.runtime.command import compose_settings
from smartbkg_tf.settings.training import TrainSettings
from smartbkg_tf.training.fit import fit
from tests.models.model_test_case import common_arguments, graph
from tests.training.samples import history, small_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_dataset(tmp_path_factory.mktemp("trees"))


def settings(dataset: Path, folder: Path, *more: str) -> TrainSettings:
    return compose_settings(
        "train", TrainSettings, [f"data.path='{dataset}'", f"run_dir='{folder}'", *more]
    )


def test_trees_are_trained_saved_and_loaded(dataset: Path, tmp_path: Path) -> None:
    small = ("model=trees", "model.head.forest.trees=40", "training.epochs=5")
    run = fit(settings(dataset, tmp_path / "run", *small), open_dataset(dataset))
    rows = history(run)
    assert len(rows) == 1, "one pass, whatever training.epochs says"
    data = open_dataset(dataset)
    model = load_model(run.model)
    events = data.batch(np.arange(len(data)), [x.name for x in model.inputs])
    scores = np.asarray(graph(model)(events))[:, 0]
    labels = np.asarray(data.labels)[:, 0]
    area = roc_auc_score(labels[labels >= 0], scores[labels >= 0])
    assert area > 0.9, "trees learn 400 events by heart"
    assert rows[0]["auc"] > 0.9


def test_events_of_one_class_are_refused_before_a_folder_is_made(
    dataset: Path, tmp_path: Path
) -> None:
    one_event = ("training.batch_size=1", "model.head.forest.max_events=1")
    with pytest.raises(InputError, match="fei_hadronic_b0: boosted trees need passing and failing"):
        fit(settings(dataset, tmp_path / "run", "model=trees", *one_event), open_dataset(dataset))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_mean_of_a_network_and_trees(dataset: Path, tmp_path: Path) -> None:
    small = (
        *("model=treenet_trees", "model.particles.units=8", "model.particles.hidden=8"),
        *("model.particles.layers=1", "model.head.units=[8]", "model.head.forest.trees=10"),
        *("model.head.inputs.quantities.units=4", "training.epochs=2", "training.batch_size=128"),
    )
    run = fit(settings(dataset, tmp_path / "run", *small), open_dataset(dataset))
    assert len(history(run)) == 2
    model = load_model(run.model)
    events = open_dataset(dataset).batch(np.arange(20), [x.name for x in model.inputs])
    parts = [model.get_layer(name).output for name in ("network_output", "forest")]
    network, forest = keras.Model(model.inputs, parts)(events)
    assert np.std(forest) > 0
    mean = (np.asarray(network) + np.asarray(forest)) / 2
    np.testing.assert_allclose(np.asarray(graph(model)(events)), mean, atol=1e-5)
    low = np.asarray(model.get_layer("quantity_bins").low)
    assert np.all(np.diff(low, axis=1) >= 0)
    assert low.std() > 0


def test_the_mean_leaves_the_network_alone_while_it_is_trained() -> None:
    network, forest = np.float32([[1.0]]), np.float32([[4.0]])
    layer = MeanWithForest()
    assert np.asarray(layer(network, forest)) == 2.5
    assert np.asarray(layer(network, forest, training=True)) == 1.0


def test_trees_refuse_the_decay_string() -> None:
    with pytest.raises(ConfigurationError, match=r"model.inputs=decay does not"):
        BranchedNetwork(head={"forest": {}}, **common_arguments("decay"))
