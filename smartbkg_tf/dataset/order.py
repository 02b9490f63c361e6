"""In which order events are met in an epoch: a function of (seed, epoch, position) only.

Events were shuffled across all files when the dataset was written. In an epoch, blocks of
neighbouring events come in random order, and all events within a group of blocks are
shuffled again. A disk thus reads whole blocks, nothing larger than a group is held in
memory, and any batch can be made without those before it.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

#: Events of a block: neighbours that are read together.
BLOCK = 1024

#: Widths of length buckets are multiples of this: few shapes, aligned memory.
WIDTH_STEP = 4

#: Blocks whose events are mixed.
BLOCKS_IN_GROUP = 16


class EpochOrder:
    """A reproducible permutation of events, by batches.

    Parameters
    ----------
    indices : numpy.ndarray [n]
        int64 positions in the dataset, increasing so that blocks are contiguous.
    seed : int
        From the configuration.
    epoch : int
        Counted from 0.
    block : int, default `BLOCK`
        Events of a block.
    blocks_in_group : int, default `BLOCKS_IN_GROUP`
        Blocks whose events are mixed.
    """

    def __init__(
        self,
        indices: npt.NDArray[np.int64],
        seed: int,
        epoch: int,
        block: int = BLOCK,
        blocks_in_group: int = BLOCKS_IN_GROUP,
    ) -> None:
        self.indices = indices
        self._seed = seed
        self._epoch = epoch
        self._block = block
        n_blocks = -(-len(indices) // block)
        self._blocks = random_generator(seed, epoch, 0).permutation(n_blocks)
        self._blocks_in_group = blocks_in_group
        lengths = np.full(n_blocks, block, dtype=np.int64)
        if n_blocks:
            # The short block at the end of the data may come anywhere.
            lengths[-1] = len(indices) - (n_blocks - 1) * block
        ends = np.cumsum(lengths[self._blocks])
        self._group_ends = np.append(ends[blocks_in_group - 1 :: blocks_in_group], len(indices))
        # Batches overlap groups; a few groups stay at hand for the threads that read.
        self._group = lru_cache(maxsize=4)(self._make_group)

    def __len__(self) -> int:
        """Give the number of events."""
        return len(self.indices)

    def positions(self, begin: int, end: int) -> npt.NDArray[np.int64]:
        """Give the events at places begin..end of the epoch.

        Parameters
        ----------
        begin, end : int
            First place, and the one behind the last.

        Returns
        -------
        numpy.ndarray [end - begin]
            int64 positions in the dataset.
        """
        end = min(end, len(self.indices))
        parts = []
        group = int(np.searchsorted(self._group_ends, begin, side="right"))
        while begin < end:
            start = int(self._group_ends[group - 1]) if group else 0
            stop = min(end, int(self._group_ends[group]))
            parts.append(self._group(group)[begin - start : stop - start])
            begin, group = stop, group + 1
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)

    def groups(self, begin: int, end: int) -> range:
        """Name the groups that the places begin..end belong to.

        Parameters
        ----------
        begin, end : int
            First place, and the one behind the last.

        Returns
        -------
        range
            Groups, counted from 0.
        """
        last = min(end, len(self.indices)) - 1
        first, stop = np.searchsorted(self._group_ends, [begin, last], side="right")
        return range(int(first), int(stop) + 1)

    @property
    def n_groups(self) -> int:
        """Count the groups."""
        return -(-len(self._blocks) // self._blocks_in_group)

    def ranges(self, group: int) -> npt.NDArray[np.int64]:
        """Give the stretches of the dataset that a group is made of.

        Parameters
        ----------
        group : int
            Counted from 0.

        Returns
        -------
        numpy.ndarray [n_blocks, 2]
            int64 first position and the one behind the last of every block, increasing.
        """
        first = group * self._blocks_in_group
        blocks = np.sort(self._blocks[first : first + self._blocks_in_group])
        last = np.minimum((blocks + 1) * self._block, len(self.indices)) - 1
        return np.stack([self.indices[blocks * self._block], self.indices[last] + 1], axis=1)

    def _make_group(self, group: int) -> npt.NDArray[np.int64]:
        first = group * self._blocks_in_group
        members = [
            self.indices[b * self._block : (b + 1) * self._block]
            for b in self._blocks[first : first + self._blocks_in_group].tolist()
        ]
        return random_generator(self._seed, self._epoch, 1 + group).permutation(
            np.concatenate(members)
        )


class InOrder:
    """Events in a given order, with the look of an `EpochOrder`.

    Parameters
    ----------
    indices : numpy.ndarray [n]
        int64 increasing positions in the dataset.
    group : int
        Events that are read together.
    """

    def __init__(
        self, indices: npt.NDArray[np.int64], group: int = BLOCK * BLOCKS_IN_GROUP
    ) -> None:
        self.indices = indices
        self._group = group

    def __len__(self) -> int:
        """Give the number of events."""
        return len(self.indices)

    @property
    def n_groups(self) -> int:
        """Count the groups."""
        return -(-len(self.indices) // self._group)

    def positions(self, begin: int, end: int) -> npt.NDArray[np.int64]:
        """Give the events at places begin..end, as `EpochOrder.positions`.

        Parameters
        ----------
        begin, end : int
            First place, and the one behind the last.

        Returns
        -------
        numpy.ndarray [end - begin]
            int64 positions in the dataset.
        """
        return self.indices[begin:end]

    def groups(self, begin: int, end: int) -> range:
        """Name the groups that the places begin..end belong to.

        Parameters
        ----------
        begin, end : int
            First place, and the one behind the last.

        Returns
        -------
        range
            Groups, counted from 0.
        """
        last = min(end, len(self.indices)) - 1
        return range(begin // self._group, last // self._group + 1)

    def ranges(self, group: int) -> npt.NDArray[np.int64]:
        """Give the stretch of the dataset that a group is made of.

        Parameters
        ----------
        group : int
            Counted from 0.

        Returns
        -------
        numpy.ndarray [1, 2]
            int64 first position, and the one behind the last.
        """
        chosen = self.indices[group * self._group : (group + 1) * self._group]
        return np.array([[chosen[0], chosen[-1] + 1]], dtype=np.int64)


def sorted_batches(
    rows: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.int32],
    batch_size: int,
    random: np.random.Generator,
) -> list[npt.NDArray[np.int64]]:
    """Cut shuffled events into batches of similar lengths, in random order.

    Parameters
    ----------
    rows : numpy.ndarray [n]
        int64 positions in random order.
    lengths : numpy.ndarray [n]
        What they are sorted by; events of equal length stay in their random order.
    batch_size : int
        Events of a batch.
    random : numpy.random.Generator
        Decides the order of the batches, and which of them is the short one; that comes
        last.

    Returns
    -------
    list of numpy.ndarray
        int64 positions of every batch.
    """
    ordered = rows[np.argsort(lengths, kind="stable")]
    n_whole, rest = divmod(len(rows), batch_size)
    short_at = int(random.integers(n_whole + 1)) if rest else n_whole
    sizes = np.full(n_whole, batch_size)
    if rest:
        sizes = np.insert(sizes, short_at, rest)
    batches = np.split(ordered, np.cumsum(sizes)[:-1])
    last = [batches.pop(short_at)] if rest else []
    return [batches[i] for i in random.permutation(n_whole).tolist()] + last


def bucket_edges(lengths: npt.NDArray[np.int32], n_buckets: int, longest: int) -> list[int]:
    """Choose the few widths that batches are padded to.

    Parameters
    ----------
    lengths : numpy.ndarray [n]
        Of the events.
    n_buckets : int
        At most so many widths.
    longest : int
        Longer events are cut; the largest width.

    Returns
    -------
    list of int
        Increasing: equally filled quantiles of the lengths, rounded up to multiples of
        `WIDTH_STEP`, and what the longest event needs.
    """
    cut = np.minimum(lengths, longest)
    shares = np.arange(1, n_buckets + 1) / n_buckets
    edges = np.quantile(cut, shares, method="higher").astype(np.int64)
    rounded = np.minimum(-(-np.maximum(edges, 1) // WIDTH_STEP) * WIDTH_STEP, longest)
    return [int(edge) for edge in np.unique(rounded)]


def width_of(lengths: npt.NDArray[np.int32], edges: list[int]) -> int:
    """Give the width of a batch.

    Parameters
    ----------
    lengths : numpy.ndarray [batch]
        Of its events.
    edges : list of int
        From `bucket_edges`.

    Returns
    -------
    int
        The smallest of the edges that holds every event, or the last one.
    """
    longest = int(lengths.max(initial=0))
    return edges[min(int(np.searchsorted(edges, longest)), len(edges) - 1)]


def random_generator(*numbers: int) -> np.random.Generator:
    """Make a generator from numbers; different numbers give independent streams.

    Parameters
    ----------
    *numbers : int
        Not negative.

    Returns
    -------
    numpy.random.Generator
        Philox, seeded through numpy's SeedSequence.
    """
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(numbers)))


def balanced_events(
    labels: npt.NDArray[np.int8],
    indices: npt.NDArray[np.int64],
    balance: float,
    seed: int,
    epoch: int,
) -> npt.NDArray[np.int64]:
    """Draw the events of an epoch with a fixed proportion of the classes.

    Parameters
    ----------
    labels : numpy.ndarray [n_events]
        int8 of the skim that is balanced.
    indices : numpy.ndarray [n]
        int64 positions to draw from, increasing.
    balance : float
        Failing events per passing one.
    seed, epoch : int
        Decide the draw, without replacement. Of the class that is in excess, a new part
        is drawn in every epoch; of the other one, all events are taken. Events without
        a known label are left out.

    Returns
    -------
    numpy.ndarray [n_drawn]
        int64 increasing positions; the number does not depend on the epoch.
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
    """Give the numbers of events that an epoch draws.

    Parameters
    ----------
    n_passing, n_failing : int
        What there is.
    balance : float
        Failing events per passing one.

    Returns
    -------
    tuple of int
        Passing and failing events; of at least one class all are taken.
    """
    wanted = round(n_passing * balance)
    if wanted <= n_failing:
        return n_passing, wanted
    return min(n_passing, round(n_failing / balance)), n_failing
