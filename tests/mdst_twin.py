"""A synthetic file in the form of a basf2 mDST, for tests without the real one.

It has the branches that the reader needs and some more, with primaries, secondaries,
and (for continuum events) initial and virtual particles. uproot cannot nest branches, so
that they stand at the top of the tree as ``MCParticles.m_pdg``, ``EventMetaData.m_event``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import uproot

from smartbkg_tf.events.table import EventTable
from tests.samples import make_events

PRIMARY, STABLE, VIRTUAL, INITIAL, ISR, FSR = 1, 2, 16, 32, 64, 128

MEMBERS = {
    "m_mass": "mass",
    "m_energy": "energy",
    "m_momentum_x": "px",
    "m_momentum_y": "py",
    "m_momentum_z": "pz",
    "m_productionTime": "prodTime",
    "m_productionVertex_x": "x",
    "m_productionVertex_y": "y",
    "m_productionVertex_z": "z",
}


def write_mdst_twin(
    path: str | Path,
    n_events: int = 10,
    seed: int = 0,
    *,
    continuum: bool = False,
    keys: Mapping[str, np.ndarray] | None = None,
    without: tuple[str, ...] = (),
    changes: Mapping[str, Any] | None = None,
    empty: tuple[int, ...] = (),
    basket: int | None = None,
) -> EventTable:
    """Write a twin of an mDST file and tell what a reader must find in it.

    Parameters
    ----------
    path : str or pathlib.Path
        The file.
    n_events : int
        How many.
    seed : int
        Same seed, same file.
    continuum : bool
        Put two initial beam particles and a virtual photon, which a reader drops, above
        each tree, and an ISR photon and an FSR photon beside it.
    keys : mapping, optional
        experiment, run, event, production; else 0, 0, 1.., 0 as in the real file.
    without : tuple of str
        Branches to leave out, as ``"MCParticles.m_pdg"`` or ``"EventMetaData"``.
    changes : mapping, optional
        Branches to write instead, in the form of the tree.
    empty : tuple of int
        Positions of events without any particle.
    basket : int, optional
        Events that are stored together; None: all.

    Returns
    -------
    EventTable
        The primaries that stay, float32 numbers, no decay strings, no labels. Charges
        are those of the sample.
    """
    sample = make_events(n_events, seed, empty=empty)
    random = np.random.default_rng(seed + 1)
    full: dict[str, list[list[float]]] = {
        name: [] for name in ("m_pdg", "m_status", "m_mother", *MEMBERS)
    }
    for event in range(n_events):
        rows = slice(sample.offsets[event], sample.offsets[event + 1])
        columns = {name: values[rows] for name, values in sample.particles.items()}
        n = len(columns["PDG"])
        above = 3 if continuum and n else 0
        mothers = columns["motherIndex"].astype(int)
        # Above: e-, e+, virtual photon; below: photons, then what the detector made.
        status = [PRIMARY | INITIAL] * 2 + [PRIMARY | VIRTUAL] if above else []
        pdg = [11, -11, 10022] if above else []
        mother = [0, 0, 1] if above else []
        status += [PRIMARY | (STABLE if d == 0 else 0) for d in columns["nDaughters"]]
        pdg += columns["PDG"].tolist()
        mother += [m + 1 + above if m >= 0 else above for m in mothers]
        if above:
            status += [PRIMARY | ISR | STABLE, PRIMARY | FSR | STABLE]
            pdg += [22, 22]
            mother += [3, above + 1]
        stable = [i for i, d in enumerate(columns["nDaughters"]) if d == 0]
        n_secondaries = int(random.integers(0, 8)) if n else 0
        status += [int(s) for s in random.choice([0, 4, 8], n_secondaries)]
        pdg += [int(c) for c in random.choice([11, 22, 2112], n_secondaries)]
        mother += [int(m) + 1 + above for m in random.choice(stable or [0], n_secondaries)]
        full["m_pdg"].append(pdg)
        full["m_status"].append(status)
        full["m_mother"].append(mother)
        more = len(pdg) - above - n
        for member, name in MEMBERS.items():
            values = np.concatenate(
                [random.normal(size=above), columns[name], random.normal(size=more)]
            )
            full[member].append(values.tolist())
    number = np.arange(1, n_events + 1)
    key_columns = keys or {
        "experiment": 0 * number,
        "run": 0 * number,
        "event": number,
        "production": 0 * number,
    }
    types = {"m_pdg": "int32", "m_status": "uint16", "m_mother": "int32"}
    lists: dict[str, ak.Array] = {
        name: ak.unflatten(
            np.array([v for event in values for v in event], dtype=types.get(name, "float32")),
            np.array([len(event) for event in values], dtype=np.int64),
        )
        for name, values in full.items()
    }
    branches: dict[str, Any] = {f"MCParticles.{name}": values for name, values in lists.items()}
    for name, values in key_columns.items():
        kind = np.uint32 if name == "event" else np.int32
        branches[f"EventMetaData.m_{name}"] = np.asarray(values).astype(kind)
    branches["EventMetaData.m_generatedWeight"] = np.ones(n_events)
    branches.update(changes or {})
    branches = {
        name: values
        for name, values in branches.items()
        if name not in without and name.split(".")[0] not in without
    }
    with uproot.recreate(path) as file:
        tree = file.mktree(
            "tree",
            {
                name: values.dtype if isinstance(values, np.ndarray) else values.type.content
                for name, values in branches.items()
            },
        )
        step = basket or max(n_events, 1)
        for start in range(0, n_events, step):
            tree.extend({name: values[start : start + step] for name, values in branches.items()})
    particles = {
        name: values.astype(np.float32).astype(np.float64)
        if name in MEMBERS.values()
        else values.copy()
        for name, values in sample.particles.items()
    }
    particles["status"] = np.where(particles["nDaughters"] == 0, PRIMARY | STABLE, PRIMARY).astype(
        np.int32
    )
    if continuum:
        # The virtual photon above is gone, but its code is still told.
        particles["motherPDG"] = np.where(
            particles["motherIndex"] < 0, 10022, particles["motherPDG"]
        ).astype(np.int32)
    return EventTable(
        particles=particles,
        offsets=sample.offsets,
        keys={name: np.asarray(values).astype(np.int64) for name, values in key_columns.items()},
        event_type=np.full(n_events, -1, dtype=np.int8),
    )


def write_generator_list(
    path: str | Path,
    n_events: int = 0,
    seed: int = 0,
    *,
    events: list[list[dict[str, Any]]] | None = None,
) -> None:
    """Write whole MCParticles lists of continuum events, as KKMC and Pythia leave them in basf2.

    e-, e+ (initial), Z0 (virtual), two quarks, ISR photons of the electron, then, from the quarks:
    their copies, gluons, FSR photons, a string, and hadrons with daughters, some far away.

    Parameters
    ----------
    path : str or pathlib.Path
        The file.
    n_events : int
        How many.
    seed : int
        Same seed, same file.
    events : list of list of dict, optional
        Lists to write instead: pdg, status, mother (from 1, 0 for none), and any of x, z.
    """
    random = np.random.default_rng(seed)
    if events is None:
        events = []
        for _ in range(n_events):
            rows = [(11, 33, 0), (-11, 33, 0), (23, 17, 0), (2, 1, 3), (-2, 1, 3)]
            rows += [(22, PRIMARY | STABLE | ISR | FSR, 1)] * int(random.integers(0, 3))
            rows += [(2, 1, 4), (21, 1, 4), (22, PRIMARY | STABLE | FSR, len(rows) + 1)]
            gluon = len(rows) - 1
            rows += [(3, 1, gluon), (92, 1, gluon), (413, 1, gluon), (310, 1, len(rows) + 1)]
            for _ in range(int(random.integers(3, 9))):
                rows.append((211, PRIMARY | STABLE, int(random.integers(4, len(rows) + 1))))
            rows += [(11, 0, len(rows)), (22, 8, len(rows))]
            places = np.where(
                np.arange(len(rows)) < 13, 0.0, random.choice([-30.0, 0.1, 10.0, 40.0], len(rows))
            )
            events.append(
                [
                    {"pdg": p, "status": s, "mother": m, "x": x, "z": float(random.normal())}
                    for (p, s, m), x in zip(rows, places.tolist(), strict=True)
                ]
            )
    changes: dict[str, Any] = {}
    counts = np.array([len(event) for event in events], dtype=np.int64)
    types = {"m_pdg": "int32", "m_status": "uint16", "m_mother": "int32"}
    given = {"m_pdg": "pdg", "m_status": "status", "m_mother": "mother"}
    given |= {"m_productionVertex_x": "x", "m_productionVertex_z": "z"}
    for member in (*types, *MEMBERS):
        if member in given:
            values = np.array([row[given[member]] for event in events for row in event])
        else:
            values = np.abs(random.normal(size=int(counts.sum())))
        if member == "m_productionVertex_y":
            values = 0.0 * values
        changes[f"MCParticles.{member}"] = ak.unflatten(
            values.astype(types.get(member, "float32")), counts
        )
    write_mdst_twin(path, len(events), changes=changes)
