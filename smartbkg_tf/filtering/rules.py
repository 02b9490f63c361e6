"""From a score to a sampling probability, a decision and a weight.

Several skims share one random number per event: skim s keeps the event if
``u < p_s``. Each skim alone sees exactly its own probability, so its weights
``1 / p_s`` are unbiased; and the event goes on if *any* skim keeps it, that is if
``u < max_s p_s``, so that the probability of being simulated is ``max_s p_s`` (the
smallest possible; independent numbers would give ``1 - prod_s (1 - p_s)``). An analysis
that uses all simulated events takes the combined weight ``1 / max_s p_s``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class Rule(Protocol):
    """Anything that turns scores into probabilities of being kept."""

    def probability(self, scores: npt.ArrayLike) -> Floats:
        """Give the probability that each event is kept.

        Parameters
        ----------
        scores : array_like [n]
            Logits.

        Returns
        -------
        numpy.ndarray [n]
            float64 in [0, 1].
        """
        ...


def _checked(scores: npt.ArrayLike) -> Floats:
    values = np.asarray(scores, dtype=np.float64)
    if np.isnan(values).any():
        raise ValueError(f"{int(np.isnan(values).sum())} of {values.size} scores are NaN")
    return values


@dataclass(frozen=True)
class SamplingRule:
    """Keep events with a probability that rises exponentially with the score.

    With ``e = a (score - b)`` the probability is 1 for ``e > 0``, 1 / maximum_weight for
    ``e < -ln(maximum_weight)``, and ``exp(e)`` between: the rule of basf2's
    SmartBackground module. a = 0.5 makes it proportional to the square root of the odds.

    Parameters
    ----------
    a : float
        Slope per unit of logit; not negative.
    b : float
        Score (logit) from which on every event is kept.
    maximum_weight : float, default 20
        Largest weight, at least 1.

    Raises
    ------
    ValueError
        When a number is not finite or out of range.
    """

    a: float
    b: float
    maximum_weight: float = 20.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in ("a", "b", "maximum_weight"):
            if not np.isfinite(getattr(self, name)):
                raise ValueError(f"{name} must be finite, not {getattr(self, name)}")
        if self.a < 0:
            raise ValueError(f"a must not be negative, not {self.a}")
        if self.maximum_weight < 1:
            raise ValueError(f"maximum_weight must be at least 1, not {self.maximum_weight}")

    def probability(self, scores: npt.ArrayLike) -> Floats:
        """Give the sampling probability of each event.

        Parameters
        ----------
        scores : array_like [n]
            Logits.

        Returns
        -------
        numpy.ndarray [n]
            float64 in [1 / maximum_weight, 1].

        Raises
        ------
        ValueError
            When a score is NaN.
        """
        if self.a == 0.0:  # an infinite score would give 0 * inf
            return np.ones(_checked(scores).shape)
        exponent = self.a * (_checked(scores) - self.b)
        lowest = -np.log(self.maximum_weight)
        inside = np.exp(np.clip(exponent, lowest, 0.0))
        result: Floats = np.where(exponent < lowest, 1.0 / self.maximum_weight, inside)
        return result


@dataclass(frozen=True)
class ThresholdRule:
    """Keep events whose score reaches a threshold, without weights.

    Distributions of kept events are biased: what the network believes to fail is absent
    for good, and no weight brings it back.

    Parameters
    ----------
    threshold : float
        On the logit; 0.0 is a threshold like any other.

    Raises
    ------
    ValueError
        When the threshold is not finite.
    """

    threshold: float

    def __post_init__(self) -> None:
        """Check the number."""
        if not np.isfinite(self.threshold):
            raise ValueError(f"threshold must be finite, not {self.threshold}")

    def probability(self, scores: npt.ArrayLike) -> Floats:
        """Give 1 to events at or above the threshold and 0 to others.

        Parameters
        ----------
        scores : array_like [n]
            Logits.

        Returns
        -------
        numpy.ndarray [n]
            float64, 0 or 1.

        Raises
        ------
        ValueError
            When a score is NaN.
        """
        return (_checked(scores) >= self.threshold).astype(np.float64)


@dataclass(frozen=True)
class KeepAll:
    """Keep every event with weight 1: the method ``score``."""

    def probability(self, scores: npt.ArrayLike) -> Floats:
        """Give 1 to every event.

        Parameters
        ----------
        scores : array_like [n]
            Logits.

        Returns
        -------
        numpy.ndarray [n]
            Ones.

        Raises
        ------
        ValueError
            When a score is NaN.
        """
        return np.ones(_checked(scores).shape)


@dataclass(frozen=True)
class Decision:
    """What becomes of each event.

    Parameters
    ----------
    probability : numpy.ndarray [n]
        float64, the probability of being kept.
    kept : numpy.ndarray [n]
        bool.
    weight : numpy.ndarray [n]
        float64: 1 / probability for kept events, 0 for others.
    """

    probability: Floats
    kept: npt.NDArray[np.bool_]
    weight: Floats


def random_numbers(keys: Mapping[str, npt.NDArray[np.int64]], seed: int) -> Floats:
    """Give each event its random number, by its key and the seed alone.

    The number does not depend on file, order, chunk or worker, and not on the number
    that decides about training, validation and test.

    Parameters
    ----------
    keys : mapping of str to numpy.ndarray [n]
        experiment, run, event, production.
    seed : int
        Another seed, other numbers.

    Returns
    -------
    numpy.ndarray [n]
        float64 in [0, 1).
    """
    from smartbkg_tf.events.keys import uniform

    return np.asarray(uniform(keys, f"sampling/{seed}"), dtype=np.float64)


def decide(probability: npt.ArrayLike, uniform: npt.ArrayLike) -> Decision:
    """Keep events by their probabilities and random numbers.

    Parameters
    ----------
    probability : array_like [n]
        In [0, 1].
    uniform : array_like [n]
        In [0, 1), from `random_numbers`.

    Returns
    -------
    Decision
        Kept where ``uniform < probability``: always for 1, never for 0.

    Raises
    ------
    ValueError
        When lengths differ or a probability is outside [0, 1].
    """
    p = np.asarray(probability, dtype=np.float64)
    u = np.asarray(uniform, dtype=np.float64)
    if p.shape != u.shape:
        raise ValueError(f"{p.shape} probabilities for {u.shape} random numbers")
    if not np.all((p >= 0.0) & (p <= 1.0)):
        raise ValueError("a probability lies outside [0, 1]")
    kept = u < p
    weight = np.zeros_like(p)
    np.divide(1.0, p, out=weight, where=kept)
    return Decision(probability=p, kept=kept, weight=weight)


def combine(decisions: Sequence[Decision]) -> Decision:
    """Decide whether an event goes on for any of several skims that share its random number."""
    p = np.stack([decision.probability for decision in decisions], axis=1)
    kept = np.stack([decision.kept for decision in decisions], axis=1)
    any_kept: npt.NDArray[np.bool_] = np.any(kept, axis=1)
    # With one number u < p for several skims is u < max p.
    if not np.array_equal(any_kept, np.take_along_axis(kept, p.argmax(axis=1)[:, None], 1)[:, 0]):
        raise ValueError("the skims' decisions do not share their random numbers")
    largest = p.max(axis=1)
    weight = np.zeros_like(largest)
    np.divide(1.0, largest, out=weight, where=any_kept)
    return Decision(probability=largest, kept=any_kept, weight=weight)
