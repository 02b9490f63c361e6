"""Read data frames that pandas wrote to HDF5, with h5py alone.

Both layouts of ``DataFrame.to_hdf`` are understood: 'fixed' (one array per block of
columns of equal type) and 'table' (one compound table). Neither pandas nor PyTables takes
part, since both unpickle whatever a file holds; and slices of rows are read at the speed
of the disk, without an index being put together.
"""

from __future__ import annotations

from pathlib import Path

import h5py

from smartbkg_tf.errors import InputError
from smartbkg_tf.events.pandas_fixed import FixedFrame
from smartbkg_tf.events.pandas_parts import Frame, attribute
from smartbkg_tf.events.pandas_table import TableFrame

__all__ = ["Frame", "open_frame"]


def open_frame(file: h5py.File, key: str, path: Path, *, as_stored: bool = False) -> Frame:
    """Find out how a frame is laid out and prepare to read it.

    Parameters
    ----------
    file : h5py.File
        The open file.
    key : str
        The key that was given to ``to_hdf``.
    path : pathlib.Path
        Name of the file, for messages.
    as_stored : bool, default False
        Give numbers in the type of the file; rows hold until the next ones are read
        (`read_rows`).

    Returns
    -------
    Frame
        Nothing but names and the values of index levels has been read yet.

    Raises
    ------
    InputError
        When the key is no data frame of pandas.
    """
    where = f"{path}: {key}"
    group = file[key]
    kind = attribute(group, "pandas_type", where) if isinstance(group, h5py.Group) else None
    if kind == "frame_table":
        return TableFrame(group, where, lend=as_stored)
    if kind == "frame":
        return FixedFrame(group, where, as_stored=as_stored)
    raise InputError(
        f"is no data frame that pandas wrote (its pandas_type is {kind!r})",
        where=where,
        next_step="write it with DataFrame.to_hdf(..., format='table')",
    )
