"""Read the generated particles of basf2 mDST files (ROOT).

Which particles
    Only primary ones (status bit 0); particles that Geant4 made are not primary.
    ``particles="tables"``: those whose status has none of the bits 4 (virtual), 5 (initial),
    6 (ISR photon), 7 (FSR photon). ``particles="generator"``: those that are neither initial
    nor quarks or gluons, as basf2's SmartBackground module keeps them.
Mother links
    ``m_mother`` counts from 1, 0 is none; the links are translated to positions among the
    kept particles. A mother that was dropped gives ``motherIndex`` -1, and its code stays in
    ``motherPDG``: where the virtual photon of a continuum event is dropped, each quark or
    tau begins a tree of its own in the decay string, and no branch is grafted elsewhere.
    With ``particles="generator"`` links go through quarks and gluons by the rules of the
    module (`smartbkg_tf.encoding.features`): not through those that come after the particle
    or were made at x, y or z of 10 cm and more. The module takes the first particle for the
    mother of particles without one: where that was dropped, its code is their ``motherPDG``.
Numbers
    Mass, energy, momentum, time (ns) and vertex (cm) as stored; the files hold float32.
    Time counts from the trigger, so that whole events are shifted by the same amount.
    Charge comes from the PDG code, the number of daughters counts the kept ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from smartbkg_tf.errors import InputError
from smartbkg_tf.events.charges import charges
from smartbkg_tf.events.columns import particle_column
from smartbkg_tf.events.readers import Key, Reader, begins_with
from smartbkg_tf.events.root_files import EVENT_META_DATA, ROOT_MAGIC, BasfTree, read_event_keys
from smartbkg_tf.events.table import (
    PARTICLE_COLUMNS,
    EventTable,
    event_type_code,
    offsets_of,
)
from smartbkg_tf.runtime.kernels import kernel
from smartbkg_tf.runtime.progress import say
from smartbkg_tf.settings.base import settings
from smartbkg_tf.settings.sources import ParticleSet

Array = npt.NDArray[Any]

#: Status bits of basf2's MCParticle: https://software.belle2.org, MCParticle::EStatusBits
PRIMARY = 1 << 0
INITIAL = 1 << 5
DROPPED = 1 << 4 | INITIAL | 1 << 6 | 1 << 7

#: basf2's module does not see particles made at or beyond this x, y or z, cm.
VERTEX_LIMIT = 10.0

#: Column -> branch.
_MEMBERS = {
    "PDG": "MCParticles.m_pdg",
    "mass": "MCParticles.m_mass",
    "energy": "MCParticles.m_energy",
    "prodTime": "MCParticles.m_productionTime",
    "x": "MCParticles.m_productionVertex_x",
    "y": "MCParticles.m_productionVertex_y",
    "z": "MCParticles.m_productionVertex_z",
    "px": "MCParticles.m_momentum_x",
    "py": "MCParticles.m_momentum_y",
    "pz": "MCParticles.m_momentum_z",
    "status": "MCParticles.m_status",
}
_MOTHER = "MCParticles.m_mother"


def iterate_mdst(
    path: str | Path,
    *,
    chunk_events: int = 20000,
    event_type: str | None = None,
    first_event: int = 0,
    n_events: int | None = None,
    particles: ParticleSet = "tables",
) -> Iterator[EventTable]:
    """Read a basf2 file (mDST, uDST or generator output) piece by piece, in the order of the file.

    Arguments are those of `MdstReader`; `first_event` and `n_events` (None: up to the end) choose a
    part of the file. The events have neither labels nor decay strings. InputError when the file is
    missing, not a ROOT file, damaged, without events, or lacks MCParticles or EventMetaData, and
    when mother links point nowhere; UserError when there is no such event type.
    """
    code = event_type_code(event_type)
    wanted = [*EVENT_META_DATA, *_MEMBERS.values(), _MOTHER]
    without_charge: dict[int, int] = {}
    with BasfTree(path, wanted) as tree:
        if tree.n_events == 0:
            raise InputError("holds no events", where=tree.path)
        end = tree.n_events if n_events is None else min(first_event + n_events, tree.n_events)
        for start in range(first_event, end, chunk_events):
            stop = min(start + chunk_events, end)
            yield _read(tree, start, stop, code, particles, without_charge)
    if without_charge:
        counts = ", ".join(f"{c} ({n} times)" for c, n in list(without_charge.items())[:10])
        say(f"{path}: PDG codes whose charge is not known were taken as neutral: {counts}")


def _read(
    tree: BasfTree,
    start: int,
    stop: int,
    code: int,
    which: ParticleSet,
    without_charge: dict[int, int],
) -> EventTable:
    keys = read_event_keys(tree, start, stop)
    status, counts = tree.jagged(_MEMBERS["status"], start, stop)
    raw = {"status": status}
    for name, member in (*_MEMBERS.items(), ("mother", _MOTHER)):
        if name == "status":
            continue
        raw[name], lengths = tree.jagged(member, start, stop)
        if not np.array_equal(lengths, counts):
            first = int(np.argmax(lengths != counts))
            raise InputError(
                f"is damaged: event {start + first} has {lengths[first]} values of {member}, "
                f"but {counts[first]} of {_MEMBERS['status']}",
                where=tree.path,
            )
    raw["mother"] = raw["mother"].astype(np.int64)
    table, unknown = generated_events(
        raw,
        counts,
        keys,
        np.full(len(counts), code, dtype=np.int8),
        which,
        where=str(tree.path),
        first_event=start,
    )
    for number, times in unknown.items():
        without_charge[number] = without_charge.get(number, 0) + times
    return table


def generated_events(
    raw: dict[str, Array],
    counts: Array,
    keys: dict[str, npt.NDArray[np.int64]],
    event_type: npt.NDArray[np.int8],
    which: ParticleSet,
    *,
    where: str,
    first_event: int = 0,
) -> tuple[EventTable, dict[int, int]]:
    """Choose the particles of whole MCParticles lists, and translate their mother links.

    `raw` holds the columns of the lists [sum of counts] by the names of our tables, and ``mother``
    (int64, from 1 within the event, 0 for none); `counts` [n_events] are the lengths of the lists.
    Gives the events, and the PDG codes whose charge is not known with their numbers.
    """
    status = raw["status"]
    primary = status & PRIMARY != 0
    followed = np.zeros_like(primary)
    if which == "tables":
        kept = primary & (status & DROPPED == 0)
    else:
        seen = primary & (status & INITIAL == 0)
        parton = (raw["PDG"] == 21) | (np.abs(raw["PDG"]) <= 5)
        kept = seen & ~parton
        far = np.any([raw[axis] >= VERTEX_LIMIT for axis in "xyz"], axis=0)
        followed = seen & parton & ~far
    event = np.repeat(np.arange(len(counts)), counts)
    offsets = offsets_of(np.bincount(event[kept], minlength=len(counts)))
    above = _mothers(raw["mother"], event, counts, where, first_event)
    if which == "generator":
        above = _as_the_module_sees(above, counts, primary, kept, followed)
    particles = _particles(raw, kept, above, event, offsets, where)
    charge, unknown = charges(particles["PDG"])
    particles["charge"] = charge
    table = EventTable(
        particles={name: particles[name] for name in PARTICLE_COLUMNS},
        offsets=offsets,
        keys=keys,
        event_type=event_type,
    )
    return table, unknown


def _particles(
    raw: dict[str, Array],
    kept: npt.NDArray[np.bool_],
    above: Array,
    event: Array,
    offsets: Array,
    where: str,
) -> dict[str, Array]:
    """Choose the kept particles and translate their mother links."""
    has_mother = above >= 0
    # Row 0 is a placeholder where there is no mother.
    above = np.maximum(above, 0)
    new_row = np.cumsum(kept) - 1
    position = np.where(
        has_mother & (kept[above] if len(kept) else kept), new_row[above] - offsets[event], -1
    )[kept]
    columns: dict[str, Array] = {}
    for name in _MEMBERS:
        columns[name] = particle_column(name, raw[name][kept], where=f"{where}: {_MEMBERS[name]}")
    codes = np.where(has_mother, raw["PDG"][above], 0) if len(kept) else above
    columns["motherPDG"] = codes[kept].astype(np.int32)
    columns["motherIndex"] = position.astype(np.int32)
    rows_of_mothers = (offsets[event[kept]] + position)[position >= 0]
    columns["nDaughters"] = np.bincount(rows_of_mothers, minlength=int(offsets[-1])).astype(
        np.int32
    )
    return columns


def _mothers(
    mother: Array, event: Array, counts: Array, where: str, first_event: int
) -> npt.NDArray[np.int64]:
    """Rows of the mothers, -1 for none; refuse links that point nowhere."""
    wrong = (mother < 0) | (mother > counts[event])
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(
            f"is damaged: event {first_event + int(event[row])} has {counts[event[row]]} "
            f"particles, and one of them has the mother {mother[row]}",
            where=f"{where}: {_MOTHER}",
        )
    starts = np.cumsum(counts) - counts
    rows: npt.NDArray[np.int64] = np.where(mother > 0, starts[event] + mother - 1, -1)
    return rows


@kernel
def _as_the_module_sees(
    above: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
    primary: npt.NDArray[np.bool_],
    kept: npt.NDArray[np.bool_],
    followed: npt.NDArray[np.bool_],
) -> npt.NDArray[np.int64]:
    """Rows of the mothers beyond quarks and gluons; -1 for none where the first one is kept."""
    out = np.full(len(above), -1, dtype=np.int64)
    begin = 0
    for count in counts:
        end = begin + count
        first = begin
        while first < end and not primary[first]:
            first += 1
        for row in range(first, end):
            if above[row] < 0 and kept[first]:
                continue
            mother = max(above[row], first)
            for _ in range(count):
                if not first < mother <= row or not followed[mother]:
                    break
                mother = max(above[mother], first)
            out[row] = mother
        begin = end
    return out


@settings
class MdstReader(Reader):
    """Basf2 files (ROOT) with MCParticles.

    Parameters
    ----------
    particles : {"tables", "generator"}, default "tables"
        Which ones are kept.
    event_type : str, optional
        What the files hold, as ``"mixed"``; the files themselves do not tell.
    """

    divisible: ClassVar[bool] = True

    particles: ParticleSet = "tables"
    event_type: str | None = None

    def recognises(self, path: Path) -> bool:
        """Tell by the first bytes."""
        return begins_with(path, ROOT_MAGIC)

    def count(self, path: Path) -> int:
        """Count the events."""
        with BasfTree(path, ()) as tree:
            return tree.n_events

    def iterate(
        self, path: Path, *, chunk_events: int, key: Key, begin: int = 0, end: int | None = None
    ) -> Iterator[EventTable]:
        """Read the events piece by piece."""
        return iterate_mdst(
            path,
            chunk_events=chunk_events,
            event_type=self.event_type,
            first_event=begin,
            n_events=None if end is None else end - begin,
            particles=self.particles,
        )

    def particle_set(self, path: Path) -> None:
        """Files hold all particles; this reader chooses."""
        return
