"""tf.data streams of batches out of a dataset directory.

Whole batches are gathered and padded by compiled code in a few threads; TensorFlow never
sees single events. Autotune is off: with it, iterators sometimes stall for seconds when
they are destroyed. Every batch is a new array, so that one held in a queue stays as it is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from smartbkg_tf.dataset.batches import Arrays, BatchMaker, Buckets, Shard, with_targets
from smartbkg_tf.dataset.dataset import Dataset
from smartbkg_tf.dataset.order import balanced_counts
from smartbkg_tf.dataset.symmetries import Symmetries
from smartbkg_tf.dataset.weights import ClassWeights, class_weight_table
from smartbkg_tf.errors import ConfigurationError, InputError

#: Batches that are made at the same time, and that wait for the model.
_THREADS = 2
_PREFETCH = 4


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
        self._lock = threading.Lock()

    def take(self) -> int:
        """Begin a pass.

        Returns
        -------
        int
            Its epoch.
        """
        with self._lock:
            epoch = self.epoch
            self.epoch = epoch + 1
        return epoch

    def take_part(self, n_batches: int) -> tuple[int, int, int]:
        """Begin a pass over a part of an epoch.

        Parameters
        ----------
        n_batches : int
            Batches of a whole epoch.

        Returns
        -------
        epoch, first, last : int
            The epoch and its batches, `last` exclusive.
        """
        last = n_batches if self.last_batch is None else min(self.last_batch, n_batches)
        return self.take(), self.first_batch, last


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
    event_weights: npt.ArrayLike | None = None,
    balance: float | None = None,
    length_buckets: int | None = None,
    symmetries: Sequence[str] = (),
    shard: tuple[int, int] | None = None,
    first_epoch: int = 0,
    first_batch: int = 0,
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
    event_weights : array_like of float [n_events], optional
        A weight >= 0 of every event of the *dataset*; multiplies the class weights.
    balance : float, optional
        Failing events per passing one of the first skim, drawn anew each epoch; None
        takes all events.
    length_buckets : int, optional
        Sort about 16 thousand shuffled events at a time by length, cut them into batches,
        and pad each to the smallest of so many widths that holds its longest event; the
        batches come in random order. None pads all to the same length.
    symmetries : sequence of str, default ()
        Of `smartbkg_tf.dataset.symmetries.SYMMETRIES`: each event is replaced by its image
        with probability 1/2, anew in every epoch.
    shard : tuple of int, optional
        (index, count) of this worker: of every batch of `batch_size` events it gets its
        share, as many events as every other worker; together they train on the batches
        of a single process. (In one process with several devices, leave it out:
        `tf.distribute` divides the batches itself.)
    first_epoch : int, default 0
        The epoch of the first pass.
    first_batch : int, default 0
        To resume within an epoch: the stream is the rest of `first_epoch` from this batch
        on, in every pass. What follows is a stream with ``first_epoch + 1``.
    counter : EpochCounter, optional
        Instead of `first_epoch`: the caller keeps it and decides which epoch, and which
        batches of it, come next.

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
    if counter is not None and (first_epoch or first_batch):
        raise ConfigurationError("give either a counter, or first_epoch and first_batch")
    if not 0 <= first_batch <= steps:
        raise ConfigurationError(f"first_batch must lie in 0..{steps}, but is {first_batch}")
    kept = counter or EpochCounter(first_epoch)

    def begin() -> tuple[int, int, int]:
        return kept.take_part(steps) if first_batch == 0 else (first_epoch, first_batch, steps)

    buckets = _buckets(dataset, chosen, names, length_buckets, lengths)
    maker = BatchMaker(
        dataset,
        chosen,
        names,
        size,
        *lengths,
        seed=seed,
        balance=balance,
        buckets=buckets,
        shard=None if shard is None else Shard(*shard),
        symmetries=_symmetries(dataset, symmetries),
    )
    gather = with_targets(maker, dataset, names, table, _checked_weights(dataset, event_weights))
    n_skims = len(dataset.label_names)
    weight_shape = (None,) if n_skims == 1 else (None, n_skims)
    widths = lengths if buckets is None else (None, None)
    signature = (*_signature(dataset, names, *widths), ((None, n_skims), tf.float32))
    signature = (*signature, (weight_shape, tf.float32))
    length = None if kept.parts else steps - first_batch
    return _stream(begin, length, gather, names, signature, sharded=shard is not None)


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
    prepare = _checked_indices if seed is None else _sorted_indices
    rows = prepare(dataset, indices)
    names = dataset.check_inputs(inputs)
    lengths = dataset.lengths(max_particles, max_tokens)
    buckets = _buckets(dataset, rows, names, length_buckets, lengths)
    maker = BatchMaker(
        dataset,
        rows,
        names,
        _positive(batch_size),
        *lengths,
        seed=seed,
        balance=balance,
        buckets=buckets,
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
    buckets = _buckets(dataset, rows, names, length_buckets, lengths)
    maker = BatchMaker(dataset, rows, names, size, *lengths, seed=None, buckets=buckets)
    table = class_weight_table(dataset, rows, class_weights) if with_weights else None
    gather = with_targets(maker, dataset, names, table)
    n_skims = len(dataset.label_names)
    widths = lengths if buckets is None else (None, None)
    signature = [*_signature(dataset, names, *widths), ((None, n_skims), tf.float32)]
    if with_weights:
        signature.append(((None,) if n_skims == 1 else (None, n_skims), tf.float32))
    return _stream(lambda: (0, 0, steps), steps, gather, names, signature)


def _buckets(
    dataset: Dataset,
    indices: npt.NDArray[np.int64],
    names: Sequence[str],
    n_buckets: int | None,
    lengths: tuple[int, int],
) -> Buckets | None:
    return None if n_buckets is None else Buckets(dataset, indices, names, n_buckets, *lengths)


def _symmetries(dataset: Dataset, chosen: Sequence[str]) -> Symmetries | None:
    if not chosen:
        return None
    return Symmetries(chosen, dataset.encoding.features, dataset.feature_names)


def _checked_weights(
    dataset: Dataset, event_weights: npt.ArrayLike | None
) -> npt.NDArray[np.float32] | None:
    if event_weights is None:
        return None
    values = np.asarray(event_weights, dtype=np.float32)
    if values.shape != (len(dataset),):
        raise ConfigurationError(
            f"event_weights: one weight for each of the {len(dataset)} events of the dataset is "
            f"needed, not an array of {values.shape}"
        )
    if not np.all(np.isfinite(values)) or np.any(values < 0):
        wrong = int(np.argmax(~np.isfinite(values) | (values < 0)))
        raise ConfigurationError(
            f"event_weights: weights are finite and >= 0, but event {wrong} has {values[wrong]}"
        )
    return values


def _stream(
    begin: Callable[[], tuple[int, int, int]],
    n_batches: int | None,
    gather: Callable[[int, int], Arrays],
    names: Sequence[str],
    signature: Sequence[tuple[tuple[int | None, ...], tf.DType]],
    *,
    sharded: bool = False,
) -> tf.data.Dataset:
    """Stream the batches (epoch, first, last) that `begin` names when a pass begins."""
    types = [dtype for _, dtype in signature]

    # Both functions are declared stateless. Under `deterministic=true` TensorFlow would otherwise
    # call them one by one and only when the model asks, and the model would wait for each batch.
    def part_of_pass(start: tf.Tensor) -> tf.Tensor:
        # Takes the one element of its input, so that no optimiser can take it for a constant.
        part = tf.numpy_function(
            lambda _: np.array(begin(), np.int64), [start], tf.int64, stateful=False
        )
        return tf.ensure_shape(part, [3])

    def batches_of(part: tf.Tensor) -> tf.data.Dataset:
        return tf.data.Dataset.range(part[1], part[2]).map(lambda batch: (part[0], batch))

    def make(epoch: tf.Tensor, batch: tf.Tensor) -> tuple[Any, ...]:
        parts = tf.numpy_function(
            lambda e, b: gather(int(e), int(b)), [epoch, batch], types, stateful=False
        )
        shaped = [
            tf.ensure_shape(part, shape) for part, (shape, _) in zip(parts, signature, strict=True)
        ]
        n = len(names)
        return (dict(zip(names, shaped[:n], strict=True)), *shaped[n:])

    stream = (
        tf.data.Dataset.range(1)
        .map(part_of_pass)
        .flat_map(batches_of)
        .map(make, num_parallel_calls=_THREADS, deterministic=True)
    )
    if n_batches is not None:
        stream = stream.apply(tf.data.experimental.assert_cardinality(n_batches))
    return stream.prefetch(_PREFETCH).with_options(_options(sharded))


def _signature(
    dataset: Dataset, names: Sequence[str], max_particles: int | None, max_tokens: int | None
) -> list[tuple[tuple[int | None, ...], tf.DType]]:
    known: dict[str, tuple[tuple[int | None, ...], tf.DType]] = {
        "particle_input": ((None, max_particles, len(dataset.feature_names)), tf.float32),
        "decay_input": ((None, max_tokens), tf.int32),
        "event_type_input": ((None,), tf.int32),
    }
    return [known.get(name, ((None, max_particles), tf.int32)) for name in names]


def _options(sharded: bool) -> tf.data.Options:
    options = tf.data.Options()
    policy = tf.data.experimental.AutoShardPolicy
    # There are no files that could be dealt out: batches are divided, or are so already.
    options.experimental_distribute.auto_shard_policy = policy.OFF if sharded else policy.DATA
    options.autotune.enabled = False
    options.deterministic = True
    return options


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
