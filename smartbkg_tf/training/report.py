"""What a fit says about itself: history, TensorBoard, epoch lines, progress."""

from __future__ import annotations

import csv
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from smartbkg_tf.runtime.files import atomic_file
from smartbkg_tf.runtime.progress import Progress, say
from smartbkg_tf.training.callbacks import SaveBest
from smartbkg_tf.training.loop import LOOK, Clock, Plan
from smartbkg_tf.training.tracking import roc_png, validation_curves

#: Columns of the history that come first.
_FIRST = ("epoch", "loss", "auc", "val_loss", "val_auc")


class EpochReport(keras.callbacks.Callback):
    """History as CSV, TensorBoard, a line for each epoch, progress inside it.

    TensorBoard gets the values of every epoch, and the ROC of the validation events as an
    image for each epoch that is the best so far.

    Parameters
    ----------
    plan : Plan
        Epochs.
    events : int
        Training events of a pass.
    batch_size : int
        Events of a step.
    best : SaveBest
        Tells which epoch is the best; stands before this callback.
    history : pathlib.Path
        The CSV file; rewritten whole after every epoch.
    tensorboard : pathlib.Path
        Folder of the event files.
    label_names : sequence of str
        The skims, for the image of the ROC.
    progress : bool, default True
        Show progress inside an epoch: a bar on a terminal, plain lines in a log.
    """

    def __init__(
        self,
        *,
        plan: Plan,
        events: int,
        batch_size: int,
        best: SaveBest,
        history: Path,
        tensorboard: Path,
        label_names: Sequence[str] = (),
        progress: bool = True,
    ) -> None:
        super().__init__()
        self.plan = plan
        self.events = events
        self.batch_size = batch_size
        self.best = best
        self.history_path = history
        self.tensorboard = tensorboard
        self.label_names = list(label_names)
        self.show = progress
        self.rows: list[dict[str, float | int]] = []
        #: Set by the loop.
        self.clock = Clock()
        self._progress: Progress | None = None
        self._writers: dict[str, Any] = {}
        self._begin = 0.0
        #: Seconds spent in processes that were ended, on this epoch and in the whole.
        self._earlier = 0.0
        self._earlier_in_epoch = 0.0
        self._first_batch = 0
        self._train_begin = 0.0

    def state(self) -> dict[str, Any]:
        """Give what a checkpoint keeps.

        Returns
        -------
        dict
            Plain values.
        """
        now = time.monotonic()
        running = self._begin > 0
        return {
            "rows": self.rows,
            "seconds": self._earlier + now - self._train_begin,
            "seconds_in_epoch": self._earlier_in_epoch + now - self._begin if running else 0.0,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take what a checkpoint kept.

        Parameters
        ----------
        state : dict
            From `state`.
        """
        self.rows = list(state["rows"])
        self._earlier = state["seconds"]
        self._earlier_in_epoch = state["seconds_in_epoch"]

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
        self._first_batch = -1
        if self.show:
            self._progress = Progress(self._name(epoch), total=self._size(epoch), interval=30.0)

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Note where an epoch goes on.

        Parameters
        ----------
        batch : int
            Of this epoch, from 0.
        logs : dict, optional
            Not used.
        """
        if self._first_batch < 0:
            self._first_batch = batch
            if self._progress is not None and batch:
                self._progress.add(batch * self.batch_size, "")

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Count the events of an execution.

        Parameters
        ----------
        batch : int
            Last one of the execution, from 0.
        logs : dict, optional
            With ``loss`` and ``auc``.
        """
        if self._progress is not None:
            total = min((batch + 1) * self.batch_size, self._progress.total or 0)
            note = ""
            if batch % LOOK == 0 and logs:
                note = f"loss {float(logs['loss']):.4f}"
            self._progress.add(total - self._progress.done, note)

    def _size(self, epoch: int) -> int:
        """Events of an epoch."""
        _, first, last = self.plan.place(epoch)
        return min(last * self.batch_size, self.events) - first * self.batch_size

    def _name(self, epoch: int) -> str:
        name = f"epoch {epoch + 1}/{self.plan.epochs}"
        if self.plan.parts > 1:
            name += f" (pass {epoch // self.plan.parts + 1}/{self.plan.passes})"
        return name

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
        clock = self.clock
        seconds = time.monotonic() - self._begin
        if clock.batches and clock.worked > 0:
            _, first, last = self.plan.place(epoch)
            rate = self._size(epoch) / (last - first) * clock.batches / clock.worked
            waiting = clock.waited / clock.worked
        else:
            rate, waiting = self._size(epoch) / max(seconds, 1e-9), 0.0
        values = {name: float(value) for name, value in (logs or {}).items()}
        values["learning_rate"] = float(
            # With several GPUs it is a variable with one copy on each.
            keras.ops.convert_to_tensor(self.model.optimizer.learning_rate).numpy()
        )
        values = {**{name: values[name] for name in _FIRST[1:]}, **values}
        row: dict[str, float | int] = {"epoch": epoch + 1, **values}
        row["seconds"] = round(self._earlier_in_epoch + seconds, 3)
        row["events_per_second"] = round(rate, 1)
        row["waiting_share"] = round(waiting, 4)
        self._earlier_in_epoch = self._begin = 0.0
        self.rows.append(row)
        self._write_history()
        self._write_scalars(epoch + 1, values)
        if self.best.best_epoch == epoch + 1:
            self._write_roc(epoch + 1)
        spent = self._earlier + time.monotonic() - self._train_begin
        left = (self.plan.epochs - epoch - 1) * spent / (epoch + 1)
        best = ", best so far" if self.best.best_epoch == epoch + 1 else ""
        say(
            f"{self._name(epoch)}: loss {values['loss']:.4f}, AUC {values['auc']:.4f}; "
            f"validation loss {values['val_loss']:.4f}, AUC {values['val_auc']:.4f}{best}; "
            f"{rate:.0f} events/s, {waiting:.1%} of the time waiting for data, "
            f"{_duration(left)} left"
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
            atomic_file(self.history_path) as partial,
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
            with self._writer(part).as_default():
                tag = f"epoch/{name.removeprefix('val_')}"
                tf.summary.write(tag, tf.constant(value, tf.float32), step=epoch, metadata=metadata)
        for writer in self._writers.values():
            writer.flush()

    def _writer(self, part: str) -> Any:
        import tensorflow as tf

        if part not in self._writers:
            self._writers[part] = tf.summary.create_file_writer(str(self.tensorboard / part))
        return self._writers[part]

    def _write_roc(self, epoch: int) -> None:
        import tensorflow as tf

        curves = validation_curves(self.model, self.label_names)
        if not curves:
            return
        image = roc_png(curves, f"validation events, epoch {epoch}")
        width, height = (int.from_bytes(image[i : i + 4], "big") for i in (16, 20))
        # As for scalars: what tf.summary.image would write.
        metadata = tf.compat.v1.SummaryMetadata(
            plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="images"),
            data_class="DATA_CLASS_BLOB_SEQUENCE",
        )
        values = tf.constant([str(width).encode(), str(height).encode(), image])
        with self._writer("validation").as_default():
            tf.summary.write("roc", values, step=epoch, metadata=metadata)
        self._writers["validation"].flush()


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
