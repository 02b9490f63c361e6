"""Checks and encoding of ``original`` against plain Python, in every layout of the columns."""

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
from smartbkg_tf.encoding.events import Events
from smartbkg_tf.events.table import EventTable
from smartbkg_tf.events.vocabulary import default_vocabulary
from smartbkg_tf.settings.encoding import FEATURE_SETS, EncodingSettings
from tests.encoding.tables import particle, table_of
from tests.samples import make_events

VOCABULARY = default_vocabulary()
CONTINUOUS = FEATURE_SETS["original"][:-1]
NAMES = ("charge", "pdg_input", "mother_pdg_input", "mother_index_input")
#: What each bit of `expected_faults` is called in findings.
BITS = {1: "not_finite", 2: "negative_energy", 4: "mother_index", 8: "charge", 16: "too_large"}
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
    table = table_of(events, strings=[""] * len(events))
    found = encode(table, EncodingSettings(), VOCABULARY)
    rows = [
        expected_particle(row, i, len(event)) for event in events for i, row in enumerate(event)
    ]
    np.testing.assert_array_equal(
        found["particle_input"], np.array([r[0] for r in rows], np.float32).reshape(-1, 8)
    )
    for i, name in enumerate(NAMES, start=1):
        assert found[name].tolist() == [r[i] for r in rows], name
    unknown = sum(np.count_nonzero(found[name] == 1) for name in NAMES[1:3])
    assert sum(found.report.unknown_codes.values()) == unknown
    faults = np.array([expected_faults(event) for event in events])
    usable, findings = find_unusable_events(table)
    empty = np.array([not event for event in events])
    np.testing.assert_array_equal(usable, (faults == 0) & ~empty)
    counts = {finding.reason: finding.count for finding in findings}
    counts.pop("no_particles", None)
    expected = {name: int(np.count_nonzero(faults & bit)) for bit, name in BITS.items()}
    assert counts == {name: count for name, count in expected.items() if count}


def assert_same(found: Events, expected: Events) -> None:
    """Compare all columns and offsets."""
    assert found.schema == expected.schema
    for name, values in expected.columns.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)
    for axis, offsets in expected.offsets.items():
        np.testing.assert_array_equal(found.offsets[axis], offsets)


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
    assert_same(found, expected)


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
    assert_same(found, expected)


def test_tables_with_other_integers_are_encoded_the_same_way() -> None:
    table = make_events(30, seed=5)
    names = ("PDG", "motherPDG", "motherIndex")
    wide = {name: np.asarray(table.particles[name]).astype(np.int64) for name in names}
    other = replace(table, particles={**table.particles, **wide})
    _, found, _ = check_and_encode(other, EncodingSettings(), VOCABULARY)
    expected = encode(table, EncodingSettings(), VOCABULARY)
    assert_same(found, expected)
