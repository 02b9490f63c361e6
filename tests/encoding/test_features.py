"""The feature sets against independent readings of their definitions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import uproot
from hypothesis import given, settings

from smartbkg_tf.encoding.encode import encode
from smartbkg_tf.encoding.events import Events
from smartbkg_tf.events.vocabulary import default_vocabulary
from smartbkg_tf.settings.encoding import EncodingSettings
from tests.encoding.reference import smartbackground_event
from tests.encoding.tables import features_of, particle, table_of

MDST = Path(__file__).resolve().parents[2] / "../shared/data/mdst-v06-00-00.root"
SMARTBACKGROUND = EncodingSettings(features="smartbackground")
VOCABULARY = default_vocabulary()


def assert_as_reference(encoded: Events, events: list[list[dict[str, Any]]]) -> None:
    assert len(encoded) == len(events)
    for i, event in enumerate(events):
        expected = smartbackground_event(event)
        rows = slice(encoded.offsets["particles"][i], encoded.offsets["particles"][i + 1])
        x = np.array(expected["x"], dtype=np.float64).reshape(-1, 8).astype(np.float32)
        np.testing.assert_array_equal(features_of(encoded)[rows], x)
        np.testing.assert_array_equal(encoded["mother_index_input"][rows], expected["mother"])
        pdg = np.array(expected["pdg"], dtype=np.int64)
        np.testing.assert_array_equal(encoded["pdg_input"][rows], VOCABULARY.tokens(pdg))
        mother_pdg = [0 if m < 0 else VOCABULARY.tokens(pdg)[m] for m in expected["mother"]]
        np.testing.assert_array_equal(encoded["mother_pdg_input"][rows], mother_pdg)


numbers = st.floats(-30, 30, width=32)


@st.composite
def random_events(draw: st.DrawFn) -> list[list[dict[str, Any]]]:
    events = []
    for _ in range(draw(st.integers(0, 4))):
        n = draw(st.integers(0, 12))
        event = []
        for i in range(n):
            # Mothers behind their daughters occur in no generator; by rule 10 they are not found.
            mother = draw(st.one_of(st.none(), st.integers(0, n - 1).filter(lambda m, i=i: m != i)))
            event.append(
                particle(
                    draw(st.sampled_from([11, 22, 21, 1, -2, 3, -4, 5, 6, 211, 511, 300553])),
                    mother,
                    status=draw(st.sampled_from([1, 3, 32, 33, 16, 64, 128])),
                    t=draw(numbers),
                    x=draw(st.sampled_from([-50.0, 0.0, 9.999, 10.0, 0.1])),
                    y=draw(st.sampled_from([-50.0, 0.0, 10.5])),
                    z=draw(numbers),
                    E=draw(st.floats(0, 11, width=32)),
                    px=draw(numbers),
                )
            )
        if not circular(event):
            events.append(event)
    return events


def circular(event: list[dict[str, Any]]) -> bool:
    for p in event:
        m, steps = p["mother"], 0
        while m is not None and steps <= len(event):
            m, steps = event[m]["mother"], steps + 1
        if steps > len(event):
            return True
    return False


@settings(max_examples=200, deadline=None)
@given(random_events())
def test_smartbackground_follows_the_rules_on_random_events(events: Any) -> None:
    encoded = encode(table_of(events), SMARTBACKGROUND, VOCABULARY)
    assert_as_reference(encoded, events)


def test_smartbackground_rule_by_rule() -> None:
    event = [
        particle(11, None, status=32),  # 0 initial: left out
        particle(300553, None, t=5.0, x=0.5, y=-1.0, z=2.0, E=10.5),  # 1 -> 0, no mother: m = 0
        particle(511, 1, t=6.0, x=9.99, z=3.0),  # 2 -> 1
        particle(22, 1, x=10.0),  # 3: exactly 10 cm is left out
        particle(22, 1, x=-700.0),  # 4 -> 2: no absolute value
        particle(5, 2),  # 5 quark, followed
        particle(21, 5),  # 6 gluon, followed
        particle(211, 6),  # 7 -> 3, mother 6 -> 5 -> 2 -> new index 1
        particle(13, 3),  # 8 -> 4, mother left out
        particle(6, 2),  # 9 -> 5: a top is no light quark
        particle(-211, 0),  # 10 -> 6, mother initial
    ]
    encoded = encode(table_of([event]), SMARTBACKGROUND, VOCABULARY)
    assert encoded["mother_index_input"].tolist() == [-1, 0, 0, 1, -1, 1, -1]
    assert features_of(encoded)[0].tolist() == [0, 0, 0, 0, 10.5, 0, 0, 0]
    np.testing.assert_allclose(features_of(encoded)[1, :4], [1.0, 9.49, 1.0, 1.0], rtol=1e-6)
    assert_as_reference(encoded, [event])


def test_smartbackground_first_particle_without_mother_is_its_own_mother() -> None:
    encoded = encode(table_of([[particle(300553), particle(511, 0)]]), SMARTBACKGROUND, VOCABULARY)
    assert encoded["mother_index_input"].tolist() == [0, 0]


def test_smartbackground_mother_that_the_reader_dropped_is_none_not_the_first_particle() -> None:
    # motherIndex -1 with a motherPDG: an initial or virtual mother was there and is gone.
    event = [particle(511), particle(211, None, motherPDG=11)]
    encoded = encode(table_of([event]), SMARTBACKGROUND, VOCABULARY)
    assert encoded["mother_index_input"].tolist() == [0, -1]


def test_smartbackground_event_of_which_nothing_is_kept() -> None:
    events = [[particle(21), particle(1, 0)], [particle(211)]]
    encoded = encode(table_of(events), SMARTBACKGROUND, VOCABULARY)
    assert encoded.offsets["particles"].tolist() == [0, 0, 1]


@pytest.mark.skipif(not MDST.is_file(), reason="the real mDST file is not at hand")
def test_smartbackground_follows_the_rules_on_the_real_file() -> None:
    """All primary particles of the ten real events; those of the detector come later."""
    tree = uproot.open(MDST)["tree"]
    names = {
        "pdg": "pdg", "status": "status", "mother": "mother", "t": "productionTime",
        "x": "productionVertex_x", "y": "productionVertex_y", "z": "productionVertex_z",
        "E": "energy", "px": "momentum_x", "py": "momentum_y", "pz": "momentum_z",
    }  # fmt: skip
    arrays = {k: tree[f"MCParticles/MCParticles.m_{v}"].array() for k, v in names.items()}
    events = []
    for i in range(len(arrays["pdg"])):
        all_rows = [
            {k: float(a[i][j]) if k in "txyzE" or (k[0] == "p" and k != "pdg") else int(a[i][j])
             for k, a in arrays.items()}
            for j in range(len(arrays["pdg"][i]))
        ]  # fmt: skip
        primary = [j for j, row in enumerate(all_rows) if row["status"] & 1]
        place = {j: k for k, j in enumerate(primary)}
        event = []
        for j in primary:
            row = all_rows[j]
            mother = place[row["mother"] - 1] if row["mother"] else None
            event.append({**row, "mother": mother, "charge": 0.0, "mass": 0.0})
        events.append(event)
    assert len(events) == 10
    encoded = encode(table_of(events), SMARTBACKGROUND, VOCABULARY)
    assert_as_reference(encoded, events)
    # Vertices up to 10 cm are kept, those beyond are not: both occur in real events.
    assert encoded.offsets["particles"][-1] < sum(len(event) for event in events)


@pytest.mark.skipif(not MDST.is_file(), reason="the real mDST file is not at hand")
def test_original_holds_the_values_of_the_real_file() -> None:
    from smartbkg_tf.events.readers import iterate_events

    (_, table), *_ = iterate_events([MDST])
    encoded = encode(table, EncodingSettings(), VOCABULARY)
    tree = uproot.open(MDST)["tree"]
    status = tree["MCParticles/MCParticles.m_status"].array()
    kept = (status & 1 == 1) & (status & 0b11110000 == 0)
    for column, name in ((0, "energy"), (1, "productionTime"), (4, "productionVertex_z")):
        expected = tree[f"MCParticles/MCParticles.m_{name}"].array()[kept]
        flat = np.concatenate([np.asarray(event) for event in expected])
        np.testing.assert_array_equal(features_of(encoded)[:, column], flat.astype(np.float32))
