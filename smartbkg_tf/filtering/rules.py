"""From a score to a sampling probability, a decision and a weight.

Several skims share one random number per event: skim s keeps the event if
``u < p_s``. Each skim alone sees exactly its own probability, so its weights
``1 / p_s`` are unbiased; and the event is simulated if *any* skim keeps it, that is if
``u < max_s p_s``, so that the probability of being simulated is ``max_s p_s`` (the
smallest possible; independent numbers would give ``1 - prod_s (1 - p_s)``). An analysis
that uses all simulated events takes the combined weight ``1 / max_s p_s``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from smartbkg_tf.errors import ConfigurationError
from smartbkg_tf.events.keys import uniform, uniform_of_one
from smartbkg_tf.settings.base import Field, settings
from smartbkg_tf.settings.plugins import Plugin

Floats = npt.NDArray[np.float64]


class Rule(Plugin):
    """Turn scores into probabilities of being kept.

    A custom rule inherits this class, is declared with
    `smartbkg_tf.settings.base.settings`, and is chosen by
    ``apply 'rule={_target_: my_module.MyRule, power: 0.7}'``.

    Examples
    --------
    ::

        import numpy as np

        from smartbkg_tf.filtering.rules import Rule
        from smartbkg_tf.settings.base import Field, settings

        @settings
        class MyRule(Rule):
            power: float = Field(default=0.5, gt=0)

            def probability(self, scores):
                return np.clip(1 / (1 + np.exp(-self.power * scores)), 0.05, 1.0)
    """

    def probability(self, scores: npt.ArrayLike) -> Floats:
        """Give the probability that each event is kept.

        Parameters
        ----------
        scores : array_like [n]
            Logits.

        Returns
        -------
        numpy.ndarray [n]
            float64 in (0, 1]. Weights are 1 / probability: an event that is never kept is lost
            for good.
        """
        raise NotImplementedError(f"{type(self).__name__} has no method probability(scores)")


def _without_nan(scores: npt.ArrayLike) -> Floats:
    values = np.asarray(scores, dtype=np.float64)
    if wrong := np.count_nonzero(np.isnan(values)):
        raise ValueError(f"{wrong} of {values.size} scores are NaN")
    return values


@settings
class SamplingRule(Rule):
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
    """

    a: float = Field(ge=0)
    b: float
    maximum_weight: float = Field(default=20.0, ge=1)

    def probability(self, scores: npt.ArrayLike) -> Floats:
        """Give the sampling probability of each event, in [1 / maximum_weight, 1]."""
        if self.a == 0.0:  # an infinite score would give 0 * inf
            return np.ones(_without_nan(scores).shape)
        probability = np.exp(np.minimum(self.a * (_without_nan(scores) - self.b), 0.0))
        result: Floats = np.maximum(probability, 1.0 / self.maximum_weight)
        return result


@settings
class ThresholdRule(Rule):
    """Keep events whose score reaches a threshold, without weights.

    Distributions of kept events are biased: what the network expects to fail is missing
    for good, and no weight brings it back.

    Parameters
    ----------
    threshold : float
        On the logit; 0.0 is a threshold like any other.
    """

    threshold: float

    def probability(self, scores: npt.ArrayLike) -> Floats:
        """Give 1 to events at or above the threshold and 0 to others."""
        return (_without_nan(scores) >= self.threshold).astype(np.float64)


@settings
class KeepAll(Rule):
    """Keep every event with weight 1: the method ``score``."""

    def probability(self, scores: npt.ArrayLike) -> Floats:
        """Give 1 to every event."""
        return np.ones(_without_nan(scores).shape)


def checked_probability(rule: Rule, scores: npt.NDArray[np.float32], *, biased: bool) -> Floats:
    """Ask a rule, which may be a user's, about scores [n]; only a biased one may give 0."""
    p = _asked(rule, scores)
    right = (p <= 1) & (p >= 0 if biased else p > 0)
    if not right.all():
        first = int(np.argmin(right))
        raise _not_a_probability(rule, p[first], scores[first])
    return p


def probability_of_one(rule: Rule, score: npt.NDArray[np.float32], *, biased: bool) -> float:
    """Ask a rule about one score [1], as `checked_probability` does about many."""
    p = float(_asked(rule, score)[0])
    if not (0 < p <= 1 or (biased and p == 0)):
        raise _not_a_probability(rule, p, score[0])
    return p


def _asked(rule: Rule, scores: npt.NDArray[np.float32]) -> Floats:
    try:
        p = np.asarray(rule.probability(scores), dtype=np.float64)
    except Exception as error:  # a user's rule may raise anything
        raise ConfigurationError(
            f"probability(scores) failed ({type(error).__name__}: {error})", where=_name(rule)
        ) from error
    if p.shape != scores.shape:
        raise ConfigurationError(
            f"probability(scores) gives shape {list(p.shape)} for {len(scores)} scores",
            where=_name(rule),
        )
    return p


def _not_a_probability(rule: Rule, p: float, score: float) -> ConfigurationError:
    return ConfigurationError(
        f"gives the probability {p:g} to the score {score:g}",
        where=_name(rule),
        next_step="probabilities must lie in (0, 1]: weights are 1 / probability",
    )


def _name(rule: Rule) -> str:
    return f"rule {type(rule).__module__}.{type(rule).__qualname__}"


@dataclass(frozen=True)
class Decision:
    """Whether each event is kept, and with which weight."""

    probability: Floats  # [n] of being kept
    kept: npt.NDArray[np.bool_]  # [n]
    weight: Floats  # [n] 1 / probability for kept events, 0 for others


def random_numbers(keys: Mapping[str, npt.NDArray[np.int64]], seed: int) -> Floats:
    """Give each event a random number in [0, 1), by its key and the seed alone.

    It does not depend on file, order, chunk or worker, and not on the number that assigns
    events to training, validation and test.
    """
    return np.asarray(uniform(keys, f"sampling/{seed}"), dtype=np.float64)


def random_number(key: Iterable[int], seed: int) -> float:
    """Give one event (experiment, run, event, production) the number of `random_numbers`."""
    return uniform_of_one(key, f"sampling/{seed}")


def decide(probability: npt.ArrayLike, uniform: npt.ArrayLike) -> Decision:
    """Keep events [n] where ``uniform < probability``: always for 1, never for 0."""
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
    """Decide whether any of several skims that share its random number keeps an event."""
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
