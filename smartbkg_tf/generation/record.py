"""Pythia's event record as flat columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.generation.arrays import Floats, Integers, Mask
from smartbkg_tf.generation.beams import Collision, rotation_to

#: PDG code of the Y(4S).
UPSILON_4S = 300553


@dataclass
class Record:
    """Rows of Pythia's event record, of many events, as flat columns."""

    code: Integers  # [n] PDG codes
    status: Integers  # [n] Pythia's
    mother: Integers  # [n] row of the first mother in these columns, -1 for none
    event: Integers  # [n] number of the event; -1 for rows of no event
    momentum: Floats  # [n, 4] (px, py, pz, E), GeV, laboratory
    mass: Floats  # [n] GeV
    vertex: Floats  # [n, 4] production (x, y, z, ct), mm, relative to the interaction

    def __len__(self) -> int:
        """Count rows."""
        return len(self.code)

    def to_laboratory(self, collision: Collision) -> None:
        """Turn the z axis to the beams, and boost from the centre-of-mass system, in place."""
        turn = rotation_to(collision.axis)
        for vectors in (self.momentum, self.vertex):
            vectors[:, :3] = vectors[:, :3] @ turn.T
            vectors[:] = collision.to_laboratory(vectors)

    @property
    def final(self) -> Mask:
        """Rows of particles that do not decay [n]."""
        return self.status > 0


def join_records(records: Sequence[Record]) -> Record:
    """Put records one after the other; events keep their numbers."""
    starts = np.cumsum([0] + [len(record) for record in records])
    joined = {
        f.name: np.concatenate([getattr(record, f.name) for record in records])
        for f in fields(Record)
    }
    joined["mother"] = np.concatenate(
        [
            np.where(record.mother >= 0, record.mother + start, -1)
            for record, start in zip(records, starts, strict=False)
        ]
    )
    return Record(**joined)


def read_batch(batch: Any, *, pairs: bool) -> Record:
    """Read the arrays that ``Pythia.nextBatch`` returns, in Pythia's frame.

    With `pairs` one entry holds many events, one for each Y(4S); else there is one event per entry.
    """
    listing = batch.layout.content("prt")
    offsets = np.asarray(listing.offsets.data, dtype=np.int64)
    start, stop = int(offsets[0]), int(offsets[-1])
    content = listing.content

    def column(name: str, inside: Any = content) -> npt.NDArray[np.generic]:
        return np.asarray(inside.content(name).data)[start:stop]

    n = stop - start
    momentum = np.stack([column(c, content.content("p")) for c in ("px", "py", "pz", "e")], axis=-1)
    vertex = np.zeros((n, 4))
    option = content.content("vProd")
    index = np.asarray(option.index.data)[start:stop]
    has = index >= 0
    for i, name in enumerate(("px", "py", "pz", "e")):
        vertex[has, i] = np.asarray(option.content.content(name).data)[index[has]]

    entry = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    first = column("mother1").astype(np.int64)
    # Row 0 of each entry is the whole system, and no mother.
    mother = np.where(first > 0, first + (offsets[:-1] - start)[entry], -1)
    code = column("id").astype(np.int64)
    if pairs:
        root = np.where(mother >= 0, mother, np.arange(n))
        while True:
            further = root[root]
            if np.array_equal(further, root):
                break
            root = further
        number = np.where(code == UPSILON_4S, np.cumsum(code == UPSILON_4S) - 1, -1)
        event = number[root]
    else:
        event = entry.copy()
        event[offsets[:-1] - start] = -1
    return Record(
        code=code,
        status=column("status").astype(np.int64),
        mother=mother,
        event=event,
        momentum=momentum,
        mass=np.array(column("m"), dtype=np.float64),
        vertex=vertex,
    )
