"""Events counted by score, label and event type.

The fit of the sampling rule, metrics, curves, working points and speedups all use these
counts: the events are read once, and a bootstrap resample costs one Poisson number per bin.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from smartbkg_tf.errors import InputError
from smartbkg_tf.events.table import EVENT_TYPES

Floats = npt.NDArray[np.float64]

#: Bins of about equal content for each of the two classes. A class with fewer events has a bin
#: for each of its distinct scores, so that nothing is lost.
_BINS = 4000


def known_scores(
    scores: npt.ArrayLike, labels: npt.ArrayLike
) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.bool_]]:
    """Give scores [m] and whether they pass of the events [n] whose label is known (0 or 1)."""
    s, y = np.asarray(scores), np.asarray(labels)
    if s.dtype.kind != "f":
        s = s.astype(np.float64)
    if s.ndim != 1 or s.shape != y.shape:
        raise ValueError(f"scores {s.shape} and labels {y.shape} differ in length")
    known = (y == 0) | (y == 1)
    s, passes = s[known], y[known] == 1
    if not len(s):
        raise InputError("no event has a known label, so nothing can be measured")
    if not np.isfinite(s).all():
        raise InputError(f"{int((~np.isfinite(s)).sum())} of {len(s)} scores are not finite")
    return s, passes


def require_both_classes(n_passing: float, n_failing: float) -> None:
    """Raise `InputError` when all events pass, or all fail."""
    if not (n_passing and n_failing):
        raise InputError(
            f"all {n_passing + n_failing:.0f} events {'pass' if n_passing else 'fail'}: no AUC "
            "without both kinds",
            next_step="use more events, or a skim with another retention",
        )


@dataclass(frozen=True)
class ScoreCounts:
    """Events counted by score, label and event type; bins in rising order of the score."""

    #: [bins] smallest score of each bin: the threshold that keeps this bin and those above.
    lowest: npt.NDArray[np.floating]
    score: Floats  # [bins] mean score of the events in each bin
    #: [halves, event types, 2, bins] failing (0) and passing (1) events by position in
    #: `EVENT_TYPES`; the last event type is "unknown". A single half or type where none were given.
    counts: Floats

    @classmethod
    def of(
        cls,
        scores: npt.ArrayLike,
        labels: npt.ArrayLike,
        event_type: npt.ArrayLike | None = None,
        second_half: npt.ArrayLike | None = None,
    ) -> ScoreCounts:
        """Count events [n] with known labels (1 passes, 0 does not, -1 unknown).

        `scores` are logits, or any other numbers that order events. They are counted by event type
        and by whether they belong to the second half, where these are given. `InputError` when no
        label is known or a score is not finite.
        """
        s, passes = known_scores(scores, labels)
        lowest = np.unique(np.concatenate([_quantiles(s[passes]), _quantiles(s[~passes])]))
        n_types = 1 if event_type is None else len(EVENT_TYPES) + 1
        shape = (1 if second_half is None else 2, n_types, 2, len(lowest))
        known = np.isin(labels, (0, 1))
        row = passes.astype(np.int32)
        if event_type is not None:
            row += 2 * (np.asarray(event_type)[known].astype(np.int32) % n_types)
        if second_half is not None:
            row += 2 * n_types * np.asarray(second_half)[known].astype(np.int32)
        place = np.searchsorted(lowest, s, side="right").astype(np.int32) - 1
        sums = np.bincount(place, weights=s)
        row = row * len(lowest) + place
        counts = np.bincount(row, minlength=math.prod(shape)).astype(np.float64).reshape(shape)
        return cls(lowest=lowest, score=sums / counts.sum(axis=(0, 1, 2)), counts=counts)

    def mean(self, scores: npt.ArrayLike, values: npt.ArrayLike) -> Floats:
        """Give the mean of values [n] in the bins of their scores [n]; 0 in bins without any."""
        place = np.searchsorted(self.lowest, scores, side="right") - 1
        number = np.bincount(place, minlength=len(self.lowest))
        sums = np.bincount(place, weights=values, minlength=len(self.lowest))
        return np.divide(sums, number, out=np.zeros_like(self.score), where=number > 0)

    @cached_property
    def failing(self) -> Floats:
        """Failing events [bins]."""
        return np.asarray(self.counts[:, :, 0].sum(axis=(0, 1)))

    @cached_property
    def passing(self) -> Floats:
        """Passing events [bins]."""
        return np.asarray(self.counts[:, :, 1].sum(axis=(0, 1)))

    @cached_property
    def everything(self) -> Floats:
        """All events [bins]."""
        return self.failing + self.passing

    @property
    def n_failing(self) -> float:
        """Number of failing events."""
        return float(self.failing.sum())

    @property
    def n_passing(self) -> float:
        """Number of passing events."""
        return float(self.passing.sum())

    @property
    def both_classes(self) -> bool:
        """Whether there are passing and failing events."""
        return self.n_passing > 0 and self.n_failing > 0

    def require_both_classes(self) -> None:
        """Raise `InputError` when all events pass, or all fail."""
        require_both_classes(self.n_passing, self.n_failing)

    def above(self) -> tuple[Floats, Floats]:
        """Count failing and passing events at or above `lowest` of each bin, [bins] each."""
        return self._above

    @cached_property
    def _above(self) -> tuple[Floats, Floats]:
        failing, passing = (np.cumsum(n[::-1])[::-1] for n in (self.failing, self.passing))
        return failing, passing

    def of_type(self, position: int) -> ScoreCounts:
        """Take the events of one event type; the last one is "unknown"."""
        return ScoreCounts(self.lowest, self.score, self.counts[:, position : position + 1])

    def of_half(self, half: int) -> ScoreCounts:
        """Take one half of the events, 0 or 1."""
        return ScoreCounts(self.lowest, self.score, self.counts[half : half + 1])

    def weighted(self, weights: Floats) -> ScoreCounts:
        """Weight the events by event type, `weights` [event types]."""
        return ScoreCounts(self.lowest, self.score, self.counts * weights[:, None, None])

    def with_retention(self, retention: float) -> ScoreCounts:
        """Weight the failing events so that this fraction of all events passes."""
        self.require_both_classes()
        weights = np.array([(1 / retention - 1) * self.n_passing / self.n_failing, 1.0])
        return ScoreCounts(self.lowest, self.score, self.counts * weights[:, None])

    def resamples(self, number: int, seed: int) -> Iterator[ScoreCounts]:
        """Draw Poisson bootstrap resamples; no class ever becomes empty."""
        random = np.random.default_rng(seed)
        for _ in range(number):
            drawn = random.poisson(self.counts).astype(np.float64)
            for label in (0, 1):
                while not drawn[:, :, label].any() and self.counts[:, :, label].any():
                    drawn[:, :, label] = random.poisson(self.counts[:, :, label])
            yield ScoreCounts(self.lowest, self.score, drawn)


def _quantiles(scores: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Take at most `_BINS` scores [m] with equally many events between, the smallest included."""
    ordered = np.sort(scores)
    number = min(_BINS, len(ordered))
    return ordered[np.arange(number) * len(ordered) // max(number, 1)]
