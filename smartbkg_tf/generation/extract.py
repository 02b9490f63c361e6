"""From Pythia's event record to the particle table.

Partons, strings, beams and the copies that a shower makes are dropped; a mother link
climbs through them to the nearest ancestor that stays, so that hadrons from a string
hang on the B or on the virtual photon they came from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from smartbkg_tf.events.charges import charges
from smartbkg_tf.events.table import PARTICLE_COLUMNS, EventTable
from smartbkg_tf.generation.arrays import Floats, Integers, Mask
from smartbkg_tf.generation.record import Record
from smartbkg_tf.settings.sources import ParticleSet

#: Speed of light, mm / ns (exact by definition of the metre).
LIGHT_SPEED = 299.792458

#: PDG codes: virtual photon (Belle II's own code), Z.
VIRTUAL_PHOTON, GAMMA_Z = 10022, 23
_TAU = 15

#: Bits of Belle II's MCParticle status.
PRIMARY, VIRTUAL, ISR_PHOTON, FSR_PHOTON = 1, 1 << 4, 1 << 6, 1 << 7

#: Electrons of the beams, the first particle of basf2's continuum events.
_ELECTRON = 11


def is_parton_or_string(codes: Integers) -> Mask:
    """Tell quarks, gluons, diquarks and strings from particles, by PDG codes [n]."""
    size = np.abs(codes)
    diquark = (size > 1000) & (size < 10_000) & (size // 10 % 10 == 0)
    result: Mask = (size < 10) | (size == 21) | diquark | ((size > 80) & (size < 100))
    return result


def charges_of(codes: npt.NDArray[np.integer]) -> Floats:
    """Electric charges of PDG codes, e; ValueError for a code whose charge is not known."""
    found, without = charges(codes)
    if without:
        raise ValueError(f"the charge of PDG codes {list(without)[:5]} is not known")
    return found


def extract(
    record: Record,
    vertices: Floats,
    radius: float,
    z_range: tuple[float, float],
    keys: dict[str, Integers],
    event_type: int,
) -> EventTable:
    """Make the particle table of a record that holds whole events, numbered from 0.

    Interaction points `vertices` [n_events, 3] in cm. Particles born outside `radius` or `z_range`,
    cm, are dropped with all that follows: their mother left the detector first. ISR and FSR photons
    are kept and marked by bits 6 and 7 of the status (see `without_radiation`); there are no
    labels.
    """
    n_events = len(vertices)
    code, mother, kind = record.code, record.mother, np.abs(record.status)
    has_mother = mother >= 0
    parent = np.where(has_mother, mother, 0)

    drop = is_parton_or_string(code) | (record.event < 0)
    drop |= (np.abs(code) == 11) & (record.status < 0)
    # A row of the same species that is not a decay product repeats its mother after a recoil.
    repeats = has_mother & (code[parent] == code) & (kind < 91)
    drop[parent[repeats]] = True

    place = record.vertex * 0.1
    place[:, :3] += vertices[np.maximum(record.event, 0)]
    outside = (
        (np.hypot(place[:, 0], place[:, 1]) > radius)
        | (place[:, 2] < z_range[0])
        | (place[:, 2] > z_range[1])
    )
    # Mothers come before daughters, so that a few passes reach the last generation.
    while True:
        below = outside | (has_mother & outside[parent])
        if np.array_equal(below, outside):
            break
        outside = below
    drop |= outside

    ancestor = mother.copy()
    while True:
        climb = (ancestor >= 0) & drop[np.maximum(ancestor, 0)]
        if not climb.any():
            break
        ancestor[climb] = mother[ancestor[climb]]

    rows = np.flatnonzero(~drop)
    rows = rows[np.argsort(record.event[rows], kind="stable")]
    event = record.event[rows]
    offsets = np.zeros(n_events + 1, dtype=np.int64)
    np.cumsum(np.bincount(event, minlength=n_events), out=offsets[1:])
    position = np.full(len(record), -1, dtype=np.int64)
    position[rows] = np.arange(len(rows))
    mother_row = np.where(ancestor[rows] >= 0, position[ancestor[rows]], -1)

    pdg = code[rows]
    pdg[pdg == GAMMA_Z] = VIRTUAL_PHOTON
    # Photons from hadrons have kind 91; those of the shower are 51 to 59, those of the beams 41
    # to 44 and 61 to 63 (manual of Pythia, "Particle properties", status codes).
    photon = (pdg == 22) & (kind[rows] < 91)
    isr = photon & ((kind[rows] < 50) | (kind[rows] >= 60))
    # Photons from the showers of partonic decays (psi -> g g g) and of pairs of leptons
    # (psi -> e+ e-) are decay products like others; so are those of PHOTOS in basf2's files.
    origin = np.where(mother_row >= 0, pdg[np.maximum(mother_row, 0)], 0)
    fsr = photon & ~isr & np.isin(np.abs(origin), (VIRTUAL_PHOTON, _TAU))
    status = PRIMARY + np.where(isr, ISR_PHOTON, 0) + np.where(fsr, FSR_PHOTON, 0)
    momentum, place = record.momentum[rows], place[rows]
    columns: dict[str, npt.NDArray[np.generic]] = {
        "PDG": pdg,
        "mass": record.mass[rows],
        "charge": charges_of(pdg),
        "energy": momentum[:, 3],
        "prodTime": place[:, 3] * (10.0 / LIGHT_SPEED),
        "x": place[:, 0],
        "y": place[:, 1],
        "z": place[:, 2],
        "px": momentum[:, 0],
        "py": momentum[:, 1],
        "pz": momentum[:, 2],
        "status": status,
    }
    return EventTable(
        particles=_typed({**columns, **_family(pdg, mother_row, event, offsets)}),
        offsets=offsets,
        keys=keys,
        event_type=np.full(n_events, event_type, dtype=np.int8),
    )


def _family(
    pdg: npt.NDArray[np.generic], mother_row: Integers, event: Integers, offsets: Integers
) -> dict[str, npt.NDArray[np.generic]]:
    """Columns that follow from the mother's row."""
    has = mother_row >= 0
    return {
        "nDaughters": np.bincount(mother_row[has], minlength=len(mother_row)),
        "motherPDG": np.where(has, pdg[np.maximum(mother_row, 0)], 0),
        "motherIndex": np.where(has, mother_row - offsets[event], -1),
    }


def _typed(columns: Mapping[str, npt.NDArray[np.generic]]) -> dict[str, npt.NDArray[np.generic]]:
    """Give particle columns in the types of the tables."""
    return {n: np.ascontiguousarray(columns[n], dtype=t) for n, t in PARTICLE_COLUMNS.items()}


def stored_particles(table: EventTable, particles: ParticleSet) -> EventTable:
    """Give the table that is written, by ``source.particles``.

    ``tables``: `without_radiation`. ``generator``: all particles, as in KKMC's continuum events in
    basf2: the virtual photon is called Z0 and has the status bit 4, and what the beams made has
    an electron for its mother, which is initial and so not there.
    """
    if particles == "tables":
        return without_radiation(table)
    pdg, status = (table.particles[name].astype(np.int32) for name in ("PDG", "status"))
    mother_pdg = table.particles["motherPDG"].astype(np.int32)
    virtual = pdg == VIRTUAL_PHOTON
    from_beams = (table.particles["motherIndex"] == -1) & (virtual | (status & ISR_PHOTON != 0))
    columns = {
        **table.particles,
        "PDG": np.where(virtual, np.int32(GAMMA_Z), pdg),
        "status": np.where(virtual, status | np.int32(VIRTUAL), status),
        "motherPDG": np.where(
            from_beams,
            np.int32(_ELECTRON),
            np.where(mother_pdg == VIRTUAL_PHOTON, np.int32(GAMMA_Z), mother_pdg),
        ),
    }
    return replace(table, particles=columns)


def without_radiation(table: EventTable) -> EventTable:
    """Drop ISR and FSR photons, which the training tables do not hold; links are made again."""
    status = np.asarray(table.particles["status"], dtype=np.int64)
    keep = (status & (ISR_PHOTON | FSR_PHOTON)) == 0
    if keep.all():
        return table
    event = table.event_of_particle()
    mother = np.asarray(table.particles["motherIndex"], dtype=np.int64)
    mother_row = np.where(mother >= 0, mother + table.offsets[:-1][event], -1)
    position = np.cumsum(keep) - 1
    # A photon has no daughters, so no link is lost.
    mother_row = np.where(mother_row >= 0, position[np.maximum(mother_row, 0)], -1)[keep]
    offsets = np.zeros(len(table) + 1, dtype=np.int64)
    np.cumsum(np.bincount(event[keep], minlength=len(table)), out=offsets[1:])
    columns = {name: column[keep] for name, column in table.particles.items()}
    columns |= _family(columns["PDG"], mother_row, event[keep], offsets)
    return replace(table, particles=_typed(columns), offsets=offsets, decay_strings=None)
