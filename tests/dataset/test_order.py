"""The order of an epoch is a permutation and a function of (seed, epoch, place)."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from smartbkg_tf.dataset.order import EpochOrder, balanced_counts, balanced_events


def indices_of(n: int) -> np.ndarray:
    """Make positions with gaps, as a split leaves them."""
    return np.flatnonzero(np.random.default_rng(0).random(3 * n + 10) < 0.6)[:n]


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(0, 300),
    block=st.integers(1, 40),
    blocks_in_group=st.integers(1, 5),
    batch=st.integers(1, 400),
    seed=st.integers(0, 5),
)
def test_every_event_once(n: int, block: int, blocks_in_group: int, batch: int, seed: int) -> None:
    indices = indices_of(n)
    order = EpochOrder(indices, seed, 3, block, blocks_in_group)
    parts = [order.positions(i, i + batch) for i in range(0, n, batch)]
    assert all(len(part) == batch for part in parts[:-1])
    together = np.concatenate([np.empty(0, int), *parts])
    np.testing.assert_array_equal(np.sort(together), indices)
    # Any batch can be made alone, in any order.
    again = EpochOrder(indices, seed, 3, block, blocks_in_group)
    for i in reversed(range(len(parts))):
        np.testing.assert_array_equal(again.positions(i * batch, (i + 1) * batch), parts[i])


def test_epochs_and_seeds_differ_and_repeat() -> None:
    indices = indices_of(500)

    def order(seed: int, epoch: int) -> list[int]:
        return EpochOrder(indices, seed, epoch, 16, 4).positions(0, 500).tolist()

    assert order(1, 0) == order(1, 0)
    assert len({tuple(order(seed, epoch)) for seed in (0, 1) for epoch in (0, 1)}) == 4


def test_events_of_a_block_are_mixed_with_those_of_other_blocks() -> None:
    indices = np.arange(64 * 16)
    order = EpochOrder(indices, 1, 0, block=16, blocks_in_group=8).positions(0, 128)
    assert len(set((order // 16).tolist())) == 8  # eight whole blocks from all over ...
    assert np.ptp(order) > 256
    runs = np.count_nonzero(np.diff(order) == 1)
    assert runs < 20  # ... and not one after the other


def test_places_of_events_are_uniform() -> None:
    # Average place of the first event over many epochs: 1/2 of n with error n / sqrt(12 m).
    indices = np.arange(400)
    places = [
        int(np.flatnonzero(EpochOrder(indices, 5, e, 16, 4).positions(0, 400) == 0)[0])
        for e in range(300)
    ]
    assert abs(np.mean(places) - 199.5) < 5 * 400 / np.sqrt(12 * 300)


LABELS = np.array([1] * 10 + [0] * 70 + [-1] * 20, dtype=np.int8)


@pytest.mark.parametrize(
    ("balance", "passing", "failing"), [(1.0, 10, 10), (3.0, 10, 30), (20.0, 4, 70), (0.5, 10, 5)]
)
def test_balance_draws_the_class_in_excess(balance: float, passing: int, failing: int) -> None:
    drawn = balanced_events(LABELS, np.arange(100), balance, 0, 0)
    labels = LABELS[drawn]
    assert (np.count_nonzero(labels == 1), np.count_nonzero(labels == 0)) == (passing, failing)
    assert len(set(drawn.tolist())) == len(drawn) == passing + failing
    assert balanced_counts(10, 70, balance) == (passing, failing)
    assert (np.diff(drawn) > 0).all()


def test_balance_draws_anew_each_epoch_and_reproducibly() -> None:
    draws = [balanced_events(LABELS, np.arange(100), 1.0, 7, epoch) for epoch in range(40)]
    np.testing.assert_array_equal(draws[3], balanced_events(LABELS, np.arange(100), 1.0, 7, 3))
    assert not np.array_equal(draws[0], draws[1])
    # In the end every failing event was used: 70 events, 400 draws.
    assert len(set(np.concatenate(draws).tolist())) == 80


def test_only_the_given_events_are_drawn() -> None:
    drawn = balanced_events(LABELS, np.arange(5, 40), 1.0, 0, 0)
    assert set(drawn.tolist()) <= set(range(5, 40))
    assert np.count_nonzero(LABELS[drawn] == 1) == 5
