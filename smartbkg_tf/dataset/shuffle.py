"""Bring any number of events into the order of their hashes, with little memory.

Events are kept as long as they fit. Then they are divided by the upper bits of their hashes into
`FANOUT` files, which are read one after the other; one that does not fit is divided again by the
next bits. Every event is written as often as there are levels, so the cost is linear.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np

from smartbkg_tf.encoding.events import Events, concatenate, read_frames

#: Bytes of events that are kept in memory; while they are put together they take twice as much.
MEMORY_BYTES = 128 << 20

#: Files of a level, as a power of two, and how many that is.
BITS = 6
FANOUT = 1 << BITS

#: Bits that a hash has.
_ALL_BITS = 64


class Shuffle:
    """Events by ranges of their hashes.

    Files are written to `folder`, which need not exist, when more than `memory_bytes` (by default
    `MEMORY_BYTES`) would be kept; `used_bits` upper bits of the hashes are those that all events
    share.
    """

    def __init__(self, folder: Path, memory_bytes: int | None = None, used_bits: int = 0) -> None:
        self._folder = folder
        self._memory_bytes = MEMORY_BYTES if memory_bytes is None else memory_bytes
        self._used_bits = used_bits
        self._held: list[Events] = []
        self._n_bytes = 0
        self._spilled = False

    def add(self, events: Events) -> None:
        """Add events, which have a column ``hash``."""
        self._held.append(events)
        self._n_bytes += events.n_bytes
        # Events of equal hashes cannot be divided.
        if self._n_bytes > self._memory_bytes and self._used_bits + BITS <= _ALL_BITS:
            self._spill()

    def _spill(self) -> None:
        """Write what is kept, some of it at a time."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._spilled, self._n_bytes = True, 0
        held, self._held = deque(self._held), []
        while held:
            some = [held.popleft()]
            n_bytes = some[0].n_bytes
            while held and n_bytes < self._memory_bytes // 4:
                some.append(held.popleft())
                n_bytes += some[-1].n_bytes
            self._write(concatenate(some))

    def _write(self, events: Events) -> None:
        bucket = (events["hash"] << np.uint64(self._used_bits)) >> np.uint64(_ALL_BITS - BITS)
        order = np.argsort(bucket, kind="stable")
        cuts = np.searchsorted(bucket[order], np.arange(FANOUT + 1, dtype=np.uint64))
        for number, (begin, end) in enumerate(pairwise(cuts.tolist())):
            if end > begin:
                with open(self._folder / f"{number:02d}", "ab") as stream:
                    events.take(order[begin:end]).write(stream)

    def buckets(self) -> Iterator[Events]:
        """Give all events, once: all hashes of a bucket are smaller than those of the next one."""
        if not self._spilled:
            held, self._held = self._held, []
            if held:
                yield concatenate(held)
            return
        if self._held:
            self._spill()
        for number in range(FANOUT):
            file = self._folder / f"{number:02d}"
            if file.exists():
                further = Shuffle(
                    self._folder / f"{number:02d}.d", self._memory_bytes, self._used_bits + BITS
                )
                for events in read_frames(file):
                    further.add(events)
                file.unlink()
                yield from further.buckets()
