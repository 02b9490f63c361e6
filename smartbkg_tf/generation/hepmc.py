"""Read HepMC3 ASCII files as the records that `smartbkg_tf.generation.extract` understands.

What is kept: statuses 1 (final) and 2 and above with an end vertex (decayed, or intermediate).
Beams (4) and particles that neither are final nor end anywhere (documentation lines) are dropped,
and `extract` drops partons, strings and copies. HepMC's statuses say nothing about radiation, so
that photons from beams and from partons, leptons or the virtual photon are recognised by mothers.
The reader of HepMC3 ends silently at a damaged event: events are counted before and after.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from smartbkg_tf.errors import InputError
from smartbkg_tf.generation.arrays import Floats, Integers, Mask
from smartbkg_tf.generation.extract import GAMMA_Z, VIRTUAL_PHOTON, is_parton_or_string
from smartbkg_tf.generation.record import Record
from smartbkg_tf.runtime.progress import say

_BEGIN, _END = b"HepMC::Asciiv3-START_EVENT_LISTING", b"HepMC::Asciiv3-END_EVENT_LISTING"

_OTHERS = {
    b"HepMC::IO_GenEvent": "HepMC 2",
    b"HepMC::IO_Ascii": "HepMC 1",
    b"<LesHouchesEvents": "a Les Houches event file",
    b"root": "a ROOT file",
    b"\x89HDF": "an HDF5 file",
}

#: Statuses of HepMC3, and those of Pythia that `extract` reads.
_FINAL, _BEAM = 1, 4
_FROM_BEAMS, _COPY, _FROM_SHOWER, _DECAY = 43, 52, 51, 91


def _open(path: Path) -> Any:
    with open(path, "rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if packed else open(path, "rb")


def is_hepmc(path: Path) -> bool:
    """Tell by the first lines whether this is a HepMC file, of any version, plain or gzip."""
    try:
        with _open(path) as stream:
            return b"HepMC::" in stream.read(200)
    except (OSError, EOFError, zlib.error):
        return False


def scan_hepmc(path: Path) -> tuple[int, int]:
    """Check that a HepMC3 ASCII file, plain or gzip, is whole; give its events and run number.

    The run is 48 bits of XXH3 over the unpacked content, never 0: two of n files with other content
    share one with a probability of n^2 / 2^49.
    """
    n_events, begun, end = 0, False, b"\n"
    content = xxhash.xxh3_64()
    try:
        with _open(path) as stream:
            head = stream.read(2**16)
            begun = _BEGIN in head
            block = head
            while block and begun:
                content.update(block)
                # The end of the last block is looked at again: a mark may be cut in two.
                n_events += (end[-2:] + block).count(b"\nE ")
                end = (end + block)[-200:]
                block = stream.read(2**22)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"cannot be read ({reason})", where=path) from error
    if not begun:
        kind = next((name for mark, name in _OTHERS.items() if mark in head[:4096]), None)
        raise InputError(
            "is empty"
            if not head
            else "is not a HepMC3 ASCII file" + (f" but {kind}" if kind else ""),
            where=path,
            next_step="write it with HepMC3's WriterAscii, or convert it with pyhepmc: "
            "read with pyhepmc.open(old), write with pyhepmc.open(new, 'w')",
        )
    if _END not in end:
        raise InputError(
            f"is truncated: it ends within or after event {n_events} without {_END.decode()}",
            where=path,
            next_step="make or copy the file again",
        )
    if n_events == 0:
        raise InputError("holds no events", where=path)
    return n_events, (content.intdigest() >> 16) or 1


def iterate_hepmc(path: Path, *, chunk_events: int) -> Iterator[tuple[Record, int]]:
    """Read a HepMC3 ASCII file piece by piece: records and their numbers of events.

    Events of each record are numbered from 0; momenta in GeV, places in mm, in the file's frame.
    """
    import pyhepmc

    expected, _ = scan_hepmc(path)
    done = 0
    weighted = False
    # HepMC3 would write to standard error; faults are reported below.
    noise = pyhepmc.Setup.print_errors, pyhepmc.Setup.print_warnings, pyhepmc.Setup.debug_level
    pyhepmc.Setup.print_errors = pyhepmc.Setup.print_warnings = False
    pyhepmc.Setup.debug_level = 0
    try:
        with _open(path) as stream, pyhepmc.open(stream, format="HepMC3") as reader:
            pieces: list[dict[str, Any]] = []
            for event in reader:
                weighted |= any(weight != 1.0 for weight in event.weights)
                pieces.append(_arrays(pyhepmc, event))
                if len(pieces) == chunk_events:
                    yield _record(pieces), len(pieces)
                    done += len(pieces)
                    pieces = []
            if pieces:
                yield _record(pieces), len(pieces)
                done += len(pieces)
    except (RuntimeError, OSError, EOFError, zlib.error) as error:
        raise InputError(f"cannot be read ({error})", where=path) from error
    finally:
        (
            pyhepmc.Setup.print_errors,
            pyhepmc.Setup.print_warnings,
            pyhepmc.Setup.debug_level,
        ) = noise
    if done != expected:
        raise InputError(
            f"is damaged: it holds {expected} events, but number {done + 1} cannot be parsed",
            where=path,
            next_step="make or copy the file again",
        )
    if weighted:
        say(f"{path}: its events have weights other than 1, which are not used")


def _arrays(pyhepmc: Any, event: Any) -> dict[str, Any]:
    """Copy one event's arrays out of HepMC3, in GeV and mm."""
    event.set_units(pyhepmc.Units.GEV, pyhepmc.Units.MM)
    data = pyhepmc.GenEventData()
    event.write_data(data)
    place = data.event_pos
    return {
        "particles": data.particles.copy(),
        "vertices": data.vertices.copy(),
        "first": data.links1.astype(np.int64),
        "second": data.links2.astype(np.int64),
        "place": (place.x, place.y, place.z, place.t),
    }


def _record(pieces: list[dict[str, Any]]) -> Record:
    """Join the arrays of several events."""
    particles = np.concatenate([piece["particles"] for piece in pieces])
    vertices = np.concatenate([piece["vertices"] for piece in pieces])
    n_particles = np.array([len(piece["particles"]) for piece in pieces], dtype=np.int64)
    n_vertices = np.array([len(piece["vertices"]) for piece in pieces], dtype=np.int64)
    n_links = np.array([len(piece["first"]) for piece in pieces], dtype=np.int64)
    first = np.concatenate([piece["first"] for piece in pieces])
    second = np.concatenate([piece["second"] for piece in pieces])
    event = np.repeat(np.arange(len(pieces)), n_particles)
    particle_start = np.repeat(np.cumsum(n_particles) - n_particles, n_links)
    vertex_start = np.repeat(np.cumsum(n_vertices) - n_vertices, n_links)

    # A link (p, -v) enters vertex v, a link (-v, p) leaves it; both count from 1.
    enters = first > 0
    into_particle = (first - 1 + particle_start)[enters]
    into_vertex = (-second - 1 + vertex_start)[enters]
    from_particle = (second - 1 + particle_start)[~enters]
    from_vertex = (-first - 1 + vertex_start)[~enters]
    incoming = np.full(len(vertices), -1, dtype=np.int64)
    # The first that enters is the mother: written last.
    incoming[into_vertex[::-1]] = into_particle[::-1]
    origin = np.full(len(particles), -1, dtype=np.int64)
    origin[from_particle] = from_vertex
    mother = np.where(origin >= 0, incoming[np.maximum(origin, 0)], -1)
    ends = np.zeros(len(particles), dtype=bool)
    ends[into_particle] = True

    momentum = np.stack([particles[name] for name in ("px", "py", "pz", "e")], axis=-1)
    invariant = momentum[:, 3] ** 2 - np.sum(momentum[:, :3] ** 2, axis=1)
    mass = np.where(
        particles["is_mass_set"], particles["mass"], np.sqrt(np.maximum(invariant, 0.0))
    )
    code = particles["pid"].astype(np.int64)
    status = particles["status"].astype(np.int64)
    final = status == _FINAL
    heavy_photon = (code == 22) & ends & ~final & (mass > 1.0)
    code[heavy_photon | (code == VIRTUAL_PHOTON)] = GAMMA_Z
    dropped = (status == _BEAM) | ~(final | ends)
    return Record(
        code=code,
        status=np.where(final, 1, -1) * _kinds(code, mother, final, status == _BEAM),
        mother=mother,
        event=np.where(dropped, -1, event),
        momentum=momentum,
        mass=mass,
        vertex=_places(
            vertices, incoming, origin, np.array([piece["place"] for piece in pieces]), event
        ),
    )


def _kinds(code: Integers, mother: Integers, final: Mask, beam: Mask) -> Integers:
    """Tell how particles came about, in Pythia's numbers [n]."""
    has = mother >= 0
    parent = np.maximum(mother, 0)
    repeats = has & (code[parent] == code)
    repeated = np.zeros(len(code), dtype=bool)
    repeated[parent[repeats]] = True
    # Electrons on their way from a beam to the collision are beams too.
    while True:
        further = beam | (has & beam[parent] & (np.abs(code) == 11) & ~final)
        if np.array_equal(further, beam):
            break
        beam = further
    photon = (code == 22) & final
    radiates = is_parton_or_string(code) | (code == GAMMA_Z) | repeated
    kind = np.full(len(code), _DECAY, dtype=np.int64)
    kind[repeats] = _COPY
    kind[photon & has & radiates[parent]] = _FROM_SHOWER
    kind[photon & (~has | beam[parent])] = _FROM_BEAMS
    return kind


def _places(
    vertices: npt.NDArray[Any],
    incoming: Integers,
    origin: Integers,
    event_place: Floats,
    event: Integers,
) -> Floats:
    """Give the production place of every particle [n, 4], mm.

    A vertex at exactly zero has no position: it is where its mother was made, and at the
    top where the event is (as ``HepMC3::GenVertex::position``).
    """
    place = np.stack([vertices[name] for name in ("x", "y", "z", "t")], axis=-1)
    # The vertex at which the first particle that enters was made.
    above = np.where(incoming >= 0, origin[np.maximum(incoming, 0)], -1)
    source = np.arange(len(vertices))
    while True:
        unset = (place[source] == 0.0).all(axis=1) & (above[source] >= 0)
        if not unset.any():
            break
        source = np.where(unset, above[source], source)
    place = place[source]
    result = np.where((origin >= 0)[:, None], place[np.maximum(origin, 0)], 0.0)
    nowhere = (result == 0.0).all(axis=1)
    result[nowhere] = event_place[event[nowhere]]
    return result
