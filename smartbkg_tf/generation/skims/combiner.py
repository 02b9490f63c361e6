"""A table-driven combiner: build decay candidates of all events from tracks and photons.

As in the Full Event Interpretation (Keck et al., Comput. Softw. Big Sci. 3 (2019) 6), particles are
combined bottom-up: pi0 and K_S, then D, D*, then B. Reactions are numbers in arrays, so
that one compiled loop serves every mode. Each candidate carries 64 bits that tell which tracks
(lower half) and clusters (upper half) it is made of; two candidates overlap if they share a bit.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

#: Tracks and clusters of one event that the bits can name.
MOST_TRACKS, MOST_CLUSTERS = 32, 32

#: Most daughters of a reaction.
MOST_DAUGHTERS = 6

#: How a reaction's candidates are judged: mass; mass minus the first daughter's mass; beam
#: constraint; angle to the B of a semileptonic decay.
BY_MASS, BY_DIFFERENCE, BY_BEAM, BY_ANGLE = 0, 1, 2, 3


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _keep(
    mother: int,
    vector: Floats,
    mass: float,
    mask: np.uint64,
    weight: float,
    vectors: Floats,
    masses: Floats,
    masks: npt.NDArray[np.uint64],
    weights: Floats,
    counts: Integers,
) -> None:
    """Store a candidate; a full list gives up its worst."""
    capacity = weights.shape[1]
    place = counts[mother]
    if place == capacity:
        place = 0
        for i in range(1, capacity):
            if weights[mother, i] < weights[mother, place]:
                place = i
        if weights[mother, place] >= weight:
            return
    else:
        counts[mother] += 1
    vectors[mother, place] = vector
    masses[mother, place] = mass
    masks[mother, place] = mask
    weights[mother, place] = weight


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def combine(
    base_vectors: Floats,
    base_species: Integers,
    base_bit: Integers,
    offsets: Integers,
    selected: npt.NDArray[np.bool_],
    mothers: Integers,
    daughters: Integers,
    n_daughters: Integers,
    kinds: Integers,
    low: Floats,
    high: Floats,
    centre: Floats,
    width: Floats,
    prior: Floats,
    floor: Floats,
    constrain: npt.NDArray[np.bool_],
    n_species: int,
    capacity: int,
    beam_energy: float,
    minimum_mbc: float,
    maximum_delta_e: float,
) -> tuple[Floats, Floats, Floats, Integers, Integers]:
    """Find the best B candidate of every event.

    A semileptonic candidate Y lacks a massless neutrino. If it comes from a B, the angle between
    the two is given by cos(theta_BY) = (2 E_B E_Y - m_B^2 - m_Y^2) / (2 |p_B| |p_Y|) in the CMS
    (conservation of energy and momentum; basf2: ``cosThetaBetweenParticleAndNominalB``).

    Parameters
    ----------
    base_vectors : numpy.ndarray [n, 4]
        Particles to begin with, CMS (px, py, pz, E), GeV; one row per hypothesis.
    base_species : numpy.ndarray [n]
        Their species.
    base_bit : numpy.ndarray [n]
        0 to 63: what they are made of.
    offsets : numpy.ndarray [n_events + 1]
        Rows of each event.
    selected : numpy.ndarray [n_events]
        Events to look at.
    mothers, n_daughters, kinds : numpy.ndarray [n_reactions]
        int64. Reactions run in this order.
    daughters : numpy.ndarray [n_reactions, MOST_DAUGHTERS]
        int64; equal species stand side by side.
    low, high : numpy.ndarray [n_reactions]
        Window of mass or mass difference, GeV; of cos(theta_BY) for `BY_ANGLE`.
    centre, width : numpy.ndarray [n_reactions]
        The weight falls by ``((m - centre) / width)**2 / 2``; for `BY_ANGLE` `centre` is the
        mass of the B, and the weight does not fall.
    prior : numpy.ndarray [n_reactions]
        Weight (natural logarithm) of the mode.
    floor : numpy.ndarray [n_reactions]
        Candidates of less weight are dropped.
    constrain : numpy.ndarray [n_reactions]
        Scale the four-momentum so that the mass is `centre` (pi0).
    n_species, capacity : int
        Number of species; the best `capacity` candidates of each are kept.
    beam_energy : float
        Half the CMS energy, GeV.
    minimum_mbc, maximum_delta_e : float
        GeV.

    Returns
    -------
    tuple of numpy.ndarray [n_events]
        weight (-inf: no candidate), Mbc and deltaE of the candidate of largest weight (NaN:
        none; for `BY_ANGLE` cos(theta_BY) stands in the place of Mbc), its reaction (-1: none),
        and the number of candidates.
    """
    n_events = len(offsets) - 1
    n_reactions = len(mothers)
    best_weight = np.full(n_events, -np.inf)
    best_mbc = np.full(n_events, np.nan)
    best_delta_e = np.full(n_events, np.nan)
    best_reaction = np.full(n_events, -1, dtype=np.int64)
    n_candidates = np.zeros(n_events, dtype=np.int64)

    vectors = np.empty((n_species, capacity, 4))
    masses = np.empty((n_species, capacity))
    masks = np.empty((n_species, capacity), dtype=np.uint64)
    weights = np.empty((n_species, capacity))
    counts = np.zeros(n_species, dtype=np.int64)
    index = np.zeros(MOST_DAUGHTERS, dtype=np.int64)
    sums = np.zeros((MOST_DAUGHTERS + 1, 4))
    used = np.zeros(MOST_DAUGHTERS + 1, dtype=np.uint64)
    weight_sums = np.zeros(MOST_DAUGHTERS + 1)
    one = np.uint64(1)
    zero = np.uint64(0)

    for event in range(n_events):
        if not selected[event]:
            continue
        counts[:] = 0
        for row in range(offsets[event], offsets[event + 1]):
            _keep(
                base_species[row],
                base_vectors[row],
                0.0,
                one << np.uint64(base_bit[row]),
                0.0,
                vectors,
                masses,
                masks,
                weights,
                counts,
            )
        for reaction in range(n_reactions):
            n = n_daughters[reaction]
            mother = mothers[reaction]
            depth = 0
            index[0] = 0
            while depth >= 0:
                species = daughters[reaction, depth]
                candidate = index[depth]
                if candidate >= counts[species]:
                    depth -= 1
                    if depth >= 0:
                        index[depth] += 1
                    continue
                mask = masks[species, candidate]
                if (mask & used[depth]) != zero:
                    index[depth] += 1
                    continue
                for i in range(4):
                    sums[depth + 1, i] = sums[depth, i] + vectors[species, candidate, i]
                weight = weight_sums[depth] + weights[species, candidate]
                energy = sums[depth + 1, 3]
                # Energies only grow.
                if kinds[reaction] == BY_BEAM and energy > beam_energy + maximum_delta_e:
                    index[depth] += 1
                    continue
                if depth + 1 < n:
                    used[depth + 1] = used[depth] | mask
                    weight_sums[depth + 1] = weight
                    depth += 1
                    same = daughters[reaction, depth] == species
                    index[depth] = candidate + 1 if same else 0
                    continue
                index[depth] += 1
                weight += prior[reaction]
                momentum_squared = (
                    sums[n, 0] * sums[n, 0] + sums[n, 1] * sums[n, 1] + sums[n, 2] * sums[n, 2]
                )
                if kinds[reaction] == BY_BEAM:
                    delta_e = energy - beam_energy
                    if delta_e < -maximum_delta_e:
                        continue
                    mbc_squared = beam_energy * beam_energy - momentum_squared
                    if mbc_squared < minimum_mbc * minimum_mbc:
                        continue
                    weight -= 0.5 * (delta_e / width[reaction]) ** 2
                    if weight < floor[reaction]:
                        continue
                    n_candidates[event] += 1
                    if weight > best_weight[event]:
                        best_weight[event] = weight
                        best_mbc[event] = np.sqrt(mbc_squared)
                        best_delta_e[event] = delta_e
                        best_reaction[event] = reaction
                    continue
                mass = np.sqrt(max(energy * energy - momentum_squared, 0.0))
                if kinds[reaction] == BY_ANGLE:
                    nominal = centre[reaction]
                    cosine = (2.0 * beam_energy * energy - nominal * nominal - mass * mass) / (
                        2.0
                        * np.sqrt(beam_energy * beam_energy - nominal * nominal)
                        * np.sqrt(momentum_squared)
                    )
                    if cosine < low[reaction] or cosine > high[reaction]:
                        continue
                    if weight < floor[reaction]:
                        continue
                    n_candidates[event] += 1
                    if weight > best_weight[event]:
                        best_weight[event] = weight
                        best_mbc[event] = cosine
                        best_reaction[event] = reaction
                    continue
                value = mass
                if kinds[reaction] == BY_DIFFERENCE:
                    value -= masses[daughters[reaction, 0], index[0] - (1 if n == 1 else 0)]
                if value < low[reaction] or value > high[reaction]:
                    continue
                weight -= 0.5 * ((value - centre[reaction]) / width[reaction]) ** 2
                if weight < floor[reaction]:
                    continue
                vector = sums[n].copy()
                if constrain[reaction]:
                    vector *= centre[reaction] / mass
                    mass = centre[reaction]
                _keep(
                    mother,
                    vector,
                    mass,
                    used[n - 1] | mask,
                    weight,
                    vectors,
                    masses,
                    masks,
                    weights,
                    counts,
                )
    return best_weight, best_mbc, best_delta_e, best_reaction, n_candidates
