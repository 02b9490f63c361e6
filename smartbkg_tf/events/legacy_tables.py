"""Training tables of the original project, which do not say everything about their events.

They have no key ``events``. An event ends where evtNum or label changes or arrayIndex does
not grow, and the missing parts of its key are filled in: experiment -1, run = how often this
evtNum came before in the file, production = a number made from the file's content, the same
wherever the file lies and whatever it is called. Events of different files, and equal
numbers within one, so stay different. Their skim is called ``label``.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from smartbkg_tf.events.columns import integers, labels_from
from smartbkg_tf.events.pandas_frames import Frame
from smartbkg_tf.events.table import UNKNOWN_EVENT_TYPE, EventTable

Integers = npt.NDArray[np.int64]

#: Rows of the particle table that are looked at together to find where events begin.
_BLOCK_ROWS = 2**18

#: The skim of a file that names none.
UNNAMED_SKIM = "label"


def events_of_particles(frame: Frame, path: Path) -> EventTable:
    """Find the events of a particle table: offsets into its rows, no particles.

    Two neighbours of equal evtNum and label are told apart by their arrayIndex; only an event
    without particles leaves no trace.
    """
    begins: list[Integers] = []
    numbers: list[Integers] = []
    labels: list[npt.NDArray[np.int8]] = []
    for low in range(0, frame.n_rows, _BLOCK_ROWS):
        # One row before tells whether the first one begins an event.
        first = max(low - 1, 0)
        raw = frame.read(("label", "evtNum", "arrayIndex"), first, low + _BLOCK_ROWS)
        event, place = (
            integers(raw[name], where=f"{frame.where}: {name}", first_row=first)
            for name in ("evtNum", "arrayIndex")
        )
        label = labels_from(raw["label"], where=f"{frame.where}: label", first_row=first)
        new = (event[1:] != event[:-1]) | (label[1:] != label[:-1]) | (place[1:] <= place[:-1])
        found = np.flatnonzero(np.concatenate([[low == 0], new]))
        begins.append(found + first)
        numbers.append(event[found])
        labels.append(label[found])
    return _events(
        np.concatenate([*begins, [frame.n_rows]]).astype(np.int64),
        np.concatenate([*numbers, np.empty(0, dtype=np.int64)]),
        np.concatenate([*labels, np.empty(0, dtype=np.int8)]),
        path,
    )


def events_of_strings(frame: Frame, path: Path) -> EventTable:
    """Find the events of decay strings that come alone; without labels if the table has none."""
    labelled = "label" in frame.names
    raw = frame.read(("evtNum", "label") if labelled else ("evtNum",), 0, frame.n_rows)
    numbers = integers(raw["evtNum"], np.int64, where=f"{frame.where}: evtNum")
    labels = labels_from(raw["label"], where=f"{frame.where}: label") if labelled else None
    return _events(np.zeros(len(numbers) + 1, dtype=np.int64), numbers, labels, path)


def _events(
    offsets: Integers, numbers: Integers, labels: npt.NDArray[np.int8] | None, path: Path
) -> EventTable:
    n_events = len(numbers)
    return EventTable(
        particles={},
        offsets=offsets,
        keys={
            "experiment": np.full(n_events, -1, dtype=np.int64),
            "run": earlier_appearances(numbers),
            "event": numbers,
            "production": np.full(n_events, content_number(path), dtype=np.int64),
        },
        event_type=np.full(n_events, UNKNOWN_EVENT_TYPE, dtype=np.int8),
        labels={} if labels is None else {UNNAMED_SKIM: labels},
    )


def earlier_appearances(numbers: Integers) -> Integers:
    """Count for every entry [n] how often its value came before.

    Examples
    --------
    >>> earlier_appearances(np.array([5, 7, 5, 5])).tolist()
    [0, 0, 1, 2]
    """
    order = np.argsort(numbers, kind="stable")
    ordered = numbers[order]
    begins = np.ones(len(numbers), dtype=bool)
    begins[1:] = ordered[1:] != ordered[:-1]
    first = np.maximum.accumulate(np.where(begins, np.arange(len(numbers)), 0))
    result = np.empty(len(numbers), dtype=np.int64)
    result[order] = np.arange(len(numbers)) - first
    return result


def content_number(path: str | Path) -> int:
    """Make a number from a file's content that replaces a production number.

    48 bits of SHA-256 over the size and up to 64 blocks of 64 kB, spread evenly over the
    file: a copy has the same number, another file has another.
    """
    blocks, width = 64, 65536
    with open(path, "rb") as stream:
        size = stream.seek(0, 2)
        digest = hashlib.sha256(str(size).encode())
        last = max(size - width, 0)
        places = sorted({last * i // (blocks - 1) for i in range(blocks)})
        for place in places:
            stream.seek(place)
            digest.update(stream.read(width))
    return int.from_bytes(digest.digest()[:6], "big")


def mother_positions(
    mother: npt.NDArray[np.int32],
    mother_pdg: npt.NDArray[np.int32],
    array_index: Integers,
    offsets: Integers,
) -> npt.NDArray[np.int32]:
    """Translate mother links, given as arrayIndex, into positions within the event.

    -1 for a particle without mother (`mother_pdg` 0), for one that is its own mother (the first
    particle, in basf2's way of counting), and for a mother that was removed. `array_index`
    grows within an event.
    """
    n_particles = len(mother)
    event = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    # (event, arrayIndex) grows from row to row, so that one search finds every mother.
    low = min(int(array_index.min(initial=0)), int(mother.min(initial=0)))
    width = max(int(array_index.max(initial=0)), int(mother.max(initial=0))) - low + 1
    row = np.searchsorted(event * width + array_index - low, event * width + mother - low)
    found = row < n_particles
    row[~found] = 0
    found &= (event[row] == event) & (array_index[row] == mother) if n_particles else found
    position = np.where(found, row - offsets[:-1][event], -1)
    own = position == np.arange(n_particles) - offsets[:-1][event]
    return np.where((mother_pdg == 0) | own, -1, position).astype(np.int32)
