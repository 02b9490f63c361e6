"""Turn columns of foreign tables into the types that we use, or say what is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.errors import InputError
from smartbkg_tf.events.table import PARTICLE_COLUMNS

Array = npt.NDArray[Any]


def integers(values: Array, dtype: npt.DTypeLike, *, where: str, first_row: int = 0) -> Array:
    """Give whole numbers of a wanted type, without a silent change of any.

    Parameters
    ----------
    values : numpy.ndarray [n]
        Integers, booleans or whole floats; objects that are such numbers.
    dtype : dtype
        An integer type.
    where : str
        File and column, for the message.
    first_row : int, default 0
        Row of the first value in the file, for the message.

    Returns
    -------
    numpy.ndarray [n]
        Of the wanted type; the very values where they have it already.

    Raises
    ------
    InputError
        When a value is missing, broken or does not fit.
    """
    wanted = np.dtype(dtype)
    if values.dtype.kind == "O":
        try:
            values = values.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise InputError(f"holds no numbers ({error})", where=where) from error
    if values.dtype.kind not in "iufb":
        raise InputError(f"holds no numbers but {values.dtype}", where=where)
    if values.dtype == wanted:
        return values
    if values.dtype.kind == "b" or np.can_cast(values.dtype, wanted):
        return values.astype(wanted)
    limits = np.iinfo(wanted)
    with np.errstate(invalid="ignore"):
        # 2**63 itself is a float, but no int64: strictly below the next power of two.
        fits = (values >= limits.min) & (
            values < float(limits.max) + 1.0 if values.dtype.kind == "f" else values <= limits.max
        )
        if values.dtype.kind == "f":
            fits &= values == np.rint(values)
    if not fits.all():
        row = int(np.argmin(fits))
        raise InputError(
            f"row {first_row + row} holds {values[row]}, which is no whole number"
            + ("" if not np.isfinite(values[row]) else f" between {limits.min} and {limits.max}"),
            where=where,
        )
    return values.astype(wanted)


def particle_column(
    name: str, values: Array, *, where: str, first_row: int = 0, as_stored: bool = False
) -> Array:
    """Give a particle column in its type; dates and truth values are no numbers here."""
    wanted = np.dtype(PARTICLE_COLUMNS[name])
    if values.dtype.kind in "bmM":
        raise InputError(f"holds no numbers but {values.dtype}", where=where)
    if wanted.kind == "i":
        return integers(values, wanted, where=where, first_row=first_row)
    if values.dtype.kind not in "iuf":
        raise InputError(f"holds no numbers but {values.dtype}", where=where)
    if as_stored and values.dtype in (np.float32, np.float64):
        return values
    return values.astype(wanted, copy=False)


def labels_from(values: Array, *, where: str, first_row: int = 0) -> npt.NDArray[np.int8]:
    """Give labels as int8.

    Parameters
    ----------
    values : numpy.ndarray [n]
        0 and 1, False and True, as any type; NaN, None and -1 mean unknown.
    where : str
        File and column, for the message.
    first_row : int, default 0
        Row of the first value in the file, for the message.

    Returns
    -------
    numpy.ndarray [n]
        1 passes, 0 does not, -1 unknown.

    Raises
    ------
    InputError
        When a value is none of these.
    """
    if values.dtype.kind == "O":
        try:
            values = values.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise InputError(f"holds no labels ({error})", where=where) from error
    if values.dtype.kind not in "iufb":
        raise InputError(f"holds no labels but {values.dtype}", where=where)
    if values.dtype.kind == "f":
        values = np.where(np.isnan(values), -1, values)
    # One pass over what may be a column of long rows.
    values = np.ascontiguousarray(values)
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
    """Give texts as an object array of str.

    Parameters
    ----------
    values : numpy.ndarray [n]
        Bytes ('S'), 'U', or objects.
    where : str
        File and column, for the message.
    first_row : int, default 0
        Row of the first value in the file, for the message.

    Returns
    -------
    numpy.ndarray [n]
        Objects of type str.

    Raises
    ------
    InputError
        When a value is no text or no UTF-8.
    """
    result = np.empty(len(values), dtype=object)
    listed = values.tolist()
    try:
        if values.dtype.kind == "S":
            result[:] = [value.decode() for value in listed]
            return result
        result[:] = [v.decode() if isinstance(v, bytes) else v for v in listed]
    except UnicodeDecodeError as error:
        raise InputError(f"holds a text that is no UTF-8 ({error})", where=where) from error
    wrong = [i for i, value in enumerate(listed) if not isinstance(value, str | bytes)]
    if wrong:
        raise InputError(
            f"row {first_row + wrong[0]} holds {listed[wrong[0]]!r}, which is no text", where=where
        )
    return result
