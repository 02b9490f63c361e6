"""How well any input could predict the labels: the limit set by the randomness of the detector.

Event i passes with a probability p_i that `benchmarks.fei_b0.reruns` estimates: k_i of n reruns
pass. With infinitely many reruns p_i itself would be the best score. Two ways there from finite n:

- **Mixture.** The counts k are binomial with p drawn from an unknown distribution g(p). Its
  maximum-likelihood estimate (Kiefer and Wolfowitz, Ann. Math. Stat. 27 (1956) 887; on a grid,
  by expectation maximisation) gives the AUC and the speedup of the score p in closed form, with
  the labels' own chance averaged out:
  AUC = sum_pq g(p) g(q) p (1 - q) [p > q, half for p = q] / (mean p (1 - mean p)),
  speedup as in `smartbkg_tf.settings.costs` with sampling probability min(1, max(1/20, c sqrt p)).
- **Estimated scores.** The AUC of k_i against the benchmark's own labels for growing n, averaged
  over all choices of the n reruns. It rises towards the ceiling from below, as the mixture
  predicts for the same n: the check.

Only the second uses the labels that the models are scored with.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from smartbkg_tf.errors import InputError
from smartbkg_tf.evaluation.metrics import Estimate
from smartbkg_tf.settings.costs import CostSettings

Floats = npt.NDArray[np.float64]

#: Probabilities that the mixture may hold.
_GRID = np.concatenate([[0.0], np.geomspace(1e-4, 0.02, 40), np.linspace(0.025, 1.0, 196)])
_MAXIMUM_WEIGHT = 20.0


@dataclass(frozen=True)
class Mixture:
    """A distribution of the probability to pass.

    Parameters
    ----------
    probability : numpy.ndarray [m]
        Rising.
    weight : numpy.ndarray [m]
        Sums to 1.
    """

    probability: Floats
    weight: Floats

    @property
    def retention(self) -> float:
        """Mean probability."""
        return float(self.weight @ self.probability)

    def auc(self) -> float:
        """AUC of the probability as score.

        Returns
        -------
        float
            Area under the ROC curve.
        """
        passing = self.weight * self.probability
        failing = self.weight * (1.0 - self.probability)
        below = np.cumsum(failing) - 0.5 * failing
        return float(passing @ below / (passing.sum() * failing.sum()))

    def speedup(self, cost: CostSettings) -> float:
        """Best speedup by sampling with the probability c sqrt(p).

        Parameters
        ----------
        cost : CostSettings
            Costs of generation and network.

        Returns
        -------
        float
            Of the best c, with weights of at most 20.
        """
        passing = self.weight * self.probability / self.retention
        best = 0.0
        for c in np.geomspace(0.2, 20.0, 400):
            kept = np.clip(c * np.sqrt(self.probability), 1.0 / _MAXIMUM_WEIGHT, 1.0)
            best = max(best, cost.speedup(float(self.weight @ kept), float(passing @ (1.0 / kept))))
        return best

    def auc_of_counts(self, number: int) -> float:
        """Give the expected AUC of k of `number` reruns as score, against independent labels.

        Parameters
        ----------
        number : int
            Reruns.

        Returns
        -------
        float
            Lower than `auc`.
        """
        likelihood = _likelihood(self.probability, number)
        passing = likelihood @ (self.weight * self.probability)
        failing = likelihood @ (self.weight * (1.0 - self.probability))
        below = np.cumsum(failing) - 0.5 * failing
        return float(passing @ below / (passing.sum() * failing.sum()))


def _likelihood(probability: Floats, number: int) -> Floats:
    """Binomial probabilities [number + 1, m]."""
    from scipy.stats import binom

    return np.asarray(binom.pmf(np.arange(number + 1)[:, None], number, probability[None, :]))


def fit_mixture(counts: npt.NDArray[np.int64], number: int, *, steps: int = 2000) -> Mixture:
    """Fit the distribution of probabilities to counts.

    Parameters
    ----------
    counts : numpy.ndarray [n]
        Reruns that passed.
    number : int
        Reruns of each event.
    steps : int, default 2000
        Of the expectation maximisation.

    Returns
    -------
    Mixture
        The estimate.
    """
    observed = np.bincount(counts, minlength=number + 1) / len(counts)
    likelihood = _likelihood(_GRID, number)
    weight = np.full(len(_GRID), 1.0 / len(_GRID))
    for _ in range(steps):
        weight = weight * (likelihood.T @ (observed / np.maximum(likelihood @ weight, 1e-300)))
    return Mixture(_GRID, weight / weight.sum())


def auc_of_subsets(
    passes: npt.NDArray[np.bool_], labels: npt.NDArray[np.int8], number: int
) -> float:
    """Give the mean AUC of the counts of some of the reruns, over all choices of them.

    Parameters
    ----------
    passes : numpy.ndarray [n, reruns]
        bool.
    labels : numpy.ndarray [n]
        0 or 1.
    number : int
        Reruns that are counted; the counts of an event are hypergeometric.

    Returns
    -------
    float
        AUC; equal counts count one half.
    """
    from scipy.stats import hypergeom

    n = passes.shape[1]
    k = np.arange(n + 1)
    chances = hypergeom.pmf(np.arange(number + 1)[:, None], n, k[None, :], number)
    counts = passes.sum(axis=1)
    passing, failing = (
        chances @ np.bincount(counts[labels == value], minlength=n + 1) for value in (1, 0)
    )
    below = np.cumsum(failing) - 0.5 * failing
    return float(passing @ below / (passing.sum() * failing.sum()))


@dataclass(frozen=True)
class Ceiling:
    """What no predictor can exceed on average.

    Parameters
    ----------
    auc, speedup : Estimate
        Of the probability itself; errors by resampling events.
    retention : float
        Mean probability.
    reruns : list of dict
        ``number``, ``auc`` of the counts of so many reruns against the labels, and
        ``expected``, what the mixture predicts for it.
    """

    auc: Estimate
    speedup: Estimate
    retention: float
    reruns: list[dict[str, float]]


def read_reruns(
    path: Path,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int8], npt.NDArray[np.bool_]]:
    """Read what `benchmarks.fei_b0.reruns` wrote.

    Parameters
    ----------
    path : pathlib.Path
        The file.

    Returns
    -------
    keys : numpy.ndarray [n, 4]
        int64: experiment, run, event, production.
    labels : numpy.ndarray [n]
        int8: of the sample.
    passes : numpy.ndarray [n, reruns]
        bool.

    Raises
    ------
    InputError
        When the file is missing or damaged.
    """
    if not path.is_file():
        raise InputError(
            "the reruns do not exist", where=path, next_step="python -m benchmarks.fei_b0.reruns"
        )
    try:
        with path.open("rb") as stream, np.load(stream) as arrays:
            return arrays["keys"], arrays["label"], arrays["passes"]
    except (OSError, EOFError, KeyError, ValueError, BadZipFile, zlib.error) as error:
        raise InputError(
            f"is no whole file of reruns ({error})",
            where=path,
            next_step="remove it, and python -m benchmarks.fei_b0.reruns",
        ) from error


def ceiling(path: Path, *, number: int = 100, seed: int = 0) -> Ceiling:
    """Compute the ceiling of a sample.

    Parameters
    ----------
    path : pathlib.Path
        What `benchmarks.fei_b0.reruns` wrote.
    number : int, default 100
        Bootstrap resamples.
    seed : int, default 0
        Of the resamples.

    Returns
    -------
    Ceiling
        The limits.

    Raises
    ------
    InputError
        When the file is missing or damaged.
    """
    _, labels, passes = read_reruns(path)
    n = passes.shape[1]
    # The benchmark's label is one more draw; it counts in the mixture.
    counts = passes.sum(axis=1) + labels
    cost = CostSettings()
    found = fit_mixture(counts, n + 1)
    random = np.random.default_rng(seed)
    again = []
    for _ in range(number):
        resampled = fit_mixture(random.choice(counts, len(counts)), n + 1, steps=300)
        again.append((resampled.auc(), resampled.speedup(cost)))
    errors = np.std(again, axis=0, ddof=1) if number > 1 else np.zeros(2)
    steps = sorted({m for m in (5, 10, 20, 50, 100) if m < n} | {n})
    return Ceiling(
        auc=Estimate(found.auc(), float(errors[0])),
        speedup=Estimate(found.speedup(cost), float(errors[1])),
        retention=found.retention,
        reruns=[
            {
                "number": m,
                "auc": auc_of_subsets(passes, labels, m),
                "expected": found.auc_of_counts(m),
            }
            for m in steps
        ],
    )
