"""The electric charge that belongs to a PDG code."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from particle import PDGID, Particle
from particle.particle.particle import InvalidParticle, ParticleNotFound

#: EvtGen's inclusive states, whose numbers follow no numbering scheme: charge in e,
#: from the quark content in their names (Xsd, Xsu, Xss; the Xsu stands in B- -> Xsu gamma).
_CHARGE_OF_INCLUSIVE = {30343: 0.0, 30353: -1.0, 30363: 0.0}


def _charge_of(code: int) -> float | None:
    if abs(code) in _CHARGE_OF_INCLUSIVE:
        return float(np.sign(code)) * _CHARGE_OF_INCLUSIVE[abs(code)]
    try:
        charge = Particle.from_pdgid(code).charge
    except (ParticleNotFound, InvalidParticle):
        charge = None
    if charge is None and abs(code) < 2**31:
        charge = PDGID(code).charge
    return None if charge is None else float(charge)


@lru_cache(maxsize=65536)
def _cached_charge(code: int) -> float | None:
    return _charge_of(code)


def charges(codes: npt.ArrayLike) -> tuple[npt.NDArray[np.float64], dict[int, int]]:
    """Give the electric charge of PDG codes.

    Parameters
    ----------
    codes : array_like of int [n]
        PDG codes.

    Returns
    -------
    charge : numpy.ndarray [n]
        float64, in units of e: from the table of the ``particle`` package, else from the
        digits of the code (PDG numbering scheme, nuclei included); 0 where neither knows
        it (Geant4's and EvtGen's bookkeeping codes, and codes of no scheme).
    without : dict of int to int
        The codes that neither knows, with their numbers of appearances. Codes 0 and
        480000000 (a geantino) are neutral by definition and not counted.
    """
    values = np.asarray(codes)
    distinct, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    known = [_cached_charge(int(code)) for code in distinct.tolist()]
    table = np.array([0.0 if charge is None else charge for charge in known], dtype=np.float64)
    without = {
        int(code): int(count)
        for code, count, charge in zip(distinct, counts, known, strict=True)
        if charge is None and int(code) not in (0, 480000000)
    }
    return table[inverse.reshape(values.shape)] if len(table) else np.zeros(values.shape), without
