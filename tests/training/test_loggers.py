"""What other programs show of a run."""

from __future__ import annotations

import importlib.util
import io
import sys
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import auc, roc_auc_score

from smartbkg_tf.dataset.dataset import open_dataset
from smartbkg_tf.errors import UserError
from smartbkg_tf.models.metrics import SkimAUC
from smartbkg_tf.runtime.run_directory import RunDirectory
from smartbkg_tf.settings.training import MLflowSettings
from smartbkg_tf.training.fit import fit
from smartbkg_tf.training.loggers import MLflowLog, roc_png, roc_points
from smartbkg_tf.training.resume import read_callbacks, write_callbacks
from tests.training.samples import tiny_settings


def test_the_curve_is_that_of_the_scores() -> None:
    random = np.random.default_rng(2)
    labels = random.integers(0, 2, 300)
    logits = (labels + random.normal(size=300)).astype(np.float32)
    metric = SkimAUC(1)
    metric.update_state(labels[:, None].astype(np.float32), logits[:, None])
    failing, passing = roc_points(metric.passing.numpy()[0], metric.failing.numpy()[0])
    assert (failing[0], passing[0], failing[-1], passing[-1]) == (0, 0, 1, 1)
    assert len(failing) <= 301
    assert auc(failing, passing) == pytest.approx(roc_auc_score(labels, logits), abs=1e-3)


def test_a_curve_without_events_is_drawn_too() -> None:
    failing, passing = roc_points(np.zeros(8), np.zeros(8))
    assert failing.tolist() == passing.tolist() == [0.0]
    assert roc_png({"none": (failing, passing)}, "nothing").startswith(b"\x89PNG")


def test_tensorboard_holds_the_curve_of_every_best_epoch(run: RunDirectory) -> None:
    (file,) = (run.tensorboard / "validation").iterdir()
    images = {}
    for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
        event = tf.compat.v1.Event.FromString(record)
        for value in event.summary.value:
            if value.metadata.plugin_data.plugin_name == "images":
                images[event.step] = tf.make_ndarray(value.tensor)
    assert 1 in images
    width, height, png = images[1]
    shape = matplotlib.image.imread(io.BytesIO(png)).shape
    assert shape[:2] == (int(height), int(width)) == (500, 500)


@pytest.mark.skipif(importlib.util.find_spec("mlflow") is not None, reason="MLflow is there")
def test_mlflow_that_is_not_there_is_missed_before_any_work(
    dataset_path: Path, tmp_path: Path
) -> None:
    settings = tiny_settings(dataset_path, tmp_path / "run", "training.mlflow={experiment: a}")
    with pytest.raises(
        UserError, match=r"MLflow cannot be imported[\s\S]*pip install .smartbkg_tf\[tracking\]"
    ):
        fit(settings, open_dataset(dataset_path))
    assert not (tmp_path / "run").exists()


#: The few functions of MLflow that are used, writing down how they are called.
_STAND_IN = """
import contextlib, types
calls = []
def set_tracking_uri(uri): calls.append(("uri", uri))
def set_experiment(name): calls.append(("experiment", name))
def log_params(values): calls.append(("params", len(values)))
def log_metrics(values, step): calls.append(("metrics", dict(values), step))
@contextlib.contextmanager
def start_run(run_id=None, run_name=None):
    calls.append(("run", run_id, run_name))
    yield types.SimpleNamespace(info=types.SimpleNamespace(run_id=run_id or "id-7"))
"""


def test_mlflow_gets_parameters_once_and_values_of_every_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mlflow.py").write_text(_STAND_IN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "mlflow", raising=False)
    parameters = {f"key{i}": i for i in range(150)}
    settings = MLflowSettings(tracking_uri="file:here", experiment="mine")
    log = MLflowLog(settings, "run_1", parameters)
    log.on_epoch_end(0, {"loss": 0.5})
    again = MLflowLog(settings, "run_1", parameters)
    write_callbacks([again], *read_callbacks([log]))
    again.on_epoch_end(1, {"loss": 0.25})
    calls = sys.modules["mlflow"].calls
    monkeypatch.delitem(sys.modules, "mlflow")
    assert [call for call in calls if call[0] == "params"] == [("params", 100), ("params", 50)]
    assert [call for call in calls if call[0] == "metrics"] == [
        ("metrics", {"loss": 0.5}, 1),
        ("metrics", {"loss": 0.25}, 2),
    ]
    assert [call[1:] for call in calls if call[0] == "run"] == [
        (None, "run_1"),
        ("id-7", "run_1"),
    ]
    assert ("uri", "file:here") in calls
    assert ("experiment", "mine") in calls


def test_an_mlflow_that_refuses_is_an_error_at_first_and_a_warning_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refuse = 'def set_experiment(name): raise RuntimeError("store is closed\\nfor good")\n'
    (tmp_path / "mlflow.py").write_text(_STAND_IN + refuse)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "mlflow", raising=False)
    log = MLflowLog(MLflowSettings(tracking_uri="file:here", experiment="mine"), "run_1", {})
    with pytest.raises(UserError, match=r"at file:here: RuntimeError: store is closed\n"):
        log.on_train_begin()
    log.on_epoch_end(0, {"loss": 0.5})
    monkeypatch.delitem(sys.modules, "mlflow")
    said = capsys.readouterr().out
    assert "MLflow did not take epoch 1 (RuntimeError: store is closed)" in said
    assert "history.csv" in said
