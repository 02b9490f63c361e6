"""Pairs of particles of the same event, for all events at once."""

from __future__ import annotations

import numpy as np

from smartbkg_tf.generation.arrays import Floats, Integers
from smartbkg_tf.generation.beams import mass_squared
from smartbkg_tf.generation.reconstruction import offsets_of


def pairs_by_event(first: Integers, second: Integers, n_events: int) -> tuple[Integers, Integers]:
    """Give the positions of all pairs of equal event in two lists.

    ``first`` [n] and ``second`` [m] are the events of their entries, ascending.
    """
    offsets = offsets_of(second, n_events)
    counts = np.diff(offsets)[first]
    left = np.repeat(np.arange(len(first)), counts)
    start = np.repeat(np.cumsum(counts) - counts, counts)
    right = offsets[:-1][first[left]] + np.arange(len(left)) - start
    return left, right


def invariant_mass(vectors: Floats) -> Floats:
    """Invariant mass [n], GeV, of (px, py, pz, E) [n, 4]; 0 for space-like vectors."""
    return np.sqrt(np.maximum(mass_squared(vectors), 0.0))


def nearest(value: Floats, target: float, event: Integers, n_events: int) -> Floats:
    """Of each event's values [n] give the one nearest to a target [n_events]; NaN without any."""
    result = np.full(n_events, np.nan)
    # The last one written wins: the nearest.
    order = np.argsort(-np.abs(value - target), kind="stable")
    result[event[order]] = value[order]
    return result
