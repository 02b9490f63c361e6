"""Seeds that depend on the purpose of random numbers, never on the worker that draws them."""

from __future__ import annotations

import functools
import math

import numpy as np

from smartbkg_tf.errors import ConfigurationError

#: What random numbers are used for; the position is part of the seed.
PURPOSES = ("generator", "pythia", "detector")

#: Seeds that Pythia accepts: 1 to this number.
_PYTHIA_SEEDS = 900_000_000

#: Room for event types, as in the production number of an event's key.
_EVENT_TYPES_AT_MOST = 10


def generator(seed: int, event_type: int, chunk: int, purpose: str) -> np.random.Generator:
    """Give the random generator (PCG64) of one chunk and one of `PURPOSES`."""
    words = [seed, event_type, chunk, PURPOSES.index(purpose)]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(words)))


def pythia_seed(seed: int, event_type: int, chunk: int) -> int:
    """Give Pythia's seed of one chunk, 1 to 900 000 000.

    Within one `seed` no two chunks of any event types share one.
    """
    number = chunk * _EVENT_TYPES_AT_MOST + event_type
    if number >= _PYTHIA_SEEDS:
        raise ConfigurationError(
            f"chunk {chunk}: Pythia has seeds for {_PYTHIA_SEEDS // _EVENT_TYPES_AT_MOST} chunks",
            next_step="raise chunk_size, or divide the production between several values of seed",
        )
    start, step = _first_and_step(seed)
    return (start + step * number) % _PYTHIA_SEEDS + 1


@functools.lru_cache(maxsize=16)
def _first_and_step(seed: int) -> tuple[int, int]:
    """Tell where the seeds of the chunks begin and how far they lie apart.

    A step without a common factor with the number of seeds reaches every seed once before it comes
    round.
    """
    words = np.random.SeedSequence([seed, PURPOSES.index("pythia")]).generate_state(2, np.uint64)
    start, step = (int(word) % _PYTHIA_SEEDS for word in words)
    while math.gcd(step, _PYTHIA_SEEDS) != 1:
        step += 1
    return start, step
