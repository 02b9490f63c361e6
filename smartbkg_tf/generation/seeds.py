"""Random numbers that depend on what they are for, never on who draws them."""

from __future__ import annotations

import numpy as np

#: What random numbers are used for; the position is part of the seed.
PURPOSES = ("generator", "pythia", "detector")


def sequence(seed: int, event_type: int, chunk: int, purpose: str) -> np.random.SeedSequence:
    """Give the seed of one chunk and one purpose.

    Parameters
    ----------
    seed : int
        The user's seed.
    event_type : int
        Position in `smartbkg_tf.events.table.EVENT_TYPES`.
    chunk : int
        Number of the chunk.
    purpose : str
        One of `PURPOSES`.

    Returns
    -------
    numpy.random.SeedSequence
        Independent for every combination.

    Raises
    ------
    ValueError
        For an unknown purpose.
    """
    return np.random.SeedSequence([seed, event_type, chunk, PURPOSES.index(purpose)])


def generator(seed: int, event_type: int, chunk: int, purpose: str) -> np.random.Generator:
    """Give the random generator of one chunk and one purpose.

    Parameters
    ----------
    seed, event_type, chunk, purpose
        As in `sequence`.

    Returns
    -------
    numpy.random.Generator
        PCG64.
    """
    return np.random.Generator(np.random.PCG64(sequence(seed, event_type, chunk, purpose)))


def pythia_seed(seed: int, event_type: int, chunk: int) -> int:
    """Give Pythia's seed of one chunk.

    Parameters
    ----------
    seed, event_type, chunk
        As in `sequence`.

    Returns
    -------
    int
        1 to 899 999 999: the range that Pythia's Marsaglia-Zaman generator accepts is 1 to
        900 000 000.
    """
    word = int(sequence(seed, event_type, chunk, "pythia").generate_state(1)[0])
    return word % 899_999_999 + 1
