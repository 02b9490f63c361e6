"""Ranges of shuffle hashes of all sorted runs: the merge.

A range is a contiguous slice of every run. Read and put into the order of the hashes, slice by
slice, ranges one after the other are the shuffled data set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.dataset.blocks import EventBlock, order_of, put_rows
from smartbkg_tf.dataset.runs import MemoryRun, Run
from smartbkg_tf.encoding.encoded import EventGatherer, offsets_of
from smartbkg_tf.events.memory import bytes_of_array
from smartbkg_tf.runtime.scratch import Scratch


class Range:
    """One range of hashes of all runs, in the order of the data set.

    Parameters
    ----------
    runs : sequence of Run or MemoryRun
        All runs, in any order.
    begin, end : int
        Range of hashes.
    label_names, observable_names : sequence of str
        Columns to give.
    with_events : bool
        Read the encoded events too.
    scratch : Scratch, optional
        Lends the memory of what is read from files; the range holds until it is lent again.
    """

    def __init__(
        self,
        runs: Sequence[Run | MemoryRun],
        begin: int,
        end: int,
        label_names: Sequence[str],
        observable_names: Sequence[str],
        *,
        with_events: bool,
        scratch: Scratch | None = None,
    ) -> None:
        slices = [(run, *run.slice_of_hashes(begin, end)) for run in runs]
        slices = [(run, first, last) for run, first, last in slices if last > first]
        parts = [
            run.read(first, last, label_names, observable_names, with_events, scratch)
            for run, first, last in slices
        ]
        borders = offsets_of([last - first for _, first, last in slices])
        hashes = np.concatenate(
            [block.hash[events] for block, events in parts] or [np.empty(0, np.uint64)]
        )
        order = np.argsort(hashes)
        ordered = hashes[order]
        again = np.zeros(len(order), dtype=np.bool_)
        again[1:] = ordered[1:] == ordered[:-1]
        again[:-1] |= again[1:]
        self._parts = [(block.encoded, events) for block, events in parts]
        self._block: EventBlock | None = None
        if again.any():
            # Events that may have the same key: only these are compared.
            content = np.zeros(len(order), dtype=np.uint64)
            chosen = np.sort(order[again])
            cuts = np.searchsorted(chosen, borders)
            for i, (run, first, last) in enumerate(slices):
                mine = chosen[cuts[i] : cuts[i + 1]]
                if len(mine):
                    content[mine] = run.content(first, last, mine - borders[i])
            in_turn = [np.arange(a, b) for a, b in pairwise(borders.tolist())]
            whole = replace(_put_together(parts, in_turn), content=content)
            order = order_of(whole)
            self._block = whole.take(order)
        self._set_places(order, borders)
        if parts and self._block is None:
            self._block = _put_together(parts, self._places)

    def _set_places(self, order: npt.NDArray[np.int64], borders: npt.NDArray[np.int64]) -> None:
        """Note where the events of each part stand in the order; -1: nowhere."""
        places = np.full(int(borders[-1]), -1, dtype=np.int64)
        places[order] = np.arange(len(order))
        self._places = [places[a:b] for a, b in pairwise(borders.tolist())]

    def __len__(self) -> int:
        """Count the events."""
        return 0 if self._block is None else len(self._block)

    @property
    def block(self) -> EventBlock:
        """Everything but the encoded events; not for an empty range."""
        assert self._block is not None
        return self._block

    def keep(self, kept: npt.NDArray[np.int64]) -> None:
        """Drop all other events.

        Parameters
        ----------
        kept : numpy.ndarray [n]
            Increasing positions in the order.
        """
        new = np.full(len(self.block), -1, dtype=np.int64)
        new[kept] = np.arange(len(kept))
        self._block = self.block.take(kept)
        for i, places in enumerate(self._places):
            moved = new[places]
            stays = moved >= 0
            self._places[i] = moved[stays]
            encoded, events = self._parts[i]
            self._parts[i] = encoded, events[stays]

    def gather(self, begin: int, end: int, scratch: Scratch | None = None) -> EventBlock:
        """Put encoded events together.

        Parameters
        ----------
        begin, end : int
            First event in the order, and the one behind the last.
        scratch : Scratch, optional
            Lends the memory of the encoded events.

        Returns
        -------
        EventBlock
            With encoded events.
        """
        block = self.block.slice(begin, end)
        like = self._parts[0][0]
        assert like is not None
        gatherer = EventGatherer(
            like, offsets_of(block.n_particles), offsets_of(block.n_tokens), scratch
        )
        for (encoded, events), places in zip(self._parts, self._places, strict=True):
            assert encoded is not None
            chosen = slice(None)
            if begin > 0 or end < len(self.block):
                # Equal hashes apart, the places of a run's events increase.
                inside = (places >= begin) & (places < end)
                if not inside.any():
                    continue
                chosen = slice(int(np.argmax(inside)), len(inside) - int(np.argmax(inside[::-1])))
                if not inside[chosen].all():
                    gatherer.put(encoded, events[inside], places[inside] - begin)
                    continue
            gatherer.put(encoded, events[chosen], places[chosen] - begin)
        return replace(block, encoded=gatherer.finish())


def _put_together(
    parts: Sequence[tuple[EventBlock, npt.NDArray[np.int64]]],
    places: Sequence[npt.NDArray[np.int64]],
) -> EventBlock:
    """Put chosen events of each part at their places; all columns but the encoded events."""
    n = sum(map(len, places))
    columns: dict[str, npt.NDArray[Any]] = {}
    for name in (field.name for field in fields(EventBlock) if field.name != "encoded"):
        like = getattr(parts[0][0], name)
        columns[name] = np.empty((n, *like.shape[1:]), dtype=like.dtype)
    out = tuple(bytes_of_array(values) for values in columns.values())
    widths = np.array([values.nbytes // max(n, 1) for values in columns.values()])
    for (block, events), mine in zip(parts, places, strict=True):
        put_rows(
            tuple(bytes_of_array(getattr(block, name)) for name in columns),
            events,
            out,
            mine,
            widths,
        )
    return EventBlock(**columns, encoded=None)
