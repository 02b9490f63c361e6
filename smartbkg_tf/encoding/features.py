"""The two feature sets, one compiled pass over the particles each.

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

import numpy as np
import numpy.typing as npt

from smartbkg_tf.runtime.kernels import kernel

#: Production vertices at or beyond this x, y or z are left out by ``smartbackground``, cm.
VERTEX_LIMIT = 10.0

#: Status bit of an initial particle.
INITIAL = 1 << 5

#: Mother of a particle whose mother was dropped from the table.
_DROPPED = -2


@kernel
def stacked(
    energy: npt.NDArray[np.float64],
    time: npt.NDArray[np.float64],
    x: npt.NDArray[np.float64],
    y: npt.NDArray[np.float64],
    z: npt.NDArray[np.float64],
    px: npt.NDArray[np.float64],
    py: npt.NDArray[np.float64],
    pz: npt.NDArray[np.float64],
) -> npt.NDArray[np.float32]:
    """Put the columns of ``original`` (GeV, ns, cm) side by side [n_particles, 8]."""
    out = np.empty((len(energy), 8), dtype=np.float32)
    for i in range(len(energy)):
        out[i, 0] = energy[i]
        out[i, 1] = time[i]
        out[i, 2] = x[i]
        out[i, 3] = y[i]
        out[i, 4] = z[i]
        out[i, 5] = px[i]
        out[i, 6] = py[i]
        out[i, 7] = pz[i]
    return out


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


@kernel
def smartbackground(
    offsets: npt.NDArray[np.int64],
    pdg: npt.NDArray[np.int64],
    status: npt.NDArray[np.int64],
    mother: npt.NDArray[np.int32],
    mother_pdg: npt.NDArray[np.int64],
    time: npt.NDArray[np.float64],
    x: npt.NDArray[np.float64],
    y: npt.NDArray[np.float64],
    z: npt.NDArray[np.float64],
    energy: npt.NDArray[np.float64],
    px: npt.NDArray[np.float64],
    py: npt.NDArray[np.float64],
    pz: npt.NDArray[np.float64],
) -> tuple[
    npt.NDArray[np.int64],
    npt.NDArray[np.int64],
    npt.NDArray[np.float32],
    npt.NDArray[np.int32],
]:
    """Apply rules 1 to 7 and 10 of basf2's SmartBackground module.

    Gives the kept rows [n_kept], their offsets [n_events + 1], the features [n_kept, 8] (t - t0,
    x - x0, y - y0, z - z0, E, px, py, pz; ns, cm, GeV) and the positions of the mothers among the
    event's kept particles, -1 for none.
    """
    n_all = len(pdg)
    kept = np.empty(n_all, dtype=np.int64)
    kept_offsets = np.zeros(len(offsets) - 1 + 1, dtype=np.int64)
    features = np.empty((n_all, 8), dtype=np.float32)
    kept_mother = np.empty(n_all, dtype=np.int32)
    # Within an event: >= 0 new index, -1 left out, -2 a quark or gluon that is followed.
    new_index = np.empty(n_all, dtype=np.int32)
    total = 0
    for event in range(len(offsets) - 1):
        begin = offsets[event]
        n = offsets[event + 1] - begin
        first = total
        for i in range(n):
            row = begin + i
            if (
                status[row] & INITIAL
                or x[row] >= VERTEX_LIMIT
                or y[row] >= VERTEX_LIMIT
                or z[row] >= VERTEX_LIMIT
            ):
                new_index[row] = -1
            elif pdg[row] == 21 or -5 <= pdg[row] <= 5:
                new_index[row] = -2
            else:
                new_index[row] = total - first
                kept[total] = row
                total += 1
        for j in range(first, total):
            row = kept[j]
            reference = kept[first]
            features[j, 0] = time[row] - time[reference]
            features[j, 1] = x[row] - x[reference]
            features[j, 2] = y[row] - y[reference]
            features[j, 3] = z[row] - z[reference]
            features[j, 4] = energy[row]
            features[j, 5] = px[row]
            features[j, 6] = py[row]
            features[j, 7] = pz[row]
            # Rule 10: what stands after the particle is not known yet when its turn comes.
            own = row - begin
            m = _mother_or_first(mother[row], mother_pdg[row])
            # A chain of quarks is shorter than the event, unless it is a circle.
            for _ in range(n):
                if not 0 < m <= own or new_index[begin + m] != -2:
                    break
                m = _mother_or_first(mother[begin + m], mother_pdg[begin + m])
            found = 0 <= m <= own and new_index[begin + m] >= 0
            kept_mother[j] = new_index[begin + m] if found else -1
        kept_offsets[event + 1] = total
    return kept[:total], kept_offsets, features[:total], kept_mother[:total]


@kernel(inline="always")
def _mother_or_first(mother: int, mother_pdg: int) -> int:
    """Rule 1: the first particle where there is no mother; -2 where it was dropped."""
    if mother >= 0:
        return mother
    return 0 if mother_pdg == 0 else _DROPPED


@kernel
def charge_in_thirds(
    charge: npt.NDArray[np.float64],
) -> npt.NDArray[np.int8]:
    """Express charges in units of e/3, rounded, limited to -127..127; 0 for NaN."""
    out = np.empty(len(charge), dtype=np.int8)
    for i in range(len(charge)):
        value = charge[i] * 3.0
        if not np.isfinite(value):
            out[i] = 0
        else:
            out[i] = np.int8(min(max(np.rint(value), -127.0), 127.0))
    return out
