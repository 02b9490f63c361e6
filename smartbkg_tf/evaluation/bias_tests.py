"""One distribution before and after a filter: divergences, tests, and intervals.

Compared are the passing events before and after a filter. The kept events are a subset of all of
them, so the two histograms are not independent: of a bin with n events, of which event i is kept
with probability p_i and weight 1 / p_i, the weighted count W has the expectation n and, over the
random numbers of the filter alone, the variance V = sum of (1 - p_i) / p_i. Pulls (W - n) / sqrt(V)
and chi2 are made of it; errors of the points are sqrt(sum w^2), those of W as an estimate of the
true distribution.

A threshold draws no random numbers. It is compared with the random thinning that keeps the same
fraction e of all events: W = k / e, V = n (1 - e) / e. Weights that a reweighting gives to its kept
events estimate V by the sum of w (w - 1). Both are normalised to the number of all events, which
takes one degree of freedom.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.evaluation.bias_filters import Filter
from smartbkg_tf.evaluation.metrics import effective_number
from smartbkg_tf.filtering.score_counts import Floats

#: The Kullback-Leibler divergence below which a filter was called unbiased in print.
PUBLISHED_LIMIT = 0.0015
#: Bins of a chi2 hold so many effective events at least.
_FEWEST = 10.0
#: Random thinnings for the noise floor of the divergence.
_THINNINGS = 5000
#: Drawn paths for the probability of a distance of distribution functions, and their places.
_PATHS, _STEPS = 2000, 500


def compare(
    x: Floats, inside: Floats, edges: Floats, filter: Filter
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Compare an observable [n] before and after a filter: numbers, and curves by bin.

    ``ratio``, its error and ``asymmetry``, (before - after) / (before + after) of the normalised
    distributions, are None in bins without events; ``pull`` is None in those of fewer than 5
    effective events.
    """

    def fill(weights: Floats | None) -> Floats:
        return np.histogram(inside, edges, weights=weights)[0].astype(np.float64)

    w = filter.weight
    sum_of_weights = float(w.sum())
    scale = 1.0
    if not filter.absolute and sum_of_weights > 0:
        scale = len(x) / sum_of_weights
    before, after, squares = fill(None), scale * fill(w), scale**2 * fill(w * w)
    variance = fill(filter.variance)
    effective = effective_number(w)
    mean = mean_error = None
    if sum_of_weights > 0:
        mean = float(w @ x / sum_of_weights)
        mean_error = float(np.sqrt(np.sum((w * (x - mean)) ** 2)) / sum_of_weights)
    chi2, used, probability = chi_squared(before, after, variance, absolute=filter.absolute)
    distance, ks_probability = kolmogorov_smirnov(x, w, filter.variance)
    metrics = {
        "n_kept": int((w > 0).sum()),
        "effective_number": effective,
        "mean_kept": mean,
        "mean_kept_error": mean_error,
        **divergence(before, after, variance),
        "ks": distance,
        "ks_probability": ks_probability,
        "chi2": chi2,
        "bins_used": used,
        "chi2_ndf": used if filter.absolute else max(used - 1, 0),
        "chi2_probability": probability,
    }
    if filter.fitted:
        metrics |= dict.fromkeys(("kl_probability", "ks_probability", "chi2_probability"))
    some = before > 0
    ratio = np.divide(after, before, out=np.full_like(before, np.nan), where=some)
    ratio_error = np.divide(np.sqrt(variance), before, out=np.full_like(before, np.nan), where=some)
    shape = ratio * (before.sum() / after.sum() if after.sum() > 0 else 1.0)
    # Of fewer effective events, the difference is far from normally distributed.
    enough = (variance > 0) & (before**2 >= _FEWEST / 2 * (before + variance))
    pull = np.divide(
        after - before, np.sqrt(variance), out=np.full_like(before, np.nan), where=enough
    )
    curves = {
        "kept": after.tolist(),
        "kept_error": np.sqrt(squares).tolist(),
        "ratio": plain_values(ratio),
        "ratio_error": plain_values(ratio_error),
        "pull": plain_values(pull),
        "asymmetry": plain_values((1 - shape) / (1 + shape)),
        # With the ratio r: dA / dr = -2 / (1 + r)^2.
        "asymmetry_error": plain_values(2 * ratio_error / (1 + shape) ** 2),
        "effective_number": effective,
        **{key: metrics[key] for key in ("kl", "chi2", "chi2_ndf", "chi2_probability")},
    }
    return metrics, curves


def plain_values(values: Floats) -> list[float | None]:
    """Give numbers as JSON can hold them, None for NaN."""
    return [float(value) if np.isfinite(value) else None for value in values]


def chi_squared(
    before: Floats, after: Floats, variance: Floats, *, absolute: bool
) -> tuple[float, int, float | None]:
    """Give chi2 of weighted counts, the bins that it used, and its probability.

    Neighbouring bins are joined until they are expected to hold 10 effective events: n^2 / sum of
    1 / p = n^2 / (n + V).
    """
    from scipy.stats import chi2 as distribution

    joined: list[list[float]] = [[0.0, 0.0, 0.0]]
    for row in zip(before, after, variance, strict=True):
        joined[-1] = [old + float(new) for old, new in zip(joined[-1], row, strict=True)]
        n, _, v = joined[-1]
        if n > 0 and n * n / (n + v) >= _FEWEST:
            joined.append([0.0, 0.0, 0.0])
    rest = joined.pop()
    if joined:
        joined[-1] = [old + new for old, new in zip(joined[-1], rest, strict=True)]
    elif rest[2] > 0:
        joined = [rest]
    used = [(n, w, v) for n, w, v in joined if v > 0]
    value = float(sum((w - n) ** 2 / v for n, w, v in used))
    ndf = len(used) if absolute else len(used) - 1
    return value, len(used), float(distribution.sf(value, ndf)) if ndf > 0 else None


def divergence(before: Floats, after: Floats, variance: Floats) -> dict[str, Any]:
    """Give the divergences, natural logarithm, of weighted counts [bins] from those before.

    Kullback-Leibler ``kl`` = sum of a ln(a / b) over normalised counts, and Jensen-Shannon ``js``.
    The noise floor ``kl_floor`` is the mean that random thinning gives, its error the standard
    deviation: each bin is thinned to its effective number n^2 / (n + V), which for a threshold is
    its kept fraction. ``kl_probability`` is that of as large a divergence by thinning.
    """
    result: dict[str, Any] = {"kl_limit": PUBLISHED_LIMIT}
    if after.sum() <= 0:
        keys = ("kl", "kl_floor", "kl_floor_error", "kl_probability", "js")
        return {**dict.fromkeys(keys), **result}
    some = before > 0
    n, b = before[some], before[some] / before.sum()
    a = after[some] / after.sum()
    kl = float(_kullback_leibler(a, b))
    fraction = n / (n + variance[some])
    random = np.random.default_rng(0)
    thinned = random.binomial(n.astype(np.int64), fraction, (_THINNINGS, len(n))) / fraction
    thinned = thinned[thinned.sum(axis=1) > 0]
    floor = _kullback_leibler(thinned / thinned.sum(axis=1, keepdims=True), b)
    middle = (a + b) / 2
    js = (_kullback_leibler(a, middle) + _kullback_leibler(b, middle)) / 2
    return {
        "kl": kl,
        "kl_floor": float(floor.mean()),
        "kl_floor_error": float(floor.std(ddof=1)),
        "kl_probability": float((1 + np.sum(floor >= kl - 1e-15)) / (1 + len(floor))),
        **result,
        "js": float(js),
    }


def _kullback_leibler(a: Floats, b: Floats) -> Floats:
    """Sum a ln(a / b) over the last axis; fractions of `b` are not 0."""
    from scipy.special import rel_entr

    return np.asarray(rel_entr(a, b).sum(axis=-1))


def kolmogorov_smirnov(
    x: Floats, weight: Floats, variance: Floats
) -> tuple[float | None, float | None]:
    """Give the largest distance of the two distribution functions, and its probability.

    The kept events are a subset of the n events before. The probability is that of as large a
    distance when each event's weight deviates from 1 by chance, with its `variance` [n] over the
    filter's random numbers: from `_PATHS` drawn paths of the difference of the functions, on at
    most `_STEPS` places.
    """
    n, total = len(x), float(weight.sum())
    if total <= 0:
        return None, None
    order = np.argsort(x, kind="stable")
    ordered = x[order]
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    before = (last + 1) / n
    after = np.cumsum(weight[order])[last]
    distance = float(np.abs(after / total - before).max())
    if not np.any(variance > 0):
        return distance, 1.0
    places = np.unique(np.linspace(0, len(last) - 1, _STEPS).astype(np.int64))
    spent = np.cumsum(variance[order])[last][places]
    steps = np.sqrt(np.diff(spent, prepend=0.0))
    random = np.random.default_rng(0)
    paths = np.cumsum(random.standard_normal((_PATHS, len(places))) * steps, axis=1) / n
    drawn = np.abs(paths - paths[:, -1:] * before[places]).max(axis=1)
    return distance, float((1 + np.sum(drawn >= distance)) / (1 + _PATHS))


def wilson(k: npt.ArrayLike, n: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Give Wilson's 68.27 % intervals of fractions k / n; NaN for n = 0.

    Wilson, JASA 22 (1927) 209, with z = 1: centre (k + 1/2) / (n + 1), never beyond 0 and 1. Their
    mean coverage is the nominal one, where the intervals of Clopper and Pearson are too wide.
    """
    k, n = (np.asarray(values, dtype=np.float64) for values in (k, n))
    with np.errstate(divide="ignore", invalid="ignore"):
        centre = (k + 0.5) / (n + 1)
        half = np.sqrt(k * (n - k) / n + 0.25) / (n + 1)
    return np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)
