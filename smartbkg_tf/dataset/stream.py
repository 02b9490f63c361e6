"""tf.data streams of batches out of a dataset directory.

Whole batches are read and padded in threads ahead of their use; TensorFlow never sees single
events. Autotune is off: with it, iterators sometimes stall for seconds when they are destroyed.
Every batch is a new array, so that one held in a queue stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import numpy.typing as npt
import tensorflow as tf

from smartbkg_tf.dataset.batches import Batches, Element, EvaluationBatches, TrainingBatches
from smartbkg_tf.dataset.dataset import Dataset
from smartbkg_tf.errors import ConfigurationError
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


def training_stream(
    dataset: Dataset,
    indices: npt.ArrayLike,
    *,
    counter: EpochCounter | None = None,
    **options: Any,
) -> tf.data.Dataset:
    """Stream training events; one pass is one epoch, in a new order each time.

    Parameters
    ----------
    dataset : Dataset
        The events.
    indices : array_like of int [n]
        Positions of the training events; their order does not matter.
    counter : EpochCounter, optional
        The caller keeps it and decides which epoch, and which batches of it, come next. By
        default the first pass is epoch 0.
    **options
        batch_size, inputs, seed, max_particles, max_tokens, class_weights, balance and
        symmetries of `TrainingBatches`.

    Returns
    -------
    tf.data.Dataset
        Elements (inputs, labels, weights): a dictionary of tensors as `Dataset.batch`
        makes them; float32 [batch, n_skims]; float32 [batch] for one skim, [batch,
        n_skims] for several. Unknown labels have target 0 and weight 0. The number of
        batches is known (Keras asks for it; pass ``shuffle=False`` to ``fit``).

    Raises
    ------
    InputError, ConfigurationError
        As `TrainingBatches`.
    """
    batches = TrainingBatches(dataset, indices, **options)
    kept = counter or EpochCounter()
    stream = _stream(batches, lambda: kept.take(batches.n_batches))
    return stream if kept.parts else _counted(stream, batches)


def evaluation_stream(dataset: Dataset, indices: npt.ArrayLike, **options: Any) -> tf.data.Dataset:
    """Stream events in the given order, each once per pass.

    Parameters
    ----------
    dataset : Dataset
        The events.
    indices : array_like of int [n]
        Positions, in the order in which the events come.
    **options
        batch_size, inputs, max_particles, max_tokens, with_weights, class_weights and
        length_buckets of `EvaluationBatches`.

    Returns
    -------
    tf.data.Dataset
        Elements (inputs, labels) or (inputs, labels, weights) as in `training_stream`.

    Raises
    ------
    InputError, ConfigurationError
        As `EvaluationBatches`.
    """
    batches = EvaluationBatches(dataset, indices, **options)
    return _counted(_stream(batches, lambda: (0, 0, batches.n_batches)), batches)


def _counted(stream: tf.data.Dataset, batches: Batches) -> tf.data.Dataset:
    return stream.apply(tf.data.experimental.assert_cardinality(batches.n_batches))


def _stream(batches: Batches, begin: Callable[[], tuple[int, int, int]]) -> tf.data.Dataset:
    """Stream the batches (epoch, first, last) that `begin` names when a pass begins."""

    def generate() -> Generator[Element, None, None]:
        return batches.batches(*begin())

    stream = tf.data.Dataset.from_generator(generate, output_signature=_signature(batches))
    options = tf.data.Options()
    # There are no files that could be dealt out: batches are divided.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    options.autotune.enabled = False
    options.deterministic = True
    return stream.with_options(options)


def _signature(batches: Batches) -> tuple[Any, ...]:
    """Describe the elements: shapes without the batch, types."""
    dataset = batches.dataset
    schema = dataset.schema
    widths = {**schema.max_lengths, PARTICLES: batches.widths[0], TOKENS: batches.widths[1]}
    inputs = {}
    for name in batches.names:
        column = schema.by_name[name]
        row = (len(dataset.feature_names),) if name == "particle_input" else column.shape
        dtype = tf.float32 if column.dtype.startswith("float") else tf.int32
        length = () if column.axis == EVENT else (widths[column.axis],)
        inputs[name] = tf.TensorSpec((None, *length, *row), dtype)
    n_skims = len(dataset.label_names)
    labels = tf.TensorSpec((None, n_skims), tf.float32)
    weights = tf.TensorSpec((None,) if n_skims == 1 else (None, n_skims), tf.float32)
    return (inputs, labels) if batches.class_weights is None else (inputs, labels, weights)
