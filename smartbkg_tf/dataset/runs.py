"""Sorted runs of encoded events.

A run is one chunk of events, sorted by shuffle hash. Any range of hashes is then a
contiguous slice of every run, which makes the shuffle of any amount of data a merge with
little memory (`smartbkg_tf.dataset.ranges`). The first runs of a small sample stay in memory
(`MemoryRun`), all others are files (`Run`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.dataset.blocks import EventBlock, content_of, order_of
from smartbkg_tf.encoding.encoded import EncodedEvents
from smartbkg_tf.runtime.reading import read_into
from smartbkg_tf.runtime.scratch import Scratch

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
        return _slice_of(self._map("hash"), begin, end)

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
        scratch: Scratch | None = None,
    ) -> tuple[EventBlock, npt.NDArray[np.int64]]:
        """Read a slice of events.

        Parameters
        ----------
        begin, end : int
            First event, and the one behind the last.
        label_names, observable_names : sequence of str
            Columns to give; those that this run lacks are unknown (-1, NaN).
        with_events : bool
            Read the encoded events too.
        scratch : Scratch, optional
            Lends the memory of the encoded events.

        Returns
        -------
        block : EventBlock
            The events, in memory.
        events : numpy.ndarray [n]
            Their positions in it.

        Raises
        ------
        OSError
            When the file cannot be read, or has become shorter.
        """
        room = Scratch() if scratch is None else scratch
        with open(self.path, "rb", buffering=0) as stream:

            def column(name: str, first: int, last: int) -> npt.NDArray[Any]:
                dtype, shape, offset = self.columns[name]
                values: npt.NDArray[Any]
                if name in _PARTICLE_COLUMNS or name == "decay":
                    # Large, and copied soon: the other columns stay.
                    lent = f"{self.path.name} {name}"
                    values = room.empty(lent, (last - first, *shape[1:]), dtype)
                else:
                    values = np.empty((last - first, *shape[1:]), dtype=dtype)
                width = int(np.prod(shape[1:], dtype=np.int64))
                read_into(stream, offset + first * width * np.dtype(dtype).itemsize, values)
                return values

            parts = {
                name: column(name, begin, end)
                for name in _EVENT_COLUMNS
                if name != "observables" or observable_names
            }
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
        block = EventBlock(
            hash=parts["hash"],
            content=parts["content"],
            keys=parts["keys"],
            labels=_align(parts["labels"], self.label_names, label_names, -1),
            observables=_align(
                parts["observables"], self.observable_names, observable_names, np.nan
            )
            if observable_names
            else np.empty((end - begin, 0)),
            source=np.full(end - begin, self.source, dtype=np.int32),
            n_particles=parts["n_particles"],
            n_tokens=parts["n_tokens"],
            encoded=encoded,
        )
        return block, np.arange(end - begin, dtype=np.int64)

    def content(
        self, begin: int, end: int, chosen: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.uint64]:
        """Digest chosen events of a slice.

        Parameters
        ----------
        begin, end : int
            First event, and the one behind the last.
        chosen : numpy.ndarray [n]
            Positions in the slice.

        Returns
        -------
        numpy.ndarray [n]
            uint64, as `content_of`.
        """
        block, _ = self.read(begin, end, self.label_names, self.observable_names, True)
        assert block.encoded is not None
        return content_of(block.encoded.take(chosen))


class MemoryRun:
    """One run that stays in memory; its particles are copied once, at the merge.

    Parameters
    ----------
    block : EventBlock
        Encoded events of one source, in any order.
    label_names, observable_names : sequence of str
        Names of the block's columns.
    """

    def __init__(
        self, block: EventBlock, label_names: Sequence[str], observable_names: Sequence[str]
    ) -> None:
        assert block.encoded is not None
        self._block = block
        self._order = order_of(block)
        self._hash = block.hash[self._order]
        #: The block with the columns of all runs, as they are asked for.
        self._aligned: tuple[tuple[str, ...], tuple[str, ...], EventBlock] | None = None
        self.n_events = len(block)
        self.label_names = tuple(label_names)
        self.observable_names = tuple(observable_names)
        self.has_label = bool(np.any(block.labels != -1))

    @property
    def n_bytes(self) -> int:
        """Bytes of its events, counted as `Run.n_bytes` does."""
        assert self._block.encoded is not None
        return bytes_of(self._block, self._block.encoded)

    def slice_of_hashes(self, begin: int, end: int) -> tuple[int, int]:
        """Find the events whose hash lies in a range, as `Run.slice_of_hashes`.

        Parameters
        ----------
        begin, end : int
            begin <= hash < end; `end` may be 2**64.

        Returns
        -------
        tuple of int
            First event, and the one behind the last.
        """
        return _slice_of(self._hash, begin, end)

    def read(
        self,
        begin: int,
        end: int,
        label_names: Sequence[str],
        observable_names: Sequence[str],
        with_events: bool,
        scratch: Scratch | None = None,
    ) -> tuple[EventBlock, npt.NDArray[np.int64]]:
        """Give a slice of events, as `Run.read`.

        Parameters
        ----------
        begin, end : int
            First event, and the one behind the last.
        label_names, observable_names : sequence of str
            Columns to give; those that this run lacks are unknown (-1, NaN).
        with_events : bool
            Has no influence: all events of the run are given, without a copy.
        scratch : Scratch, optional
            Not needed.

        Returns
        -------
        block : EventBlock
            All events of the run, in any order.
        events : numpy.ndarray [n]
            Positions in it of those that were asked for, in the order of the data set.
        """
        names = tuple(label_names), tuple(observable_names)
        if self._aligned is None or self._aligned[:2] != names:
            block = replace(
                self._block,
                labels=_align(self._block.labels, self.label_names, names[0], -1),
                observables=_align(
                    self._block.observables, self.observable_names, names[1], np.nan
                ),
            )
            self._aligned = (*names, block)
        return self._aligned[2], self._order[begin:end]

    def content(
        self, begin: int, end: int, chosen: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.uint64]:
        """Digest chosen events of a slice, as `Run.content`.

        Parameters
        ----------
        begin, end : int
            First event, and the one behind the last.
        chosen : numpy.ndarray [n]
            Positions in the slice.

        Returns
        -------
        numpy.ndarray [n]
            uint64, as `content_of`.
        """
        events = self._order[begin:end][chosen]
        assert self._block.encoded is not None
        return content_of(self._block.encoded.take(events))


def bytes_of(block: EventBlock, encoded: EncodedEvents) -> int:
    """Count the bytes of events in a run, which do not depend on how they are cut into runs.

    Parameters
    ----------
    block : EventBlock
        The events.
    encoded : EncodedEvents
        Their particles and tokens.

    Returns
    -------
    int
        Bytes.
    """
    columns = (
        *(getattr(block, name) for name in _EVENT_COLUMNS if name != "event_type"),
        *(getattr(encoded, name) for name in _PARTICLE_COLUMNS),
        encoded.event_type,
        encoded.decay,
    )
    return sum(values.nbytes for values in columns if values is not None)


def _slice_of(hashes: npt.NDArray[np.uint64], begin: int, end: int) -> tuple[int, int]:
    first = int(np.searchsorted(hashes, np.uint64(begin)))
    if end >= 2**64:
        return first, len(hashes)
    return first, int(np.searchsorted(hashes, np.uint64(end)))


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
            if values.size:
                stream.write(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)
    return Run(
        path=path,
        columns=columns,
        n_events=len(block),
        source=int(block.source[0]) if len(block) else 0,
        label_names=tuple(label_names),
        observable_names=tuple(observable_names),
        has_label=bool(np.any(block.labels != -1)),
    )
