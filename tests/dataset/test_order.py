"""The order of an epoch is a permutation and a function of (seed, epoch, place)."""

from __future__ import annotations

from itertools import pairwise

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from smartbkg_tf.dataset.order import (
    EpochOrder,
    InOrder,
    balanced_counts,
    balanced_events,
    bucket_edges,
    sorted_batches,
    width_of,
)


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


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 300), block=st.integers(1, 40), groups=st.integers(1, 5), data=st.data())
def test_groups_hold_their_places(n: int, block: int, groups: int, data: st.DataObject) -> None:
    """Reading the stretches of the named groups is enough for any part of an epoch."""
    indices = indices_of(n)
    for order in (EpochOrder(indices, 1, 2, block, groups), InOrder(indices, block * groups)):
        begin = data.draw(st.integers(0, n - 1))
        end = data.draw(st.integers(begin + 1, n + 50))
        wanted = order.positions(begin, end)
        named = order.groups(begin, end)
        assert 0 <= named.start < named.stop <= order.n_groups
        ranges = np.concatenate([order.ranges(g) for g in named])
        held = [np.any((ranges[:, 0] <= row) & (row < ranges[:, 1])) for row in wanted]
        assert all(held)
        every = np.concatenate([order.ranges(g) for g in range(order.n_groups)])
        every = every[np.argsort(every[:, 0])]
        assert (every[1:, 0] >= every[:-1, 1]).all()  # no event is read twice
        for g in range(order.n_groups):
            assert (np.diff(order.ranges(g)[:, 0]) > 0).all()


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 200), batch=st.integers(1, 70), seed=st.integers(0, 3))
def test_sorted_batches_hold_every_event_once_and_similar_lengths(
    n: int, batch: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    rows, lengths = random.permutation(n), random.integers(1, 90, n).astype(np.int32)
    batches = sorted_batches(rows, lengths, batch, random)
    assert [len(b) for b in batches[:-1]] == [batch] * (len(batches) - 1)
    np.testing.assert_array_equal(np.sort(np.concatenate(batches)), np.arange(n))
    place = np.argsort(rows)
    spans = sorted((lengths[place[b]].min(), lengths[place[b]].max()) for b in batches)
    for (_, longest), (shortest, _) in pairwise(spans):
        assert longest <= shortest


def test_sorted_batches_come_in_random_order() -> None:
    rows, lengths = np.arange(640), np.arange(640).astype(np.int32)
    first = [sorted_batches(rows, lengths, 64, np.random.default_rng(s))[0][0] for s in range(60)]
    assert len(set(map(int, first))) == 10
    # The short batch is sometimes of short events, sometimes of long ones.
    short = [
        sorted_batches(rows[:-1], lengths[:-1], 64, np.random.default_rng(s))[-1] for s in range(60)
    ]
    assert {len(b) for b in short} == {63}
    assert len({int(b[0]) for b in short}) > 5


def test_bucket_edges_are_few_and_hold_every_event() -> None:
    lengths = np.array([1, 2, 3, 3, 9, 10, 30, 31, 55, 70], dtype=np.int32)
    assert bucket_edges(lengths, 1, 100) == [72]
    assert bucket_edges(lengths, 1, 50) == [50]
    edges = bucket_edges(lengths, 4, 100)
    assert edges == [4, 12, 32, 72]
    assert [width_of(np.array([n], np.int32), edges) for n in (0, 4, 5, 32, 33)] == [
        4, 4, 12, 32, 72,
    ]  # fmt: skip
    assert width_of(np.array([500], np.int32), edges) == 72  # cut
    assert bucket_edges(np.zeros(3, np.int32), 3, 100) == [4]
