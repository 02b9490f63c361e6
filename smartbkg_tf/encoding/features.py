"""The two feature sets of the package.

``original``: every particle of the table, values as they stand.

``smartbackground``: the rules of basf2's SmartBackground module (skim package). They speak
of *all* particles that exist right after generation: feed tables that were produced with
``source.particles=generator``, which keep what these rules keep. Where a table lacks a mother
it tells the two cases apart: ``motherPDG`` 0 is a particle without a mother, whose mother is
the first particle by rule 1; any other ``motherPDG`` with ``motherIndex == -1`` is a mother
that was dropped, and gives -1.

Tables of the default ``source.particles=tables`` are close for B pairs, but lack the virtual
photon (mDST) and all ISR and FSR photons.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.events.table import EventTable
from smartbkg_tf.events.vocabulary import UNKNOWN, look_up
from smartbkg_tf.runtime.kernels import kernel
from smartbkg_tf.settings.encoding import FEATURE_SETS

#: Production vertices at or beyond this x, y or z are left out by ``smartbackground``, cm.
VERTEX_LIMIT = 10.0

#: Status bit of an initial particle.
INITIAL = 1 << 5

#: Mother of a particle whose mother was dropped from the table.
_DROPPED = -2


def stacked(*columns: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Put eight columns [n_particles] side by side, float32 [n_particles, 8]."""
    out = np.empty((len(columns[0]), 8), dtype=np.float32)
    _stack(columns, out)
    return out


@kernel
def _stack(columns: Any, out: npt.NDArray[np.float32]) -> None:
    c0, c1, c2, c3, c4, c5, c6, c7 = columns
    for i in range(len(out)):
        out[i, 0], out[i, 1], out[i, 2], out[i, 3] = c0[i], c1[i], c2[i], c3[i]
        out[i, 4], out[i, 5], out[i, 6], out[i, 7] = c4[i], c5[i], c6[i], c7[i]


@kernel
def original(
    pdg: npt.NDArray[np.int64],
    mother_pdg: npt.NDArray[np.int64],
    columns: Any,
    slot_codes: npt.NDArray[np.int64],
    slot_tokens: npt.NDArray[np.int16],
) -> Any:
    """Encode all particles in one call, because single events are encoded, too.

    The last of nine columns is the charge. Gives the others [n, 8], charges in thirds, tokens,
    tokens of mothers (0: none) [n], and whether a code has no token.
    """
    values = np.empty((len(pdg), 8), dtype=np.float32)
    _stack(columns[:8], values)
    tokens = look_up(pdg, slot_codes, slot_tokens)
    mother_tokens = look_up(mother_pdg, slot_codes, slot_tokens)
    unknown = False
    for i in range(len(pdg)):
        # "No mother" is not a particle, although the code 0 has a token.
        if mother_pdg[i] == 0:
            mother_tokens[i] = 0
        unknown |= tokens[i] == UNKNOWN or mother_tokens[i] == UNKNOWN
    return values, charge_in_thirds(columns[8]), tokens, mother_tokens, unknown


@kernel
def sound_mothers(
    offsets: npt.NDArray[np.int64], mother: npt.NDArray[np.int32]
) -> npt.NDArray[np.int32]:
    """Give -1 for every mother that lies outside the event or is the particle itself."""
    out = np.empty(len(mother), dtype=np.int32)
    for event in range(len(offsets) - 1):
        begin = offsets[event]
        n = offsets[event + 1] - begin
        for i in range(n):
            m = mother[begin + i]
            out[begin + i] = m if (0 <= m < n and m != i) else -1
    return out


def smartbackground(
    table: EventTable, mother: npt.NDArray[np.int32]
) -> tuple[
    npt.NDArray[np.float32],
    npt.NDArray[np.int64],
    npt.NDArray[np.int64],
    npt.NDArray[np.int32],
]:
    """Apply rules 1 to 7 and 10 of basf2's SmartBackground module.

    `mother` [n_particles] are positions within the event, -1 for none. Gives the features [n_kept,
    8] (t - t0, x - x0, y - y0, z - z0, E, px, py, pz; ns, cm, GeV), the kept rows, their offsets
    [n_events + 1], and the positions of the mothers among the event's kept particles.
    """
    columns = {
        name: np.asarray(table.particles[name], dtype=np.float64)
        for name in FEATURE_SETS["smartbackground"]
    }
    pdg, mother_pdg = (
        np.nan_to_num(table.particles[name]).astype(np.int64) for name in ("PDG", "motherPDG")
    )
    gone = np.asarray(table.particles["status"]).astype(np.int64) & INITIAL != 0
    for axis in "xyz":
        gone |= columns[axis] >= VERTEX_LIMIT
    parton = (pdg == 21) | (np.abs(pdg) <= 5)
    offsets = np.asarray(table.offsets, dtype=np.int64)
    kept, kept_offsets, kept_mother = _selected(offsets, gone, parton, mother, mother_pdg == 0)
    first = kept[np.repeat(kept_offsets[:-1], np.diff(kept_offsets))]
    with np.errstate(invalid="ignore"):
        values = stacked(
            *(
                column[kept] - column[first]
                if name in ("prodTime", "x", "y", "z")
                else column[kept]
                for name, column in columns.items()
            )
        )
    return values, kept, kept_offsets, kept_mother


@kernel
def _selected(
    offsets: npt.NDArray[np.int64],
    gone: npt.NDArray[np.bool_],
    parton: npt.NDArray[np.bool_],
    mother: npt.NDArray[np.int32],
    motherless: npt.NDArray[np.bool_],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Choose particles, and follow the links of the others: kept rows, offsets, mothers."""
    kept = np.empty(len(gone), dtype=np.int64)
    kept_offsets = np.zeros(len(offsets), dtype=np.int64)
    kept_mother = np.empty(len(gone), dtype=np.int32)
    # Within an event: >= 0 new index, -1 left out, -2 a quark or gluon that is followed.
    new_index = np.empty(len(gone), dtype=np.int32)
    total = 0
    for event in range(len(offsets) - 1):
        begin = offsets[event]
        n = offsets[event + 1] - begin
        first = total
        for i in range(n):
            row = begin + i
            if gone[row]:
                new_index[row] = -1
            elif parton[row]:
                new_index[row] = -2
            else:
                new_index[row] = total - first
                kept[total] = row
                total += 1
        for j in range(first, total):
            # Rule 10: what stands after the particle is not known yet when its turn comes.
            own = kept[j] - begin
            m = _mother_or_first(mother[kept[j]], motherless[kept[j]])
            # A chain of quarks is shorter than the event, unless it is a circle.
            for _ in range(n):
                if not 0 < m <= own or new_index[begin + m] != -2:
                    break
                m = _mother_or_first(mother[begin + m], motherless[begin + m])
            found = 0 <= m <= own and new_index[begin + m] >= 0
            kept_mother[j] = new_index[begin + m] if found else -1
        kept_offsets[event + 1] = total
    return kept[:total], kept_offsets, kept_mother[:total]


@kernel(inline="always")
def _mother_or_first(mother: int, motherless: bool) -> int:
    """Rule 1: the first particle where there is no mother; -2 where it was dropped."""
    if mother >= 0:
        return mother
    return 0 if motherless else _DROPPED


@kernel
def charge_in_thirds(charge: npt.NDArray[np.float64]) -> npt.NDArray[np.int8]:
    """Express charges in units of e/3, rounded, limited to -127..127; 0 for NaN."""
    out = np.empty(len(charge), dtype=np.int8)
    for i in range(len(charge)):
        value = charge[i] * 3.0
        if not np.isfinite(value):
            out[i] = 0
        else:
            out[i] = np.int8(min(max(np.rint(value), -127.0), 127.0))
    return out
