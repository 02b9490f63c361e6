"""Encoded events with everything that travels along, and the order of the data set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.encoding.encoded import EncodedEvents
from smartbkg_tf.events.memory import copy_bytes
from smartbkg_tf.events.table import KEY_COLUMNS
from smartbkg_tf.runtime.kernels import kernel
from smartbkg_tf.runtime.scratch import Scratch


@dataclass(frozen=True)
class EventBlock:
    """Encoded events with hashes, keys, labels and observables.

    Parameters
    ----------
    hash : numpy.ndarray [n_events]
        uint64; decides the place in the data set.
    content : numpy.ndarray [n_events]
        uint64 digest of the encoded event and its labels (`content_of`), where another
        event may have the same key; 0 in blocks that come out of one file.
    keys : numpy.ndarray [n_events, 4]
        int64 experiment, run, event, production.
    labels : numpy.ndarray [n_events, n_skims]
        int8, -1 unknown.
    observables : numpy.ndarray [n_events, n_observables]
        float64, NaN where not defined.
    source : numpy.ndarray [n_events]
        int32 position of the file that the event came from.
    n_particles, n_tokens : numpy.ndarray [n_events]
        int32 lengths of the encoded event.
    encoded : EncodedEvents, optional
        What a model reads; None when only the other columns were asked for.
    """

    hash: npt.NDArray[np.uint64]
    content: npt.NDArray[np.uint64]
    keys: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int8]
    observables: npt.NDArray[np.float64]
    source: npt.NDArray[np.int32]
    n_particles: npt.NDArray[np.int32]
    n_tokens: npt.NDArray[np.int32]
    encoded: EncodedEvents | None

    def __len__(self) -> int:
        """Give the number of events."""
        return len(self.hash)

    def take(self, events: npt.NDArray[np.int64], scratch: Scratch | None = None) -> EventBlock:
        """Choose events by position, in the given order.

        Parameters
        ----------
        events : numpy.ndarray [n]
            Positions.
        scratch : Scratch, optional
            Lends the memory of the encoded events; by default they have their own.

        Returns
        -------
        EventBlock
            The chosen events.
        """
        return EventBlock(
            hash=self.hash[events],
            content=self.content[events],
            keys=self.keys[events],
            labels=self.labels[events],
            observables=self.observables[events],
            source=self.source[events],
            n_particles=self.n_particles[events],
            n_tokens=self.n_tokens[events],
            encoded=None if self.encoded is None else self.encoded.take(events, scratch),
        )

    def slice(self, begin: int, end: int) -> EventBlock:
        """See consecutive events, without those that are encoded.

        Parameters
        ----------
        begin, end : int
            First event, and the one behind the last.

        Returns
        -------
        EventBlock
            Views; ``encoded`` is None.
        """
        return EventBlock(
            hash=self.hash[begin:end],
            content=self.content[begin:end],
            keys=self.keys[begin:end],
            labels=self.labels[begin:end],
            observables=self.observables[begin:end],
            source=self.source[begin:end],
            n_particles=self.n_particles[begin:end],
            n_tokens=self.n_tokens[begin:end],
            encoded=None,
        )

    def key_columns(self) -> dict[str, npt.NDArray[np.int64]]:
        """Give the event keys by name, each [n_events]."""
        return {name: self.keys[:, i] for i, name in enumerate(KEY_COLUMNS)}


def order_of(block: EventBlock) -> npt.NDArray[np.int64]:
    """Give the order in which events are stored, whatever order they came in.

    Parameters
    ----------
    block : EventBlock
        Events in any order.

    Returns
    -------
    numpy.ndarray [n_events]
        Positions sorted by hash; equal hashes by key, equal keys by content.
    """
    order = np.argsort(block.hash)  # what is equal is sorted anew below
    ordered = block.hash[order]
    if np.any(ordered[1:] == ordered[:-1]):
        parts = (block.content, *(block.keys[:, i] for i in reversed(range(4))), block.hash)
        order = np.lexsort(parts)
    return order


@kernel
def put_rows(
    columns: tuple[npt.NDArray[np.uint8], ...],
    rows: npt.NDArray[np.int64],
    out: tuple[npt.NDArray[np.uint8], ...],
    places: npt.NDArray[np.int64],
    widths: npt.NDArray[np.int64],
) -> None:
    """Copy chosen rows of all columns to their places, each once; two steps of NumPy copy twice.

    Parameters
    ----------
    columns : tuple of numpy.ndarray
        Bytes of every column.
    rows : numpy.ndarray [n]
        int64 positions in the columns.
    out : tuple of numpy.ndarray
        Bytes of every column to come.
    places : numpy.ndarray [n]
        int64 positions in `out`.
    widths : numpy.ndarray [n_columns]
        int64 bytes of a row of every column.
    """
    for k in range(len(columns)):
        width = widths[k]
        for i in range(len(rows)):
            copy_bytes(out[k], places[i] * width, columns[k], rows[i] * width, width)


@kernel
def count_labels(
    labels: npt.NDArray[np.int8], event_type: npt.NDArray[np.int8]
) -> npt.NDArray[np.int64]:
    """Count the labels of every event type and skim in one pass.

    Parameters
    ----------
    labels : numpy.ndarray [n_events, n_skims]
        int8: 1, 0 or -1.
    event_type : numpy.ndarray [n_events]
        int8, not below -1.

    Returns
    -------
    numpy.ndarray [n_types + 1, n_skims, 3]
        int64 events that pass, fail, and are unknown; the first entry is of type -1.
    """
    largest = -1
    for i in range(len(event_type)):
        largest = max(largest, event_type[i])
    counts = np.zeros((largest + 2, labels.shape[1], 3), dtype=np.int64)
    for i in range(len(event_type)):
        own = counts[event_type[i] + 1]
        for k in range(labels.shape[1]):
            if -1 <= labels[i, k] <= 1:
                own[k, 1 - labels[i, k]] += 1
    return counts


@kernel
def unlabelled(labels: npt.NDArray[np.int8]) -> npt.NDArray[np.bool_]:
    """Find the events without any label; NumPy is slow along so short an axis.

    Parameters
    ----------
    labels : numpy.ndarray [n_events, n_skims]
        int8, -1 unknown.

    Returns
    -------
    numpy.ndarray [n_events]
        bool.
    """
    found = np.ones(len(labels), dtype=np.bool_)
    for i in range(len(labels)):
        for k in range(labels.shape[1]):
            if labels[i, k] != -1:
                found[i] = False
    return found


def repeated(
    block: EventBlock,
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Find events whose key occurs twice, in a block that is sorted by `order_of`.

    What copies of one event know is merged into the first of them: labels that the others lack,
    and observables. So a table with the labels of one skim and another one with those of a second
    make one event with both.

    Parameters
    ----------
    block : EventBlock
        Sorted; all events of equal key stand together. Labels and observables of copies change.

    Returns
    -------
    further : numpy.ndarray [n_events]
        bool; second and further copies of an event. The first one stays.
    duplicate : numpy.ndarray [n_events]
        bool; those of them whose labels too are those of another copy.
    conflict : numpy.ndarray [n_events]
        bool; all events of a key that different events share, or whose labels contradict each
        other. None of them can be trusted, and a choice would depend on the order of files.
    """
    n = len(block)
    nothing = np.zeros(n, dtype=np.bool_)
    if n == 0 or (block.hash[1:] != block.hash[:-1]).all():  # equal keys have equal hashes
        return nothing, nothing, nothing
    begins = np.ones(n, dtype=np.bool_)
    begins[1:] = np.any(block.keys[1:] != block.keys[:-1], axis=1)
    if begins.all():
        return nothing, nothing, nothing
    group = np.cumsum(begins) - 1
    starts = np.flatnonzero(begins)
    differs = np.minimum.reduceat(block.content, starts) != np.maximum.reduceat(
        block.content, starts
    )
    known = np.maximum.reduceat(block.labels, starts, axis=0)  # unknown is the smallest, -1
    lowest = np.minimum.reduceat(np.where(block.labels < 0, 127, block.labels), starts, axis=0)
    differs |= ((lowest < known) & (known >= 0)).any(axis=1)
    conflict = differs[group]
    further = ~begins & ~conflict
    rows = np.column_stack([group, block.labels])
    duplicate = np.ones(n, dtype=np.bool_)
    duplicate[np.unique(rows, axis=0, return_index=True)[1]] = False
    block.labels[starts] = known
    block.observables[starts] = np.fmax.reduceat(block.observables, starts, axis=0)
    return further, duplicate & further, conflict


def content_of(encoded: EncodedEvents) -> npt.NDArray[np.uint64]:
    """Digest every event but its labels, to tell copies from different events of one key.

    Parameters
    ----------
    encoded : EncodedEvents
        The events.

    Returns
    -------
    numpy.ndarray [n_events]
        uint64.
    """
    charge = np.zeros(len(encoded.pdg), np.int8) if encoded.charge is None else encoded.charge
    digest: npt.NDArray[np.uint64] = _digest(
        encoded.offsets,
        _as_words(encoded.continuous),
        charge,
        encoded.pdg,
        encoded.mother_pdg,
        encoded.mother_index,
        encoded.decay_offsets,
        encoded.decay,
        encoded.event_type,
    )
    return digest


def _as_words(values: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
    """See pairs of numbers as words of 64 bits; an odd number of columns as words of 32."""
    rows = np.ascontiguousarray(values)
    return rows.view(np.uint64 if rows.shape[1] % 2 == 0 and rows.shape[1] else np.uint32)


@kernel
def _digest(
    offsets: npt.NDArray[np.int64],
    continuous: npt.NDArray[Any],
    charge: npt.NDArray[np.int8],
    pdg: npt.NDArray[np.int16],
    mother_pdg: npt.NDArray[np.int16],
    mother_index: npt.NDArray[np.int16],
    decay_offsets: npt.NDArray[np.int64],
    decay: npt.NDArray[np.int16],
    event_type: npt.NDArray[np.int8],
) -> npt.NDArray[np.uint64]:
    # FNV-1a over 64-bit words with a final mix; no protection against malice is meant.
    prime = np.uint64(0x100000001B3)
    shift = np.uint64(29)
    out = np.empty(len(offsets) - 1, dtype=np.uint64)
    for event in range(len(out)):
        h = np.uint64(0xCBF29CE484222325)
        for i in range(offsets[event], offsets[event + 1]):
            word = (
                np.uint64(np.uint16(pdg[i]))
                | (np.uint64(np.uint16(mother_pdg[i])) << np.uint64(16))
                | (np.uint64(np.uint16(mother_index[i])) << np.uint64(32))
                | (np.uint64(np.uint8(charge[i])) << np.uint64(48))
            )
            h = (h ^ word) * prime
            h ^= h >> shift
            for k in range(continuous.shape[1]):
                h = (h ^ np.uint64(continuous[i, k])) * prime
                h ^= h >> shift
        h = (h ^ np.uint64(offsets[event + 1] - offsets[event])) * prime
        for i in range(decay_offsets[event], decay_offsets[event + 1]):
            h = (h ^ np.uint64(np.uint16(decay[i]))) * prime
            h ^= h >> shift
        h = (h ^ np.uint64(np.uint8(event_type[event]))) * prime
        h ^= h >> shift
        out[event] = h
    return out
