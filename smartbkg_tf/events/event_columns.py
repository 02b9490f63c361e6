"""The columns with one entry per event: key, event type, labels, observables.

They are the key ``events`` of an HDF5 training table, and columns of a Parquet one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.errors import InputError, OutputError, did_you_mean
from smartbkg_tf.events.columns import integers, labels_from, texts
from smartbkg_tf.events.table import EVENT_TYPES, KEY_COLUMNS, UNKNOWN_EVENT_TYPE, EventTable

#: How an unknown event type is written in ``events``.
UNKNOWN_TEXT = "unknown"


def event_columns(table: EventTable, path: str | Path) -> dict[str, Any]:
    """Give the columns of ``events``: one entry per event.

    Parameters
    ----------
    table : EventTable
        The events.
    path : str or pathlib.Path
        Where they will be written, for the message.

    Returns
    -------
    dict of str to numpy.ndarray [n_events]
        Key, n_particles, event_type (bytes), ``label_<skim>``, observables.

    Raises
    ------
    OutputError
        When an observable has the name of another column.
    """
    types = np.array([*EVENT_TYPES, UNKNOWN_TEXT], dtype="S")
    columns: dict[str, Any] = {name: table.keys[name] for name in KEY_COLUMNS}
    columns["n_particles"] = np.diff(table.offsets)
    # Code -1, unknown, picks the last entry.
    columns["event_type"] = types[table.event_type]
    for name, values in table.labels.items():
        columns[f"label_{name}"] = values.astype(np.int8)
    for name, observable in table.observables.items():
        if name in columns or name == "decay_str" or name.startswith("label_"):
            raise OutputError(f"an observable cannot be called '{name}'", where=path)
        columns[name] = observable.astype(np.float64)
    return columns


def events_from_columns(
    columns: dict[str, Any], n_events: int, where: str, first_event: int = 0
) -> tuple[
    dict[str, npt.NDArray[np.int64]],
    npt.NDArray[np.int8],
    dict[str, npt.NDArray[np.int8]],
    dict[str, npt.NDArray[np.float64]],
]:
    """Sort the columns of ``events`` into key, event type, labels and observables.

    Parameters
    ----------
    columns : dict of str to numpy.ndarray [n_events]
        All columns but n_particles. Further columns that hold numbers are observables;
        columns of texts are left out.
    n_events : int
        Number of events.
    where : str
        File and key, for messages.
    first_event : int, default 0
        Position in the file, for messages.

    Returns
    -------
    keys : dict of str to numpy.ndarray [n_events]
        int64.
    event_type : numpy.ndarray [n_events]
        int8.
    labels : dict of str to numpy.ndarray [n_events]
        int8 per skim.
    observables : dict of str to numpy.ndarray [n_events]
        float64.

    Raises
    ------
    InputError
        When a column holds what it cannot hold.
    """
    rest = dict(columns)
    keys = {
        name: integers(rest.pop(name), np.int64, where=f"{where}: {name}", first_row=first_event)
        for name in KEY_COLUMNS
    }
    event_type = _event_types(rest.pop("event_type", None), n_events, where)
    labels = {
        name.removeprefix("label_"): labels_from(
            rest.pop(name), where=f"{where}: {name}", first_row=first_event
        )
        for name in list(rest)
        if name.startswith("label_")
    }
    observables = {
        # Views into the rows of the file, where there are dozens of them.
        name: values.astype(np.float64, copy=False)
        for name, values in rest.items()
        if values.dtype.kind in "iufb"
    }
    return keys, event_type, labels, observables


def _event_types(values: Any, n_events: int, where: str) -> npt.NDArray[np.int8]:
    if values is None:
        return np.full(n_events, UNKNOWN_EVENT_TYPE, dtype=np.int8)
    where = f"{where}: event_type"
    if values.dtype.kind in "iufb":
        codes = integers(values, np.int64, where=where)
        wrong = (codes < UNKNOWN_EVENT_TYPE) | (codes >= len(EVENT_TYPES))
        if wrong.any():
            raise InputError(
                f"row {int(np.argmax(wrong))} holds {codes[np.argmax(wrong)]}; codes go from -1 "
                f"(unknown) to {len(EVENT_TYPES) - 1}: {', '.join(EVENT_TYPES)}",
                where=where,
            )
        return codes.astype(np.int8)
    if len(values) == 0:
        return np.empty(0, dtype=np.int8)
    plain = values if values.dtype.kind == "S" else texts(values, where=where).astype("S")
    if np.all(plain == plain[0]):  # the usual case, without a sort of texts
        names, inverse = plain[:1], np.zeros(len(plain), dtype=np.int64)
    else:
        names, inverse = np.unique(plain, return_inverse=True)
    codes = np.empty(len(names), dtype=np.int8)
    for i, name in enumerate(names.tolist()):
        text = name.decode("utf-8", "replace")
        if text == UNKNOWN_TEXT:
            codes[i] = UNKNOWN_EVENT_TYPE
        elif text in EVENT_TYPES:
            codes[i] = EVENT_TYPES.index(text)
        else:
            row = int(np.argmax(inverse == i))
            choices = (*EVENT_TYPES, UNKNOWN_TEXT)
            raise InputError(
                f"row {row} holds '{text}'; {did_you_mean(text, choices)}", where=where
            )
    return codes[inverse]
