"""From encoded events to batches of fixed length, in compiled loops without a Python loop.

Longer events lose their end, never their beginning. A mother beyond the end is none (-1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.encoding.encoded import EncodedEvents
from smartbkg_tf.errors import ConfigurationError, did_you_mean
from smartbkg_tf.runtime.kernels import kernel

#: Everything that a model may read.
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


def inputs_of(inputs: str | Sequence[str]) -> tuple[str, ...]:
    """Name the arrays that a model reads.

    Parameters
    ----------
    inputs : str or sequence of str
        A variant (combined, particles, decay), or names of inputs, for example a
        model's own ``input_names``.

    Returns
    -------
    tuple of str
        Names out of `INPUT_NAMES`.

    Raises
    ------
    ConfigurationError
        When a name is not known.
    """
    if isinstance(inputs, str):
        if inputs not in INPUTS_OF:
            raise ConfigurationError(
                f"'{inputs}' names no model inputs; {did_you_mean(inputs, INPUTS_OF)}"
            )
        return INPUTS_OF[inputs]
    for name in inputs:
        if name not in INPUT_NAMES:
            raise ConfigurationError(
                f"'{name}' is no input of a model; {did_you_mean(name, INPUT_NAMES)}"
            )
    return tuple(inputs)


def pad(
    encoded: EncodedEvents,
    rows: npt.ArrayLike | None,
    inputs: str | Sequence[str],
    max_particles: int,
    max_tokens: int,
) -> dict[str, npt.NDArray[Any]]:
    """Make one batch.

    Parameters
    ----------
    encoded : EncodedEvents
        Events in memory or in memory maps.
    rows : array_like of int [batch], optional
        Positions of the batch's events, in any order; None takes all.
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
        ``event_type_input`` int32 [batch]. Only those that were asked for.

    Raises
    ------
    ConfigurationError
        When a name of an input is not known.
    IndexError
        When a position lies outside the events.
    """
    n = len(encoded)
    events = np.arange(n) if rows is None else np.asarray(rows, dtype=np.int64).reshape(-1)
    if len(events) and (events.min() < 0 or events.max() >= n):
        raise IndexError(f"positions must lie in 0..{n - 1}")
    batch: dict[str, npt.NDArray[Any]] = {}
    places = np.arange(len(events))
    pad_into(batch, len(events), places, encoded, events, inputs, max_particles, max_tokens)
    return batch


def pad_into(
    batch: dict[str, npt.NDArray[Any]],
    size: int,
    places: npt.NDArray[np.int64],
    encoded: EncodedEvents,
    events: npt.NDArray[np.int64],
    inputs: str | Sequence[str],
    max_particles: int,
    max_tokens: int,
) -> None:
    """Put events of one source into a batch that has several.

    Parameters
    ----------
    batch : dict of str to numpy.ndarray
        Filled in place; arrays that are missing are made, full of padding.
    size : int
        Events of the whole batch.
    places : numpy.ndarray [n]
        int64 places of the events in the batch.
    encoded : EncodedEvents
        The source.
    events : numpy.ndarray [n]
        int64 positions in the source; not checked.
    inputs : str or sequence of str
        What the model reads, see `inputs_of`.
    max_particles, max_tokens : int
        Lengths.

    Raises
    ------
    ConfigurationError
        When the name of an input is not known.
    """
    for name in inputs_of(inputs):
        if name not in batch:
            batch[name] = _padding(name, size, encoded.n_features, max_particles, max_tokens)
        out = batch[name]
        if name == "particle_input":
            _fill_features(encoded.continuous, encoded.offsets, events, places, out)
            if encoded.charge is not None:
                _fill_charge(encoded.charge, encoded.offsets, events, places, out)
        elif name == "event_type_input":
            out[places] = np.asarray(encoded.event_type)[events]
        elif name == "decay_input":
            _fill(encoded.decay, encoded.decay_offsets, events, places, out)
        elif name == "mother_index_input":
            _fill_mothers(encoded.mother_index, encoded.offsets, events, places, out)
        else:
            column = encoded.pdg if name == "pdg_input" else encoded.mother_pdg
            _fill(column, encoded.offsets, events, places, out)


def _padding(
    name: str, size: int, n_features: int, max_particles: int, max_tokens: int
) -> npt.NDArray[Any]:
    if name == "particle_input":
        return np.zeros((size, max_particles, n_features), dtype=np.float32)
    if name == "event_type_input":
        return np.zeros(size, dtype=np.int32)
    if name == "mother_index_input":
        return np.full((size, max_particles), -1, dtype=np.int32)
    length = max_tokens if name == "decay_input" else max_particles
    return np.zeros((size, length), dtype=np.int32)


@kernel
def _fill(
    values: npt.NDArray[np.int16],
    offsets: npt.NDArray[np.int64],
    events: npt.NDArray[np.int64],
    places: npt.NDArray[np.int64],
    out: npt.NDArray[np.int32],
) -> None:
    for b in range(len(events)):
        begin = offsets[events[b]]
        n = min(offsets[events[b] + 1] - begin, out.shape[1])
        row = out[places[b]]
        for i in range(n):
            row[i] = values[begin + i]


@kernel
def _fill_mothers(
    values: npt.NDArray[np.int16],
    offsets: npt.NDArray[np.int64],
    events: npt.NDArray[np.int64],
    places: npt.NDArray[np.int64],
    out: npt.NDArray[np.int32],
) -> None:
    for b in range(len(events)):
        begin = offsets[events[b]]
        n = min(offsets[events[b] + 1] - begin, out.shape[1])
        row = out[places[b]]
        for i in range(n):
            mother = values[begin + i]
            row[i] = mother if mother < out.shape[1] else -1


@kernel
def _fill_features(
    values: npt.NDArray[np.float32],
    offsets: npt.NDArray[np.int64],
    events: npt.NDArray[np.int64],
    places: npt.NDArray[np.int64],
    out: npt.NDArray[np.float32],
) -> None:
    for b in range(len(events)):
        begin = offsets[events[b]]
        n = min(offsets[events[b] + 1] - begin, out.shape[1])
        rows = out[places[b]]
        for i in range(n):
            for k in range(values.shape[1]):
                rows[i, k] = values[begin + i, k]


@kernel
def _fill_charge(
    thirds: npt.NDArray[np.int8],
    offsets: npt.NDArray[np.int64],
    events: npt.NDArray[np.int64],
    places: npt.NDArray[np.int64],
    out: npt.NDArray[np.float32],
) -> None:
    last = out.shape[2] - 1
    for b in range(len(events)):
        begin = offsets[events[b]]
        n = min(offsets[events[b] + 1] - begin, out.shape[1])
        for i in range(n):
            out[places[b], i, last] = np.float32(thirds[begin + i]) / np.float32(3)


@kernel
def without_lost_mothers(mothers: npt.NDArray[np.int32]) -> None:
    """Set mothers beyond the padded length to -1, in place.

    Parameters
    ----------
    mothers : numpy.ndarray [batch, length]
        int32.
    """
    for b in range(mothers.shape[0]):
        for i in range(mothers.shape[1]):
            if mothers[b, i] >= mothers.shape[1]:
                mothers[b, i] = -1
