"""The skim's candidates on generated particles, with what a detector might make of them.

The skim's combiner runs on generated particles (`benchmarks.fei_b0.replay`), which may also take
another name (a pion that of a kaon and the reverse, all others that of a pion: renamed) or seem
to come from a displaced vertex (displaced), within windows that are wider than the skim's. What
it finds is not what passes but what could: how likely each particle is found, renamed or
displaced, a network has to learn (`benchmarks.fei_b0.candidate_network`), trees are told roughly
(`candidate_features`).

`benchmarks.fei_b0.candidate_set` makes columns for networks of it.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numba
import numpy as np

from benchmarks.fei_b0.reading import Floats, Integers, Reading
from benchmarks.fei_b0.replay import Replay, Variation
from smartbkg_tf.generation.reconstruction import SPECIES
from smartbkg_tf.generation.skims.combiner import (
    MOST_TRACKS,
    Base,
    Bits,
    Candidates,
    find_candidates,
)
from smartbkg_tf.generation.skims.modes import BY_BEAM

#: Most candidates of an event.
MOST = 32
#: Marks of hypotheses.
RENAMED, DISPLACED = 1, 2
#: What a particle may be taken for instead.
OTHER_NAME = {"electron": "pion", "muon": "pion", "pion": "kaon", "kaon": "pion", "proton": "pion"}
#: Windows are so much wider than the skim's: a measured mass may fall into them.
WIDER = 1.3
#: The same for Mbc and deltaE, GeV.
WIDER_MBC, WIDER_DELTA_E = 0.01, 0.03
#: Candidates kept of each particle; the skim keeps 40 of fewer.
CAPACITY = 60
#: All candidates above this probability; the skim wants 3e-5.
LEAST = Variation(1e-7)
#: Natural logarithms of rough chances of a track and a photon to be found, and of another name
#: or place. Only the choice of the candidates that are kept depends on them.
FOUND_TRACK, FOUND_PHOTON, OTHERWISE = -0.12, -0.35, -3.0
#: A candidate is left out if a better one needs less, and its weight is not smaller by more.
SLACK = 0.5


def hypotheses(run: Replay) -> Base:
    """Give everything that the particles may be taken for.

    Parameters
    ----------
    run : Replay
        The skim on generated particles.

    Returns
    -------
    Base
        The replay's own hypotheses, and those marked `RENAMED` or `DISPLACED`.
    """
    tracks = run.reconstruction.tracks
    number = {name: i for i, name in enumerate(SPECIES)}
    other = np.array([number[OTHER_NAME[name]] for name in SPECIES])
    far = 2.0 * run.skim.displacement
    parts = [run.base]
    for mark, changed in (
        (RENAMED, replace(tracks, species=other[tracks.species])),
        (DISPLACED, replace(tracks, d0=np.full(len(tracks.d0), far))),
    ):
        view = run.view(replace(run.reconstruction, tracks=changed))
        base = run.skim.base_particles(view)
        parts.append(base._replace(marks=np.full(len(base.bits), mark)))
    event = np.concatenate(
        [np.repeat(np.arange(len(p.offsets) - 1), np.diff(p.offsets)) for p in parts]
    )
    vectors, species, bits, marks = (
        np.concatenate([getattr(p, name) for p in parts])
        for name in ("vectors", "species", "bits", "marks")
    )
    # What the first part holds already is neither renamed nor displaced.
    same = (event * 64 + bits) * 64 + species
    _, first = np.unique(same, return_index=True)
    kept = first[np.argsort(event[first], kind="stable")]
    n_rows = np.bincount(event[kept], minlength=len(run.base.offsets) - 1)
    return Base(
        np.ascontiguousarray(vectors[kept]),
        species[kept],
        bits[kept],
        np.concatenate([[0], np.cumsum(n_rows)]),
        marks[kept],
    )


def all_candidates(run: Replay) -> Candidates:
    """Find what could pass.

    Parameters
    ----------
    run : Replay
        The skim on generated particles.

    Returns
    -------
    Candidates
        Of all hypotheses, in wider windows.
    """
    reactions = run.reactions
    beam = reactions.kinds == BY_BEAM
    half = 0.5 * WIDER * (reactions.high - reactions.low)
    reactions = replace(
        reactions,
        low=np.where(beam, reactions.low, reactions.centre - half),
        high=np.where(beam, reactions.high, reactions.centre + half),
    )
    cuts = run.cuts._replace(
        capacity=CAPACITY,
        minimum_mbc=run.cuts.minimum_mbc - WIDER_MBC,
        maximum_delta_e=run.cuts.maximum_delta_e + WIDER_DELTA_E,
    )
    return find_candidates(hypotheses(run), reactions, cuts)


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _choose(starts: Integers, score: Floats, weight: Floats, bits: Bits, most: int) -> Integers:
    """Choose the candidates of largest score that are not implied by one chosen before."""
    zero = np.uint64(0)
    n_events = len(starts) - 1
    chosen = np.full((n_events, most), -1, dtype=np.int64)
    for event in range(n_events):
        begin, end = starts[event], starts[event + 1]
        n = 0
        for i in np.argsort(-score[begin:end], kind="mergesort"):
            row = begin + i
            implied = False
            for k in range(n):
                better = chosen[event, k]
                # The better one is made of members of this one, taken for the same.
                if (
                    bits[better, 0] & ~bits[row, 0] == zero
                    and (bits[better, 1] ^ bits[row, 1]) & bits[better, 0] == zero
                    and (bits[better, 2] ^ bits[row, 2]) & bits[better, 0] == zero
                    and weight[better] >= weight[row] - SLACK
                ):
                    implied = True
                    break
            if implied:
                continue
            chosen[event, n] = row
            n += 1
            if n == most:
                break
    return chosen


def members(bits: Bits) -> np.ndarray:
    """Spread bits.

    Parameters
    ----------
    bits : numpy.ndarray [n]
        uint64.

    Returns
    -------
    numpy.ndarray [n, 64]
        bool.
    """
    spread: np.ndarray = (bits[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1) > 0
    return spread


@dataclass(frozen=True)
class Chosen:
    """The candidates that are kept, by event, the likeliest first.

    Parameters
    ----------
    event, place : numpy.ndarray [n]
        Event, and number within it.
    candidates : Candidates
        What is known of them.
    mode : numpy.ndarray [n]
        int64: number of the B's decay mode, the same for B and anti-B.
    named : numpy.ndarray [n_events, 64]
        Row of the particle that a bit stands for; -1: none.
    selected : numpy.ndarray [n_events]
        bool: the replayed cuts on the whole event.
    number : numpy.ndarray [n_events]
        int64: candidates before the choice.
    threshold : float
        Natural logarithm of the probability that the skim wants.
    minimum_mbc : float
        GeV, of the skim.
    """

    event: Integers
    place: Integers
    candidates: Candidates
    mode: Integers
    named: Integers
    selected: np.ndarray
    number: Integers
    threshold: float
    minimum_mbc: float


def choose(reading: Reading, most: int = MOST) -> Chosen:
    """Find candidates, and choose.

    Parameters
    ----------
    reading : Reading
        The events.
    most : int, default `MOST`
        Most candidates of an event.

    Returns
    -------
    Chosen
        Without those that need more than a better one.
    """
    run = Replay(reading, LEAST)
    found = all_candidates(run)
    bits = np.concatenate([found.members[:, None], found.marked], axis=1)
    spread = members(found.members)
    otherwise = members(found.marked[:, 0] | found.marked[:, 1]).sum(axis=1)
    threshold = float(np.log(run.skim.minimum_probability))
    score = (
        np.minimum(found.weight - threshold, 1.0)
        + FOUND_TRACK * spread[:, :MOST_TRACKS].sum(axis=1)
        + FOUND_PHOTON * spread[:, MOST_TRACKS:].sum(axis=1)
        + OTHERWISE * otherwise
    )
    starts = np.searchsorted(found.event, np.arange(reading.n_events + 1))
    rows = _choose(starts, score, found.weight, bits, most)
    event, place = np.nonzero(rows >= 0)
    kept = rows[event, place]
    return Chosen(
        event=event,
        place=place,
        candidates=Candidates(*(a[kept] for a in found)),
        # Every mode of the B is followed by its charge conjugate.
        mode=(found.reaction[kept] - np.flatnonzero(run.reactions.kinds == BY_BEAM)[0]) // 2,
        named=run.named,
        selected=run.selected,
        number=np.diff(starts),
        threshold=threshold,
        minimum_mbc=run.skim.minimum_mbc,
    )


#: Rough efficiency of tracks and photons at high momentum, and of how fast they reach it: start and
#: scale, GeV. Numbers of a generic detector; nothing was fitted.
PLATEAU, TRACK_TURN_ON, PHOTON_TURN_ON = 0.9, (0.04, 0.06), (0.02, 0.05)
#: Rough chance of another name or place.
OTHER_CHANCE = 0.06
#: Imagined measurements of each event, candidates whose quantities trees read one by one, and
#: events at a time.
DRAWS, LISTED, AT_A_TIME = 64, 4, 1000
#: Quantities of each of these candidates.
LISTED_QUANTITIES = (
    *("chance", "weight", "purity", "mbc", "delta_e", "light", "charm", "excited"),
    *("tracks", "photons", "otherwise", "slowest_track", "softest_photon"),
)


def rough_chances(reading: Reading, rows: Integers) -> Floats:
    """Estimate efficiencies of particles.

    Parameters
    ----------
    reading : Reading
        The events.
    rows : numpy.ndarray [...]
        Rows of particles; -1: none.

    Returns
    -------
    numpy.ndarray [...]
        Between 0.02 and `PLATEAU`.
    """
    there = np.maximum(rows, 0)
    photon = reading.photon[there]
    size = np.where(photon, reading.laboratory[there, 3], reading.pt[there])
    start = np.where(photon, PHOTON_TURN_ON[0], TRACK_TURN_ON[0])
    scale = np.where(photon, PHOTON_TURN_ON[1], TRACK_TURN_ON[1])
    rise = 1.0 - np.exp(-np.maximum(size - start, 0.0) / scale)
    return np.asarray(np.clip(PLATEAU * rise, 0.02, PLATEAU))


def candidate_features(reading: Reading) -> dict[str, Floats]:
    """Describe the candidates to trees: what `benchmarks.fei_b0.candidate_network` learns, roughly.

    Parameters
    ----------
    reading : Reading
        The events.

    Returns
    -------
    dict of str to numpy.ndarray [n_events]
        ``passing``: share of imagined measurements with a candidate above the skim's threshold,
        if every particle is found with its rough chance; ``expected``: their mean number;
        ``all_candidates``, ``kept_candidates``; and the quantities of the likeliest candidates.
    """
    chosen = choose(reading)
    n = reading.n_events
    chances = rough_chances(reading, chosen.named)
    random = np.random.default_rng(1)
    drawn = random.random((64, DRAWS))
    columns: dict[str, Floats] = {
        "passing": np.zeros(n),
        "expected": np.zeros(n),
        "best_chance": np.full(n, np.nan),
        "sum_of_chances": np.zeros(n),
    }
    listed = {
        f"candidate_{k}_{name}": np.full(n, np.nan)
        for name in LISTED_QUANTITIES
        for k in range(LISTED)
    }
    sizes = np.where(
        reading.photon, reading.laboratory[:, 3], np.where(reading.track, reading.pt, np.inf)
    )
    first = np.searchsorted(chosen.event, np.arange(0, n + AT_A_TIME, AT_A_TIME))
    for begin, end in itertools.pairwise(first):
        if begin == end:
            continue
        event = chosen.event[begin:end]
        found = Candidates(*(a[begin:end] for a in chosen.candidates))
        used = members(found.members)
        otherwise = members(found.marked[:, 0] | found.marked[:, 1])
        plain = used & ~otherwise
        chance = chances[event]
        logarithm = (np.log(chance) * plain).sum(axis=1) + np.log(OTHER_CHANCE) * otherwise.sum(
            axis=1
        )
        # Low numbers find a particle, high ones give it another name or place.
        lost = drawn[None] >= chance[:, :, None]
        same = drawn < 1.0 - OTHER_CHANCE
        lacking = np.einsum("cb,cbd->cd", plain, lost) + otherwise.astype(np.int64) @ same
        alive = (lacking == 0) & (found.weight >= chosen.threshold)[:, None]
        events, start = np.unique(event, return_index=True)
        number = np.add.reduceat(alive.astype(np.int64), start, axis=0)
        columns["passing"][events] = (number > 0).mean(axis=1)
        columns["expected"][events] = number.mean(axis=1)
        columns["best_chance"][events] = np.maximum.reduceat(logarithm, start)
        columns["sum_of_chances"][events] = np.add.reduceat(np.exp(logarithm), start)
        member = chosen.named[event]
        size = np.where(used, sizes[np.maximum(member, 0)], np.inf)
        track, photon = size[:, :MOST_TRACKS].min(axis=1), size[:, MOST_TRACKS:].min(axis=1)
        quantities = (
            *(logarithm, found.weight, found.purity, found.mbc, found.delta_e, *found.edges.T),
            *(used[:, :MOST_TRACKS].sum(axis=1), used[:, MOST_TRACKS:].sum(axis=1)),
            *(otherwise.sum(axis=1), track, np.where(np.isinf(photon), np.nan, photon)),
        )
        order = np.lexsort((-logarithm, event))
        rank = np.arange(len(event)) - np.repeat(start, np.diff(np.append(start, len(event))))
        for name, values in zip(LISTED_QUANTITIES, quantities, strict=True):
            for k in range(LISTED):
                rows = order[rank == k]
                listed[f"candidate_{k}_{name}"][event[rows]] = np.asarray(values, dtype=np.float64)[
                    rows
                ]
    columns["all_candidates"] = np.log1p(chosen.number)
    columns["kept_candidates"] = np.bincount(chosen.event, minlength=n).astype(np.float64)
    return columns | listed
