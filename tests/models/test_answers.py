"""A trained network whose answers join the quantities of the event."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

from smartbkg_tf.dataset.dataset import open_dataset
from smartbkg_tf.errors import InputError
from smartbkg_tf.models.loading import load_model
from smartbkg_tf.models.quantities import QUANTITIES
from smartbkg_tf.runtime.command import compose_settings
from smartbkg_tf.runtime.run_directory import RunDirectory
from smartbkg_tf.settings.training import TrainSettings
from smartbkg_tf.training.fit import fit
from tests.models.model_test_case import graph
from tests.training.samples import history, small_dataset

#: A network with dropout, which must be off where it answers.
QUESTIONS = (
    *("model=gcn", "model.particles.units=8", "model.head.units=[8]", "model.head.dropout=0.4"),
    *("training.epochs=1", "training.batch_size=128", "training.progress=false"),
)


def train(dataset: Path, folder: Path, *more: str) -> RunDirectory:
    settings = compose_settings(
        "train", TrainSettings, [f"data.path='{dataset}'", f"run_dir='{folder}'", *more]
    )
    return fit(settings, open_dataset(dataset))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_dataset(tmp_path_factory.mktemp("answers"))


@pytest.fixture(scope="module")
def questions(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return train(dataset, tmp_path_factory.mktemp("questions") / "run", *QUESTIONS)


def test_trees_read_the_answers(dataset: Path, questions: RunDirectory, tmp_path: Path) -> None:
    trees = (
        "model=trees",
        "model.head.forest.trees=20",
        f"model.head.forest.answers='{questions.path}'",
    )
    run = train(dataset, tmp_path / "run", *trees)
    data = open_dataset(dataset)
    model, asked = load_model(run.model), load_model(questions.model)
    events = data.batch(np.arange(50), [x.name for x in model.inputs])
    (joined,) = (one for one in model.layers if one.name == "quantities_and_answers")
    read = np.asarray(keras.Model(model.inputs, joined.output)(events))
    assert read.shape == (50, len(QUANTITIES) + 1)
    theirs = data.batch(np.arange(50), [x.name for x in asked.inputs])
    np.testing.assert_allclose(read[:, -1:], np.asarray(graph(asked)(theirs)), atol=1e-5)
    assert np.std(read[:, -1]) > 0
    # The last column decides something.
    feature = np.asarray(model.get_layer("y_output").feature)
    assert len(QUANTITIES) in feature
    assert len(history(run)) == 1, "nothing learns by gradients: one pass"


def test_what_is_refused(dataset: Path, questions: RunDirectory, tmp_path: Path) -> None:
    answers = f"model.head.forest.answers='{questions.path}'"
    with pytest.raises(Exception, match="lies inside"):
        train(dataset, questions.path / "inside", "model=trees", answers)
    other = tmp_path / "other"
    shutil.copytree(questions.path, other)
    information = json.loads((other / "dataset.json").read_text())
    names = information["encoding"]["feature_names"]
    # A vocabulary of the same size with other codes would give wrong answers without an error.
    for part, values, what in (
        ("encoding", {"feature_names": names[::-1]}, "features"),
        ("vocabulary", {"digest": "another"}, "vocabulary"),
    ):
        changed = {**information, part: {**information[part], **values}}
        (other / "dataset.json").write_text(json.dumps(changed))
        with pytest.raises(InputError, match=f"forest.answers: its data have another {what}"):
            train(
                *(dataset, tmp_path / "run", "model=trees"),
                f"model.head.forest.answers='{other}'",
            )
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_backbone_fits_a_network_with_trees(dataset: Path, tmp_path: Path) -> None:
    """Bins and weights come from the backbone; trees (which read its answers) are new."""
    sizes = (
        *("model.particles.units=8", "model.particles.hidden=8", "model.particles.layers=1"),
        *("model.head.units=[8]", "model.head.inputs.quantities.units=4"),
        *("training.epochs=1", "training.batch_size=128", "data.fractions.train=0.3"),
    )
    inputs = "model/head/inputs=[summaries,quantities]"
    backbone = train(dataset, tmp_path / "backbone", "model=treenet", inputs, *sizes)
    tuned = train(
        dataset,
        tmp_path / "tuned",
        *("model=treenet_trees", *sizes, "data.fractions.train=0.7"),
        *("model.head.forest.trees=10", f"training.init_from='{backbone.path}'"),
        f"model.head.forest.answers='{backbone.path}'",
        *("training.learning_rate=1e-6", "training/schedule=constant"),
    )
    before, after = load_model(backbone.last_model), load_model(tuned.last_model)
    for name in ("low", "slope"):
        low, high = (getattr(one.get_layer("quantity_bins"), name) for one in (before, after))
        np.testing.assert_array_equal(np.asarray(low), np.asarray(high))
    kernels = [np.asarray(one.get_layer("quantity_dense").kernel) for one in (before, after)]
    np.testing.assert_allclose(*kernels, atol=1e-3)
    assert np.std(np.asarray(after.get_layer("forest").value)) > 0
