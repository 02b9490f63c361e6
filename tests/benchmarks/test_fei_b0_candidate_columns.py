"""Candidates beside particles: written, and read back by plain integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.fei_b0.candidate_columns import (
    BITS,
    WAYS,
    bit_columns,
    candidate_columns,
    candidate_names,
)


def test_names_of_the_columns_of_bits() -> None:
    assert bit_columns(32)[:3] == (
        "candidate_members_0",
        "candidate_members_1",
        "candidate_renamed_0",
    )
    assert len(bit_columns(32)) == 6
    for most in (0, -16, 20):
        with pytest.raises(ValueError, match="multiple of 16"):
            bit_columns(most)


@given(st.integers(0, 2**32 - 1))
def test_every_membership_survives_float32(seed: int) -> None:
    random = np.random.default_rng(seed)
    most = 2 * BITS
    sizes = random.integers(0, 50, 4)
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    number = random.integers(0, most + 1, 4)
    event = np.repeat(np.arange(4), number)
    place = np.concatenate([np.arange(n) for n in number]).astype(np.int64)
    # truth[way][particle, candidate]
    truth = {}
    part = {}
    for way in WAYS:
        same = np.repeat(np.arange(4), sizes)[:, None] == event[None]
        truth[way] = same & (random.random(same.shape) < 0.4)
        part[way] = np.nonzero(truth[way])
    weight = random.normal(size=len(event))
    columns = candidate_columns(offsets, event, place, part, {"weight": weight}, most)
    stored = {name: values.astype(np.float32) for name, values in columns.items()}
    for e in range(4):
        rows = slice(offsets[e], offsets[e + 1])
        kept = min(number[e], sizes[e])
        assert stored["candidate_is"][rows].sum() == kept
        for k in range(number[e]):
            c = int(np.flatnonzero((event == e) & (place == k))[0])
            for way in WAYS:
                column = stored[f"candidate_{way}_{k // BITS}"][rows].astype(np.int64)
                expected = truth[way][rows, c] if k < kept else np.zeros(sizes[e], bool)
                np.testing.assert_array_equal(column >> (k % BITS) & 1, expected)
            if k < kept:
                assert stored["candidate_weight"][rows][k] == np.float32(weight[c])


def test_numbers_out_of_range_are_refused() -> None:
    nothing = {way: (np.zeros(0, np.int64), np.zeros(0, np.int64)) for way in WAYS}
    offsets, event = np.array([0, 40]), np.array([0])
    for place in (-1, 16):
        with pytest.raises(ValueError, match="between 0 and 15"):
            candidate_columns(offsets, event, np.array([place]), nothing, {}, 16)


def test_only_columns_of_candidates_are_left_to_them() -> None:
    assert candidate_names(["energy", "candidates", "candidate_is", "charge"]) == ["candidate_is"]
