"""``source.particles=generator``: what `produce` keeps gives what basf2's module sees.

Every test replays the rules on the full list of an event in plain Python.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from smartbkg_tf.dataset.build import build_dataset
from smartbkg_tf.dataset.information import read_information
from smartbkg_tf.encoding.encode import encode
from smartbkg_tf.errors import InputError
from smartbkg_tf.events.hdf5 import write_hdf5
from smartbkg_tf.events.mdst import iterate_mdst
from smartbkg_tf.events.parquet import write_parquet
from smartbkg_tf.events.readers import particle_set
from smartbkg_tf.events.table import concatenate
from smartbkg_tf.generation.chunks import label_events
from smartbkg_tf.generation.extract import extract, stored_particles
from smartbkg_tf.generation.pythia import PythiaEngine
from smartbkg_tf.generation.pythia_source import PythiaSource
from smartbkg_tf.runtime.command import compose_settings
from smartbkg_tf.settings.generation import ProduceSettings
from smartbkg_tf.settings.preprocessing import PreprocessSettings
from tests.encoding.test_features import MDST, SMARTBACKGROUND, VOCABULARY, assert_as_reference
from tests.mdst_twin import write_generator_list
from tests.samples import make_events

MEMBERS = {
    "pdg": "pdg", "status": "status", "mother": "mother", "t": "productionTime",
    "x": "productionVertex_x", "y": "productionVertex_y", "z": "productionVertex_z",
    "E": "energy", "px": "momentum_x", "py": "momentum_y", "pz": "momentum_z",
}  # fmt: skip


def full_lists(path: Path) -> list[list[dict[str, Any]]]:
    """All primary particles of a file, as they stand right after generation."""
    tree = uproot.open(path)["tree"]
    branches = {k.split("/")[-1]: k for k in tree.keys()}  # noqa: SIM118 (uproot)
    arrays = {
        k: tree[branches[f"MCParticles.m_{v}"]].array(library="np") for k, v in MEMBERS.items()
    }
    events = []
    for i in range(len(arrays["pdg"])):
        rows = [
            {k: (int if k in ("pdg", "status", "mother") else float)(a[i][j])
             for k, a in arrays.items()}
            for j in range(len(arrays["pdg"][i]))
        ]  # fmt: skip
        primary = [j for j, row in enumerate(rows) if row["status"] & 1]
        place = {j: k for k, j in enumerate(primary)}
        events.append(
            [
                {**rows[j], "mother": place[rows[j]["mother"] - 1] if rows[j]["mother"] else None}
                for j in primary
            ]
        )
    return events


@pytest.mark.parametrize("real", [False, True])
def test_mdst_tables_follow_the_rules_on_the_full_list(tmp_path: Path, real: bool) -> None:
    path = MDST if real else tmp_path / "continuum.root"
    if real and not MDST.is_file():
        pytest.skip("the real mDST file is not at hand")
    if not real:
        write_generator_list(path, 40, seed=3)
    table = concatenate(list(iterate_mdst(path, particles="generator", chunk_events=7)))
    assert_as_reference(encode(table, SMARTBACKGROUND, VOCABULARY), full_lists(path))
    pdg, status = table.particles["PDG"], table.particles["status"]
    assert not np.any(status & 32)
    assert not np.any((pdg == 21) | (np.abs(pdg) <= 5))
    if not real:
        # The twin has what it is for; default tables drop it.
        assert {23, 22, 92} <= set(pdg.tolist())
        assert np.any(status & 64)
        assert np.any(status & 128)
        plain = concatenate(list(iterate_mdst(path)))
        assert not np.any(plain.particles["status"] & 0b11110000)
        assert VOCABULARY.unknown(pdg) == {}


@st.composite
def lists(draw: st.DrawFn) -> list[dict[str, Any]]:
    n = draw(st.integers(1, 10))
    rows = []
    for i in range(n):
        forward = draw(st.integers(0, 9)) == 0 and i + 1 < n
        mother = draw(st.integers(i + 2, n)) if forward else draw(st.integers(0, i))
        rows.append(
            {
                "pdg": draw(st.sampled_from([11, 23, 22, 21, 1, -2, 5, 92, 211, 10022])),
                "status": draw(st.sampled_from([1, 1, 1, 33, 17, 65, 129, 193, 2, 32])),
                "mother": mother,
                "x": draw(st.sampled_from([0.0, 0.0, -50.0, 10.0])),
                "z": draw(st.sampled_from([0.0, 0.5, 12.0])),
            }
        )
    return rows


@limits(max_examples=25, deadline=None)
@given(st.lists(lists(), min_size=4, max_size=10))
def test_any_list_follows_the_rules(
    tmp_path_factory: pytest.TempPathFactory, events: list[list[dict[str, Any]]]
) -> None:
    for event in events:
        for i, row in enumerate(event):
            m = row["mother"]
            # Primary particles have primary mothers, and no links run in a ring.
            if m and not (event[m - 1]["status"] & 1 and (m <= i or event[m - 1]["mother"] <= i)):
                row["mother"] = 0
    path = tmp_path_factory.getbasetemp() / "lists.root"
    write_generator_list(path, events=events)
    (table,) = iterate_mdst(path, particles="generator")
    try:
        encoded = encode(table, SMARTBACKGROUND, VOCABULARY)
    except InputError:  # a ring, which basf2 refuses too
        return
    assert_as_reference(encoded, full_lists(path))


@pytest.mark.parametrize("kind", ["uubar", "taupair", "mixed"])
def test_pythia_tables_follow_the_rules_on_the_full_record(
    kind: str,
) -> None:
    source = PythiaSource(
        particles="generator",
        decay_table="pythia",
        initial_state_radiation=True,
        tau_spin_correlations=False,
    )
    n = 60
    record = PythiaEngine(kind, source).generate(n, 5, np.random.default_rng(1), Counter())
    keys = {k: np.arange(n) for k in ("experiment", "run", "event", "production")}
    place = np.zeros((n, 3))
    everything = extract(record, place, source.detector_radius, source.detector_z, keys, 2)
    table = stored_particles(everything, "generator")
    encoded = encode(table, SMARTBACKGROUND, VOCABULARY)
    # The full list of every event: beams are initial, repeated rows (recoils) one particle.
    code, status, mother = (c.tolist() for c in (record.code, record.status, record.mother))
    daughters: dict[int, list[int]] = {}
    for row, m in enumerate(mother):
        daughters.setdefault(m, []).append(row)

    def last_copy(row: int) -> bool:
        return not any(code[d] == code[row] and abs(status[d]) < 91 for d in daughters.get(row, []))

    lists: list[list[dict[str, Any]]] = [[] for _ in range(n)]
    position: dict[int, int] = {}
    vertex = record.vertex * 0.1
    for row in range(len(record)):
        e = int(record.event[row])
        x, y, z, t = vertex[row].tolist()
        if e < 0 or np.hypot(x, y) > 140 or not -117 <= z <= 211:
            continue
        beam = abs(code[row]) == 11 and status[row] < 0
        diquark = 1000 < abs(code[row]) < 10_000 and abs(code[row]) // 10 % 10 == 0
        m = mother[row]
        while m >= 0 and m not in position:
            m = mother[m]
        if not beam and (diquark or 80 < abs(code[row]) < 100):
            continue
        if not beam and not last_copy(row):
            continue
        position[row] = len(lists[e])
        px, py, pz, energy = record.momentum[row].tolist()
        lists[e].append(
            {
                "pdg": code[row],
                "status": 33 if beam else 1,
                "mother": position[m] if m >= 0 else None,
                **{"t": t * 10 / 299.792458, "x": x, "y": y, "z": z},
                **{"E": energy, "px": px, "py": py, "pz": pz},
            }
        )
    assert_as_reference(encoded, lists)
    radiated = table.particles["status"] & 0b11000000
    assert bool(np.any(radiated)) == (kind != "mixed")
    # What is stored changes nothing else: the detector and the skims see all particles.
    defaults = compose_settings("produce", ProduceSettings, [])
    made = {
        which: label_events(everything, source.beams, defaults.detector, defaults.skim,
                            np.random.default_rng(4), which)
        for which in ("tables", "generator")
    }  # fmt: skip
    for name in ("keys", "labels", "observables"):
        for column, values in getattr(made["tables"], name).items():
            np.testing.assert_array_equal(getattr(made["generator"], name)[column], values)
    same = made["tables"].decay_strings == made["generator"].decay_strings
    assert bool(np.all(same)) == (kind == "mixed")


def test_files_and_datasets_record_the_particles_and_are_not_mixed(tmp_path: Path) -> None:
    table = make_events(40)
    write_hdf5(tmp_path / "a.h5", table)
    write_hdf5(tmp_path / "b.h5", make_events(40, seed=1), particles="generator")
    write_parquet(tmp_path / "c.parquet", make_events(40, seed=1), particles="generator")
    assert [particle_set(tmp_path / f) for f in ("a.h5", "b.h5", "c.parquet")] == [
        "tables",
        "generator",
        "generator",
    ]
    assert b"particles" not in b"".join(map(str.encode, root_attributes(tmp_path / "a.h5")))

    def preprocess(*files: str) -> dict[str, Any]:
        settings = compose_settings(
            "preprocess",
            PreprocessSettings,
            [f"input=[{','.join(str(tmp_path / f) for f in files)}]", f"output={tmp_path}/data",
             "overwrite=true", "mode=lenient"],
        )  # fmt: skip
        return read_information(build_dataset(settings))

    assert preprocess("a.h5")["particles"] == "tables"
    assert preprocess("c.parquet")["particles"] == "generator"
    with pytest.raises(InputError, match=r"b\.h5.*source\.particles=generator cannot be mixed"):
        preprocess("a.h5", "b.h5")


def root_attributes(path: Path) -> list[str]:
    """Names of the attributes of a file's root."""
    import h5py

    with h5py.File(path) as file:
        return [str(name) for name in file.attrs]
