"""In which order events are met in an epoch: a function of (seed, epoch, position) only.

Events were shuffled across all files when the dataset was written. In an epoch, blocks of
neighbouring events come in random order, and all events within a group of blocks are
shuffled again. A disk thus reads whole blocks, nothing larger than a group is held in
memory, and an epoch can begin anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

#: Events of a block: neighbours that are read together.
BLOCK = 1024

#: Blocks whose events are mixed.
BLOCKS_IN_GROUP = 16

#: Widths of length buckets are multiples of this: few shapes, aligned memory.
WIDTH_STEP = 4

Rows = npt.NDArray[np.int64]


def shuffled_groups(indices: Rows, seed: int, epoch: int) -> Iterator[Rows]:
    """Give the events of an epoch, group by group, in a reproducible random order.

    `indices` are increasing positions in the dataset, so that blocks are neighbours.
    """
    n_blocks = -(-len(indices) // BLOCK)
    blocks = random_generator(seed, epoch, 0).permutation(n_blocks)
    for group, first in enumerate(range(0, n_blocks, BLOCKS_IN_GROUP)):
        members = [
            indices[block * BLOCK : (block + 1) * BLOCK]
            for block in blocks[first : first + BLOCKS_IN_GROUP].tolist()
        ]
        yield random_generator(seed, epoch, 1 + group).permutation(np.concatenate(members))


def groups_in_order(indices: Rows, batch_size: int) -> Iterator[Rows]:
    """Give events in the given order, some whole batches at a time."""
    size = batch_size * max(1, BLOCK * BLOCKS_IN_GROUP // batch_size)
    for begin in range(0, len(indices), size):
        yield indices[begin : begin + size]


def between(groups: Iterable[Rows], first: int, last: int) -> Iterator[Rows]:
    """Give the events at places first..last of an epoch, the groups cut accordingly."""
    place = 0
    for rows in groups:
        if place >= last:
            return
        part = rows[max(first - place, 0) : last - place]
        place += len(rows)
        if len(part):
            yield part


def sorted_batches(
    rows: Rows, lengths: npt.NDArray[np.int32], batch_size: int, random: np.random.Generator
) -> Rows:
    """Bring events into an order in which batches have similar lengths and come at random.

    `lengths` [n] are what events are sorted by; events of equal length stay in their order. One
    batch is short if the number does not divide evenly; that comes last.
    """
    ordered = rows[np.argsort(lengths, kind="stable")]
    n_whole, rest = divmod(len(rows), batch_size)
    short_at = int(random.integers(n_whole + 1)) if rest else n_whole
    sizes = np.full(n_whole, batch_size)
    if rest:
        sizes = np.insert(sizes, short_at, rest)
    batches = np.split(ordered, np.cumsum(sizes)[:-1])
    last = [batches.pop(short_at)] if rest else []
    return np.concatenate([batches[i] for i in random.permutation(n_whole).tolist()] + last)


def bucket_edges(lengths: npt.NDArray[np.int32], n_buckets: int, longest: int) -> list[int]:
    """Choose at most `n_buckets` increasing widths that batches are padded to.

    Equally filled quantiles of the lengths, rounded up to multiples of `WIDTH_STEP`, and what the
    longest event needs; at most `longest`.
    """
    cut = np.minimum(lengths, longest)
    shares = np.arange(1, n_buckets + 1) / n_buckets
    edges = np.quantile(cut, shares, method="higher").astype(np.int64)
    rounded = np.minimum(-(-np.maximum(edges, 1) // WIDTH_STEP) * WIDTH_STEP, longest)
    return [int(edge) for edge in np.unique(rounded)]


def width_of(lengths: npt.NDArray[np.int32], edges: list[int]) -> int:
    """Give the smallest of the edges that holds every event of a batch, or the last one."""
    longest = int(lengths.max(initial=0))
    return edges[min(int(np.searchsorted(edges, longest)), len(edges) - 1)]


def random_generator(*numbers: int) -> np.random.Generator:
    """Make a generator (Philox) from numbers >= 0; different ones give independent streams."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(numbers)))


def balanced_events(
    labels: npt.NDArray[np.int8], indices: Rows, balance: float, seed: int, epoch: int
) -> Rows:
    """Draw the events of an epoch with `balance` failing events per passing one.

    Increasing positions out of `indices` [n], which increase, too; `labels` [n_events] are those of
    the skim that is balanced. Without replacement: of the class that is in excess a new part is
    drawn in every epoch, of the other one all events are taken; events without a known label are
    left out. The number does not depend on the epoch.
    """
    chosen = labels[indices]
    passing, failing = indices[chosen == 1], indices[chosen == 0]
    n_passing, n_failing = balanced_counts(len(passing), len(failing), balance)
    random = random_generator(seed, epoch, 0, 1)
    drawn = np.concatenate(
        [
            random.choice(passing, n_passing, replace=False),
            random.choice(failing, n_failing, replace=False),
        ]
    )
    drawn.sort()
    return drawn


def balanced_counts(n_passing: int, n_failing: int, balance: float) -> tuple[int, int]:
    """Give the numbers of passing and failing events that an epoch draws of those there are.

    `balance` is failing events per passing one; of at least one class all are taken.
    """
    wanted = round(n_passing * balance)
    if wanted <= n_failing:
        return n_passing, wanted
    return min(n_passing, round(n_failing / balance)), n_failing
