"""What a fit says about itself: history, TensorBoard scalars, epoch lines, progress."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import Any

import keras

from smartbkg_tf.runtime.files import whole_file
from smartbkg_tf.runtime.progress import Progress, say
from smartbkg_tf.training.callbacks import LOOK, SaveBest

#: Columns of the history that come first.
_FIRST = ("epoch", "loss", "auc", "val_loss", "val_auc")


class EpochReport(keras.callbacks.Callback):
    """History as CSV, scalars for TensorBoard, a line for each epoch, progress inside it.

    Parameters
    ----------
    epochs : int
        At most so many.
    events : int
        Training events of an epoch.
    batch_size : int
        Events of a step.
    best : SaveBest
        Tells which epoch is the best; stands before this callback.
    history : pathlib.Path
        The CSV file; rewritten whole after every epoch.
    tensorboard : pathlib.Path
        Folder of the event files.
    progress : bool, default True
        Show progress inside an epoch: a bar on a terminal, plain lines in a log.
    """

    def __init__(
        self,
        *,
        epochs: int,
        events: int,
        batch_size: int,
        best: SaveBest,
        history: Path,
        tensorboard: Path,
        progress: bool = True,
    ) -> None:
        super().__init__()
        self.epochs = epochs
        self.events = events
        self.batch_size = batch_size
        self.best = best
        self.history_path = history
        self.tensorboard = tensorboard
        self.show = progress
        self.rows: list[dict[str, float | int]] = []
        self._progress: Progress | None = None
        self._writers: dict[str, Any] = {}
        self._begin = self._first_batch = self._last_batch = self._train_begin = 0.0
        self._timed_steps = 0
        self._steps = 0

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Start the clock.

        Parameters
        ----------
        logs : dict, optional
            Not used.
        """
        self._train_begin = time.monotonic()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Start the clock and the progress of an epoch.

        Parameters
        ----------
        epoch : int
            From 0.
        logs : dict, optional
            Not used.
        """
        self._begin = time.monotonic()
        self._steps = 0
        if self.show:
            self._progress = Progress(
                f"epoch {epoch + 1}/{self.epochs}", total=self.events, interval=30.0
            )

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Count the events of a step.

        Parameters
        ----------
        batch : int
            From 0.
        logs : dict, optional
            With ``loss`` and ``auc``.
        """
        self._steps = batch + 1
        self._last_batch = time.monotonic()
        if batch == 0:
            # The first step of all holds the compilation.
            self._first_batch = self._last_batch
        if self._progress is not None:
            done = min(self.batch_size, self.events - self._progress.done)
            note = ""
            if batch % LOOK == 0 and logs:
                note = f"loss {float(logs['loss']):.4f}"
            self._progress.add(done, note)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write the history, the scalars and the line.

        Parameters
        ----------
        epoch : int
            From 0.
        logs : dict, optional
            Losses and metrics of training and validation.
        """
        self._close()
        # From the first to the last step: the end of a tf.data iterator can stall.
        timed = self._last_batch - self._first_batch
        if self._steps > 1 and timed > 0:
            rate = self.events * (self._steps - 1) / self._steps / timed
        else:
            rate = self.events / max(self._last_batch - self._begin, 1e-9)
        values = {name: float(value) for name, value in (logs or {}).items()}
        values["learning_rate"] = float(
            # With several GPUs it is a variable with one copy on each.
            keras.ops.convert_to_tensor(self.model.optimizer.learning_rate).numpy()
        )
        values = {**{name: values[name] for name in _FIRST[1:]}, **values}
        row: dict[str, float | int] = {"epoch": epoch + 1, **values}
        row["seconds"] = round(time.monotonic() - self._begin, 3)
        row["events_per_second"] = round(rate, 1)
        self.rows.append(row)
        self._write_history()
        self._write_scalars(epoch + 1, values)
        left = (self.epochs - epoch - 1) * (time.monotonic() - self._train_begin) / (epoch + 1)
        best = ", best so far" if self.best.best_epoch == epoch + 1 else ""
        say(
            f"epoch {epoch + 1}/{self.epochs}: loss {values['loss']:.4f}, AUC {values['auc']:.4f}; "
            f"validation loss {values['val_loss']:.4f}, AUC {values['val_auc']:.4f}{best}; "
            f"{rate:.0f} events/s, {_duration(left)} left"
        )

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Close the files.

        Parameters
        ----------
        logs : dict, optional
            Not used.
        """
        self.close()

    def close(self) -> None:
        """End the progress bar and close the event files; also after an error."""
        self._close()
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def _close(self) -> None:
        if self._progress is not None:
            # As after an error: the bar is closed, and a log gets no second last line.
            self._progress.close(finished=False)
            self._progress = None

    def _write_history(self) -> None:
        names = list(self.rows[0])
        with (
            whole_file(self.history_path) as partial,
            partial.open("w", newline="", encoding="utf-8") as stream,
        ):
            writer = csv.DictWriter(stream, names, lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.rows)

    def _write_scalars(self, epoch: int, values: dict[str, float]) -> None:
        import tensorflow as tf

        # What tf.summary.scalar would write; that one wants TensorBoard to be installed.
        metadata = tf.compat.v1.SummaryMetadata(
            plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars"),
            data_class="DATA_CLASS_SCALAR",
        )
        for name, value in values.items():
            part = "validation" if name.startswith("val_") else "train"
            if part not in self._writers:
                self._writers[part] = tf.summary.create_file_writer(str(self.tensorboard / part))
            with self._writers[part].as_default():
                tag = f"epoch/{name.removeprefix('val_')}"
                tf.summary.write(tag, tf.constant(value, tf.float32), step=epoch, metadata=metadata)
        for writer in self._writers.values():
            writer.flush()


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
