"""Columns of files: turned into the types that we use, or refused with what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.errors import InputError, OutputError, did_you_mean
from smartbkg_tf.events.table import (
    EVENT_TYPES,
    KEY_COLUMNS,
    PARTICLE_COLUMNS,
    UNKNOWN_EVENT_TYPE,
    EventTable,
)

Array = npt.NDArray[Any]

#: How an unknown event type is written in files.
UNKNOWN_TEXT = "unknown"

_EVENT_TYPE_CODES = {
    **{name: code for code, name in enumerate(EVENT_TYPES)},
    UNKNOWN_TEXT: UNKNOWN_EVENT_TYPE,
}


def _numbers(values: Array, what: str, where: str) -> Array:
    """Give numbers or truth values, also of objects; InputError when there are others."""
    if values.dtype.kind == "O":
        try:
            values = values.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise InputError(f"holds no {what} ({error})", where=where) from error
    if values.dtype.kind not in "iufb":
        raise InputError(f"holds no {what} but {values.dtype}", where=where)
    return values


def integers(
    values: Array, dtype: npt.DTypeLike = np.int64, *, where: str, first_row: int = 0
) -> Array:
    """Give whole numbers [n] of a wanted type, never rounded or wrapped around.

    Takes integers, booleans and whole floats, also as objects. `where` (file and column) and
    `first_row` are for the message of the InputError when a value is missing or does not fit.
    """
    wanted = np.dtype(dtype)
    values = _numbers(values, "numbers", where)
    if values.dtype == wanted:
        return values
    if values.dtype.kind == "b" or np.can_cast(values.dtype, wanted):
        return values.astype(wanted)
    limits = np.iinfo(wanted)
    with np.errstate(invalid="ignore"):
        # 2**63 itself is a float, but not an int64: strictly below the next power of two.
        fits = (values >= limits.min) & (
            values < float(limits.max) + 1.0 if values.dtype.kind == "f" else values <= limits.max
        )
        if values.dtype.kind == "f":
            fits &= values == np.rint(values)
    if not fits.all():
        row = int(np.argmin(fits))
        raise InputError(
            f"row {first_row + row} holds {values[row]}, which is not a whole number"
            + ("" if not np.isfinite(values[row]) else f" between {limits.min} and {limits.max}"),
            where=where,
        )
    return values.astype(wanted)


def particle_column(name: str, values: Array, *, where: str, first_row: int = 0) -> Array:
    """Give a particle column in its type; dates and truth values are not numbers here."""
    wanted = np.dtype(PARTICLE_COLUMNS[name])
    if values.dtype.kind in "bmM":
        raise InputError(f"holds no numbers but {values.dtype}", where=where)
    if wanted.kind == "i":
        return integers(values, wanted, where=where, first_row=first_row)
    if values.dtype.kind not in "iuf":
        raise InputError(f"holds no numbers but {values.dtype}", where=where)
    return values.astype(wanted, copy=False)


def labels_from(values: Array, *, where: str, first_row: int = 0) -> npt.NDArray[np.int8]:
    """Give labels [n]: 0 and 1 of any type; NaN, None and -1 mean unknown and become -1."""
    values = _numbers(values, "labels", where)
    if values.dtype.kind == "f":
        values = np.where(np.isnan(values), -1, values)
    sound = (values == 0) | (values == 1)
    if values.dtype.kind in "if":
        sound |= values == -1
    if not sound.all():
        row = int(np.argmin(sound))
        raise InputError(
            f"row {first_row + row} holds {values[row]}: a label is 1 (passes), 0 (does not) "
            "or -1 (unknown)",
            where=where,
        )
    return values.astype(np.int8)


def texts(values: Array, *, where: str, first_row: int = 0) -> npt.NDArray[np.object_]:
    """Give texts [n], bytes ('S'), 'U' or objects, as objects of type str."""
    result = np.empty(len(values), dtype=object)
    listed = values.tolist()
    try:
        if values.dtype.kind == "S":
            result[:] = [value.decode() for value in listed]
            return result
        result[:] = [v.decode() if isinstance(v, bytes) else v for v in listed]
    except UnicodeDecodeError as error:
        raise InputError(f"holds a text that is not UTF-8 ({error})", where=where) from error
    wrong = [i for i, value in enumerate(listed) if not isinstance(value, str | bytes)]
    if wrong:
        raise InputError(
            f"row {first_row + wrong[0]} holds {listed[wrong[0]]!r}, which is not a text",
            where=where,
        )
    return result


def event_columns(table: EventTable, path: str | Path) -> dict[str, Array]:
    """Give what a file holds once per event [n_events].

    Key, n_particles, event_type (bytes), ``label_<skim>``, observables. They are the key
    ``events`` of an HDF5 training table, and columns of a Parquet one. OutputError when an
    observable has the name of another column.
    """
    types = np.array([*EVENT_TYPES, UNKNOWN_TEXT], dtype="S")
    columns: dict[str, Array] = {name: table.keys[name] for name in KEY_COLUMNS}
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
    columns: Mapping[str, Array],
    offsets: npt.NDArray[np.int64],
    where: str,
    first_event: int = 0,
) -> EventTable:
    """Make events without particles of the columns that `event_columns` gives.

    Further columns that hold numbers are observables; columns of texts are left out.
    """
    rest = dict(columns)
    rest.pop("n_particles", None)
    keys = {
        name: integers(rest.pop(name), np.int64, where=f"{where}: {name}", first_row=first_event)
        for name in KEY_COLUMNS
    }
    event_type = np.full(len(offsets) - 1, UNKNOWN_EVENT_TYPE, dtype=np.int8)
    if "event_type" in rest:
        event_type = _event_types(rest.pop("event_type"), f"{where}: event_type", first_event)
    labels = {
        name.removeprefix("label_"): labels_from(
            rest.pop(name), where=f"{where}: {name}", first_row=first_event
        )
        for name in list(rest)
        if name.startswith("label_")
    }
    observables = {
        name: values.astype(np.float64, copy=False)
        for name, values in rest.items()
        if values.dtype.kind in "iufb"
    }
    return EventTable({}, offsets, keys, event_type, labels, observables)


def _event_types(values: Array, where: str, first_row: int) -> npt.NDArray[np.int8]:
    """Give the codes of event types [n] that a file holds as codes or names."""
    if values.dtype.kind in "iufb":
        codes = integers(values, np.int64, where=where, first_row=first_row)
        wrong = (codes < UNKNOWN_EVENT_TYPE) | (codes >= len(EVENT_TYPES))
        if wrong.any():
            row = int(np.argmax(wrong))
            raise InputError(
                f"row {first_row + row} holds {codes[row]}; codes go from -1 (unknown) to "
                f"{len(EVENT_TYPES) - 1}: {', '.join(EVENT_TYPES)}",
                where=where,
            )
        return codes.astype(np.int8)
    plain = values if values.dtype.kind == "S" else texts(values, where=where).astype("S")
    codes = np.full(len(plain), -2, dtype=np.int8)
    for name, code in _EVENT_TYPE_CODES.items():
        codes[plain == name.encode()] = code
    if (codes == -2).any():
        row = int(np.argmax(codes == -2))
        name = plain[row].decode("utf-8", "replace")
        raise InputError(
            f"row {first_row + row} holds '{name}'; {did_you_mean(name, list(_EVENT_TYPE_CODES))}",
            where=where,
        )
    return codes
