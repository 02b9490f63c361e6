"""The state of a run on the disk: whole, checked, the last two kept.

A checkpoint is one ``.npz`` file (a zip archive, whose directory stands at its end and whose
members carry check sums: a piece of one is recognised). It is written under a temporary
name, flushed and renamed, so that a kill leaves the files before it as they were.
"""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.errors import InputError
from smartbkg_tf.runtime.files import atomic_file
from smartbkg_tf.runtime.progress import say

#: Checkpoints that are kept.
KEPT = 2

_NAME = re.compile(r"epoch_(\d{5})_batch_(\d{9})\.npz")
_STATE = "state"

#: What NumPy raises for pieces, changed bytes and other files; a bare array is no archive.
_DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    NotImplementedError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)

Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run between two steps.

    Parameters
    ----------
    epoch : int
        The epoch that goes on, counted from 0.
    batch : int
        Its next batch, counted from 0.
    values : dict
        Plain values.
    arrays : dict of str to numpy.ndarray
        Everything else.
    """

    epoch: int
    batch: int
    values: dict[str, Any]
    arrays: Arrays


class Checkpoints:
    """The folder of the checkpoints of a run.

    Parameters
    ----------
    folder : pathlib.Path
        Made when the first one is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def paths(self) -> list[Path]:
        """List the files.

        Returns
        -------
        list of pathlib.Path
            The newest first.
        """
        if not self.folder.is_dir():
            return []
        # The numbers have a fixed width, so that names sort as they do.
        found = [path for path in self.folder.iterdir() if _NAME.fullmatch(path.name)]
        return sorted(found, reverse=True)

    def write(self, checkpoint: Checkpoint) -> Path:
        """Write a checkpoint and remove those that are no longer kept.

        Parameters
        ----------
        checkpoint : Checkpoint
            The state.

        Returns
        -------
        pathlib.Path
            The file.

        Raises
        ------
        OutputError
            When the disk is full or the place cannot be written.
        """
        path = self.folder / f"epoch_{checkpoint.epoch:05d}_batch_{checkpoint.batch:09d}.npz"
        text = json.dumps(checkpoint.values)
        with atomic_file(path) as partial:
            np.savez(
                partial,
                allow_pickle=False,
                **{_STATE: np.frombuffer(text.encode(), np.uint8)},  # type: ignore[arg-type]
                **checkpoint.arrays,
            )
        for old in self.paths()[KEPT:]:
            old.unlink(missing_ok=True)
        return path

    def newest(self) -> Checkpoint | None:
        """Read the newest checkpoint that is whole; name those that are not.

        Returns
        -------
        Checkpoint or None
            None when there is none.
        """
        for path in self.paths():
            try:
                return read_checkpoint(path)
            except InputError as error:
                say(f"warning: {path} {error.message}; it is left out")
        return None


def read_checkpoint(path: Path) -> Checkpoint:
    """Read one checkpoint, every byte of it checked.

    Parameters
    ----------
    path : pathlib.Path
        Written by `Checkpoints.write`.

    Returns
    -------
    Checkpoint
        The state.

    Raises
    ------
    InputError
        When it is truncated, damaged, or no checkpoint.
    """
    name = _NAME.fullmatch(path.name)
    if name is None:
        raise InputError("is no name of a checkpoint", where=path)
    try:
        # Members are read whole, which compares their check sums. NumPy leaves a file open that
        # is no zip archive.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
        values = json.loads(arrays.pop(_STATE).tobytes())
    except _DAMAGE as error:
        raise InputError("is truncated or damaged", where=path) from error
    return Checkpoint(int(name[1]), int(name[2]), values, arrays)
