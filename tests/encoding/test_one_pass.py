"""The compiled pass over particles against plain Python, in every layout of the columns."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartbkg_tf.encoding.checks import find_unusable_events
from smartbkg_tf.encoding.encode import check_and_encode, encode
from smartbkg_tf.encoding.one_pass import CONTINUOUS, one_pass
from smartbkg_tf.events.table import EventTable
from smartbkg_tf.events.vocabulary import default_vocabulary
from smartbkg_tf.settings.encoding import EncodingSettings
from tests.encoding.tables import particle, table_of
from tests.samples import make_events

VOCABULARY = default_vocabulary()
CODES = st.sampled_from([0, 211, -211, 22, 300553, -511, 123456789, -7654321, 2**31 - 1])
FLOATS = st.one_of(
    st.floats(-1e3, 1e3),
    st.sampled_from(
        [math.nan, math.inf, -math.inf, 1e4, 10001.0, 3.4028234e38, 3.4028235e38, -1e39, -0.0]
    ),
)
CHARGES = st.one_of(
    st.sampled_from([0, 1, -1, 2, 1 / 3, -2 / 3, 0.4, 42.0, 42.6, -43.0, math.nan, math.inf]),
    st.floats(-50, 50),
)
PARTICLES = st.builds(
    lambda values, charge, pdg, mother_pdg, mother: particle(
        pdg,
        mother,
        charge=charge,
        motherPDG=mother_pdg,
        **dict(zip(CONTINUOUS, values, strict=True)),
    ),
    st.tuples(*(FLOATS for _ in CONTINUOUS)),
    CHARGES,
    CODES,
    CODES,
    st.integers(-3, 6),
)


def expected_particle(row: dict[str, Any], place: int, n: int) -> tuple[Any, ...]:
    """One particle as the documentation says it, in Python's own arithmetic."""
    with np.errstate(over="ignore"):
        continuous = [float(np.float32(row[name])) for name in CONTINUOUS]
    thirds = row["charge"] * 3
    charge = 0 if not math.isfinite(thirds) else max(-127, min(127, int(np.rint(thirds))))
    pdg = int(VOCABULARY.tokens(row["pdg"]))
    mother_pdg = 0 if row["motherPDG"] == 0 else int(VOCABULARY.tokens(row["motherPDG"]))
    mother = row["mother"]
    return (
        continuous,
        charge,
        pdg,
        mother_pdg,
        mother if 0 <= mother < n and mother != place else -1,
    )


def expected_faults(event: list[dict[str, Any]]) -> int:
    bits = 0
    for row in event:
        checked = [*(row[name] for name in CONTINUOUS), row["charge"]]
        bits |= 1 * any(not abs(value) <= 3.4028234e38 for value in checked)
        gev = [row[name] for name in ("energy", "px", "py", "pz")]
        bits |= 16 * any(1e4 < abs(value) <= 3.4028234e38 for value in gev)
        bits |= 2 * (row["energy"] < 0)
        thirds = row["charge"] * 3
        if math.isfinite(thirds):
            bits |= 8 * (abs(thirds - round(thirds)) > 1e-3 or abs(thirds) > 127.5)
        mother, steps = row["mother"], 0
        if mother < -1 or mother >= len(event):
            bits |= 4
        while 0 <= mother < len(event) and steps <= len(event):
            mother, steps = event[mother]["mother"], steps + 1
        bits |= 4 * (steps > len(event))
    return bits


@settings(deadline=None, max_examples=150)
@given(st.lists(st.lists(PARTICLES, max_size=5), min_size=1, max_size=4))
def test_every_particle_and_every_fault(events: list[list[dict[str, Any]]]) -> None:
    table = table_of(events)
    found = one_pass(table, VOCABULARY)
    assert found is not None
    rows = [
        expected_particle(row, i, len(event)) for event in events for i, row in enumerate(event)
    ]
    np.testing.assert_array_equal(
        found.continuous, np.array([r[0] for r in rows], np.float32).reshape(-1, 8)
    )
    for i, name in enumerate(("charge", "pdg", "mother_pdg", "mother_index"), start=1):
        assert getattr(found, name).tolist() == [r[i] for r in rows], name
    assert found.faults.tolist() == [expected_faults(event) for event in events]
    for tokens, count in (
        (found.pdg, found.unknown_pdg),
        (found.mother_pdg, found.unknown_mothers),
    ):
        assert np.count_nonzero(tokens == 1) == count
    # The checks that stand alone, for other feature sets, find the same.
    alone, alone_findings = find_unusable_events(table)
    with_faults, findings = find_unusable_events(table, faults=(found.faults, found.not_finite))
    np.testing.assert_array_equal(alone, with_faults)
    assert alone_findings == findings


def in_rows(table: EventTable, odd: bool, order: list[str]) -> EventTable:
    """Put the columns of a type side by side, as pandas does, and at odd addresses."""
    columns = dict(table.particles)
    for kind in "if":
        names = [name for name in order if np.asarray(columns[name]).dtype.kind == kind]
        block = np.stack([np.asarray(columns[name]) for name in names], axis=1)
        memory = np.zeros(block.nbytes + 8, np.uint8)
        shifted = memory[odd : odd + block.nbytes].view(block.dtype).reshape(block.shape)
        shifted[:] = block
        columns |= {name: shifted[:, i] for i, name in enumerate(names)}
    return replace(table, particles=columns)


@pytest.mark.parametrize("odd", [False, True])
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("features", ["original", "smartbackground"])
def test_the_layout_of_the_columns_does_not_matter(
    odd: bool, backwards: bool, features: str
) -> None:
    table = make_events(60, seed=2)
    order = list(table.particles)[:: -1 if backwards else 1]
    rows = in_rows(table, odd, order)
    assert np.asarray(rows.particles["energy"]).flags.aligned != odd
    encoding = EncodingSettings(features=features)
    expected = encode(table, encoding, VOCABULARY)
    kept, found, findings = check_and_encode(rows, encoding, VOCABULARY)
    assert findings == []
    assert len(kept) == 60
    for name in ("offsets", "continuous", "charge", "pdg", "mother_pdg", "mother_index", "decay"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_broken_events_are_left_out_and_told() -> None:
    table = make_events(20, seed=4)
    energy = np.array(table.particles["energy"])
    energy[table.offsets[3]] = -1.0
    broken = replace(table, particles={**table.particles, "energy": energy})
    kept, found, findings = check_and_encode(broken, EncodingSettings(), VOCABULARY)
    assert [finding.reason for finding in findings] == ["negative_energy"]
    sound = table.take(np.delete(np.arange(20), 3))
    expected = encode(sound, EncodingSettings(), VOCABULARY)
    np.testing.assert_array_equal(kept.keys["event"], sound.keys["event"])
    np.testing.assert_array_equal(found.continuous, expected.continuous)
    np.testing.assert_array_equal(found.decay, expected.decay)


def test_tables_with_other_integers_are_encoded_the_same_way() -> None:
    table = make_events(30, seed=5)
    names = ("PDG", "motherPDG", "motherIndex")
    wide = {name: np.asarray(table.particles[name]).astype(np.int64) for name in names}
    other = replace(table, particles={**table.particles, **wide})
    assert one_pass(other, VOCABULARY) is None
    _, found, _ = check_and_encode(other, EncodingSettings(), VOCABULARY)
    expected = encode(table, EncodingSettings(), VOCABULARY)
    for name in ("continuous", "charge", "pdg", "mother_pdg", "mother_index", "decay"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
