"""Check and encode the feature set ``original`` in one pass over the particles.

The columns are read where they stand: a row of a pandas block is
touched once, and nothing is copied but the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.encoding.checks import LARGEST_GEV
from smartbkg_tf.events.memory import flat_bytes, float64_at, int32_at
from smartbkg_tf.events.table import EventTable
from smartbkg_tf.events.vocabulary import Vocabulary
from smartbkg_tf.runtime.kernels import kernel

#: Columns of float64 that become features as they stand, in the order of the features.
CONTINUOUS = ("energy", "prodTime", "x", "y", "z", "px", "py", "pz")

#: Columns of int32.
_INTEGERS = ("PDG", "motherPDG", "motherIndex")

#: Bits of the faults of an event.
NOT_FINITE, NEGATIVE_ENERGY, MOTHER_INDEX, CHARGE, TOO_LARGE = 1, 2, 4, 8, 16

#: What float32 holds.
LARGEST = 3.4028234e38

#: The largest sound value of each column of `CONTINUOUS`.
_LIMITS = tuple(
    LARGEST_GEV if name in ("energy", "px", "py", "pz") else LARGEST for name in CONTINUOUS
)


@dataclass(frozen=True)
class OnePass:
    """Encoded particles and what is wrong with them.

    Parameters
    ----------
    continuous : numpy.ndarray [n_particles, 8]
        float32.
    charge : numpy.ndarray [n_particles]
        int8 in units of e/3.
    pdg, mother_pdg, mother_index : numpy.ndarray [n_particles]
        int16.
    faults : numpy.ndarray [n_events]
        uint8; bits `NOT_FINITE`, `NEGATIVE_ENERGY`, `MOTHER_INDEX`, `CHARGE`, `TOO_LARGE`.
    not_finite : int
        Bits of the columns that hold values that are not finite: those of `CONTINUOUS`,
        then the charge.
    unknown_pdg, unknown_mothers : int
        Tokens 1 in the two columns.
    """

    continuous: npt.NDArray[np.float32]
    charge: npt.NDArray[np.int8]
    pdg: npt.NDArray[np.int16]
    mother_pdg: npt.NDArray[np.int16]
    mother_index: npt.NDArray[np.int16]
    faults: npt.NDArray[np.uint8]
    not_finite: int
    unknown_pdg: int
    unknown_mothers: int


def one_pass(table: EventTable, vocabulary: Vocabulary) -> OnePass | None:
    """Check and encode all particles.

    Parameters
    ----------
    table : EventTable
        With particles; left unchanged.
    vocabulary : Vocabulary
        Tokens of PDG codes.

    Returns
    -------
    OnePass or None
        None when codes or mothers are not int32, as in tables made by hand.
    """
    integers = [np.asarray(table.particles[name]) for name in _INTEGERS]
    if any(column.dtype != np.int32 for column in integers):
        return None
    floats = [np.asarray(table.particles[name], dtype=np.float64) for name in CONTINUOUS]
    rows, step, places = side_by_side(floats)
    if any(b - a != 8 for a, b in pairwise(places)):
        rows, step, places = _stacked(floats)
    codes, codes_step, code_places = side_by_side(integers)
    n = table.n_particles
    # Made by NumPy, which asks for large pages.
    result: dict[str, Any] = {
        "continuous": np.empty((n, len(CONTINUOUS)), dtype=np.float32),
        "charge": np.empty(n, dtype=np.int8),
        "pdg": np.empty(n, dtype=np.int16),
        "mother_pdg": np.empty(n, dtype=np.int16),
        "mother_index": np.empty(n, dtype=np.int16),
        "faults": np.zeros(len(table), dtype=np.uint8),
    }
    not_finite, unknown_pdg, unknown_mothers = _one_pass(
        np.ascontiguousarray(table.offsets, dtype=np.int64),
        rows,
        step,
        places[0],
        _charge(table),
        codes,
        codes_step,
        *code_places,
        vocabulary.slot_codes,
        vocabulary.slot_tokens,
        int(vocabulary.tokens(0)),
        *result.values(),
    )
    return OnePass(
        **result,
        not_finite=not_finite,
        unknown_pdg=unknown_pdg,
        unknown_mothers=unknown_mothers,
    )


def _charge(table: EventTable) -> npt.NDArray[np.floating]:
    """Give the charge as it is stored, if it is float32 or float64, and aligned."""
    charge = np.asarray(table.particles["charge"])
    kind = charge.dtype if charge.dtype in (np.float32, np.float64) else np.float64
    return np.require(charge, dtype=kind, requirements=("C", "A"))


def side_by_side(columns: Sequence[npt.NDArray[Any]]) -> tuple[Any, int, list[int]]:
    """Find columns in the rows in which they stand, or put them into rows.

    Parameters
    ----------
    columns : sequence of numpy.ndarray [n]
        Of one type.

    Returns
    -------
    rows : numpy.ndarray [n_bytes]
        uint8; a view where the columns are views into rows.
    step : int
        Bytes of a row.
    places : list of int
        First byte of each column in a row.
    """
    step, width = columns[0].strides[0], columns[0].itemsize
    starts = [column.__array_interface__["data"][0] for column in columns]
    low, high = min(starts), max(starts) + width
    same = all(column.strides[0] == step for column in columns)
    if not len(columns[0]) or not same or high - low > step:
        return _stacked(columns)
    n_bytes = (len(columns[0]) - 1) * step + high - low
    rows = flat_bytes(columns[starts.index(low)], n_bytes, keep=columns)
    return rows, step, [start - low for start in starts]


def _stacked(columns: Sequence[npt.NDArray[Any]]) -> tuple[Any, int, list[int]]:
    rows = np.stack(columns, axis=1)
    width = rows.itemsize
    flat = rows.reshape(-1).view(np.uint8)
    return flat, width * len(columns), [width * i for i in range(len(columns))]


@kernel(inline="always")
def _slot(code: Any, slots: Any) -> Any:
    """Give ``code % slots`` by a short unsigned division, several times as fast."""
    if code >= 0:
        return np.int64(np.uint32(code) % slots)
    rest = np.uint32(-np.int64(code)) % slots
    return np.int64(slots - rest) if rest else np.int64(0)


@kernel
def _one_pass(
    offsets: npt.NDArray[np.int64],
    rows: npt.NDArray[np.uint8],
    step: int,
    first: int,
    charge: npt.NDArray[np.floating],
    codes: npt.NDArray[np.uint8],
    codes_step: int,
    pdg_place: int,
    mother_pdg_place: int,
    mother_place: int,
    slot_codes: npt.NDArray[np.int64],
    slot_tokens: npt.NDArray[np.int16],
    nothing: int,
    continuous: npt.NDArray[np.float32],
    thirds: npt.NDArray[np.int8],
    pdg: npt.NDArray[np.int16],
    mother_pdg: npt.NDArray[np.int16],
    mother_index: npt.NDArray[np.int16],
    faults: npt.NDArray[np.uint8],
) -> tuple[int, int, int]:
    """Fill the last six arrays; returns the columns not finite and the tokens 1 of both kinds."""
    largest = np.float64(LARGEST)
    slots = np.uint32(len(slot_codes))
    columns = 0
    unknown_pdg = 0
    unknown_mothers = 0
    for event in range(len(offsets) - 1):
        begin = offsets[event]
        n = offsets[event + 1] - begin
        # Positions in a slice are never negative, which spares a test for each of them.
        own_continuous = continuous[begin : begin + n]
        own_charge, own_thirds = charge[begin : begin + n], thirds[begin : begin + n]
        own_pdg, own_mother_pdg = pdg[begin : begin + n], mother_pdg[begin : begin + n]
        own_mother_index = mother_index[begin : begin + n]
        fault = 0
        for i in range(n):
            row = begin + i
            place = row * step + first
            # NaN fails every comparison.
            sound = 0
            for k in range(8):
                value = float64_at(rows, place + 8 * k)
                own_continuous[i, k] = np.float32(value)
                sound += abs(value) <= _LIMITS[k]
            value = np.float64(own_charge[i]) * 3.0
            if sound < 8 or not abs(own_charge[i]) <= largest:
                for k in range(8):
                    size = abs(float64_at(rows, place + 8 * k))
                    if not size <= largest:
                        fault |= NOT_FINITE
                        columns |= 1 << k
                    elif size > _LIMITS[k]:
                        fault |= TOO_LARGE
                if not abs(own_charge[i]) <= largest:
                    fault |= NOT_FINITE
                    columns |= 1 << 8
            rounded = np.rint(value)
            if abs(value) <= 127.4 and abs(value - rounded) <= 1e-3:
                own_thirds[i] = np.int8(rounded)
            else:
                if abs(value) <= 3.0 * largest and (
                    abs(value - rounded) > 1e-3 or abs(value) > 127.5
                ):
                    fault |= CHARGE
                if np.isfinite(value):
                    own_thirds[i] = np.int8(min(max(rounded, -127.0), 127.0))
                else:
                    own_thirds[i] = 0
            if float64_at(rows, place) < 0.0:
                fault |= NEGATIVE_ENERGY

            place = row * codes_step
            code = int32_at(codes, place + pdg_place)
            if code == 0:
                own_pdg[i] = nothing
                unknown_pdg += nothing == 1
            else:
                slot = _slot(code, slots)
                if slot_codes[slot] == code:
                    own_pdg[i] = slot_tokens[slot]
                else:
                    own_pdg[i] = 1
                    unknown_pdg += 1
            code = int32_at(codes, place + mother_pdg_place)
            if code == 0:
                own_mother_pdg[i] = 0
            else:
                slot = _slot(code, slots)
                if slot_codes[slot] == code:
                    own_mother_pdg[i] = slot_tokens[slot]
                else:
                    own_mother_pdg[i] = 1
                    unknown_mothers += 1

            m = int32_at(codes, place + mother_place)
            # Beyond what 16 bits hold counts as none; no event of physics is that long.
            own_mother_index[i] = m if 0 <= m < n and m != i and m <= 32767 else -1
            if m < -1 or m >= n:
                fault |= MOTHER_INDEX
            elif m >= i:
                # Mothers usually stand before their daughters; only a chain that does
                # not can be a circle.
                steps = 0
                while 0 <= m < n and steps <= n:
                    m = int32_at(codes, (begin + m) * codes_step + mother_place)
                    steps += 1
                if steps > n:
                    fault |= MOTHER_INDEX
        faults[event] = fault
    return columns, unknown_pdg, unknown_mothers
