"""The batches of an epoch: read group by group, one ahead, cut, padded, with labels and weights.

Every batch is a function of (seed, epoch, batch) alone.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.dataset.dataset import Dataset
from smartbkg_tf.dataset.order import (
    Rows,
    balanced_events,
    between,
    bucket_edges,
    groups_in_order,
    random_generator,
    shuffled_groups,
    sorted_batches,
    width_of,
)
from smartbkg_tf.dataset.symmetries import Symmetries
from smartbkg_tf.dataset.weights import targets, weights
from smartbkg_tf.encoding.events import Events
from smartbkg_tf.encoding.pad import empty_batch, fill_batch
from smartbkg_tf.errors import ConfigurationError
from smartbkg_tf.runtime.threads import ahead
from smartbkg_tf.settings.encoding import PARTICLES, TOKENS

#: Inputs, labels, and weights if there are any.
Element = tuple[Any, ...]

#: Batches that are made ahead of their use.
_BATCHES_AHEAD = 3


class LengthBuckets:
    """Sort events by length, and pad each batch to the smallest of a few widths.

    `rows` decide about the widths, at most `n_buckets` of particles and of tokens; `lengths` are
    the largest ones.
    """

    def __init__(
        self,
        dataset: Dataset,
        rows: Rows,
        names: Sequence[str],
        n_buckets: int,
        lengths: tuple[int, int],
    ) -> None:
        if n_buckets < 1:
            raise ConfigurationError(f"length_buckets must be at least 1, not {n_buckets}")
        self._every = (dataset.n_particles, dataset.n_tokens)
        # The particle list costs most; without one, the tokens decide.
        by_tokens = all(name in ("decay_input", "event_type_input") for name in names)
        self._sorted_by = self._every[by_tokens]
        self._edges = [
            bucket_edges(values[rows], n_buckets, longest)
            for values, longest in zip(self._every, lengths, strict=True)
        ]

    def sort(self, groups: Iterable[Rows], batch_size: int) -> Iterator[Rows]:
        """Sort the events of every group by length, batches in random order."""
        for number, rows in enumerate(groups):
            random = random_generator(0, 0, number, 2)
            yield sorted_batches(rows, self._sorted_by[rows], batch_size, random)

    def widths(self, rows: Rows) -> tuple[int, int]:
        """Give the widths of particles and tokens of a batch."""
        particles, tokens = (
            width_of(values[rows], edges)
            for values, edges in zip(self._every, self._edges, strict=True)
        )
        return particles, tokens


class BatchMaker:
    """Make the batches of training epochs, or of one pass in the given order.

    Parameters
    ----------
    dataset : Dataset
        The events.
    rows : numpy.ndarray [n]
        int64 positions; increasing with a seed.
    names : sequence of str
        Inputs.
    batch_size : int
        Events of a batch.
    lengths : tuple of int
        Largest numbers of particles and tokens.
    seed : int or None
        None: one pass in the order of `rows`.
    balance : float, optional
        Failing events per passing one.
    buckets : LengthBuckets, optional
        Sort by length and pad less; without a seed.
    symmetries : Symmetries, optional
        Replace events by their images; needs a seed.
    class_weights : numpy.ndarray [n_skims, 2], optional
        From `weights.class_weight_table`; None: elements without weights.
    """

    def __init__(
        self,
        dataset: Dataset,
        rows: Rows,
        names: Sequence[str],
        batch_size: int,
        lengths: tuple[int, int],
        *,
        seed: int | None = None,
        balance: float | None = None,
        buckets: LengthBuckets | None = None,
        symmetries: Symmetries | None = None,
        class_weights: npt.NDArray[np.float32] | None = None,
    ) -> None:
        self._dataset = dataset
        self._events = dataset.stored(names)
        self._rows = rows
        self._names = tuple(names)
        self._size = batch_size
        self._lengths = lengths
        self._seed = seed
        self._balance = balance
        self._buckets = buckets
        self._symmetries = symmetries
        self._class_weights = class_weights

    def rows(self, epoch: int, batch: int) -> Rows:
        """Name the events of a batch: int64 positions in the dataset."""
        return np.concatenate(list(self._groups(epoch, batch, batch + 1)))

    def batches(self, epoch: int, first: int, last: int) -> Generator[Element, None, None]:
        """Make the batches first..last of an epoch, some of them ahead."""
        groups = ahead(self._read(self._groups(epoch, first, last)))
        return ahead(self._made(groups, epoch, first), _BATCHES_AHEAD)

    def _groups(self, epoch: int, first: int, last: int) -> Iterator[Rows]:
        rows = self._rows
        if self._seed is None:
            groups = groups_in_order(rows, self._size)
            if self._buckets is not None:
                groups = self._buckets.sort(groups, self._size)
        else:
            if self._balance is not None:
                labels = self._dataset.labels[:, 0]
                rows = balanced_events(labels, rows, self._balance, self._seed, epoch)
            groups = shuffled_groups(rows, self._seed, epoch)
        return between(groups, first * self._size, last * self._size)

    def _read(self, groups: Iterable[Rows]) -> Generator[tuple[Events, Rows, Rows], None, None]:
        """Give the events of every group, their positions in them, and in the dataset."""
        for rows in groups:
            ordered, places = np.unique(rows, return_inverse=True)
            yield self._events.read(ordered), places, rows

    def _made(
        self, groups: Generator[tuple[Events, Rows, Rows], None, None], epoch: int, first: int
    ) -> Generator[Element, None, None]:
        try:
            for number, pieces in enumerate(_cut(groups, self._size), first):
                yield self._padded(pieces, epoch, number)
        finally:
            groups.close()

    def _padded(
        self, pieces: Sequence[tuple[Events, Rows, Rows]], epoch: int, batch: int
    ) -> Element:
        rows = np.concatenate([piece for _, _, piece in pieces])
        particles, tokens = self._lengths if self._buckets is None else self._buckets.widths(rows)
        lengths = {PARTICLES: particles, TOKENS: tokens}
        arrays = empty_batch(self._events.schema, self._names, len(rows), lengths)
        filled = 0
        for events, places, _ in pieces:
            fill_batch(arrays, filled, events, places)
            filled += len(places)
        if self._symmetries is not None:
            random = random_generator(self._seed or 0, epoch, batch, 3)
            arrays = self._symmetries.image(arrays, self._symmetries.draw(len(rows), random))
        labels = self._dataset.labels[rows]
        if self._class_weights is None:
            return arrays, targets(labels)
        return arrays, targets(labels), weights(labels, self._class_weights)


def _cut(
    groups: Iterable[tuple[Events, Rows, Rows]], size: int
) -> Iterator[list[tuple[Events, Rows, Rows]]]:
    """Cut groups into batches; a batch may have events of several groups."""
    pieces: list[tuple[Events, Rows, Rows]] = []
    missing = size
    for events, places, rows in groups:
        begin = 0
        while begin < len(rows):
            part = slice(begin, begin + missing)
            pieces.append((events, places[part], rows[part]))
            begin += len(rows[part])
            missing -= len(rows[part])
            if missing == 0:
                yield pieces
                pieces, missing = [], size
    if pieces:
        yield pieces
