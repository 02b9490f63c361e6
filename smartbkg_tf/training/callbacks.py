"""What happens beside the arithmetic: saving the best and the last model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import keras

from smartbkg_tf.models.saving import save_model


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

    def state(self) -> dict[str, Any]:
        """Give what a checkpoint keeps.

        Returns
        -------
        dict
            Plain values.
        """
        return {"best": self.best, "best_epoch": self.best_epoch}

    def restore(self, state: dict[str, Any]) -> None:
        """Take what a checkpoint kept.

        Parameters
        ----------
        state : dict
            From `state`.
        """
        self.best, self.best_epoch = state["best"], state["best_epoch"]

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

    def state(self) -> dict[str, Any]:
        """Give what a checkpoint keeps: nothing.

        Returns
        -------
        dict
            Empty.
        """
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Take what a checkpoint kept: nothing.

        Parameters
        ----------
        state : dict
            From `state`.
        """

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
