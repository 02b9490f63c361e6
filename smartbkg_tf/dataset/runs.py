"""Sorted runs of encoded events on disk, and their merge.

A run is one chunk of events, sorted by shuffle hash, in one file. Any range of hashes is
then a contiguous slice of every run, which makes the shuffle of any amount of data a
merge with little memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.dataset.blocks import EventBlock, order_of
from smartbkg_tf.encoding.encoded import EncodedEvents

#: Columns with one row per event, per particle, per token.
_EVENT_COLUMNS = (
    "hash",
    "content",
    "keys",
    "event_type",
    "labels",
    "observables",
    "n_particles",
    "n_tokens",
)
_PARTICLE_COLUMNS = ("continuous", "charge", "pdg", "mother_pdg", "mother_index")


@dataclass(frozen=True)
class Run:
    """One sorted run on disk.

    Parameters
    ----------
    path : pathlib.Path
        File.
    columns : dict of str to tuple
        Name -> (type, shape, first byte).
    n_events : int
        Number of events.
    source : int
        Position of the file that the events came from.
    label_names, observable_names : tuple of str
        Of this run; other runs may have others.
    has_label : bool
        Whether any event has a known label.
    """

    path: Path
    columns: dict[str, tuple[str, tuple[int, ...], int]]
    n_events: int
    source: int
    label_names: tuple[str, ...]
    observable_names: tuple[str, ...]
    has_label: bool

    @property
    def n_bytes(self) -> int:
        """Bytes of its events, which do not depend on how events are cut into runs."""
        by_row = {"offsets": 0, "decay_offsets": 0}
        return sum(
            by_row.get(name, int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize)
            for name, (dtype, shape, _) in self.columns.items()
        )

    def slice_of_hashes(self, begin: int, end: int) -> tuple[int, int]:
        """Find the events whose hash lies in a range.

        Parameters
        ----------
        begin, end : int
            begin <= hash < end; `end` may be 2**64.

        Returns
        -------
        tuple of int
            First event, and the one behind the last.
        """
        hashes = self._map("hash")
        first = int(np.searchsorted(hashes, np.uint64(begin)))
        if end >= 2**64:
            return first, self.n_events
        return first, int(np.searchsorted(hashes, np.uint64(end)))

    def _map(self, name: str) -> npt.NDArray[Any]:
        dtype, shape, offset = self.columns[name]
        if 0 in shape:
            return np.zeros(shape, dtype=dtype)
        return np.memmap(self.path, dtype=dtype, mode="r", shape=shape, offset=offset)

    def read(
        self,
        begin: int,
        end: int,
        label_names: Sequence[str],
        observable_names: Sequence[str],
        with_events: bool,
    ) -> EventBlock:
        """Read a slice of events.

        Parameters
        ----------
        begin, end : int
            First event, and the one behind the last.
        label_names, observable_names : sequence of str
            Columns to give; those that this run lacks are unknown (-1, NaN).
        with_events : bool
            Read the encoded events too.

        Returns
        -------
        EventBlock
            The events, in memory.
        """
        with open(self.path, "rb") as stream:

            def column(name: str, first: int, last: int) -> npt.NDArray[Any]:
                dtype, shape, offset = self.columns[name]
                width = int(np.prod(shape[1:], dtype=np.int64))
                stream.seek(offset + first * width * np.dtype(dtype).itemsize)
                values = np.fromfile(stream, dtype=dtype, count=(last - first) * width)
                return values.reshape((last - first, *shape[1:]))

            parts = {name: column(name, begin, end) for name in _EVENT_COLUMNS}
            encoded = None
            if with_events:
                offsets = column("offsets", begin, end + 1)
                tokens = column("decay_offsets", begin, end + 1)
                particles: dict[str, Any] = {
                    name: column(name, int(offsets[0]), int(offsets[-1]))
                    for name in _PARTICLE_COLUMNS
                    if name in self.columns
                }
                encoded = EncodedEvents(
                    offsets=offsets - offsets[0],
                    decay=column("decay", int(tokens[0]), int(tokens[-1])),
                    decay_offsets=tokens - tokens[0],
                    event_type=parts["event_type"],
                    charge=particles.pop("charge", None),
                    **particles,
                )
        return EventBlock(
            hash=parts["hash"],
            content=parts["content"],
            keys=parts["keys"],
            labels=_align(parts["labels"], self.label_names, label_names, -1),
            observables=_align(
                parts["observables"], self.observable_names, observable_names, np.nan
            ),
            source=np.full(end - begin, self.source, dtype=np.int32),
            n_particles=parts["n_particles"],
            n_tokens=parts["n_tokens"],
            encoded=encoded,
        )


def _align(
    values: npt.NDArray[Any], names: Sequence[str], wanted: Sequence[str], missing: float
) -> npt.NDArray[Any]:
    if tuple(names) == tuple(wanted):
        return values
    out = np.full((len(values), len(wanted)), missing, dtype=values.dtype)
    for i, name in enumerate(wanted):
        if name in names:
            out[:, i] = values[:, list(names).index(name)]
    return out


def write_run(
    path: Path, block: EventBlock, label_names: Sequence[str], observable_names: Sequence[str]
) -> Run:
    """Write a block that is sorted by `order_of`.

    Parameters
    ----------
    path : pathlib.Path
        File to write.
    block : EventBlock
        With encoded events, of one source.
    label_names, observable_names : sequence of str
        Names of the block's columns.

    Returns
    -------
    Run
        What is needed to read it.
    """
    encoded = block.encoded
    assert encoded is not None
    arrays: dict[str, npt.NDArray[Any]] = {
        "hash": block.hash,
        "content": block.content,
        "keys": block.keys,
        "event_type": encoded.event_type,
        "labels": block.labels,
        "observables": block.observables,
        "n_particles": block.n_particles,
        "n_tokens": block.n_tokens,
        "offsets": encoded.offsets,
        "decay_offsets": encoded.decay_offsets,
        "continuous": encoded.continuous,
        "pdg": encoded.pdg,
        "mother_pdg": encoded.mother_pdg,
        "mother_index": encoded.mother_index,
        "decay": encoded.decay,
    }
    if encoded.charge is not None:
        arrays["charge"] = encoded.charge
    columns = {}
    with open(path, "wb") as stream:
        for name, values in arrays.items():
            # The maps of the hashes need an aligned beginning.
            stream.write(b"\0" * (-stream.tell() % 64))
            columns[name] = (values.dtype.str, values.shape, stream.tell())
            stream.write(np.ascontiguousarray(values).tobytes())
    return Run(
        path=path,
        columns=columns,
        n_events=len(block),
        source=int(block.source[0]) if len(block) else 0,
        label_names=tuple(label_names),
        observable_names=tuple(observable_names),
        has_label=bool(np.any(block.labels != -1)),
    )


def merge(
    runs: Sequence[Run],
    begin: int,
    end: int,
    label_names: Sequence[str],
    observable_names: Sequence[str],
    *,
    with_events: bool,
) -> EventBlock | None:
    """Read one range of hashes out of all runs, in the order of the data set.

    Parameters
    ----------
    runs : sequence of Run
        All runs, in any order.
    begin, end : int
        Range of hashes.
    label_names, observable_names : sequence of str
        Columns to give.
    with_events : bool
        Read the encoded events too.

    Returns
    -------
    EventBlock or None
        None when the range is empty.
    """
    blocks = []
    for run in runs:
        first, last = run.slice_of_hashes(begin, end)
        if last > first:
            blocks.append(run.read(first, last, label_names, observable_names, with_events))
    if not blocks:
        return None
    whole = _concatenate(blocks)
    return whole.take(order_of(whole))


def _concatenate(blocks: Sequence[EventBlock]) -> EventBlock:
    encoded = [block.encoded for block in blocks if block.encoded is not None]
    joined = None
    if encoded:
        charges = [part.charge for part in encoded if part.charge is not None]
        joined = EncodedEvents(
            offsets=_join_offsets([part.offsets for part in encoded]),
            continuous=np.concatenate([part.continuous for part in encoded]),
            charge=np.concatenate(charges) if charges else None,
            pdg=np.concatenate([part.pdg for part in encoded]),
            mother_pdg=np.concatenate([part.mother_pdg for part in encoded]),
            mother_index=np.concatenate([part.mother_index for part in encoded]),
            decay=np.concatenate([part.decay for part in encoded]),
            decay_offsets=_join_offsets([part.decay_offsets for part in encoded]),
            event_type=np.concatenate([part.event_type for part in encoded]),
        )
    return EventBlock(
        hash=np.concatenate([block.hash for block in blocks]),
        content=np.concatenate([block.content for block in blocks]),
        keys=np.concatenate([block.keys for block in blocks]),
        labels=np.concatenate([block.labels for block in blocks]),
        observables=np.concatenate([block.observables for block in blocks]),
        source=np.concatenate([block.source for block in blocks]),
        n_particles=np.concatenate([block.n_particles for block in blocks]),
        n_tokens=np.concatenate([block.n_tokens for block in blocks]),
        encoded=joined,
    )


def _join_offsets(parts: Sequence[npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
    counts = np.concatenate([np.diff(part) for part in parts])
    offsets = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=offsets[1:])
    return offsets
