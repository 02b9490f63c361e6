"""What a file of the original project does not say, and how it is filled or translated."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt


def earlier_appearances(numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Count for every entry how often its value stood before.

    Parameters
    ----------
    numbers : numpy.ndarray [n]
        Any integers.

    Returns
    -------
    numpy.ndarray [n]
        int64; 0 for the first appearance.

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
    """Make a number of a file's content that stands in for a production number.

    Parameters
    ----------
    path : str or pathlib.Path
        The file.

    Returns
    -------
    int
        48 bits of SHA-256 over the size and up to 64 blocks of 64 kB, spread evenly over
        the file: a copy has the same number, another file has another.
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
    array_index: npt.NDArray[np.int64],
    offsets: npt.NDArray[np.int64],
) -> npt.NDArray[np.int32]:
    """Translate mother links of foreign files into positions within the event.

    Parameters
    ----------
    mother : numpy.ndarray [n_particles]
        arrayIndex of the mother.
    mother_pdg : numpy.ndarray [n_particles]
        0 for a particle without mother.
    array_index : numpy.ndarray [n_particles]
        Place of the particle in the generator's full list; it grows within an event.
    offsets : numpy.ndarray [n_events + 1]
        Where events begin.

    Returns
    -------
    numpy.ndarray [n_particles]
        int32; -1 for a particle without mother, for one that is its own mother (the first
        particle, in basf2's way of counting), and for a mother that was removed.
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
