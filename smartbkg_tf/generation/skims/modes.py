"""Decay modes of the hadronic tag, and their translation into the combiner's arrays.

``probability`` is the chance that a random candidate of the mode in the signal window is
correct; it replaces the classifiers of the Full Event Interpretation, whose output is such a
number. The values are our own, ordered after the purities in Keck et al., Comput. Softw. Big
Sci. 3 (2019) 6 (arXiv:1807.08680): the fewer tracks and pi0, the purer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from smartbkg_tf.errors import did_you_mean

#: Masses, GeV (PDG 2024).
MASSES = {
    "pi0": 0.1349768,
    "K_S0": 0.497611,
    "D0": 1.86484,
    "D+": 1.86966,
    "D*+": 2.01026,
    "D*0": 2.00685,
    "B0": 5.27972,
    "B+": 5.27941,
}

#: How a reaction's candidates are judged: mass; mass minus the first daughter's mass; beam
#: constraint; angle to the B of a semileptonic decay. The last two are those of B mesons.
BY_MASS, BY_DIFFERENCE, BY_BEAM, BY_ANGLE = 0, 1, 2, 3

#: Most daughters of a reaction.
MOST_DAUGHTERS = 6

#: What the combiner begins with. ``pi+far`` are pions whose track misses the beams.
BASE = ("pi+", "pi-", "K+", "K-", "gamma", "pi+far", "pi-far", "e+", "e-", "mu+", "mu-")

_LEPTONS = ("e+", "e-", "mu+", "mu-")

#: A width so large that deltaE has no say (GeV): only its window counts, as at Belle II.
_NO_PULL = 1e3

_CONJUGATE = {
    "pi0": "pi0",
    "gamma": "gamma",
    "K_S0": "K_S0",
    "pi+": "pi-",
    "K+": "K-",
    "pi+far": "pi-far",
    "e+": "e-",
    "mu+": "mu-",
    "D0": "anti-D0",
    "D+": "D-",
    "D*+": "D*-",
    "D*0": "anti-D*0",
    "B0": "anti-B0",
    "B+": "B-",
}
_CONJUGATE |= {anti: particle for particle, anti in _CONJUGATE.items()}


@dataclass(frozen=True)
class Mode:
    """One reaction."""

    mother: str  # the particle that is built
    products: str  # what it is built from, with blanks between
    probability: float  # see the module
    #: Largest distance of the mass (of the mass difference for D*) from its nominal value, GeV;
    #: B mesons have no window of their own.
    half_window: float
    resolution: float  # width in the same quantity (deltaE for hadronic B mesons), GeV

    @property
    def kind(self) -> int:
        """How candidates are judged."""
        if self.mother.startswith("B"):
            return BY_ANGLE if set(self.products.split()) & set(_LEPTONS) else BY_BEAM
        return BY_DIFFERENCE if self.mother.startswith("D*") else BY_MASS


LIGHT_MODES = (
    Mode("pi0", "gamma gamma", 0.25, 0.020, 0.0060),
    Mode("K_S0", "pi+far pi-far", 0.60, 0.015, 0.0035),
)

D_MODES = (
    Mode("D0", "K- pi+", 0.50, 0.020, 0.0055),
    Mode("D0", "K- pi+ pi0", 0.25, 0.035, 0.0120),
    Mode("D0", "K- pi+ pi+ pi-", 0.20, 0.016, 0.0050),
    Mode("D0", "K_S0 pi+ pi-", 0.35, 0.016, 0.0055),
    Mode("D0", "K_S0 pi0", 0.40, 0.045, 0.0180),
    Mode("D0", "K+ K-", 0.35, 0.016, 0.0050),
    Mode("D0", "K_S0 pi+ pi- pi0", 0.15, 0.025, 0.0110),
    Mode("D0", "K- pi+ pi+ pi- pi0", 0.03, 0.020, 0.0090),
    Mode("D+", "K- pi+ pi+", 0.40, 0.017, 0.0050),
    Mode("D+", "K- pi+ pi+ pi0", 0.08, 0.027, 0.0110),
    Mode("D+", "K_S0 pi+", 0.45, 0.018, 0.0058),
    Mode("D+", "K_S0 pi+ pi0", 0.20, 0.030, 0.0120),
    Mode("D+", "K_S0 pi+ pi+ pi-", 0.20, 0.016, 0.0050),
    Mode("D+", "K+ K- pi+", 0.25, 0.015, 0.0048),
)

D_STAR_MODES = (
    Mode("D*+", "D0 pi+", 0.85, 0.0030, 0.0007),
    Mode("D*+", "D+ pi0", 0.50, 0.0030, 0.0011),
    Mode("D*0", "D0 pi0", 0.50, 0.0030, 0.0012),
    Mode("D*0", "D0 gamma", 0.12, 0.0200, 0.0080),
)

#: Modes of the B in terms of the charge of the pions: B0 -> D(*)- and B+ -> anti-D(*)0.
_PIONS = (
    ("pi+", 0.50),
    ("pi+ pi0", 0.12),
    ("pi+ pi+ pi-", 0.15),
    ("pi+ pi0 pi0", 0.02),
    ("pi+ pi+ pi- pi0", 0.015),
)


def _with_pions(mother: str, *charmed: str) -> tuple[Mode, ...]:
    """Give the modes of a charmed meson and pions; deltaE is not part of the probability."""
    return tuple(
        Mode(mother, f"{d} {pions}", probability, 0.0, _NO_PULL)
        for d in charmed
        for pions, probability in _PIONS
    )


B_MODES = {
    "B0": (*_with_pions("B0", "D-", "D*-"), Mode("B0", "anti-D0 pi+ pi-", 0.04, 0.0, _NO_PULL)),
    "B+": (
        *_with_pions("B+", "anti-D0", "anti-D*0"),
        Mode("B+", "D- pi+ pi+", 0.08, 0.0, _NO_PULL),
        Mode("B+", "D*- pi+ pi+", 0.12, 0.0, _NO_PULL),
    ),
}


#: Semileptonic modes of the B (the neutrino is not seen).
SEMILEPTONIC_MODES = {
    mother: tuple(
        Mode(mother, f"{charmed} {lepton}", probability, 0.0, _NO_PULL)
        for charmed, probability in charms
        for lepton in ("e+", "mu+")
    )
    for mother, charms in {
        "B0": (("D-", 0.15), ("D*-", 0.50)),
        "B+": (("anti-D0", 0.20), ("anti-D*0", 0.25)),
    }.items()
}


@dataclass(frozen=True)
class Reactions:
    """Reactions as arrays, in the order in which they run."""

    species: tuple[str, ...]  # names; the position is their number
    # Columns of `combiner._combine`:
    mothers: np.ndarray
    daughters: np.ndarray
    n_daughters: np.ndarray
    kinds: np.ndarray
    low: np.ndarray
    high: np.ndarray
    centre: np.ndarray
    width: np.ndarray
    prior: np.ndarray
    constrain: np.ndarray
    texts: tuple[str, ...]  # the reactions in words

    def columns(self) -> list[np.ndarray]:
        """Give what `combiner._combine` reads, in its order."""
        return [value for value in vars(self).values() if isinstance(value, np.ndarray)]


def compile_modes(modes: tuple[Mode, ...]) -> Reactions:
    """Turn modes (mothers before the reactions that use them) and their conjugates into arrays."""
    known: list[str] = list(BASE)
    rows: list[tuple[Mode, str, list[str]]] = []
    for mode in modes:
        products = mode.products.split()
        conjugate = [_CONJUGATE.get(name, name) for name in products]
        variants = [(mode.mother, products)]
        if sorted(conjugate) != sorted(products) or _CONJUGATE[mode.mother] != mode.mother:
            variants.append((_CONJUGATE[mode.mother], conjugate))
        for mother, names in variants:
            if len(names) > MOST_DAUGHTERS:
                text = f"{mother} -> {mode.products}"
                raise ValueError(f"{text}: more than {MOST_DAUGHTERS} products")
            for name in names:
                if name not in known:
                    raise ValueError(f"{mother} -> {mode.products}: {did_you_mean(name, known)}")
            # Equal species side by side, the first product first (mass differences need it).
            ordered = sorted(names, key=names.index)
            rows.append((mode, mother, ordered))
        known += [mother for mother, _ in variants if mother not in known]
    n = len(rows)
    daughters = np.zeros((n, MOST_DAUGHTERS), dtype=np.int64)
    numbers = {name: i for i, name in enumerate(known)}
    low, high, centre = np.zeros(n), np.zeros(n), np.zeros(n)
    for i, (mode, _, names) in enumerate(rows):
        daughters[i, : len(names)] = [numbers[name] for name in names]
        if mode.kind == BY_BEAM:
            continue
        centre[i] = MASSES[mode.mother]
        if mode.kind == BY_ANGLE:
            low[i], high[i] = -1.0, 1.0
            continue
        if mode.kind == BY_DIFFERENCE:
            centre[i] -= MASSES[mode.products.split()[0]]
        low[i], high[i] = centre[i] - mode.half_window, centre[i] + mode.half_window
    return Reactions(
        species=tuple(known),
        mothers=np.array([numbers[mother] for _, mother, _ in rows], dtype=np.int64),
        daughters=daughters,
        n_daughters=np.array([len(names) for _, _, names in rows], dtype=np.int64),
        kinds=np.array([mode.kind for mode, _, _ in rows], dtype=np.int64),
        low=low,
        high=high,
        centre=centre,
        width=np.array([mode.resolution for mode, _, _ in rows]),
        prior=np.log([mode.probability for mode, _, _ in rows]),
        constrain=np.array([mode.mother == "pi0" for mode, _, _ in rows]),
        texts=tuple(f"{mother} -> {' '.join(names)}" for _, mother, names in rows),
    )
