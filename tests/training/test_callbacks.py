"""Saving, stopping, and what is told about an epoch."""

from __future__ import annotations

import csv
import fcntl
import math
import os
import pty
import re
import struct
import sys
import termios
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from smartbkg_tf.training.callbacks import SaveBest, SaveLast, improves
from smartbkg_tf.training.loop import Clock, Plan
from smartbkg_tf.training.report import EpochReport

#: Keras 3.15 calls np.array on its variables in a way that NumPy 2 warns about.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def tiny_model() -> keras.Model:
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    model.compile("sgd", "mse")
    return model


@pytest.mark.parametrize(
    ("value", "best", "mode", "expected"),
    [
        (0.5, None, "min", True),
        (0.5, 0.6, "min", True),
        (0.6, 0.6, "min", False),
        (0.7, 0.6, "max", True),
        (math.nan, None, "min", False),
        (math.nan, 0.6, "max", False),
    ],
)
def test_improvement(value: float, best: float | None, mode: str, expected: bool) -> None:
    assert improves(value, best, mode) is expected


def test_the_best_epoch_stays_on_the_disk(tmp_path: Path) -> None:
    model = tiny_model()
    callback = SaveBest(tmp_path / "model.keras", "val_auc", "max")
    callback.set_model(model)
    for epoch, auc in enumerate([0.6, 0.8, 0.7]):
        model.set_weights([np.full((2, 1), epoch, np.float32), np.zeros(1, np.float32)])
        callback.on_epoch_end(epoch, {"val_auc": auc})
    assert (callback.best, callback.best_epoch) == (0.8, 2)
    kept = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_array_equal(kept.get_weights()[0], np.full((2, 1), 1.0))
    with pytest.raises(KeyError):
        callback.on_epoch_end(3, {"val_loss": 0.1})


def test_the_last_epoch_keeps_the_state_of_the_optimiser(tmp_path: Path) -> None:
    model = tiny_model()
    callback = SaveLast(tmp_path / "last.keras")
    model.fit(np.ones((8, 2)), np.ones((8, 1)), batch_size=2, verbose=0, callbacks=[callback])
    again = keras.saving.load_model(tmp_path / "last.keras")
    assert int(again.optimizer.iterations) == 4


def report_of_two_epochs(folder: Path, **options: Any) -> EpochReport:
    model = tiny_model()
    best = SaveBest(folder / "model.keras", "val_loss", "min")
    best.best_epoch = 2
    report = EpochReport(
        plan=Plan(passes=5, parts=1, batches=3),
        events=100,
        batch_size=40,
        best=best,
        history=folder / "history.csv",
        tensorboard=folder / "tensorboard",
        **options,
    )
    report.set_model(model)
    report.on_train_begin()
    for epoch in range(2):
        report.on_epoch_begin(epoch)
        report.clock = Clock()
        for batch in range(3):
            report.on_train_batch_begin(batch)
            time.sleep(0.02)
            report.clock.step(0.005, 1)
            report.on_train_batch_end(batch, {"loss": 0.5, "auc": 0.6})
        values = {"loss": 0.5 - 0.1 * epoch, "auc": 0.7, "val_loss": 0.6, "val_auc": 0.65}
        report.on_epoch_end(epoch, values)
    report.on_train_end()
    return report


def test_history_lines_and_scalars(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    report_of_two_epochs(tmp_path)
    rows = list(csv.DictReader((tmp_path / "history.csv").read_text().splitlines()))
    assert list(rows[0])[:6] == ["epoch", "loss", "auc", "val_loss", "val_auc", "learning_rate"]
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert [float(row["loss"]) for row in rows] == pytest.approx([0.5, 0.4])
    assert float(rows[0]["learning_rate"]) == pytest.approx(0.01)
    # 100 events in three steps of 20 ms; two of the steps are timed.
    assert 400 < float(rows[0]["events_per_second"]) < 1700
    assert 0.05 < float(rows[0]["waiting_share"]) <= 0.25
    out, err = capfd.readouterr()
    lines = out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("epoch 1/5: loss 0.5000, AUC 0.7000; validation loss 0.6000, AUC")
    assert "best so far" in lines[1]
    assert "best so far" not in lines[0]
    assert re.search(
        r"; \d+ events/s, \d+\.\d% of the time waiting for data, \d+ s left$", lines[0]
    )
    assert not set(out + err) & {"\b", "\r", "\x1b"}, "control characters in a log"
    written: dict[str, list[float]] = {}
    for part in ("train", "validation"):
        (file,) = (tmp_path / "tensorboard" / part).iterdir()
        for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
            for value in tf.compat.v1.Event.FromString(record).summary.value:
                assert value.metadata.plugin_data.plugin_name == "scalars"
                name = f"{part}/{value.tag}"
                written.setdefault(name, []).append(float(tf.make_ndarray(value.tensor)))
    assert written["train/epoch/loss"] == pytest.approx([0.5, 0.4])
    assert written["validation/epoch/auc"] == pytest.approx([0.65, 0.65])


def test_a_report_goes_on_where_another_one_ended(tmp_path: Path) -> None:
    first = report_of_two_epochs(tmp_path / "a")
    first.on_epoch_begin(2)
    state = first.state()
    assert state["seconds"] >= 0.12
    second = report_of_two_epochs(tmp_path / "b")
    second.restore(state)
    second.on_train_begin()
    second.on_epoch_begin(2)
    second.clock = Clock()
    for batch in (1, 2):
        second.on_train_batch_begin(batch)
        second.clock.step(0.0, 1)
        second.on_train_batch_end(batch, {"loss": 0.3, "auc": 0.8})
    second.on_epoch_end(2, {"loss": 0.3, "auc": 0.8, "val_loss": 0.4, "val_auc": 0.7})
    second.close()
    rows, before = (
        list(csv.DictReader((tmp_path / name / "history.csv").read_text().splitlines()))
        for name in ("b", "a")
    )
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert rows[:2] == before
    assert float(rows[2]["seconds"]) >= round(state["seconds_in_epoch"], 3)


def test_a_bar_on_a_terminal_and_none_when_unwanted(tmp_path: Path) -> None:
    shown = {}
    for progress in (True, False):
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        stream, old = os.fdopen(slave, "w"), sys.stderr
        sys.stderr = stream
        try:
            report_of_two_epochs(tmp_path, progress=progress)
        finally:
            sys.stderr = old
            stream.close()
        text = ""
        try:
            while chunk := os.read(master, 65536):
                text += chunk.decode()
        except OSError:
            pass
        os.close(master)
        shown[progress] = text
    assert "epoch 1/5" in shown[True]
    assert "100/100" in shown[True]
    assert shown[False] == ""
