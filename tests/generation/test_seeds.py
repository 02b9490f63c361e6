"""No two chunks share random numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartbkg_tf.errors import ConfigurationError
from smartbkg_tf.events.table import EVENT_TYPES
from smartbkg_tf.generation import seeds

SEEDS = st.integers(0, 10**17)
KINDS = st.integers(0, len(EVENT_TYPES) - 1)
CHUNKS = st.integers(0, 89_999_999)


def test_a_million_chunks_have_a_million_seeds() -> None:
    assert len({seeds.pythia_seed(1, 0, chunk) for chunk in range(1_000_000)}) == 1_000_000


@given(SEEDS, st.lists(st.tuples(KINDS, CHUNKS), min_size=2, max_size=50, unique=True))
def test_seeds_differ_over_event_types_and_chunks(seed: int, who: list[tuple[int, int]]) -> None:
    found = {seeds.pythia_seed(seed, kind, chunk) for kind, chunk in who}
    assert len(found) == len(who)
    assert min(found) >= 1
    assert max(found) <= 900_000_000


def test_neighbouring_chunks_and_seeds_are_far_apart() -> None:
    """Seeds of two productions do not run beside each other."""
    one, other = (
        {seeds.pythia_seed(seed, kind, chunk) for kind in range(7) for chunk in range(500)}
        for seed in (1, 2)
    )
    assert len(one) == len(other) == 3500
    assert len(one & other) <= 2  # 0.014 expected


def test_more_chunks_than_seeds_are_refused() -> None:
    seeds.pythia_seed(1, 6, 89_999_999)
    with pytest.raises(ConfigurationError, match="seeds for 90000000 chunks"):
        seeds.pythia_seed(1, 0, 90_000_000)


@given(st.sets(st.tuples(SEEDS, KINDS, CHUNKS, st.sampled_from(seeds.PURPOSES)), max_size=30))
def test_other_random_numbers_differ_too(who: set[tuple[int, int, int, str]]) -> None:
    first = {seeds.generator(*one).integers(2**63) for one in who}
    assert len(first) == len(who)
