"""Pairs of particles of the same event, for all events at once."""

from __future__ import annotations

import numpy as np

from smartbkg_tf.generation.beams import mass_squared
from smartbkg_tf.generation.reconstruction import Floats, Integers, offsets_of


def pairs_by_event(first: Integers, second: Integers, n_events: int) -> tuple[Integers, Integers]:
    """Join two lists by event.

    Parameters
    ----------
    first : numpy.ndarray [n]
        Event of each entry, ascending.
    second : numpy.ndarray [m]
        Event of each entry, ascending.
    n_events : int
        Number of events.

    Returns
    -------
    tuple of numpy.ndarray [n_pairs]
        Positions in the first and in the second list of all pairs of equal event.
    """
    offsets = offsets_of(second, n_events)
    counts = np.diff(offsets)[first]
    left = np.repeat(np.arange(len(first)), counts)
    start = np.repeat(np.cumsum(counts) - counts, counts)
    right = offsets[:-1][first[left]] + np.arange(len(left)) - start
    return left, right


def invariant_mass(vectors: Floats) -> Floats:
    """Invariant mass, 0 for space-like vectors.

    Parameters
    ----------
    vectors : numpy.ndarray [n, 4]
        (px, py, pz, E), GeV.

    Returns
    -------
    numpy.ndarray [n]
        GeV.
    """
    return np.sqrt(np.maximum(mass_squared(vectors), 0.0))


def nearest(value: Floats, target: float, event: Integers, n_events: int) -> Floats:
    """Of each event's values give the one nearest to a target.

    Parameters
    ----------
    value : numpy.ndarray [n]
        Candidates.
    target : float
        What they are compared with.
    event : numpy.ndarray [n]
        Their event.
    n_events : int
        Number of events.

    Returns
    -------
    numpy.ndarray [n_events]
        NaN for events without candidates.
    """
    result = np.full(n_events, np.nan)
    # The last one written wins: the nearest.
    order = np.argsort(-np.abs(value - target), kind="stable")
    result[event[order]] = value[order]
    return result
