"""Errors and bands of everything that is counted: one loop over Poisson bootstrap resamples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from smartbkg_tf.filtering.score_counts import Floats, ScoreCounts

#: Bounds of the central 68 % of the resamples.
_BAND = (0.1587, 0.8413)

#: What is calculated from counts: an array of one shape for every sample, NaN where undefined.
Quantity = Callable[[ScoreCounts], npt.ArrayLike]


def of(select: Callable[[ScoreCounts], ScoreCounts], quantity: Quantity) -> Quantity:
    """Calculate a quantity of some of the events, or of weighted ones."""
    return lambda sample: quantity(select(sample))


@dataclass(frozen=True)
class Measured:
    """A quantity, and what it is in each bootstrap resample."""

    value: Floats  # [...]
    replicas: Floats  # [resamples, ...]

    @property
    def error(self) -> Floats:
        """One standard deviation [...], of the resamples in which the quantity is defined."""
        defined = np.isfinite(self.replicas)
        number = defined.sum(axis=0)
        values = np.where(defined, self.replicas, 0.0)
        mean = values.sum(axis=0) / np.maximum(number, 1)
        squares = np.square(np.where(defined, values - mean, 0.0)).sum(axis=0)
        return np.asarray(np.where(number > 1, np.sqrt(squares / np.maximum(number - 1, 1)), 0.0))

    @property
    def band(self) -> tuple[Floats, Floats]:
        """Lower and upper end of the central 68 % [...], of resamples in which it is defined."""
        # NumPy's one for NaN calls itself for every column.
        undefined = bool(np.isnan(self.replicas).any())
        low, high = (np.nanquantile if undefined else np.quantile)(self.replicas, _BAND, axis=0)
        return low, high


def measure(
    counts: ScoreCounts, quantities: Mapping[str, Quantity], number: int, seed: int
) -> dict[str, Measured]:
    """Calculate quantities of the events and of `number` resamples of them, in one loop."""
    replicas: dict[str, list[npt.ArrayLike]] = {name: [] for name in quantities}
    for sample in counts.resamples(number, seed):
        for name, quantity in quantities.items():
            replicas[name].append(quantity(sample))
    return {
        name: Measured(np.asarray(quantity(counts)), np.array(replicas[name], dtype=np.float64))
        for name, quantity in quantities.items()
    }
