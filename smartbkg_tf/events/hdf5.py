"""Training tables in HDF5: what `pandas.read_hdf` reads, written and read columnar.

Keys of a file
--------------
``train_events``
    One row per particle: MultiIndex (label, evtNum, arrayIndex), the columns of
    `smartbkg_tf.events.table.PARTICLE_COLUMNS`.
``decay_strings``
    One row per event: index evtNum; columns label, decay_str.
``events``
    One row per event, in the order of the other two: experiment, run, event, production,
    n_particles, event_type (text), ``label_<skim>``, and the bias observables.

Files of the original project have no ``events``. Then an event ends where evtNum or label
changes or arrayIndex does not grow, and the missing parts of its key are filled:
experiment -1, run = how often this evtNum came before in the file, production = a number
made of the file's content (see `smartbkg_tf.events.foreign.content_number`), the same
wherever the file lies and whatever it is called. Events of different files, and equal
numbers within one, so stay different. Their skim is called ``label``.

The attribute ``particles`` of a file is ``generator`` where it was made with
``source.particles=generator``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import h5py

from smartbkg_tf.events.hdf5_errors import explained
from smartbkg_tf.events.hdf5_writer import write_hdf5
from smartbkg_tf.events.table import EventTable
from smartbkg_tf.events.training_file import KEYS, Key, TrainingFile
from smartbkg_tf.settings.sources import ParticleSet

__all__ = [
    "KEYS",
    "Key",
    "TrainingFile",
    "count_events_hdf5",
    "iterate_hdf5",
    "particle_set_hdf5",
    "write_hdf5",
]


def iterate_hdf5(
    path: str | Path,
    *,
    key: Key = "all",
    chunk_events: int = 20000,
    as_stored: bool = False,
) -> Iterator[EventTable]:
    """Read a training table piece by piece, in the order of the file.

    Parameters
    ----------
    path : str or pathlib.Path
        The file; written by us or by the original project (pandas, 'fixed' or 'table').
    key : {"all", "train_events", "decay_strings"}, default "all"
        ``"train_events"``: no decay strings. ``"decay_strings"``: no particles.
        ``"all"``: both; decay strings that are missing are built from the particles.
    chunk_events : int, default 20000
        At most so many events are in memory at a time.
    as_stored : bool, default False
        For compiled code: columns of HDF5 tables in the type of the file, float32 too, and
        decay strings as bytes ('S'), for `tokenise`; they hold until the next table comes.

    Yields
    ------
    EventTable
        The next events.

    Raises
    ------
    InputError
        When the file is missing, no HDF5 file, damaged, empty, or lacks a key or column;
        when its tables disagree; when a column holds what it cannot hold.
    ValueError
        When `key` or `chunk_events` is out of range.
    """
    if chunk_events < 1:
        raise ValueError(f"chunk_events={chunk_events}: must be at least 1")
    with TrainingFile(path, key, as_stored=as_stored) as file:
        for start in range(0, len(file), chunk_events):
            yield file.read(start, start + chunk_events)


def count_events_hdf5(path: str | Path, *, key: Key | None = None) -> int:
    """Count the events of a training table without reading its particles.

    Parameters
    ----------
    path : str or pathlib.Path
        The file.
    key : {"all", "train_events", "decay_strings"}, optional
        What would be read; by default whichever the file has.

    Returns
    -------
    int
        Number of events.

    Raises
    ------
    InputError
        As `iterate_hdf5`.
    """
    if key is None:
        key = "all"
        with explained(Path(path)), h5py.File(path, "r") as file:
            if "train_events" not in file and "decay_strings" in file:
                key = "decay_strings"
    with TrainingFile(path, key) as file:
        return len(file)


def particle_set_hdf5(path: str | Path) -> ParticleSet:
    """Tell which generated particles a training table keeps."""
    with explained(Path(path)), h5py.File(path, "r", locking="best-effort") as file:
        value = file.attrs.get("particles", "tables")
        text = value.decode() if isinstance(value, bytes) else str(value)
    return "generator" if text == "generator" else "tables"
