"""From encoded events to batches of fixed length, without a Python loop over events.

Longer events lose their end, never their beginning. A mother beyond the end is none (-1).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.encoding.events import Events, Schema
from smartbkg_tf.errors import ConfigurationError, did_you_mean
from smartbkg_tf.runtime.kernels import kernel
from smartbkg_tf.settings.encoding import EVENT, PARTICLES, TOKENS

#: What a model may read of every dataset; feature sets may declare more.
INPUT_NAMES = (
    "particle_input",
    "pdg_input",
    "mother_pdg_input",
    "mother_index_input",
    "decay_input",
    "event_type_input",
)

#: What the three variants of the original network read.
INPUTS_OF: dict[str, tuple[str, ...]] = {
    "combined": ("particle_input", "pdg_input", "mother_pdg_input", "decay_input"),
    "particles": ("particle_input", "pdg_input", "mother_pdg_input"),
    "decay": ("decay_input",),
}

Batch = dict[str, npt.NDArray[Any]]


def inputs_of(inputs: str | Sequence[str], further: Iterable[str] = ()) -> tuple[str, ...]:
    """Name the arrays that a model reads.

    `inputs` is a variant (combined, particles, decay), or names of inputs, such as a model's
    ``input_names``; `further` are names that a feature set declares, beside `INPUT_NAMES`.
    ConfigurationError when a name is not known.
    """
    if isinstance(inputs, str):
        if inputs not in INPUTS_OF:
            raise ConfigurationError(
                f"'{inputs}' does not name model inputs; {did_you_mean(inputs, INPUTS_OF)}"
            )
        return INPUTS_OF[inputs]
    known = (*INPUT_NAMES, *further)
    for name in inputs:
        if name not in known:
            raise ConfigurationError(
                f"'{name}' is not an input of a model; {did_you_mean(name, known)}"
            )
    return tuple(inputs)


def pad(
    events: Events,
    rows: npt.ArrayLike | None,
    inputs: str | Sequence[str],
    max_particles: int,
    max_tokens: int,
) -> Batch:
    """Make one batch of events at the positions `rows` [batch], in any order; None takes all.

    Parameters
    ----------
    events : Events
        In memory.
    inputs : str or sequence of str
        What the model reads, see `inputs_of`.
    max_particles, max_tokens : int
        Lengths; longer events are cut at their end, shorter ones padded with 0
        (mother index: -1).

    Returns
    -------
    dict of str to numpy.ndarray
        New arrays for every call: ``particle_input`` float32 [batch, max_particles,
        n_features]; ``pdg_input``, ``mother_pdg_input``, ``mother_index_input`` int32
        [batch, max_particles]; ``decay_input`` int32 [batch, max_tokens];
        ``event_type_input`` int32 [batch]; further columns [batch, ...] or
        [batch, max_length, ...]. Only those that were asked for.

    Raises
    ------
    ConfigurationError, IndexError
        When a name of an input is not known; when a position lies outside the events.
    """
    n = len(events)
    chosen = np.arange(n) if rows is None else np.asarray(rows, dtype=np.int64).reshape(-1)
    if rows is not None and len(chosen) and (chosen.min() < 0 or chosen.max() >= n):
        raise IndexError(f"positions must lie in 0..{n - 1}")
    names = inputs_of(inputs, events.schema.by_name)
    lengths = {PARTICLES: max_particles, TOKENS: max_tokens}
    batch = empty_batch(events.schema, names, len(chosen), lengths)
    fill_batch(batch, 0, events, chosen)
    return batch


def empty_batch(
    schema: Schema, names: Sequence[str], size: int, lengths: Mapping[str, int]
) -> Batch:
    """Make the arrays of a batch, full of padding; `lengths` by axis, of further lists optional."""
    lengths = {**schema.max_lengths, **lengths}
    batch = {}
    for name in names:
        column = schema.by_name[name]
        shape = (size,) if column.axis == EVENT else (size, lengths[column.axis])
        row = column.shape
        if name == "particle_input" and "charge" in schema.by_name:
            row = (row[0] + 1,)
        kind = np.float32 if column.dtype.startswith("float") else np.int32
        batch[name] = np.zeros((*shape, *row), dtype=kind)
        if column.padding:
            batch[name][...] = column.padding
    return batch


def fill_batch(batch: Batch, first: int, events: Events, rows: npt.NDArray[np.int64]) -> None:
    """Put events, whose positions are not checked, into the rows of a batch from `first` on."""
    for name, whole in batch.items():
        column, values = events.schema.by_name[name], events.columns[name]
        out = whole[first : first + len(rows)]
        if column.axis == EVENT:
            out[...] = values[rows]
            continue
        offsets = events.offsets[column.axis]
        flat = out.reshape(*out.shape[:2], math.prod(out.shape[2:]))
        _fill(values.reshape(len(values), math.prod(column.shape)), offsets, rows, flat)
        if name == "mother_index_input":
            out[out >= out.shape[1]] = -1
        elif name == "particle_input" and "charge" in events.columns:
            _fill_charge(events.columns["charge"], offsets, rows, out)


@kernel
def _fill(
    values: npt.NDArray[Any],
    offsets: npt.NDArray[np.int64],
    events: npt.NDArray[np.int64],
    out: npt.NDArray[Any],
) -> None:
    """Copy rows [n, width] of events into [batch, length, width or more]."""
    for i in range(len(events)):
        begin = offsets[events[i]]
        own, target = values[begin : offsets[events[i] + 1]], out[i]
        for j in range(min(len(own), len(target))):
            for k in range(values.shape[1]):
                target[j, k] = own[j, k]


@kernel
def _fill_charge(
    thirds: npt.NDArray[np.int8],
    offsets: npt.NDArray[np.int64],
    events: npt.NDArray[np.int64],
    out: npt.NDArray[np.float32],
) -> None:
    """Put the charge, in e, into the last column [batch, length, width]."""
    last = out.shape[2] - 1
    for i in range(len(events)):
        begin = offsets[events[i]]
        own, target = thirds[begin : offsets[events[i] + 1]], out[i]
        for j in range(min(len(own), len(target))):
            target[j, last] = np.float32(own[j]) / np.float32(3)
