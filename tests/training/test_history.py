"""What is told about an epoch: history, lines, progress."""

from __future__ import annotations

import csv
import fcntl
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
import pytest
import tensorflow as tf

from smartbkg_tf.runtime.run_directory import RunDirectory
from smartbkg_tf.training.history import EpochReport
from smartbkg_tf.training.input_pipeline import WaitingTime
from smartbkg_tf.training.loggers import TensorBoardLog
from smartbkg_tf.training.resume import EpochPlan, read_callbacks, write_callbacks
from smartbkg_tf.training.savers import SaveModels


def tiny_model() -> keras.Model:
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    model.compile("sgd", "mse")
    return model


def report_of_two_epochs(folder: Path, progress: bool = False) -> EpochReport:
    model, plan, waiting = tiny_model(), EpochPlan(passes=5, parts=1, batches=3), WaitingTime()
    best = SaveModels(Any, RunDirectory(folder), "val_loss", "min")  # type: ignore[arg-type]
    best.best_epoch = 2
    report = EpochReport(plan, 100, best, waiting, folder / "history.csv", progress=progress)
    callbacks = [report, TensorBoardLog(folder / "tensorboard", best, ["one"])]
    listed = keras.callbacks.CallbackList(callbacks, model=model)
    listed.on_train_begin()
    for epoch in range(2):
        listed.on_epoch_begin(epoch)
        for batch in range(3):
            listed.on_train_batch_begin(batch)
            time.sleep(0.02)
            waiting.seconds = 0.005 * batch
            listed.on_train_batch_end(batch, {"loss": 0.5, "auc": 0.6})
        values = {"loss": 0.5 - 0.1 * epoch, "auc": 0.7, "val_loss": 0.6, "val_auc": 0.65}
        listed.on_epoch_end(epoch, values)
    listed.on_train_end()
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
    assert lines[0].startswith("epoch 1/5: loss 0.5000, AUC 0.7000, validation loss 0.6000")
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
    values, arrays = read_callbacks([first])
    assert first.spent >= 0.12
    second = EpochReport(first.plan, 100, first.best, WaitingTime(), tmp_path / "b.csv")
    second.set_model(tiny_model())
    write_callbacks([second], values, arrays)
    assert second.spent == first.spent
    second.on_epoch_begin(2)
    for batch in range(3):
        second.on_train_batch_end(batch, {"loss": 0.3, "auc": 0.8})
    second.on_epoch_end(2, {"loss": 0.3, "auc": 0.8, "val_loss": 0.4, "val_auc": 0.7})
    rows, before = (
        list(csv.DictReader((tmp_path / name).read_text().splitlines()))
        for name in ("b.csv", "a/history.csv")
    )
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert rows[:2] == before


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
