"""The batches of an epoch: read group by group, one ahead, cut, padded, with labels and weights.

Every batch is a function of (seed, epoch, batch) alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.dataset.dataset import Dataset
from smartbkg_tf.dataset.order import (
    Rows,
    balanced_counts,
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
from smartbkg_tf.dataset.weights import ClassWeights, class_weight_table, targets, weights
from smartbkg_tf.encoding.events import Events
from smartbkg_tf.encoding.pad import empty_batch, fill_batch
from smartbkg_tf.errors import ConfigurationError, InputError
from smartbkg_tf.runtime.threads import ahead
from smartbkg_tf.settings.encoding import PARTICLES, TOKENS

#: Inputs, labels, and weights if there are any.
Element = tuple[Any, ...]

#: Batches that are made ahead of their use.
_BATCHES_AHEAD = 3


class Batches(ABC):
    """Batches of chosen events of a dataset.

    Attributes
    ----------
    dataset : Dataset
        The events.
    indices : numpy.ndarray [n]
        int64 positions of the chosen ones.
    names : tuple of str
        Inputs.
    lengths : tuple of int
        Largest numbers of particles and tokens.
    widths : tuple of int or None
        Those of every batch; None where batches differ.
    n_batches : int
        Batches of an epoch, the last and smaller one included.
    class_weights : numpy.ndarray [n_skims, 2] or None
        From `weights.class_weight_table`; None: elements without weights.
    """

    def __init__(
        self,
        dataset: Dataset,
        indices: npt.ArrayLike,
        *,
        batch_size: int,
        inputs: str | Sequence[str],
        max_particles: int | None = None,
        max_tokens: int | None = None,
    ) -> None:
        self.dataset = dataset
        self.indices = np.asarray(indices, dtype=np.int64).reshape(-1)
        if len(self.indices) == 0:
            raise InputError(
                "there are no events to stream",
                where=dataset.path,
                next_step="give more events, or larger fractions of the split",
            )
        if self.indices.min() < 0 or self.indices.max() >= len(dataset):
            raise IndexError(f"positions must lie in 0..{len(dataset) - 1}")
        if batch_size < 1:
            raise ConfigurationError(f"batch_size must be at least 1, not {batch_size}")
        self._size = int(batch_size)
        self.names = dataset.check_inputs(inputs)
        self.lengths = dataset.lengths(max_particles, max_tokens)
        self.widths: tuple[int | None, int | None] = self.lengths
        self.n_batches = -(-len(self.indices) // self._size)
        self.class_weights: npt.NDArray[np.float32] | None = None
        self._events = dataset.stored(self.names)

    def rows(self, epoch: int, first: int, last: int | None = None) -> Rows:
        """Name the events of a batch, or of first..last: int64 positions in the dataset."""
        last = first + 1 if last is None else last
        return np.concatenate(list(self._groups_between(epoch, first, last)))

    def batches(self, epoch: int, first: int, last: int) -> Generator[Element, None, None]:
        """Make the batches first..last of an epoch, some of them ahead."""
        groups = ahead(self._read(self._groups_between(epoch, first, last)))
        return ahead(self._made(groups, epoch, first), _BATCHES_AHEAD)

    def _groups_between(self, epoch: int, first: int, last: int) -> Iterator[Rows]:
        return between(self._groups(epoch), first * self._size, last * self._size)

    @abstractmethod
    def _groups(self, epoch: int) -> Iterator[Rows]:
        """Give the events of an epoch, those together that are read together."""

    def _widths_of(self, rows: Rows) -> tuple[int, int]:
        """Give the widths of particles and tokens of a batch."""
        return self.lengths

    def _images(self, arrays: dict[str, Any], epoch: int, batch: int) -> dict[str, Any]:
        """Replace events of a batch by their images."""
        return arrays

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
        lengths = dict(zip((PARTICLES, TOKENS), self._widths_of(rows), strict=True))
        arrays = empty_batch(self._events.schema, self.names, len(rows), lengths)
        filled = 0
        for events, places, _ in pieces:
            fill_batch(arrays, filled, events, places)
            filled += len(places)
        arrays = self._images(arrays, epoch, batch)
        labels = self.dataset.labels[rows]
        if self.class_weights is None:
            return arrays, targets(labels)
        return arrays, targets(labels), weights(labels, self.class_weights)


class TrainingBatches(Batches):
    """Batches of training events, in a new order in every epoch.

    Parameters
    ----------
    dataset : Dataset
        The events.
    indices : array_like of int [n]
        Positions of the training events; their order does not matter.
    batch_size : int
        Events of a batch; the last one of an epoch may be smaller. May exceed n.
    inputs : str or sequence of str
        A variant (combined, particles, decay) or a model's input names.
    seed : int
        The order of an epoch is a function of (seed, epoch) only.
    max_particles, max_tokens : int, optional
        Lengths; None: as the dataset was preprocessed.
    class_weights : str, mapping, sequence or None
        See `weights.class_weight_table`.
    balance : float, optional
        Failing events per passing one of the first skim, drawn anew each epoch; None
        takes all events.
    symmetries : sequence of str, default ()
        Of `smartbkg_tf.dataset.symmetries.SYMMETRIES`: each event is replaced by its image
        with probability 1/2, anew in every epoch.

    Raises
    ------
    InputError
        When there are no events, no labels, or the dataset lacks an input.
    ConfigurationError
        When a value is out of range.
    """

    def __init__(
        self,
        dataset: Dataset,
        indices: npt.ArrayLike,
        *,
        seed: int,
        class_weights: ClassWeights = None,
        balance: float | None = None,
        symmetries: Sequence[str] = (),
        **options: Any,
    ) -> None:
        super().__init__(dataset, indices, **options)
        self.indices = np.sort(self.indices)
        if not dataset.label_names:
            raise InputError(
                "the dataset has no labels to train on",
                where=dataset.path,
                next_step="produce the tables with skim=NAME or skim_files=FILES",
            )
        if balance is not None and not (np.isfinite(balance) and balance > 0):
            raise ConfigurationError(f"balance must be a positive number, not {balance}")
        if seed < 0:
            raise ConfigurationError(f"seed must not be negative, not {seed}")
        if balance is not None:
            labels = dataset.labels[self.indices, 0]
            n_passing, n_failing = (int(np.count_nonzero(labels == label)) for label in (1, 0))
            n_events = sum(balanced_counts(n_passing, n_failing, balance))
            if n_events == 0:
                raise InputError(
                    f"balance={balance} leaves no events: {dataset.label_names[0]} has events of "
                    "one class only",
                    where=dataset.path,
                )
            self.n_batches = -(-n_events // self._size)
        self.class_weights = class_weight_table(dataset, self.indices, class_weights)
        self._seed, self._balance = seed, balance
        self._symmetries = (
            Symmetries(symmetries, dataset.encoding.features, dataset.feature_names)
            if symmetries
            else None
        )

    def _groups(self, epoch: int) -> Iterator[Rows]:
        rows = self.indices
        if self._balance is not None:
            labels = self.dataset.labels[:, 0]
            rows = balanced_events(labels, rows, self._balance, self._seed, epoch)
        return shuffled_groups(rows, self._seed, epoch)

    def _images(self, arrays: dict[str, Any], epoch: int, batch: int) -> dict[str, Any]:
        if self._symmetries is None:
            return arrays
        n_events = len(next(iter(arrays.values())))
        random = random_generator(self._seed, epoch, batch, 3)
        return self._symmetries.image(arrays, self._symmetries.draw(n_events, random))


class EvaluationBatches(Batches):
    """Batches of events in the given order, each event once.

    Parameters
    ----------
    dataset : Dataset
        The events.
    indices : array_like of int [n]
        Positions, in the order in which the events come.
    batch_size : int
        Events of a batch; the last one may be smaller.
    inputs : str or sequence of str
        A variant (combined, particles, decay) or a model's input names.
    max_particles, max_tokens : int, optional
        Lengths; None: as the dataset was preprocessed.
    with_weights : bool, default False
        Give weights too (0 for unknown labels), for ``validation_data``.
    class_weights : str, mapping, sequence or None
        See `weights.class_weight_table`; used with `with_weights`.
    length_buckets : int, optional
        Pad each batch to the smallest of so many widths that holds its longest event, and
        let events come sorted by length, for sums over all events that do not depend on
        their order (the losses and metrics of validation). None keeps the given order.

    Raises
    ------
    InputError
        When there are no events or the dataset lacks an input.
    ConfigurationError
        When a value is out of range.
    """

    def __init__(
        self,
        dataset: Dataset,
        indices: npt.ArrayLike,
        *,
        with_weights: bool = False,
        class_weights: ClassWeights = None,
        length_buckets: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(dataset, indices, **options)
        if with_weights:
            self.class_weights = class_weight_table(dataset, self.indices, class_weights)
        self._edges: list[list[int]] | None = None
        if length_buckets is None:
            return
        if length_buckets < 1:
            raise ConfigurationError(f"length_buckets must be at least 1, not {length_buckets}")
        self.widths = (None, None)
        self._counts = (dataset.n_particles, dataset.n_tokens)
        # The particle list costs most; without one, the tokens decide.
        by_tokens = all(name in ("decay_input", "event_type_input") for name in self.names)
        self._sorted_by = self._counts[by_tokens]
        self._edges = [
            bucket_edges(counts[self.indices], length_buckets, longest)
            for counts, longest in zip(self._counts, self.lengths, strict=True)
        ]

    def _groups(self, epoch: int) -> Iterator[Rows]:
        for number, rows in enumerate(groups_in_order(self.indices, self._size)):
            if self._edges is None:
                yield rows
            else:
                random = random_generator(0, 0, number, 2)
                yield sorted_batches(rows, self._sorted_by[rows], self._size, random)

    def _widths_of(self, rows: Rows) -> tuple[int, int]:
        if self._edges is None:
            return self.lengths
        particles, tokens = (
            width_of(counts[rows], edges)
            for counts, edges in zip(self._counts, self._edges, strict=True)
        )
        return particles, tokens


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
