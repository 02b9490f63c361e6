"""Batches of an epoch by number: which events, how wide, gathered and weighted.

Everything is a function of (seed, epoch, batch): any batch can be made alone, in any
process, in any order.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.dataset.dataset import Dataset
from smartbkg_tf.dataset.groups import DENSE, GroupCache
from smartbkg_tf.dataset.order import (
    BLOCK,
    BLOCKS_IN_GROUP,
    EpochOrder,
    InOrder,
    balanced_events,
    bucket_edges,
    random_generator,
    sorted_batches,
    width_of,
)
from smartbkg_tf.dataset.symmetries import Symmetries
from smartbkg_tf.dataset.weights import targets, weights
from smartbkg_tf.errors import ConfigurationError

Arrays = tuple[npt.NDArray[Any], ...]

#: Epochs whose orders are held: the current one, and one that begins early.
_EPOCHS = 2


@dataclass(frozen=True)
class Shard:
    """The part of every batch that one worker of several trains on.

    Parameters
    ----------
    index : int
        This worker, counted from 0.
    count : int
        Workers.

    Raises
    ------
    ConfigurationError
        When there is no such worker.
    """

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.count < 1 or not 0 <= self.index < self.count:
            raise ConfigurationError(
                f"shard {self.index} of {self.count}: the index counts from 0 to count - 1"
            )

    def of(
        self, rows: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Give this worker's events of a batch.

        Parameters
        ----------
        rows : numpy.ndarray [batch]
            int64 positions.

        Returns
        -------
        rows : numpy.ndarray [ceil(batch / count)]
            int64 positions; as many for every worker.
        real : numpy.ndarray [ceil(batch / count)]
            bool; False for events that only fill up a last batch that does not divide
            evenly (they have weight 0).
        """
        size = -(-len(rows) // self.count)
        places = np.arange(self.index * size, (self.index + 1) * size)
        real = places < len(rows)
        return rows[np.minimum(places, len(rows) - 1)], real


class Buckets:
    """Widths of batches whose events are sorted by length.

    Parameters
    ----------
    dataset : Dataset
        Gives the lengths.
    indices : numpy.ndarray [n]
        int64 positions that decide about the widths.
    names : sequence of str
        Inputs.
    n_buckets : int
        At most so many widths of particles, and of tokens.
    max_particles, max_tokens : int
        The largest widths.

    Raises
    ------
    ConfigurationError
        When the number is not positive.
    """

    def __init__(
        self,
        dataset: Dataset,
        indices: npt.NDArray[np.int64],
        names: Sequence[str],
        n_buckets: int,
        max_particles: int,
        max_tokens: int,
    ) -> None:
        if n_buckets < 1:
            raise ConfigurationError(f"length_buckets must be at least 1, not {n_buckets}")
        self._particles = dataset.n_particles
        self._tokens = dataset.n_tokens
        # The particle list costs most; without one, the tokens decide.
        by_tokens = all(name in ("decay_input", "event_type_input") for name in names)
        self._sorted_by = self._tokens if by_tokens else self._particles
        self.particle_edges = bucket_edges(self._particles[indices], n_buckets, max_particles)
        self.token_edges = bucket_edges(self._tokens[indices], n_buckets, max_tokens)

    def sort_lengths(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        """Give what events are sorted by.

        Parameters
        ----------
        rows : numpy.ndarray [n]
            int64 positions.

        Returns
        -------
        numpy.ndarray [n]
            int32.
        """
        return self._sorted_by[rows]

    def widths(self, rows: npt.NDArray[np.int64]) -> tuple[int, int]:
        """Give the widths of a batch.

        Parameters
        ----------
        rows : numpy.ndarray [batch]
            int64 positions of all its events, whatever worker trains on them.

        Returns
        -------
        tuple of int
            Particles and tokens.
        """
        return (
            width_of(self._particles[rows], self.particle_edges),
            width_of(self._tokens[rows], self.token_edges),
        )


class BatchMaker:
    """Make the batches of training epochs, or of one pass in the given order.

    Parameters
    ----------
    dataset : Dataset
        The events.
    indices : numpy.ndarray [n]
        int64 positions.
    names : sequence of str
        Inputs.
    batch_size : int
        Events of a batch, of all workers together.
    max_particles, max_tokens : int
        Largest widths.
    seed : int or None
        None: one pass in the order of `indices`.
    balance : float, optional
        Failing events per passing one.
    buckets : Buckets, optional
        Sort by length and pad less.
    shard : Shard, optional
        The part of every batch that is made.
    symmetries : Symmetries, optional
        Replace events by their images; needs a seed.
    """

    def __init__(
        self,
        dataset: Dataset,
        indices: npt.NDArray[np.int64],
        names: Sequence[str],
        batch_size: int,
        max_particles: int,
        max_tokens: int,
        *,
        seed: int | None,
        balance: float | None = None,
        buckets: Buckets | None = None,
        shard: Shard | None = None,
        symmetries: Symmetries | None = None,
    ) -> None:
        self._dataset = dataset
        self._symmetries = symmetries
        self._indices = indices
        self._names = tuple(names)
        self._size = batch_size
        self._lengths = (max_particles, max_tokens)
        self._seed = seed
        self._balance = balance
        self._buckets = buckets
        self._shard = shard or Shard()
        #: Batches that are sorted by length together.
        self._together = max(1, BLOCK * BLOCKS_IN_GROUP // batch_size)
        self._orders: dict[int, EpochOrder | InOrder] = {}
        self._sorted: dict[tuple[int, int], list[npt.NDArray[np.int64]]] = {}
        self._lock = threading.Lock()
        increasing = bool(np.all(indices[1:] > indices[:-1]))
        reader = dataset.reader(self._names) if increasing else None
        self._groups = None if reader is None else GroupCache(reader)

    def rows(self, epoch: int, batch: int) -> npt.NDArray[np.int64]:
        """Name the events of a batch, of all workers together.

        Parameters
        ----------
        epoch, batch : int
            Counted from 0.

        Returns
        -------
        numpy.ndarray [batch]
            int64 positions in the dataset.
        """
        if self._buckets is None:
            return self._order(epoch).positions(batch * self._size, (batch + 1) * self._size)
        together, place = divmod(batch, self._together)
        return self._sorted_batches(epoch, together)[place]

    def inputs(
        self, epoch: int, batch: int
    ) -> tuple[dict[str, Any], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Gather a batch.

        Parameters
        ----------
        epoch, batch : int
            Counted from 0.

        Returns
        -------
        inputs : dict of str to numpy.ndarray
            As `Dataset.batch`.
        rows : numpy.ndarray [batch]
            int64 positions in the dataset.
        real : numpy.ndarray [batch]
            bool, see `Shard.of`.
        """
        every = self.rows(epoch, batch)
        rows, real = self._shard.of(every)
        arrays = self._gathered(epoch, batch, every, rows)
        if self._symmetries is not None:
            random = random_generator(self._seed or 0, epoch, batch, 3)
            # Drawn for all workers' events alike.
            which, _ = self._shard.of(np.arange(len(every)))
            drawn = self._symmetries.draw(len(every), random)
            arrays = self._symmetries.image(arrays, drawn[which])
        return arrays, rows, real

    def _gathered(
        self,
        epoch: int,
        batch: int,
        every: npt.NDArray[np.int64],
        rows: npt.NDArray[np.int64],
    ) -> dict[str, Any]:
        lengths = self._lengths if self._buckets is None else self._buckets.widths(every)
        order = self._order(epoch)
        if self._groups is None or not _dense(order):
            return self._dataset.batch(rows, self._names, *lengths)
        n = 1 if self._buckets is None else self._together
        first = batch // n * n
        places = (first * self._size, (first + n) * self._size)
        return self._groups.batch(order, epoch, places, rows, self._names, *lengths)

    def _order(self, epoch: int) -> EpochOrder | InOrder:
        with self._lock:
            if epoch not in self._orders:
                self._orders[epoch] = self._make_order(epoch)
                while len(self._orders) > _EPOCHS:
                    self._orders.pop(next(iter(self._orders)))
            return self._orders[epoch]

    def _make_order(self, epoch: int) -> EpochOrder | InOrder:
        if self._seed is None:
            return InOrder(self._indices)
        indices = self._indices
        if self._balance is not None:
            labels = self._dataset.labels[:, 0]
            indices = balanced_events(labels, indices, self._balance, self._seed, epoch)
        return EpochOrder(indices, self._seed, epoch)

    def _sorted_batches(self, epoch: int, together: int) -> list[npt.NDArray[np.int64]]:
        assert self._buckets is not None
        order = self._order(epoch)
        key = (epoch, together)
        with self._lock:
            if key not in self._sorted:
                n = self._together * self._size
                rows = order.positions(together * n, (together + 1) * n)
                random = random_generator(self._seed or 0, epoch, together, 2)
                self._sorted[key] = sorted_batches(
                    rows, self._buckets.sort_lengths(rows), self._size, random
                )
                while len(self._sorted) > _EPOCHS + 1:
                    self._sorted.pop(next(iter(self._sorted)))
            return self._sorted[key]


def _dense(order: EpochOrder | InOrder) -> bool:
    """Whether reading whole blocks reads little that is not wanted."""
    indices = order.indices
    return len(indices) >= DENSE * float(indices[-1] - indices[0] + 1)


def with_targets(
    maker: BatchMaker,
    dataset: Dataset,
    names: Sequence[str],
    table: npt.NDArray[np.float32] | None,
    event_weights: npt.NDArray[np.float32] | None = None,
) -> Callable[[int, int], Arrays]:
    """Add labels and weights to the inputs.

    Parameters
    ----------
    maker : BatchMaker
        Of the inputs.
    dataset : Dataset
        The events.
    names : sequence of str
        Inputs, in the order in which they are given.
    table : numpy.ndarray [n_skims, 2] or None
        From `weights.class_weight_table`; None: no weights.
    event_weights : numpy.ndarray [n_events], optional
        float32, of every event of the dataset.

    Returns
    -------
    callable
        (epoch, batch) -> inputs, labels and, with a table, weights.
    """

    def gather(epoch: int, batch: int) -> Arrays:
        arrays, rows, real = maker.inputs(epoch, batch)
        labels = dataset.labels[rows]
        parts = (*(arrays[name] for name in names), targets(labels))
        if table is None:
            return parts
        values = weights(labels, table)
        factor = real.astype(np.float32)
        if event_weights is not None:
            factor = factor * event_weights[rows]
        if event_weights is not None or not real.all():
            values = values * (factor if values.ndim == 1 else factor[:, np.newaxis])
        return (*parts, values)

    return gather
