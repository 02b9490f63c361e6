"""Belle II's decay table for Pythia.

DECAY_BELLE2.DEC (EvtGen's format) is read from the installed decaylanguage package when
it is first needed; this repository holds no copy. What the file says is kept as plain
values in a cache folder, because parsing takes seconds.

EvtGen's decay models become Pythia's matrix-element codes where there is one (see "Modes for Matrix
Element Processing" in Pythia's manual); the rest is phase space: their Dalitz and helicity
structure is lost. Antiparticles decay into the conjugate channels with the particle's branching
fractions, so direct CP violation is lost as well.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from smartbkg_tf.errors import InputError, OutputError, UserError
from smartbkg_tf.runtime.code_digest import code_digests
from smartbkg_tf.runtime.files import hash_of_values, read_json, write_json
from smartbkg_tf.runtime.versions import versions

#: Pythia's decays of tau (helicity correlations), K_L and Y(4S)'s placeholder stay its own.
_LEFT_TO_PYTHIA = frozenset({15, 130, 300553})

#: Most products that a Pythia channel holds.
_MOST_PRODUCTS = 8

#: A mother that would lose more than this keeps Pythia's channels (Xi_c0 and Omega_c0: the
#: file names the model of their inclusive channel and no products).
_LARGEST_LOSS = 0.5

_LEPTONS = frozenset({11, 13, 15})
_NEUTRINOS = frozenset({12, 14, 16})


class Channel(NamedTuple):
    """One decay channel of the file."""

    fraction: float  # branching fraction; zero for what inclusive channels shall not make
    model: str  # EvtGen's decay model
    parameters: tuple[Any, ...]  # of the model
    names: tuple[str, ...]  # EvtGen's names of the products
    codes: tuple[int, ...]  # their PDG codes; 0 for a name without one


def cache_directory() -> Path:
    """Find the folder for what can be made again; it may not exist yet.

    ``$SMARTBKG_TF_CACHE``, else ``$XDG_CACHE_HOME/smartbkg_tf``, else ``~/.cache/smartbkg_tf``.
    """
    own = os.environ.get("SMARTBKG_TF_CACHE")
    if own:
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "smartbkg_tf"


def read_decay_table() -> dict[int, list[Channel]]:
    """Read DECAY_BELLE2.DEC, from the cache if it is there.

    Channels, those of fraction zero too, by the mother's PDG code (particles, not antiparticles).
    """
    text = _installed_table()
    # The file, the code that parses it and the packages that it parses with.
    digest = hash_of_values(
        [text, code_digests([__name__], [__name__]), versions(("decaylanguage", "particle"))]
    )
    cache = cache_directory() / f"decay_belle2-{digest}.json"
    if cache.is_file():
        try:
            return _from_plain(read_json(cache))
        except (InputError, KeyError, TypeError, ValueError):
            # A damaged cache is made again.
            pass
    table = parse_decay_table(text)
    # A cache is a convenience: a read-only home must not stop the work.
    with contextlib.suppress(OutputError):
        write_json(cache, {str(code): [list(c) for c in rows] for code, rows in table.items()})
    return table


def _installed_table() -> str:
    try:
        place = resources.files("decaylanguage.data")
    except ModuleNotFoundError as error:
        raise UserError(
            "source.decay_table=belle2 needs the package decaylanguage, which is not installed",
            next_step="pip install 'smartbkg_tf[generate]', or use source.decay_table=pythia",
        ) from error
    return (place / "DECAY_BELLE2.DEC").read_text(encoding="utf-8")


def _from_plain(values: Mapping[str, Any]) -> dict[int, list[Channel]]:
    return {
        int(code): [
            Channel(float(f), str(m), tuple(p), tuple(n), tuple(int(c) for c in codes))
            for f, m, p, n, codes in rows
        ]
        for code, rows in values.items()
    }


def parse_decay_table(text: str) -> dict[int, list[Channel]]:
    """Parse a decay file in EvtGen's format; channels as `read_decay_table` gives them."""
    from decaylanguage import DecFileParser
    from particle.converters import EvtGenName2PDGIDBiMap
    from particle.exceptions import MatchingIDNotFound

    def code_of(name: str) -> int:
        try:
            return int(EvtGenName2PDGIDBiMap[aliases.get(name, name)])
        except MatchingIDNotFound:
            return 0

    parser = DecFileParser.from_string(text)
    parser.parse()
    aliases = parser.dict_aliases()
    mothers = [str(name) for name in parser.list_decay_mother_names()]
    table: dict[int, list[Channel]] = {}
    for mother in mothers:
        code = 0 if mother in aliases else code_of(mother)
        if code <= 0:
            continue
        # With every mother called stable the chain ends after one step.
        rows = parser.build_decay_chains(mother, stable_particles=mothers)[mother]
        table[code] = [
            Channel(
                float(row["bf"]),
                str(row["model"]),
                tuple(row["model_params"] or ()),
                tuple(row["fs"]),
                tuple(code_of(name) for name in row["fs"]),
            )
            for row in rows
        ]
    return table


def matrix_element(channel: Channel) -> tuple[int, tuple[int, ...]]:
    """Choose Pythia's matrix-element code (meMode) and the order of products that it expects."""
    codes = channel.codes
    if channel.model == "PYTHIA":
        return (int(channel.parameters[0]) if channel.parameters else 0), codes
    leptons = [c for c in codes if abs(c) in _LEPTONS]
    neutrinos = [c for c in codes if abs(c) in _NEUTRINOS]
    if len(codes) == 3 and len(leptons) == 1 and len(neutrinos) == 1:
        rest = [c for c in codes if c not in (*leptons, *neutrinos)]
        return 22, (neutrinos[0], leptons[0], *rest)
    if channel.model == "PI0_DALITZ" and len(codes) == 3 and len(leptons) == 2:
        return 11, (*(c for c in codes if c not in leptons), *sorted(leptons, reverse=True))
    if channel.model == "OMEGA_DALITZ" and sorted(codes) == [-211, 111, 211]:
        return 1, (211, -211, 111)
    if channel.model == "VSS":
        return 2, codes
    return 0, codes


def apply_decay_table(
    pythia: Any, table: Mapping[int, list[Channel]], exclusive_only: int | None = None
) -> dict[int, float]:
    """Replace Pythia's decay channels, before ``init``; give the lost branching by PDG code.

    Lost are channels that Pythia cannot hold: a product that it does not know, no products or more
    than eight, or charges that do not add up; it scales the rest to one. A mother that would lose
    most of them keeps Pythia's own channels. Inclusive channels of the mother `exclusive_only` are
    left to `inclusive.InclusiveDecays`.
    """
    data = pythia.particleData
    _add_missing_particles(pythia, table)
    lost: dict[int, float] = {}
    for mother, channels in table.items():
        if mother in _LEFT_TO_PYTHIA or not data.isParticle(mother):
            continue
        real = [channel for channel in channels if channel.fraction > 0]
        held = [channel for channel in real if not obstacle(data, mother, channel)]
        if len(held) < len(real):
            total, kept = (sum(channel.fraction for channel in part) for part in (real, held))
            if 1.0 - kept / total > _LARGEST_LOSS:
                # The rest would be scaled to the whole: Pythia's own channels are closer to it.
                continue
            lost[mother] = 1.0 - kept / total
        kind = "oneChannel"
        for channel in held:
            if mother == exclusive_only and channel.model == "PYTHIA":
                continue
            mode, products = matrix_element(channel)
            numbers = " ".join(str(code) for code in products)
            pythia.readString(f"{mother}:{kind} = 1 {channel.fraction!r} {mode} {numbers}")
            kind = "addChannel"
    return lost


def obstacle(data: Any, mother: int, channel: Channel) -> str:
    """Say why Pythia cannot hold a channel; '' if it can."""
    if not channel.codes:
        return "no products in the file"
    if len(channel.codes) > _MOST_PRODUCTS:
        return f"more than {_MOST_PRODUCTS} products"
    for name, code in zip(channel.names, channel.codes, strict=True):
        if code == 0 or not data.isParticle(code):
            return f"product {name} unknown to Pythia"
    if sum(data.chargeType(code) for code in channel.codes) != data.chargeType(mother):
        return "charge not conserved"
    return ""


def _add_missing_particles(pythia: Any, table: Mapping[int, list[Channel]]) -> None:
    """Define products that Pythia lacks where their mass and decays are known."""
    from particle import InvalidParticle, Particle, ParticleNotFound

    data = pythia.particleData
    wanted = {abs(c) for channels in table.values() for row in channels for c in row.codes}
    for code in sorted(wanted):
        if code == 0 or data.isParticle(code) or not table.get(code):
            continue
        try:
            known = Particle.from_pdgid(code)
        except (InvalidParticle, ParticleNotFound):
            continue
        if known.mass is None:
            continue
        # MeV -> GeV. A lifetime below 1e-9 mm is none to Pythia.
        mass = known.mass / 1000.0
        width = (known.width or 0.0) / 1000.0
        low = max(mass - 2.5 * width, 0.5 * mass)
        spin = 1 if known.J is None else round(2 * known.J + 1)
        anti = "void" if known.is_self_conjugate else f"p{code}bar"
        charge = 0 if known.three_charge is None else int(known.three_charge)
        pythia.readString(
            f"{code}:new = p{code} {anti} {spin} {charge} 0 "
            f"{mass:.6f} {width:.6f} {low:.6f} {mass + 2.5 * width:.6f} 0.0"
        )
