"""tf.data streams of batches out of a dataset directory.

Whole batches are read and padded in threads ahead of their use; TensorFlow never sees single
events. Autotune is off: with it, iterators sometimes stall for seconds when they are destroyed.
Every batch is a new array, so that one held in a queue stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from smartbkg_tf.dataset.batches import BatchMaker, Element, LengthBuckets
from smartbkg_tf.dataset.dataset import Dataset
from smartbkg_tf.dataset.order import balanced_counts
from smartbkg_tf.dataset.symmetries import Symmetries
from smartbkg_tf.dataset.weights import ClassWeights, class_weight_table
from smartbkg_tf.encoding.events import Schema
from smartbkg_tf.errors import ConfigurationError, InputError
from smartbkg_tf.settings.encoding import EVENT, PARTICLES, TOKENS


class EpochCounter:
    """Which epoch the next pass over a stream is.

    A pass takes the number when it begins and leaves the next one. A training loop that
    wants to be sure sets ``counter.epoch`` at the beginning of every epoch.

    Parameters
    ----------
    epoch : int, default 0
        The next epoch, counted from 0.
    parts : bool, default False
        The caller also sets ``counter.first_batch`` and ``counter.last_batch`` (exclusive),
        for parts of epochs; TensorFlow then does not know the number of batches.

    Raises
    ------
    ConfigurationError
        When the epoch is negative.
    """

    def __init__(self, epoch: int = 0, *, parts: bool = False) -> None:
        if epoch < 0:
            raise ConfigurationError(f"the epoch must not be negative, but is {epoch}")
        self.epoch = epoch
        self.parts = parts
        #: The next passes hold the batches of this range only; None: to the end.
        self.first_batch = 0
        self.last_batch: int | None = None

    def take(self, n_batches: int) -> tuple[int, int, int]:
        """Begin a pass over an epoch of so many batches; gives epoch, first batch, and last + 1."""
        epoch, self.epoch = self.epoch, self.epoch + 1
        last = n_batches if self.last_batch is None else min(self.last_batch, n_batches)
        return epoch, self.first_batch, last


def steps_per_epoch(
    dataset: Dataset,
    indices: npt.ArrayLike,
    *,
    batch_size: int,
    balance: float | None = None,
) -> int:
    """Count the batches of an epoch, the last and smaller one included.

    Parameters
    ----------
    dataset : Dataset
        The events.
    indices : array_like of int [n]
        The training events.
    batch_size : int
        Events of a batch.
    balance : float, optional
        As for `training_stream`.

    Returns
    -------
    int
        The same for every epoch.
    """
    return -(-_events_per_epoch(dataset, np.asarray(indices), balance) // _positive(batch_size))


def _events_per_epoch(
    dataset: Dataset, indices: npt.NDArray[np.int64], balance: float | None
) -> int:
    if balance is None:
        return len(indices)
    labels = dataset.labels[indices, 0]
    return sum(
        balanced_counts(
            int(np.count_nonzero(labels == 1)), int(np.count_nonzero(labels == 0)), balance
        )
    )


def training_stream(
    dataset: Dataset,
    indices: npt.ArrayLike,
    *,
    batch_size: int,
    inputs: str | Sequence[str],
    seed: int,
    max_particles: int | None = None,
    max_tokens: int | None = None,
    class_weights: ClassWeights = None,
    balance: float | None = None,
    symmetries: Sequence[str] = (),
    counter: EpochCounter | None = None,
) -> tf.data.Dataset:
    """Stream training events; one pass is one epoch, in a new order each time.

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
    counter : EpochCounter, optional
        The caller keeps it and decides which epoch, and which batches of it, come next. By
        default the first pass is epoch 0.

    Returns
    -------
    tf.data.Dataset
        Elements (inputs, labels, weights): a dictionary of tensors as `Dataset.batch`
        makes them; float32 [batch, n_skims]; float32 [batch] for one skim, [batch,
        n_skims] for several. Unknown labels have target 0 and weight 0. The number of
        batches is known (Keras asks for it; pass ``shuffle=False`` to ``fit``).

    Raises
    ------
    InputError
        When there are no events, no labels, or the dataset lacks an input.
    ConfigurationError
        When a value is out of range.
    """
    chosen = _sorted_indices(dataset, indices)
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
    n_events = _events_per_epoch(dataset, chosen, balance)
    if n_events == 0:
        raise InputError(
            f"balance={balance} leaves no events: {dataset.label_names[0]} has events of one "
            "class only",
            where=dataset.path,
        )
    table = class_weight_table(dataset, chosen, class_weights)
    names = dataset.check_inputs(inputs)
    lengths = dataset.lengths(max_particles, max_tokens)
    size = _positive(batch_size)
    steps = -(-n_events // size)
    kept = counter or EpochCounter()
    maker = BatchMaker(
        dataset,
        chosen,
        names,
        size,
        lengths,
        seed=seed,
        balance=balance,
        symmetries=_symmetries(dataset, symmetries),
        class_weights=table,
    )
    signature = _signature(dataset, names, lengths, with_weights=True)
    return _stream(maker, lambda: kept.take(steps), None if kept.parts else steps, signature)


def batch_events(
    dataset: Dataset,
    indices: npt.ArrayLike,
    batch: int,
    *,
    batch_size: int,
    inputs: str | Sequence[str],
    seed: int | None = None,
    epoch: int = 0,
    max_particles: int | None = None,
    max_tokens: int | None = None,
    balance: float | None = None,
    length_buckets: int | None = None,
) -> npt.NDArray[np.int64]:
    """Name the events of one batch of a stream, for messages.

    Parameters
    ----------
    dataset : Dataset
        The events.
    indices : array_like of int [n]
        As given to the stream.
    batch : int
        Counted from 0 within the epoch.
    batch_size, inputs, max_particles, max_tokens, balance, length_buckets
        As given to the stream.
    seed : int or None
        Of a training stream; None for an evaluation stream.
    epoch : int, default 0
        Of a training stream.

    Returns
    -------
    numpy.ndarray [batch]
        int64 positions in the dataset.
    """
    rows = (_checked_indices if seed is None else _sorted_indices)(dataset, indices)
    names = dataset.check_inputs(inputs)
    lengths = dataset.lengths(max_particles, max_tokens)
    maker = BatchMaker(
        dataset,
        rows,
        names,
        _positive(batch_size),
        lengths,
        seed=seed,
        balance=balance,
        buckets=_buckets(dataset, rows, names, length_buckets, lengths),
    )
    return maker.rows(epoch, batch)


def evaluation_stream(
    dataset: Dataset,
    indices: npt.ArrayLike,
    *,
    batch_size: int,
    inputs: str | Sequence[str],
    max_particles: int | None = None,
    max_tokens: int | None = None,
    with_weights: bool = False,
    class_weights: ClassWeights = None,
    length_buckets: int | None = None,
) -> tf.data.Dataset:
    """Stream events in the given order, each once per pass.

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

    Returns
    -------
    tf.data.Dataset
        Elements (inputs, labels) or (inputs, labels, weights) as in `training_stream`.

    Raises
    ------
    InputError
        When there are no events or the dataset lacks an input.
    """
    rows = _checked_indices(dataset, indices)
    names = dataset.check_inputs(inputs)
    lengths = dataset.lengths(max_particles, max_tokens)
    size = _positive(batch_size)
    steps = -(-len(rows) // size)
    maker = BatchMaker(
        dataset,
        rows,
        names,
        size,
        lengths,
        buckets=_buckets(dataset, rows, names, length_buckets, lengths),
        class_weights=class_weight_table(dataset, rows, class_weights) if with_weights else None,
    )
    widths = lengths if length_buckets is None else (None, None)
    signature = _signature(dataset, names, widths, with_weights=with_weights)
    return _stream(maker, lambda: (0, 0, steps), steps, signature)


def _buckets(
    dataset: Dataset,
    indices: npt.NDArray[np.int64],
    names: Sequence[str],
    n_buckets: int | None,
    lengths: tuple[int, int],
) -> LengthBuckets | None:
    if n_buckets is None:
        return None
    return LengthBuckets(dataset, indices, names, n_buckets, lengths)


def _symmetries(dataset: Dataset, chosen: Sequence[str]) -> Symmetries | None:
    if not chosen:
        return None
    return Symmetries(chosen, dataset.encoding.features, dataset.feature_names)


def _stream(
    maker: BatchMaker,
    begin: Callable[[], tuple[int, int, int]],
    n_batches: int | None,
    signature: tuple[Any, ...],
) -> tf.data.Dataset:
    """Stream the batches (epoch, first, last) that `begin` names when a pass begins."""

    def generate() -> Generator[Element, None, None]:
        return maker.batches(*begin())

    stream = tf.data.Dataset.from_generator(generate, output_signature=signature)
    if n_batches is not None:
        stream = stream.apply(tf.data.experimental.assert_cardinality(n_batches))
    options = tf.data.Options()
    # There are no files that could be dealt out: batches are divided.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    options.autotune.enabled = False
    options.deterministic = True
    return stream.with_options(options)


def _signature(
    dataset: Dataset,
    names: Sequence[str],
    lengths: tuple[int | None, int | None],
    *,
    with_weights: bool,
) -> tuple[Any, ...]:
    """Describe the elements: shapes without the batch, types."""
    schema: Schema = dataset.schema
    widths = {**schema.max_lengths(), PARTICLES: lengths[0], TOKENS: lengths[1]}
    inputs = {}
    for name in names:
        column = schema.by_name[name]
        row = (len(dataset.feature_names),) if name == "particle_input" else column.shape
        dtype = tf.float32 if column.dtype.startswith("float") else tf.int32
        length = () if column.axis == EVENT else (widths[column.axis],)
        inputs[name] = tf.TensorSpec((None, *length, *row), dtype)
    n_skims = len(dataset.label_names)
    labels = tf.TensorSpec((None, n_skims), tf.float32)
    weights = tf.TensorSpec((None,) if n_skims == 1 else (None, n_skims), tf.float32)
    return (inputs, labels, weights) if with_weights else (inputs, labels)


def _positive(batch_size: int) -> int:
    if batch_size < 1:
        raise ConfigurationError(f"batch_size must be at least 1, not {batch_size}")
    return int(batch_size)


def _checked_indices(dataset: Dataset, indices: npt.ArrayLike) -> npt.NDArray[np.int64]:
    rows = np.asarray(indices, dtype=np.int64).reshape(-1)
    if len(rows) == 0:
        raise InputError(
            "there are no events to stream",
            where=dataset.path,
            next_step="give more events, or larger fractions of the split",
        )
    if rows.min() < 0 or rows.max() >= len(dataset):
        raise IndexError(f"positions must lie in 0..{len(dataset) - 1}")
    return rows


def _sorted_indices(dataset: Dataset, indices: npt.ArrayLike) -> npt.NDArray[np.int64]:
    rows = _checked_indices(dataset, indices)
    return rows if np.all(rows[1:] > rows[:-1]) else np.sort(rows)
