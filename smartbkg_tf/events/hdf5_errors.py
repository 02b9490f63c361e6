"""Say in words what h5py raises on files that are missing, damaged or no HDF5 files."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from smartbkg_tf.errors import InputError

MADE_BY = "such files are made by: python -m smartbkg_tf.produce"


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what h5py raises on a damaged file into a clear error.

    Parameters
    ----------
    path : pathlib.Path
        The file, for the message.

    Yields
    ------
    None
        Nothing; read inside the block.

    Raises
    ------
    InputError
        In place of OSError and of whatever the HDF5 library raises.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise InputError("the file does not exist", where=path, next_step=MADE_BY) from error
    except Exception as error:
        # h5py tells of damage by nearly any exception; others are faults of ours.
        if not isinstance(error, OSError) and not _raised_by_h5py(error):
            raise
        text = str(error.args[0] if isinstance(error, KeyError) else error)
        if "truncated file" in text:
            message = "is a truncated HDF5 file: it ends before its own table of contents says so"
        elif "signature not found" in text:
            message = "is no HDF5 file"
        else:
            message = f"cannot be read as HDF5 ({text.splitlines()[0] if text else error!r})"
        raise InputError(
            message, where=path, next_step=f"make or copy it again; {MADE_BY}"
        ) from error


def _raised_by_h5py(error: Exception) -> bool:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and "h5py" in trace.tb_frame.f_code.co_filename
