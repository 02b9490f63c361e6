"""A table-driven combiner: build decay candidates of all events from tracks and photons.

As in the Full Event Interpretation (Keck et al., Comput. Softw. Big Sci. 3 (2019) 6), particles are
combined bottom-up: pi0 and K_S, then D, D*, then B. Reactions are numbers in arrays, so
that one compiled loop serves every mode. Each candidate carries 64 bits that tell which tracks
(lower half) and clusters (upper half) it is made of; two candidates overlap if they share a bit.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from smartbkg_tf.generation.arrays import Floats, Integers, Mask
from smartbkg_tf.generation.skims.modes import (
    BY_BEAM,
    BY_DIFFERENCE,
    BY_MASS,
    MOST_DAUGHTERS,
    Reactions,
)
from smartbkg_tf.runtime.kernels import kernel

Bits = npt.NDArray[np.uint64]

#: Tracks and clusters of one event that the bits can name.
MOST_TRACKS, MOST_CLUSTERS = 32, 32

# What a candidate's row of numbers holds: four-momentum, then these. An edge is the largest
# distance of a mass from the middle of its window, in half windows: 1 at the cut.
_WEIGHT, _PURITY, _EDGES, _MASS, _NUMBERS = 4, 5, 6, 9, 10
_LIGHT, _CHARM, _EXCITED = 0, 1, 2

#: Above this mass a particle is neither a pi0 nor a K_S, GeV.
_LIGHT_MASS = 1.0


class Base(NamedTuple):
    """What the combiner begins with: one row per hypothesis, sorted by event."""

    vectors: Floats  # [n, 4] CMS (px, py, pz, E), GeV
    species: Integers  # [n] number of the species in `Reactions.species`
    bits: Integers  # [n] 0 to 63: what they are made of
    offsets: Integers  # [n_events + 1] rows of each event
    #: [n] 0, or 1 or 2 for hypotheses that the caller wants to know again (`Candidates.marked`).
    marks: Integers


class Cuts(NamedTuple):
    """What candidates must fulfil, beside the reactions' windows."""

    #: Natural logarithm of the smallest probability of a candidate, which is the product of
    #: purities and Gaussian factors.
    floor: float
    capacity: int  # how many candidates of each species are kept, the best ones
    beam_energy: float  # half the CMS energy, GeV
    minimum_mbc: float = 0.0  # of B candidates judged by the beams' energy, GeV
    maximum_delta_e: float = 0.0  # of the same, GeV


class Best(NamedTuple):
    """The best B candidate of each event."""

    weight: Floats  # [n_events] natural logarithm of its probability; -inf: no candidate
    #: [n_events] beam-constrained mass, GeV; NaN: no candidate. For `BY_ANGLE` cos(theta_BY).
    mbc: Floats
    delta_e: Floats  # [n_events] energy minus the beam's, GeV; NaN for `BY_ANGLE`
    reaction: Integers  # [n_events] -1: no candidate
    number: Integers  # [n_events] candidates


class Candidates(NamedTuple):
    """All B candidates, by event."""

    event: Integers  # [n]
    reaction: Integers  # [n]
    weight: Floats  # [n] as in `Best`, and the next two
    mbc: Floats
    delta_e: Floats
    purity: Floats  # [n] natural logarithm of the product of purities alone
    #: [n, 3] largest distance of a mass from the middle of its window in half windows, for pi0 and
    #: K_S, D, and D*; 0 where there are none.
    edges: Floats
    members: Bits  # [n] bits of what it is made of
    marked: Bits  # [n, 2] bits of those members whose hypothesis has mark 1, or 2


@kernel
def _keep(
    mother: int,
    row: Floats,
    bits: Bits,
    numbers: Floats,
    masks: Bits,
    counts: Integers,
) -> None:
    """Store a candidate; a full list drops its worst."""
    capacity = numbers.shape[1]
    place = counts[mother]
    if place == capacity:
        place = 0
        for i in range(1, capacity):
            if numbers[mother, i, _WEIGHT] < numbers[mother, place, _WEIGHT]:
                place = i
        if numbers[mother, place, _WEIGHT] >= row[_WEIGHT]:
            return
    else:
        counts[mother] += 1
    numbers[mother, place] = row
    masks[mother, place] = bits


@kernel
def _combine(
    vectors: Floats,
    species: Integers,
    bits: Integers,
    offsets: Integers,
    marks: Integers,
    selected: Mask,
    mothers: Integers,
    daughters: Integers,
    n_daughters: Integers,
    kinds: Integers,
    low: Floats,
    high: Floats,
    centre: Floats,
    width: Floats,
    prior: Floats,
    constrain: Mask,
    n_species: int,
    floor: float,
    capacity: int,
    beam_energy: float,
    minimum_mbc: float,
    maximum_delta_e: float,
    found: Floats,
    found_in: Integers,
    found_of: Bits,
) -> tuple[Floats, Floats, Floats, Integers, Integers]:
    """Find the best B candidate of every event, and list all while there is room.

    Arguments as in `Base`, `Reactions` and `Cuts`. ``found`` [most, 7] takes weight, Mbc, deltaE,
    purity and edges, ``found_in`` [most, 2] event and reaction, ``found_of`` [most, 3] the bits.
    """
    n_events = len(offsets) - 1
    n_reactions = len(mothers)
    best_weight = np.full(n_events, -np.inf)
    best_mbc = np.full(n_events, np.nan)
    best_delta_e = np.full(n_events, np.nan)
    best_reaction = np.full(n_events, -1, dtype=np.int64)
    n_candidates = np.zeros(n_events, dtype=np.int64)
    listed = 0
    # A skim needs neither purities nor edges and marks.
    listing = len(found) > 0

    numbers = np.zeros((n_species, capacity, _NUMBERS))
    masks = np.empty((n_species, capacity, 3), dtype=np.uint64)
    counts = np.zeros(n_species, dtype=np.int64)
    index = np.zeros(MOST_DAUGHTERS, dtype=np.int64)
    sums = np.zeros((MOST_DAUGHTERS + 1, _NUMBERS))
    used = np.zeros((MOST_DAUGHTERS + 1, 3), dtype=np.uint64)
    one = np.uint64(1)
    zero = np.uint64(0)
    base = np.zeros(_NUMBERS)
    base_bits = np.zeros(3, dtype=np.uint64)

    for event in range(n_events):
        if not selected[event]:
            continue
        counts[:] = 0
        for row in range(offsets[event], offsets[event + 1]):
            base[:4] = vectors[row]
            base_bits[:] = zero
            base_bits[0] = one << np.uint64(bits[row])
            base_bits[marks[row]] = base_bits[0]
            _keep(species[row], base, base_bits, numbers, masks, counts)
        for reaction in range(n_reactions):
            n = n_daughters[reaction]
            kind = kinds[reaction]
            depth = 0
            index[0] = 0
            while depth >= 0:
                daughter = daughters[reaction, depth]
                candidate = index[depth]
                if candidate >= counts[daughter]:
                    depth -= 1
                    if depth >= 0:
                        index[depth] += 1
                    continue
                members = masks[daughter, candidate, 0]
                if (members & used[depth, 0]) != zero:
                    index[depth] += 1
                    continue
                for i in range(_PURITY):
                    sums[depth + 1, i] = sums[depth, i] + numbers[daughter, candidate, i]
                used[depth + 1, 0] = used[depth, 0] | members
                if listing:
                    sums[depth + 1, _PURITY] = (
                        sums[depth, _PURITY] + numbers[daughter, candidate, _PURITY]
                    )
                    for i in range(_EDGES, _MASS):
                        sums[depth + 1, i] = max(sums[depth, i], numbers[daughter, candidate, i])
                    for i in range(1, 3):
                        used[depth + 1, i] = used[depth, i] | masks[daughter, candidate, i]
                energy = sums[depth + 1, 3]
                # Energies only grow.
                if kind == BY_BEAM and energy > beam_energy + maximum_delta_e:
                    index[depth] += 1
                    continue
                if depth + 1 < n:
                    depth += 1
                    same = daughters[reaction, depth] == daughter
                    index[depth] = candidate + 1 if same else 0
                    continue
                index[depth] += 1
                total = sums[n]
                total[_WEIGHT] += prior[reaction]
                if listing:
                    total[_PURITY] += prior[reaction]
                momentum_squared = total[0] * total[0] + total[1] * total[1] + total[2] * total[2]
                if kind >= BY_BEAM:
                    delta_e = np.nan
                    if kind == BY_BEAM:
                        delta_e = energy - beam_energy
                        if delta_e < -maximum_delta_e:
                            continue
                        mbc_squared = beam_energy * beam_energy - momentum_squared
                        if mbc_squared < minimum_mbc * minimum_mbc:
                            continue
                        mbc = np.sqrt(mbc_squared)
                        total[_WEIGHT] -= 0.5 * (delta_e / width[reaction]) ** 2
                    else:
                        mass = np.sqrt(max(energy * energy - momentum_squared, 0.0))
                        nominal = centre[reaction]
                        mbc = (2.0 * beam_energy * energy - nominal * nominal - mass * mass) / (
                            2.0
                            * np.sqrt(beam_energy * beam_energy - nominal * nominal)
                            * np.sqrt(momentum_squared)
                        )
                        if mbc < low[reaction] or mbc > high[reaction]:
                            continue
                    weight = total[_WEIGHT]
                    if weight < floor:
                        continue
                    n_candidates[event] += 1
                    if listed < len(found):
                        found[listed, 0] = weight
                        found[listed, 1] = mbc
                        found[listed, 2] = delta_e
                        found[listed, 3:] = total[_PURITY:_MASS]
                        found_in[listed, 0] = event
                        found_in[listed, 1] = reaction
                        found_of[listed] = used[n]
                        listed += 1
                    if weight > best_weight[event]:
                        best_weight[event] = weight
                        best_mbc[event] = mbc
                        best_delta_e[event] = delta_e
                        best_reaction[event] = reaction
                    continue
                mass = np.sqrt(max(energy * energy - momentum_squared, 0.0))
                value = mass
                if kind == BY_DIFFERENCE:
                    first = index[0] - (1 if n == 1 else 0)
                    value -= numbers[daughters[reaction, 0], first, _MASS]
                if value < low[reaction] or value > high[reaction]:
                    continue
                total[_WEIGHT] -= 0.5 * ((value - centre[reaction]) / width[reaction]) ** 2
                if total[_WEIGHT] < floor:
                    continue
                edge = abs(value - centre[reaction]) / (high[reaction] - centre[reaction])
                level = _EXCITED
                if kind == BY_MASS:
                    level = _LIGHT if centre[reaction] < _LIGHT_MASS else _CHARM
                total[_EDGES + level] = max(total[_EDGES + level], edge)
                if constrain[reaction]:
                    for i in range(4):
                        total[i] *= centre[reaction] / mass
                    mass = centre[reaction]
                total[_MASS] = mass
                _keep(mothers[reaction], total, used[n], numbers, masks, counts)
    return best_weight, best_mbc, best_delta_e, best_reaction, n_candidates


def _run(
    base: Base, reactions: Reactions, cuts: Cuts, selected: Mask | None, most: int
) -> tuple[Best, tuple[Floats, Integers, Bits]]:
    """Run the compiled loop, with room for a list of `most` candidates."""
    if selected is None:
        selected = np.ones(len(base.offsets) - 1, dtype=bool)
    room = (np.empty((most, 7)), np.empty((most, 2), np.int64), np.empty((most, 3), np.uint64))
    columns = reactions.columns()
    best = _combine(*base, selected, *columns, len(reactions.species), *cuts, *room)
    return Best(*best), room


def find_best(base: Base, reactions: Reactions, cuts: Cuts, selected: Mask | None = None) -> Best:
    """Find the best B candidate of every event, or of those `selected` [n_events].

    A semileptonic candidate Y lacks a massless neutrino. If it comes from a B, the angle between
    the two is given by cos(theta_BY) = (2 E_B E_Y - m_B^2 - m_Y^2) / (2 |p_B| |p_Y|) in the CMS
    (conservation of energy and momentum; basf2: ``cosThetaBetweenParticleAndNominalB``).
    """
    return _run(base, reactions, cuts, selected, 0)[0]


def find_candidates(base: Base, reactions: Reactions, cuts: Cuts) -> Candidates:
    """Find all B candidates of every event, sorted by event, and within an event by reaction."""
    # Counted first: their number is unknown, and a second run is cheaper than spare memory.
    most = int(_run(base, reactions, cuts, None, 0)[0].number.sum())
    _, (found, found_in, found_of) = _run(base, reactions, cuts, None, most)
    return Candidates(
        event=found_in[:, 0],
        reaction=found_in[:, 1],
        weight=found[:, 0],
        mbc=found[:, 1],
        delta_e=found[:, 2],
        purity=found[:, 3],
        edges=found[:, 4:],
        members=found_of[:, 0],
        marked=found_of[:, 1:],
    )
