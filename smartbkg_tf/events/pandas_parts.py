"""What both layouts of pandas in HDF5 share: attributes, names, the look of a frame."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import h5py
import numpy as np
import numpy.typing as npt

from smartbkg_tf.errors import InputError, did_you_mean
from smartbkg_tf.events.plain_pickle import Refused, loads
from smartbkg_tf.runtime.kernels import kernel

Array = npt.NDArray[Any]


class Frame(Protocol):
    """Rows of a data frame that stay in the file until they are asked for.

    Attributes
    ----------
    n_rows : int
        Number of rows.
    index_names : tuple of str
        Names of the index levels; ``""`` for a level without name.
    columns : tuple of str
        Names of all other columns.
    """

    n_rows: int
    index_names: tuple[str, ...]
    columns: tuple[str, ...]

    def read(self, names: Iterable[str], start: int, stop: int) -> dict[str, Array]:
        """Read some columns or index levels of a slice of rows.

        Parameters
        ----------
        names : iterable of str
            Columns or index levels.
        start, stop : int
            The rows.

        Returns
        -------
        dict of str to numpy.ndarray [stop - start]
            Floats may be widened to float64, texts are bytes ('S') or objects. They may be
            views into rows that stand side by side.

        Raises
        ------
        InputError
            When there is no such column.
        """
        ...

    def first_other(self, name: str, start: int, offsets: Array, expected: Array) -> int | None:
        """Find the first row that does not have the value of its event.

        Parameters
        ----------
        name : str
            A column or index level.
        start : int
            The first row.
        offsets : numpy.ndarray [n_events + 1]
            int64; rows of each event, relative to `start`.
        expected : numpy.ndarray [n_events]
            What all rows of an event have to hold.

        Returns
        -------
        int or None
            Relative to `start`; None when there is no such row.

        Raises
        ------
        InputError
            When there is no such column.
        """
        ...

    def rename_index(self, names: tuple[str, ...]) -> None:
        """Give the index levels other names.

        Parameters
        ----------
        names : tuple of str
            As many as there are levels.
        """
        ...


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return "" if isinstance(value, h5py.Empty) else str(value)


def attribute(node: Any, name: str, where: str) -> Any:
    """Give an attribute, with the lists and tuples that PyTables pickled.

    Parameters
    ----------
    node : h5py.Group or h5py.Dataset
        Where it stands.
    name : str
        Its name.
    where : str
        File and key, for the message.

    Returns
    -------
    object
        Texts as str; None if it is missing.

    Raises
    ------
    InputError
        When it is damaged, or pickled and asks for more than plain values.
    """
    try:
        value = node.attrs.get(name)
    except (TypeError, ValueError) as error:  # what h5py raises on an unknown type
        raise InputError(f"is damaged: attribute '{name}' ({error})", where=where) from error
    if isinstance(value, bytes | np.bytes_):
        data = bytes(value)
        # PyTables pickles with protocol 0, which ends in a full stop, or a later one.
        if data.endswith(b".") and data[:1] in b"(cNIVSFL]}lK\x80":
            try:
                return loads(data, where=f"{where}@{name}")
            except InputError as error:
                # Otherwise it was a text that merely looked like a pickle.
                if isinstance(error.__cause__, Refused):
                    raise
        return _text(data)
    if isinstance(value, h5py.Empty):
        return ""
    return value


def with_type(values: Array, kind: Any) -> Array:
    """Give dates, spans of time and truth values, stored as plain numbers, their own type."""
    for beginning, stored, dtype in (
        ("datetime64", 8, "M8[ns]"),
        ("timedelta64", 8, "m8[ns]"),
        ("bool", 1, "?"),
    ):
        if str(kind).startswith(beginning) and values.dtype.itemsize == stored:
            return values.view(dtype)
    return values


def number(node: Any, name: str, where: str) -> int:
    """Give an attribute that is a whole number.

    Parameters
    ----------
    node : h5py.Group or h5py.Dataset
        Where it stands.
    name : str
        Its name.
    where : str
        File and key, for the message.

    Returns
    -------
    int
        0 if it is missing.

    Raises
    ------
    InputError
        When it is no number.
    """
    value = attribute(node, name, where)
    try:
        return 0 if value is None else int(value)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"is damaged: attribute '{name}' is {value!r}, no number", where=where
        ) from error


def column_names(values: Any, where: str) -> tuple[str, ...]:
    """Give column names as texts.

    Parameters
    ----------
    values : object
        As they stand in the file.
    where : str
        File and key, for the message.

    Returns
    -------
    tuple of str
        The names.

    Raises
    ------
    InputError
        When it is no list.
    """
    if isinstance(values, np.ndarray | list | tuple):
        return tuple(_text(value) for value in values)
    raise InputError("has no list of column names", where=where)


def first_other(values: Array, offsets: Array, expected: Array) -> int | None:
    """Find the first row that does not have the value of its event.

    Parameters
    ----------
    values : numpy.ndarray [n_rows]
        A column.
    offsets : numpy.ndarray [n_events + 1]
        int64; rows of each event.
    expected : numpy.ndarray [n_events]
        What all rows of an event have to hold.

    Returns
    -------
    int or None
        None when there is no such row.
    """
    wrong = values != np.repeat(expected, np.diff(offsets))
    return int(np.argmax(wrong)) if wrong.any() else None


#: What `first_other_code` returns for a code without a value.
NO_VALUE = -2


@kernel
def first_other_code(
    codes: Array,
    levels: npt.NDArray[np.int64],
    offsets: npt.NDArray[np.int64],
    expected: npt.NDArray[np.int64],
) -> int:
    """Find the first row whose level is not the value of its event.

    Parameters
    ----------
    codes : numpy.ndarray [n_rows]
        Integers; positions in `levels`.
    levels : numpy.ndarray [n_levels]
        int64.
    offsets : numpy.ndarray [n_events + 1]
        int64; rows of each event.
    expected : numpy.ndarray [n_events]
        int64.

    Returns
    -------
    int
        -1 when there is no such row, -2 when any code stands for no value.
    """
    found = -1
    for event in range(len(offsets) - 1):
        rows = codes[offsets[event] : offsets[event + 1]]
        if len(rows) == 0:
            continue
        first = rows[0]
        equal = 0
        for i in range(len(rows)):
            equal += rows[i] == first
        if equal == len(rows) and 0 <= first < len(levels) and levels[first] == expected[event]:
            continue
        for i in range(len(rows)):
            code = rows[i]
            if code < 0 or code >= len(levels):
                return NO_VALUE
            if found < 0 and levels[code] != expected[event]:
                found = offsets[event] + i
    return found


def no_column(name: str, frame: Frame, where: str) -> InputError:
    """Say that there is no such column.

    Parameters
    ----------
    name : str
        The column that was asked for.
    frame : Frame
        What has been searched.
    where : str
        File and key.

    Returns
    -------
    InputError
        To be raised; it names the likest columns.
    """
    choices = (*frame.index_names, *frame.columns)
    return InputError(f"has no column '{name}'; {did_you_mean(name, choices)}", where=where)
