"""The electric charges of PDG codes: one table for the readers and the generator."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

#: EvtGen's inclusive states, whose numbers follow no numbering scheme: charge in e,
#: from the quark content in their names (Xsd, Xsu, Xss; the Xsu stands in B- -> Xsu gamma).
_CHARGE_OF_INCLUSIVE = {30343: 0.0, 30353: -1.0, 30363: 0.0}

#: Neutral by definition: no particle, and a geantino.
_NEUTRAL = (0, 480000000)


@lru_cache(maxsize=65536)
def _charge_of(code: int) -> float | None:
    """Give the charge in e; None where neither the particle table nor the digits tell it."""
    from particle import PDGID, Particle
    from particle.particle.particle import InvalidParticle, ParticleNotFound

    if code in _NEUTRAL:
        return 0.0
    if abs(code) in _CHARGE_OF_INCLUSIVE:
        return float(np.sign(code)) * _CHARGE_OF_INCLUSIVE[abs(code)]
    try:
        charge = Particle.from_pdgid(code).charge
    except (ParticleNotFound, InvalidParticle):
        charge = None
    if charge is None and abs(code) < 2**31:
        charge = PDGID(code).charge
    return None if charge is None else float(charge)


def charges(codes: npt.ArrayLike) -> tuple[npt.NDArray[np.float64], dict[int, int]]:
    """Give the electric charges, float64 [...] in e, of PDG codes [...].

    From the table of the ``particle`` package, else from the digits of the code (PDG numbering
    scheme, nuclei included); 0 where neither knows it (bookkeeping codes of Geant4 and EvtGen, and
    codes of no scheme). Such codes come back, too, with how often each of them occurs.
    """
    values = np.asarray(codes)
    distinct, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    known = [_charge_of(int(code)) for code in distinct.tolist()]
    without = {
        int(code): int(count)
        for code, count, charge in zip(distinct, counts, known, strict=True)
        if charge is None
    }
    table = np.array([0.0 if charge is None else charge for charge in known])
    return table[inverse].reshape(values.shape), without
