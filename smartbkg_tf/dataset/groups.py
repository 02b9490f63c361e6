"""Groups of events read from the disk ahead of their use, block by block.

A memory map reads a page when it is touched: on a cold disk that is one small read after
the other, and every page that was touched counts as memory of the process. Here the blocks
of a group are read whole into a buffer, in a thread, while the group before is used. What
is resident is a few groups, however large the data set is; no map of it is needed.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from smartbkg_tf.dataset.store import map_path
from smartbkg_tf.encoding.encoded import EncodedEvents, offsets_of
from smartbkg_tf.encoding.pad import pad, pad_into
from smartbkg_tf.errors import InputError

Array = npt.NDArray[Any]

#: Groups that are held: the one in use, the one being read, and one that a batch overlaps.
HELD = 3

#: Blocks hold gaps when only some events are used; below this share events are picked singly.
DENSE = 1 / 3


class Order(Protocol):
    """An order of events in groups: `order.EpochOrder` or `order.InOrder`."""

    @property
    def n_groups(self) -> int:
        """Count the groups."""
        ...

    def groups(self, begin: int, end: int) -> range:
        """Name the groups of a stretch of places."""
        ...

    def ranges(self, group: int) -> npt.NDArray[np.int64]:
        """Give the stretches of the dataset that a group is made of."""
        ...


@dataclass(frozen=True)
class Group:
    """Events of some stretches of a dataset, in memory.

    Parameters
    ----------
    encoded : EncodedEvents
        All events of the stretches.
    begins, ends : numpy.ndarray [n_stretches]
        int64 increasing positions in the dataset.
    first : numpy.ndarray [n_stretches]
        int64 position in `encoded` of the first event of a stretch.
    """

    encoded: EncodedEvents
    begins: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]

    def locate(
        self, rows: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Find events.

        Parameters
        ----------
        rows : numpy.ndarray [n]
            int64 positions in the dataset.

        Returns
        -------
        events : numpy.ndarray [n]
            int64 positions in `encoded`; without meaning where `held` is False.
        held : numpy.ndarray [n]
            bool.
        """
        stretch = np.searchsorted(self.begins, rows, side="right") - 1
        held = (stretch >= 0) & (rows < self.ends[stretch])
        return self.first[stretch] + rows - self.begins[stretch], held


class MapReader:
    """Read stretches of a ragged dataset into memory, without mapping it.

    Parameters
    ----------
    directory : pathlib.Path
        The dataset directory.
    maps : dict of str to dict
        Map -> shape and dtype, from ``dataset.json``.
    names : sequence of str
        Maps that are needed, offsets included.

    Raises
    ------
    InputError
        When a map cannot be opened.
    """

    def __init__(self, directory: Path, maps: dict[str, dict[str, Any]], names: Sequence[str]):
        self._files: dict[str, int] = {}
        self._layout = {
            name: (np.dtype(maps[name]["dtype"]), tuple(maps[name]["shape"][1:])) for name in names
        }
        self._paths = {name: map_path(directory, name) for name in names}
        self._n_features = (
            int(maps["particle_input"]["shape"][1]) if "particle_input" in maps else 0
        )
        try:
            for name, path in self._paths.items():
                self._files[name] = os.open(path, os.O_RDONLY)
        except OSError as error:
            _close(self._files)
            raise InputError(f"cannot be read ({error.strerror})", where=path) from error
        # Closed with the reader, whoever holds it last.
        weakref.finalize(self, _close, self._files)

    def read(self, ranges: npt.NDArray[np.int64]) -> Group:
        """Read whole stretches.

        Parameters
        ----------
        ranges : numpy.ndarray [n, 2]
            int64 increasing first positions, and those behind the last.

        Returns
        -------
        Group
            Their events.

        Raises
        ------
        InputError
            When a map ends too early or cannot be read.
        """
        n_events = (ranges[:, 1] - ranges[:, 0]).astype(np.int64)
        total = int(n_events.sum())
        nothing = np.zeros(total + 1, dtype=np.int64)
        parts: dict[str, Any] = {"continuous": np.empty((0, self._n_features), np.float32)}
        offsets, decay_offsets = nothing, nothing
        particle_rows = token_rows = None
        if "particle_offsets" in self._files:
            offsets, particle_rows = self._offsets("particle_offsets", ranges)
        if "decay_offsets" in self._files:
            decay_offsets, token_rows = self._offsets("decay_offsets", ranges)
        # The kernel is told first about everything that comes, so that the disk never waits.
        wanted = [
            (name, token_rows if name == "decay_input" else particle_rows)
            for name in self._files
            if not name.endswith("_offsets") and name != "event_type_input"
        ]
        if "event_type_input" in self._files:
            wanted.append(("event_type_input", ranges))
        for name, rows in wanted:
            self._announce(name, rows)
        columns = {name: self._rows(name, rows) for name, rows in wanted}
        empty = np.empty(0, dtype=np.int16)
        parts["continuous"] = columns.get("particle_input", parts["continuous"])
        encoded = EncodedEvents(
            offsets=offsets,
            charge=columns.get("charge"),
            pdg=columns.get("pdg_input", empty),
            mother_pdg=columns.get("mother_pdg_input", empty),
            mother_index=columns.get("mother_index_input", empty),
            decay=columns.get("decay_input", empty),
            decay_offsets=decay_offsets,
            event_type=columns.get("event_type_input", np.empty(0, np.int8)),
            **parts,
        )
        return Group(encoded, ranges[:, 0], ranges[:, 1], offsets_of(n_events)[:-1])

    def _offsets(
        self, name: str, ranges: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Offsets in the buffer, and the rows of the map that the stretches take."""
        extended = ranges + np.array([0, 1])
        values = self._rows(name, extended)
        lengths, rows, begin = [], np.empty_like(ranges), 0
        for i, (first, last) in enumerate(ranges.tolist()):
            part = values[begin : begin + last - first + 1]
            lengths.append(np.diff(part))
            rows[i] = part[0], part[-1]
            begin += len(part)
        return offsets_of(np.concatenate(lengths)), rows

    def _announce(self, name: str, rows: npt.NDArray[np.int64] | None) -> None:
        dtype, trailing = self._layout[name]
        width = dtype.itemsize * int(np.prod(trailing, dtype=np.int64))
        if rows is None or not hasattr(os, "posix_fadvise"):
            return
        for first, last in rows.tolist():
            os.posix_fadvise(
                self._files[name], first * width, (last - first) * width, os.POSIX_FADV_WILLNEED
            )

    def _rows(self, name: str, rows: npt.NDArray[np.int64] | None) -> Array:
        assert rows is not None
        dtype, trailing = self._layout[name]
        width = dtype.itemsize * int(np.prod(trailing, dtype=np.int64))
        out = np.empty((int((rows[:, 1] - rows[:, 0]).sum()), *trailing), dtype=dtype)
        if out.nbytes == 0:
            return out
        view = out.reshape(-1).view(np.uint8).data
        at = 0
        for first, last in rows.tolist():
            end = at + (last - first) * width
            place = first * width
            while at < end:
                n = os.preadv(self._files[name], [view[at:end]], place)
                if n == 0:
                    raise InputError(
                        "the map ends too early: it was changed while it was read",
                        where=self._paths[name],
                    )
                at += n
                place += n
        return out


def _close(files: dict[str, int]) -> None:
    while files:
        os.close(files.popitem()[1])


class GroupCache:
    """Groups of the orders in use, each read once and ahead of its first event.

    Parameters
    ----------
    reader : MapReader
        Of the dataset.
    """

    def __init__(self, reader: MapReader) -> None:
        self._reader = reader
        self._held: dict[tuple[int, int], Future[Group]] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="groups")

    def batch(
        self,
        order: Order,
        epoch: int,
        places: tuple[int, int],
        rows: npt.NDArray[np.int64],
        names: Sequence[str],
        max_particles: int,
        max_tokens: int,
    ) -> dict[str, Array]:
        """Make one batch.

        Parameters
        ----------
        order : Order
            Of the epoch.
        epoch : int
            Its number.
        places : tuple of int
            Stretch of the epoch that holds all of the batch.
        rows : numpy.ndarray [batch]
            int64 positions in the dataset.
        names : sequence of str
            Inputs.
        max_particles, max_tokens : int
            Widths.

        Returns
        -------
        dict of str to numpy.ndarray
            As `encoding.pad.pad`.
        """
        needed = order.groups(*places)
        futures = [self._get(order, epoch, group) for group in needed]
        if needed.stop < order.n_groups:
            self._get(order, epoch, needed.stop)
        if len(futures) == 1:
            group = futures[0].result()
            return pad(group.encoded, group.locate(rows)[0], names, max_particles, max_tokens)
        batch: dict[str, Array] = {}
        for future in futures:
            group = future.result()
            events, held = group.locate(rows)
            at = np.flatnonzero(held)
            pad_into(
                batch, len(rows), at, group.encoded, events[at], names, max_particles, max_tokens
            )
        return batch

    def _get(self, order: Order, epoch: int, group: int) -> Future[Group]:
        key = (epoch, group)
        with self._lock:
            future = self._held.pop(key, None)
            if future is None:
                future = self._pool.submit(lambda: self._reader.read(order.ranges(group)))
            self._held[key] = future  # the newest stands last
            while len(self._held) > HELD:
                self._held.pop(next(iter(self._held)))
            return future
