"""What happens beside the arithmetic: saving, history, progress, and stopping on NaN."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import keras

from smartbkg_tf.models.saving import save_model
from smartbkg_tf.settings.errors import UserError

#: Steps between two looks at the loss: each look waits for a GPU to finish.
LOOK = 10


def improves(value: float, best: float | None, mode: str) -> bool:
    """Tell whether a value is better than the best one so far.

    Parameters
    ----------
    value : float
        The new value; NaN never improves.
    best : float or None
        The best so far.
    mode : {"min", "max"}
        Which is better.

    Returns
    -------
    bool
        True if better.
    """
    if math.isnan(value):
        return False
    return best is None or (value < best if mode == "min" else value > best)


class FollowEpochs(keras.callbacks.Callback):
    """Tell the training stream which epoch comes next.

    Keras opens a stream now and then to look at its first batch; the order of an epoch must
    not depend on that.

    Parameters
    ----------
    counter : smartbkg_tf.dataset.stream.EpochCounter
        Of the training stream.
    """

    def __init__(self, counter: Any) -> None:
        super().__init__()
        self.counter = counter

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Set the epoch.

        Parameters
        ----------
        epoch : int
            From 0.
        logs : dict, optional
            Not used.
        """
        self.counter.epoch = epoch
        self.counter.batch = 0


class StopOnNaN(keras.callbacks.Callback):
    """Stop with a clear message as soon as the loss is no number.

    Parameters
    ----------
    kept : str
        What was saved until then, for the message.
    """

    def __init__(self, kept: str) -> None:
        super().__init__()
        self.kept = kept
        self.epoch = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Remember the epoch.

        Parameters
        ----------
        epoch : int
            From 0.
        logs : dict, optional
            Not used.
        """
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Look at the loss every few steps.

        Parameters
        ----------
        batch : int
            From 0.
        logs : dict, optional
            With ``loss``.
        """
        if batch % LOOK == 0:
            self._look(logs, f"step {batch + 1}")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Look at the losses of an epoch.

        Parameters
        ----------
        epoch : int
            From 0.
        logs : dict, optional
            With ``loss`` and ``val_loss``.
        """
        self._look(logs, "its end")

    def _look(self, logs: dict[str, Any] | None, place: str) -> None:
        for name in ("loss", "val_loss"):
            value = (logs or {}).get(name)
            if value is not None and not math.isfinite(float(value)):
                raise UserError(
                    f"training diverged: {name} is {float(value)} in epoch {self.epoch + 1}, "
                    f"seen at {place}; {self.kept}",
                    next_step="lower training.learning_rate, set training.gradient_clipping=1, "
                    "or train in float32 (training.mixed_precision=null)",
                )


class SaveBest(keras.callbacks.Callback):
    """Save the model whenever the monitored quantity improves.

    Parameters
    ----------
    path : pathlib.Path
        Ends in ``.keras``.
    monitor : str
        For example ``val_loss``.
    mode : {"min", "max"}
        Which is better.
    """

    def __init__(self, path: Path, monitor: str, mode: str) -> None:
        super().__init__()
        self.path = path
        self.monitor = monitor
        self.mode = mode
        self.best: float | None = None
        self.best_epoch: int | None = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Compare and save.

        Parameters
        ----------
        epoch : int
            From 0.
        logs : dict, optional
            With the monitored quantity.

        Raises
        ------
        KeyError
            When the quantity is not there.
        """
        value = float((logs or {})[self.monitor])
        if improves(value, self.best, self.mode):
            save_model(self.model, self.path)
            self.best, self.best_epoch = value, epoch + 1


class SaveLast(keras.callbacks.Callback):
    """Save the model after every epoch, the optimiser's state included.

    Parameters
    ----------
    path : pathlib.Path
        Ends in ``.keras``.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Save.

        Parameters
        ----------
        epoch : int
            From 0.
        logs : dict, optional
            Not used.
        """
        save_model(self.model, self.path)
