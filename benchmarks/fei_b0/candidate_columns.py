"""Candidates of an event as columns of its particles.

What a skim combines, its candidates, is a list of its own for each event, but an event has one list
only: that of its particles. So the candidates are written beside the particles:

* ``candidate_WAY_N`` tells of each particle in which candidates it is: bit k of the
  number is candidate ``BITS * N + k``. The ways are `WAYS`: ``members`` in any way, ``renamed``
  members taken for something else than they are, ``displaced`` members taken for particles from
  a displaced vertex. 16 bits are exact in float32.
* All other ``candidate_`` columns describe candidate k in row k: ``candidate_is`` is 1 where there
  is one, ``candidate_reaction`` numbers the decay, further ones are values of order one.

An event with fewer particles than candidates keeps as many candidates as it has particles.
`benchmarks.fei_b0.candidate_network` reads these columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

#: How all names of these columns begin.
PREFIX = "candidate_"
#: In which ways a particle can be part of a candidate.
WAYS = ("members", "renamed", "displaced")
#: Candidates for each column of bits.
BITS = 16
#: Columns that every feature set with candidates has, beside those of bits.
IS, REACTION = "candidate_is", "candidate_reaction"


def bit_columns(most: int) -> tuple[str, ...]:
    """Name the columns that say of what candidates are made, way by way.

    `most` is the largest number of candidates of an event, a multiple of `BITS` (else ValueError).
    """
    if most < BITS or most % BITS:
        raise ValueError(f"{most} candidates: it must be a positive multiple of {BITS}")
    return tuple(f"{PREFIX}{way}_{n}" for way in WAYS for n in range(most // BITS))


def candidate_columns(
    offsets: Integers,
    event: Integers,
    place: Integers,
    part: Mapping[str, tuple[Integers, Integers]],
    values: Mapping[str, npt.ArrayLike],
    most: int,
) -> dict[str, Floats]:
    """Write candidates beside the particles of their events: columns [n_particles] by name.

    `offsets` [n_events + 1] are the rows of each event's particles, `event` and `place`
    [n_candidates] the event of each candidate and its number within it, 0 to ``most - 1`` (else
    ValueError). `part` gives for each of `WAYS` rows of particles, and the candidates (positions in
    `event`) that they are in, each pair once. `values` [n_candidates] are further columns by name,
    without `PREFIX`, ``reaction`` among them.
    """
    if len(place) and (place.min() < 0 or place.max() >= most):
        raise ValueError(f"numbers of candidates must lie between 0 and {most - 1}")
    n_particles = int(offsets[-1])
    columns = {name: np.zeros(n_particles) for name in bit_columns(most)}
    row = offsets[event] + place
    kept = row < offsets[event + 1]
    for way in WAYS:
        particle, candidate = part[way]
        chosen = kept[candidate]
        number, bit = np.divmod(place[candidate[chosen]], BITS)
        for n in range(most // BITS):
            here = number == n
            np.add.at(columns[f"{PREFIX}{way}_{n}"], particle[chosen][here], np.exp2(bit[here]))
    for name, numbers in {"is": np.ones(len(event)), **values}.items():
        columns[PREFIX + name] = np.zeros(n_particles)
        columns[PREFIX + name][row[kept]] = np.asarray(numbers, dtype=np.float64)[kept]
    return columns


def candidate_names(feature_names: Sequence[str]) -> list[str]:
    """Choose the columns that hold candidates; particle branches do not read them."""
    return [name for name in feature_names if name.startswith(PREFIX)]
