"""Particles in the notation of the field: as text, and as formulas of figures."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

#: EvtGen's inclusive states, which no particle table knows: text and formula.
_INCLUSIVE = {
    30343: ("Xsd", "X_{sd}"),
    30353: ("Xsu", "X_{su}"),
    30363: ("Xss", "X_{ss}"),
}


@lru_cache(maxsize=4096)
def _names(code: int) -> tuple[str, str]:
    """Give the name as text (``anti-B0``) and as a formula without dollar signs."""
    from particle import InvalidParticle, Particle, ParticleNotFound

    if abs(code) in _INCLUSIVE:
        text, formula = _INCLUSIVE[abs(code)]
        return (f"anti-{text}", f"\\overline{{{formula}}}") if code < 0 else (text, formula)
    try:
        particle = Particle.from_pdgid(code)
    except (InvalidParticle, ParticleNotFound):
        return str(code), str(code)
    return particle.evtgen_name or particle.name, particle.latex_name


def text_name(code: int) -> str:
    """Name a PDG code as EvtGen does, for example ``D*-``; unknown ones by the number."""
    return _names(code)[0]


def formula(code: int) -> str:
    """Give a PDG code as a formula that matplotlib can draw, with dollar signs."""
    return f"${_names(code)[1]}$"


def sorted_daughters(codes: Iterable[int]) -> list[int]:
    """Sort as decays are written: heavy ones first, leptons last."""
    from particle import InvalidParticle, Particle, ParticleNotFound

    def key(code: int) -> tuple[bool, float, int]:
        try:
            mass = Particle.from_pdgid(code).mass or 0.0
        except (InvalidParticle, ParticleNotFound):
            mass = 0.0
        return 11 <= abs(code) <= 18, -mass, code

    return sorted(codes, key=key)


def decay_text(mother: int, daughters: list[int]) -> str:
    """Name a decay, for example ``B0 -> D*- pi+``."""
    return f"{text_name(mother)} -> {' '.join(map(text_name, daughters))}"


def decay_formula(mother: int, daughters: list[int]) -> str:
    """Give a decay as a formula, with dollar signs; equal daughters are counted."""
    words = []
    for code in dict.fromkeys(daughters):
        number = daughters.count(code)
        words.append((f"{number}\\," if number > 1 else "") + _names(code)[1])
    products = "\\ ".join(words)
    return f"${_names(mother)[1]} \\to {products}$"
