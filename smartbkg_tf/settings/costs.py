r"""What an event costs, and what a filter saves at equal effective statistics.

Let an event cost 1 to simulate and reconstruct, g to generate and n to score. Of N generated
events, those that pass the skim are the sample that an analysis wants.

Without a filter, N events cost N (g + 1) and give N_pass passing events of weight 1. With a filter
that keeps event i with probability p_i and weight 1 / p_i, they cost N (g + n) + sum_i p_i on
average. The effective number of the kept passing events is (sum w)^2 / sum w^2 (Kish, Survey
Sampling, 1965); the expectation of sum w is N_pass and that of sum w^2 is sum_pass 1 / p_i, hence
N_pass^2 / sum_pass 1 / p_i. The time per effective event, divided, is the speedup:

    S = (g + 1) / [ (g + n + <p>_all) <1 / p>_passing ]

Which p is best? With the posterior q_i = P(pass | what the network saw) and k = g + n,
(k + mean p) (mean q / p) is least where its derivative with respect to each p_i is zero:
p_i proportional to sqrt(q_i), cut at 1 (importance sampling with unequal costs). In the tail,
where the odds are small, sqrt(q) is exp(logit / 2): the slope a = 0.5.

A threshold keeps a fraction f of all and a fraction E (efficiency) of the passing events with
weight 1: S = (g + 1) E / (g + n + f), at the price of a bias.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from smartbkg_tf.settings.base import Field, settings


@settings
class CostSettings:
    """What an event costs, in any unit of time; only the ratios matter.

    Parameters
    ----------
    generation : float, default 0.01
        Generating it: less than a hundredth of the whole.
    network : float, default 0.001
        Encoding and scoring it: milliseconds against seconds.
    simulation : float, default 1
        Detector simulation and reconstruction.
    """

    generation: float = Field(default=0.01, ge=0)
    network: float = Field(default=0.001, ge=0)
    simulation: float = Field(default=1.0, gt=0)

    def ratio(self, mean_probability: Any, mean_inverse: Any) -> Any:
        """Give the time with a sampling filter over that without it, at equal effective statistics.

        From the mean sampling probability of all generated events and the mean of 1 / probability
        of passing ones, numbers or tensors; the inverse is the speedup.
        """
        generation, network = self.generation / self.simulation, self.network / self.simulation
        return (generation + network + mean_probability) * mean_inverse / (generation + 1.0)

    def speedup(self, mean_probability: float, mean_inverse: float) -> float:
        """Give the speedup of a sampling filter, the inverse of `ratio`."""
        return float(1.0 / self.ratio(mean_probability, mean_inverse))

    def threshold_speedup(self, kept_fraction: float, efficiency: float) -> float:
        """Give the speedup of a threshold for equal numbers of passing events, which are biased.

        From the kept fractions of all generated and of passing events.
        """
        generation, network = self.generation / self.simulation, self.network / self.simulation
        with_filter = generation + network + kept_fraction
        return float((generation + 1.0) * efficiency / with_filter) if with_filter > 0 else 0.0


@settings
class CostOverrides:
    """Costs of an event given explicitly, in the unit of the others.

    Parameters
    ----------
    generation : float, optional
        Generating it. Like the others, by default that for which the sampling rule of the run was
        fitted (``filter.json``); of predictions without a run, 0.01.
    network : float, optional
        Encoding and scoring it; of predictions without a run, 0.001.
    simulation : float, optional
        Detector simulation and reconstruction; of predictions without a run, 1.
    """

    generation: float | None = Field(default=None, ge=0)
    network: float | None = Field(default=None, ge=0)
    simulation: float | None = Field(default=None, gt=0)

    @property
    def given(self) -> dict[str, float]:
        """Those that were given."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def over(self, cost: CostSettings) -> CostSettings:
        """Replace some of the costs."""
        return replace(cost, **self.given)
