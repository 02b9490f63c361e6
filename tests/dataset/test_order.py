"""The order of an epoch is a permutation and a function of (seed, epoch, place)."""

from __future__ import annotations

from itertools import pairwise
from unittest import mock

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from smartbkg_tf.dataset import order
from smartbkg_tf.dataset.order import (
    balanced_counts,
    balanced_events,
    between,
    bucket_edges,
    groups_in_order,
    shuffled_groups,
    sorted_batches,
    width_of,
)


def indices_of(n: int) -> np.ndarray:
    """Make positions with gaps, as a split leaves them."""
    return np.flatnonzero(np.random.default_rng(0).random(3 * n + 10) < 0.6)[:n]


def epoch_of(
    indices: np.ndarray, seed: int, epoch: int, block: int, blocks_in_group: int
) -> list[np.ndarray]:
    with mock.patch.multiple(order, BLOCK=block, BLOCKS_IN_GROUP=blocks_in_group):
        return list(shuffled_groups(indices, seed, epoch))


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(0, 300),
    block=st.integers(1, 40),
    blocks_in_group=st.integers(1, 5),
    seed=st.integers(0, 5),
    data=st.data(),
)
def test_every_event_once(
    n: int, block: int, blocks_in_group: int, seed: int, data: st.DataObject
) -> None:
    indices = indices_of(n)
    groups = epoch_of(indices, seed, 3, block, blocks_in_group)
    assert all(len(group) <= block * blocks_in_group for group in groups)
    together = np.concatenate([np.empty(0, int), *groups])
    np.testing.assert_array_equal(np.sort(together), indices)
    # A part of the epoch is exactly that part.
    first = data.draw(st.integers(0, n))
    last = data.draw(st.integers(first, n + 10))
    part = np.concatenate([np.empty(0, int), *between(groups, first, last)])
    np.testing.assert_array_equal(part, together[first:last])


@given(n=st.integers(1, 300), batch=st.integers(1, 50))
def test_groups_in_order_hold_whole_batches(n: int, batch: int) -> None:
    indices = indices_of(n)
    with mock.patch.multiple(order, BLOCK=8, BLOCKS_IN_GROUP=2):
        groups = list(groups_in_order(indices, batch))
    np.testing.assert_array_equal(np.concatenate(groups), indices)
    assert all(len(group) % batch == 0 for group in groups[:-1])


def test_epochs_and_seeds_differ_and_repeat() -> None:
    indices = indices_of(500)

    def found(seed: int, epoch: int) -> list[int]:
        rows: list[int] = np.concatenate(epoch_of(indices, seed, epoch, 16, 4)).tolist()
        return rows

    assert found(1, 0) == found(1, 0)
    assert len({tuple(found(seed, epoch)) for seed in (0, 1) for epoch in (0, 1)}) == 4


def test_events_of_a_block_are_mixed_with_those_of_other_blocks() -> None:
    rows = epoch_of(np.arange(64 * 16), 1, 0, 16, 8)[0]
    assert len(set((rows // 16).tolist())) == 8  # eight whole blocks from all over ...
    assert np.ptp(rows) > 256
    runs = np.count_nonzero(np.diff(rows) == 1)
    assert runs < 20  # ... and not one after the other


def test_places_of_events_are_uniform() -> None:
    # Average place of the first event over many epochs: 1/2 of n with error n / sqrt(12 m).
    indices = np.arange(400)
    places = [
        int(np.flatnonzero(np.concatenate(epoch_of(indices, 5, e, 16, 4)) == 0)[0])
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
@given(n=st.integers(1, 200), batch=st.integers(1, 70), seed=st.integers(0, 3))
def test_sorted_batches_hold_every_event_once_and_similar_lengths(
    n: int, batch: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    rows, lengths = random.permutation(n), random.integers(1, 90, n).astype(np.int32)
    batches = cut(sorted_batches(rows, lengths, batch, random), batch)
    np.testing.assert_array_equal(np.sort(np.concatenate(batches)), np.arange(n))
    place = np.argsort(rows)
    spans = sorted((lengths[place[b]].min(), lengths[place[b]].max()) for b in batches)
    for (_, longest), (shortest, _) in pairwise(spans):
        assert longest <= shortest


def cut(rows: np.ndarray, size: int) -> list[np.ndarray]:
    return [rows[begin : begin + size] for begin in range(0, len(rows), size)]


def test_sorted_batches_come_in_random_order() -> None:
    rows, lengths = np.arange(640), np.arange(640).astype(np.int32)
    first = [sorted_batches(rows, lengths, 64, np.random.default_rng(s))[0] for s in range(60)]
    assert len(set(map(int, first))) == 10
    # The short batch is sometimes of short events, sometimes of long ones.
    short = [
        cut(sorted_batches(rows[:-1], lengths[:-1], 64, np.random.default_rng(s)), 64)[-1]
        for s in range(60)
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
