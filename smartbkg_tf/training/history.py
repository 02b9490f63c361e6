"""What a fit says about itself: history, a line for each epoch, progress inside it."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import Any

import keras

from smartbkg_tf.runtime.files import atomic_file
from smartbkg_tf.runtime.progress import Progress, say
from smartbkg_tf.training.input_pipeline import WaitingTime
from smartbkg_tf.training.resume import EpochPlan
from smartbkg_tf.training.savers import SaveModels

#: Columns of the history that come first.
_FIRST = ("loss", "auc", "val_loss", "val_auc")

#: How a line names them.
_WORDS = {
    "loss": "loss",
    "auc": "AUC",
    "val_loss": "validation loss",
    "val_auc": "validation AUC",
}

#: Executions between two losses in the progress.
_LOSSES = 10


def epoch_name(plan: EpochPlan, epoch: int) -> str:
    """Name an epoch in lines and progress."""
    name = f"epoch {epoch + 1}/{plan.epochs}"
    if plan.parts > 1:
        name += f" (pass {epoch // plan.parts + 1}/{plan.passes})"
    return name


class EpochReport(keras.callbacks.Callback):
    """History as CSV, rewritten after every epoch, a line for each epoch, and progress inside it.

    `events` are those of an epoch; `best` comes before this callback. Progress is a bar on a
    terminal, plain lines in a log.
    """

    def __init__(
        self,
        plan: EpochPlan,
        events: int,
        best: SaveModels,
        waiting: WaitingTime,
        history: Path,
        *,
        progress: bool = False,
    ) -> None:
        super().__init__()
        self.plan = plan
        self.events = events
        self.best = best
        self.waiting = waiting
        self.history_path = history
        self.rows: list[dict[str, float | int]] = []
        #: Seconds of the epochs so far, in processes that were killed, too.
        self.spent = 0.0
        self._begin = 0.0
        #: Time and number of batches done at the end of the first and of the last execution. From
        #: one to the other is counted: the first may hold the compilation and the start of the
        #: stream, and the end of a tf.data iterator can stall.
        self._ends: list[list[float]] = []
        self._bar: Progress | None = None

        def bar(epoch: int) -> Progress | None:
            name = epoch_name(plan, epoch)
            return Progress(name, total=events, interval=30.0) if progress else None

        # A function: a number would be restored when another process goes on with the run.
        self._make_bar = bar

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Start the clock, and a bar."""
        self._bar = self._make_bar(epoch)
        self._begin, self._ends = time.monotonic(), []

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Note the time; count the events of an execution, which ends with this batch."""
        done = min(batch + 1, self.plan.steps)
        self._ends[1:] = []
        self._ends.append([time.monotonic(), done])
        if self._bar is not None:
            note = ""
            if done % _LOSSES == 1 and logs and "loss" in logs:
                note = f"loss {float(logs['loss']):.4f}"
            self._bar.add(self.events * done // self.plan.steps - self._bar.done, note)

    def close(self) -> None:
        """End the bar; also after an error."""
        if self._bar is not None:
            # As after an error: the bar is closed, and a log gets no second last line.
            self._bar.close(finished=False)
            self._bar = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write the history and the line."""
        seconds = time.monotonic() - self._begin
        self.close()
        self.spent += seconds
        batches, worked, waiting = float(self.plan.steps), max(seconds, 1e-9), 0.0
        if len(self._ends) > 1:
            (first, done), (last, all_done) = self._ends
            batches, worked = all_done - done, max(last - first, 1e-9)
            waiting = min(self.waiting.seconds / worked, 1.0)
        rate = self.events / self.plan.steps * batches / worked
        values = {name: float(value) for name, value in (logs or {}).items()}
        # With several GPUs the rate is a variable with one copy on each.
        learning_rate = keras.ops.convert_to_tensor(self.model.optimizer.learning_rate)
        self.rows.append(
            {
                "epoch": epoch + 1,
                **{name: values[name] for name in _FIRST if name in values},
                **values,
                "learning_rate": float(learning_rate.numpy()),
                "seconds": round(seconds, 3),
                "events_per_second": round(rate, 1),
                "waiting_share": round(waiting, 4),
            }
        )
        with (
            atomic_file(self.history_path) as partial,
            partial.open("w", newline="", encoding="utf-8") as stream,
        ):
            writer = csv.DictWriter(stream, list(self.rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.rows)
        left = (self.plan.epochs - epoch - 1) * self.spent / (epoch + 1)
        told = [f"{word} {values[name]:.4f}" for name, word in _WORDS.items() if name in values]
        best = ", best so far" if self.best.best_epoch == epoch + 1 else ""
        say(
            f"{epoch_name(self.plan, epoch)}: {', '.join(told)}{best}; {rate:.0f} events/s, "
            f"{waiting:.1%} of the time waiting for data, {_duration(left)} left"
        )


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
