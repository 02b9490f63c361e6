"""A run that is killed goes on with its last complete epoch and ends in the same bits."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from smartbkg_tf.dataset.stream import EpochCounter
from smartbkg_tf.errors import InputError
from smartbkg_tf.models.keras_internals import global_generator_state, settle_direction
from smartbkg_tf.runtime.files import atomic_file
from smartbkg_tf.runtime.progress import say

#: Checkpoints that are kept.
KEPT = 2

_NAME = re.compile(r"epoch_(\d{5})\.npz")
_STATE = "state"
_AGAIN = "start again from the beginning in another run_dir"

Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class EpochPlan:
    """Passes over the training events, each divided into epochs of equally many batches.

    What is left over at the end of a pass, fewer batches than `parts`, is not trained on.
    """

    passes: int
    parts: int
    #: Batches of a pass.
    batches: int

    @property
    def epochs(self) -> int:
        """Epochs of the history."""
        return self.passes * self.parts

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return self.batches // self.parts

    def place(self, epoch: int) -> tuple[int, int, int]:
        """Give the pass of an epoch and its batches (first, last exclusive) in that pass."""
        number, part = divmod(epoch, self.parts)
        return number, part * self.steps, (part + 1) * self.steps


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run after an epoch: plain values and arrays."""

    #: Epochs that are complete.
    epoch: int
    values: dict[str, Any]
    arrays: Arrays

    @property
    def stopped(self) -> bool:
        """Whether early stopping, or another callback, has ended the training."""
        return bool(self.values["stop_training"])


class Resume(keras.callbacks.Callback):
    """Save the state of a run after every epoch, and begin with a saved one.

    Comes last in the list of callbacks: it restores after the others have begun, and saves what
    they have noted. The optimiser must be built.
    """

    def __init__(
        self,
        folder: Path,
        counter: EpochCounter,
        plan: EpochPlan,
        callbacks: Sequence[Any],
        checkpoint: Checkpoint | None = None,
    ) -> None:
        super().__init__()
        self.folder = folder
        self.counter = counter
        self.plan = plan
        self.callbacks = list(callbacks)
        self.checkpoint = checkpoint

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Restore the state."""
        if self.checkpoint is None:
            return
        try:
            write_variables(self.model, self.checkpoint.arrays)
            write_callbacks(
                self.callbacks, self.checkpoint.values["callbacks"], self.checkpoint.arrays
            )
        except InputError as error:
            raise InputError(error.message, where=self.folder, next_step=error.next_step) from error

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Tell the stream where it is."""
        counter = self.counter
        counter.epoch, counter.first_batch, counter.last_batch = self.plan.place(epoch)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Save the state."""
        values, arrays = read_callbacks(self.callbacks)
        state = {"callbacks": values, "stop_training": bool(self.model.stop_training)}
        arrays |= read_variables(self.model)
        write_checkpoint(self.folder, Checkpoint(epoch + 1, state, arrays))


# -- files ---------------------------------------------------------------------------------


def checkpoint_paths(folder: Path) -> list[Path]:
    """List the checkpoints of a run, the newest first."""
    if not folder.is_dir():
        return []
    # The numbers have a fixed width, so that names sort as they do.
    found = [path for path in folder.iterdir() if _NAME.fullmatch(path.name)]
    return sorted(found, reverse=True)


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint atomically and remove those that are no longer kept."""
    path = folder / f"epoch_{checkpoint.epoch:05d}.npz"
    text = json.dumps(checkpoint.values)
    with atomic_file(path) as partial:
        np.savez(
            partial,
            allow_pickle=False,
            **{_STATE: np.frombuffer(text.encode(), np.uint8)},  # type: ignore[arg-type]
            **checkpoint.arrays,
        )
    for old in checkpoint_paths(folder)[KEPT:]:
        old.unlink(missing_ok=True)
    return path


def newest_checkpoint(folder: Path) -> Checkpoint | None:
    """Read the newest checkpoint that is undamaged; name those that are damaged."""
    for path in checkpoint_paths(folder):
        try:
            return read_checkpoint(path)
        except InputError as error:
            say(f"warning: {path} {error.message}; it is left out")
    return None


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint, every byte of it checked."""
    name = _NAME.fullmatch(path.name)
    if name is None:
        raise InputError("is not the name of a checkpoint", where=path)
    try:
        # Members are read whole, which compares their check sums. NumPy leaves a file open that
        # is not a zip archive.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
        values = json.loads(arrays.pop(_STATE).tobytes())
    except MemoryError:
        raise
    except Exception as error:  # NumPy and zlib raise what they like
        raise InputError("is truncated or damaged", where=path) from error
    return Checkpoint(int(name[1]), values, arrays)


# -- variables -----------------------------------------------------------------------------


def variable_groups(model: Any) -> dict[str, list[Any]]:
    """Collect weights, states of dropout, of the optimiser and of Keras's global generator.

    Running sums of metrics are left out: every epoch begins with new ones.
    """
    metrics = {id(variable) for metric in model.metrics for variable in metric.variables}
    return {
        "model": [variable for variable in model.variables if id(variable) not in metrics],
        "optimizer": list(model.optimizer.variables),
        "random": [global_generator_state()],
    }


def read_variables(model: Any) -> Arrays:
    """Copy the values of all variables, by group and position."""
    return {
        f"{group}/{i:05d}": _value(variable)
        for group, variables in variable_groups(model).items()
        for i, variable in enumerate(variables)
    }


def write_variables(model: Any, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Give all variables the values of a checkpoint, or refuse that of another model."""
    for group, variables in variable_groups(model).items():
        names = [name for name in arrays if name.startswith(f"{group}/")]
        if len(names) != len(variables):
            raise InputError(
                f"the checkpoint is of another program: it holds {len(names)} variables of the "
                f"{group}, not {len(variables)}",
                next_step=_AGAIN,
            )
        for name, variable in zip(sorted(names), variables, strict=True):
            value = arrays[name]
            if value.shape != tuple(variable.shape):
                raise InputError(
                    f"the checkpoint is of another network: {variable.path} has the shape "
                    f"{tuple(variable.shape)}, not {value.shape}",
                    next_step=_AGAIN,
                )
            variable.assign(value)


def _value(variable: Any) -> npt.NDArray[Any]:
    value = np.array(variable.numpy())
    # NumPy files know no bfloat16; float32 holds its values exactly.
    return value.astype(np.float32) if value.dtype.kind == "V" else value


# -- callbacks -----------------------------------------------------------------------------


def read_callbacks(callbacks: Sequence[Any]) -> tuple[list[dict[str, Any]], Arrays]:
    """Copy what callbacks remember: attributes that JSON holds, and lists of arrays."""
    values: list[dict[str, Any]] = []
    arrays: Arrays = {}
    for number, callback in enumerate(callbacks):
        kept: dict[str, Any] = {}
        for name, value in vars(callback).items():
            if name in ("params", "_model"):
                continue
            if isinstance(value, np.generic):
                value = value.item()
            if _are_arrays(value):
                kept[name] = {"arrays": len(value)}
                for i, array in enumerate(value):
                    arrays[f"callback/{number}/{name}/{i}"] = array
            elif _is_plain(value):
                kept[name] = {"value": value}
        values.append({"class": type(callback).__name__, "attributes": kept})
    return values, arrays


def write_callbacks(
    callbacks: Sequence[Any],
    values: Sequence[Mapping[str, Any]],
    arrays: Mapping[str, npt.NDArray[Any]],
) -> None:
    """Give callbacks back what they remembered, or refuse the memory of others."""
    ours = [type(callback).__name__ for callback in callbacks]
    theirs = [kept["class"] for kept in values]
    if ours != theirs:
        raise InputError(
            f"the checkpoint is of another program: its callbacks are {', '.join(theirs)}, "
            f"not {', '.join(ours)}",
            next_step=_AGAIN,
        )
    for number, (callback, kept) in enumerate(zip(callbacks, values, strict=True)):
        # Before, not after this: Keras changes a value that is restored here.
        settle_direction(callback)
        for name, value in kept["attributes"].items():
            if "arrays" in value:
                found = [arrays[f"callback/{number}/{name}/{i}"] for i in range(value["arrays"])]
                setattr(callback, name, found)
            else:
                setattr(callback, name, value["value"])


def _is_plain(value: Any) -> bool:
    """Whether JSON gives a value back as it is."""
    if isinstance(value, (list, dict)):
        items = value.values() if isinstance(value, dict) else value
        keys = value if isinstance(value, dict) else ()
        return all(isinstance(key, str) for key in keys) and all(map(_is_plain, items))
    return value is None or isinstance(value, (bool, int, float, str))


def _are_arrays(value: Any) -> bool:
    return (
        isinstance(value, (list, tuple))
        and bool(value)
        and all(isinstance(item, np.ndarray) for item in value)
    )
