"""Do kept events have the distributions of all events? Numbers and curves for every observable.

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

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.evaluation.metrics import effective_number, place_of
from smartbkg_tf.evaluation.observables import Observables
from smartbkg_tf.evaluation.speedup import HalvedRules
from smartbkg_tf.events.keys import uniform
from smartbkg_tf.filtering.predictions import Predictions
from smartbkg_tf.filtering.rules import decide, random_numbers
from smartbkg_tf.filtering.score_counts import Floats, ScoreCounts
from smartbkg_tf.settings.evaluation import BiasSettings, MetricsSettings

Flags = npt.NDArray[np.bool_]

#: The Kullback-Leibler divergence below which a filter was called unbiased in print.
PUBLISHED_LIMIT = 0.0015
#: Bins of a chi2 hold so many effective events at least.
_FEWEST = 10.0
#: Random thinnings for the noise floor of the divergence.
_THINNINGS = 5000
#: Drawn paths for the probability of a distance of distribution functions, and their places.
_PATHS, _STEPS = 2000, 500
#: Smallest kept fraction that a reweighting believes: weights up to 20.
_SMALLEST_FRACTION = 0.05
#: Rejected events that a reweighting needs.
_FEWEST_REJECTED = 50


@dataclass(frozen=True)
class Filter:
    """What a filter does with passing events [n]."""

    weight: Floats  # 0 where not kept
    variance: Floats  # of the weighted count, each event's part; over the filter's random numbers
    absolute: bool  # whether weighted counts are those of all events without normalisation
    fitted: bool = False  # to the distributions that are compared: no test of them

    @classmethod
    def sampling(cls, probability: Floats, weight: Floats) -> Filter:
        """Keep events with a probability, and the weight 1 / probability."""
        return cls(weight, (1 - probability) / probability, True)

    @classmethod
    def threshold(cls, kept: Flags) -> Filter:
        """Keep events for good, or lose them."""
        fraction = float(kept.mean())
        odds = (1 - fraction) / fraction if fraction > 0 else 0.0
        return cls(kept.astype(np.float64), np.full(len(kept), odds), False)

    @classmethod
    def reweighted(cls, kept: Flags, fraction: Floats) -> Filter:
        """Give kept events the weight 1 / fraction, the kept fraction of events like them."""
        weight = np.where(kept, 1 / fraction, 0.0)
        return cls(weight, weight * np.maximum(weight - 1, 0.0), False, fitted=True)

    def of(self, chosen: Flags) -> Filter:
        """Take some of the events; of a threshold, with their own kept fraction."""
        if not self.absolute and not self.fitted:
            return Filter.threshold(self.weight[chosen] > 0)
        return Filter(self.weight[chosen], self.variance[chosen], self.absolute, self.fitted)


@dataclass(frozen=True)
class Filters:
    """The filters that one skim's passing events go through."""

    passing: Flags  # [all events]
    score: Floats  # [passing]
    thresholds: dict[float, float]  # scores by the efficiency that they were asked to have
    filters: dict[str, Filter]  # threshold, sampling
    main: str  # what the predictions decided, or the fitted rule
    information: dict[str, Any]
    fold: Floats  # [passing] a number in [0, 1) for each event


def filters_of(
    predictions: Predictions,
    name: str,
    settings: MetricsSettings,
    counts: ScoreCounts,
    rules: HalvedRules | None,
    second_half: Flags,
) -> Filters:
    """Take the decisions of the predictions, or those of `rules` and of a threshold."""
    skim = predictions.skims[name]
    passing = skim.label == 1
    score, p, w = (a[passing] for a in (skim.score, skim.probability, skim.weight))
    keys = {key: values[passing] for key, values in predictions.keys.items()}
    filters: dict[str, Filter] = {}
    information: dict[str, Any] = {"sampling_from": None}
    biased = bool(np.any(skim.probability == 0))
    if biased:
        # A threshold decided; any score that it keeps is above all that it rejects.
        kept = w > 0
        threshold = float(np.min(skim.score[skim.weight > 0], initial=np.inf))
    else:
        threshold = float(counts.lowest[place_of(counts, settings.bias.efficiency)])
        kept = score >= threshold
    filters["threshold"] = Filter.threshold(kept)
    information |= {
        "threshold": threshold if np.isfinite(threshold) else None,
        "efficiency": float(kept.mean()),
    }
    if np.any((p > 0) & (p < 1)) and np.all(p > 0):
        filters["sampling"] = Filter.sampling(p, w)
        information["sampling_from"] = "decisions of the predictions"
    elif rules is not None:
        p = rules.probability(score, second_half[passing])
        decision = decide(p, random_numbers(keys, settings.seed))
        filters["sampling"] = Filter.sampling(p, decision.weight)
        information["sampling_from"] = "rule fitted on one half of the events, used on the other"
    return Filters(
        passing=passing,
        score=score,
        thresholds={
            e: float(counts.lowest[place_of(counts, e)])
            for e in sorted(settings.efficiencies, reverse=True)
        },
        filters=filters,
        main="threshold" if biased or "sampling" not in filters else "sampling",
        information=information,
        fold=uniform(keys, "evaluation/folds"),
    )


def compare_observables(
    filters: Filters, observables: Observables, settings: BiasSettings
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give the entries ``observables`` and ``bias`` of ``metrics.json``, and data of figures."""
    observables = observables.of(filters.passing)
    values = observables.values
    used = dict(filters.filters)
    weights = reweight(values, used["threshold"].weight > 0, filters.fold, settings.folds)
    if weights is not None:
        used["reweighted"] = weights
    metrics: dict[str, Any] = {}
    data: dict[str, Any] = {}
    for name, x in values.items():
        known = np.isfinite(x)
        if not known.any():
            continue
        edges, inside = _binned(x[known], settings.bins)
        results, curves = {}, {}
        for kind, filter in used.items():
            results[kind], curves[kind] = compare(x[known], inside, edges, filter.of(known))
        main = results[filters.main]
        metrics[name] = {
            "n_passing": int(known.sum()),
            "n_missing": int((~known).sum()),
            "mean_all": float(x[known].mean()),
            **{key: main[key] for key in ("n_kept", "effective_number")},
            **{key: main[key] for key in ("mean_kept", "mean_kept_error")},
            # Its events are lost for good: there is no such test of a threshold.
            "chi2": main["chi2"] if filters.main == "sampling" else None,
            "bins_used": main["bins_used"] if filters.main == "sampling" else 0,
            "filters": results,
        }
        everything = np.histogram(inside, edges)[0]
        data[f"observable_{name}"] = {
            "edges": edges.tolist(),
            "all": everything.tolist(),
            "n_passing": int(known.sum()),
            "filters": curves,
        }
        data[f"efficiency_{name}"] = {
            "edges": edges.tolist(),
            "all": everything.tolist(),
            "thresholds": [
                {
                    "asked": efficiency,
                    "threshold": threshold,
                    **_efficiency(filters.score[known] >= threshold, inside, edges, everything),
                }
                for efficiency, threshold in filters.thresholds.items()
            ],
        }
    if not metrics:
        return {"observables": {}}, {}
    ranking = {kind: _ranked(metrics, kind) for kind in used}
    n_passing = int(filters.passing.sum())
    bias = {
        **filters.information,
        "n_passing": n_passing,
        "n_without_row": int((~observables.found).sum()),
        "effective_fraction": {
            kind: effective_number(filter.weight) / n_passing for kind, filter in used.items()
        },
        "ranking": ranking,
    }
    names = ranking[filters.main]
    data["bias_ranking"] = {
        "observables": names,
        "limit": PUBLISHED_LIMIT,
        "filters": {
            kind: {
                key: [metrics[name]["filters"][kind][key] for name in names]
                for key in ("kl", "kl_floor", "kl_floor_error")
            }
            for kind in used
        },
    }
    return {"observables": metrics, "bias": bias}, data


def _ranked(metrics: Mapping[str, Any], kind: str) -> list[str]:
    """Sort observables, worst first, by what random thinning of the same size does not explain."""

    def excess(name: str) -> float:
        of = metrics[name]["filters"][kind]
        if of["kl"] is None:  # nothing was kept
            return -np.inf
        return float((of["kl"] - of["kl_floor"]) / max(of["kl_floor_error"], 1e-12))

    return sorted(metrics, key=excess, reverse=True)


def _binned(x: Floats, bins: int) -> tuple[Floats, Floats]:
    """Give edges between the 0.5 and 99.5 % quantiles, and values [n] moved inside.

    Bins of whole numbers hold equally many of them; their last one may reach further.
    """
    low, high = np.quantile(x, [0.005, 0.995])
    if np.all(x == np.rint(x)):
        low, high = np.floor(low), np.ceil(high)
        width = max(np.ceil((high - low + 1) / bins), 1.0)
        edges = low - 0.5 + width * np.arange(int(np.ceil((high - low + 1) / width)) + 1)
        return edges, np.clip(x, low, high)
    if not high > low:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, bins + 1), np.clip(x, low, high)


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
        "ratio": _plain(ratio),
        "ratio_error": _plain(ratio_error),
        "pull": _plain(pull),
        "asymmetry": _plain((1 - shape) / (1 + shape)),
        # With the ratio r: dA / dr = -2 / (1 + r)^2.
        "asymmetry_error": _plain(2 * ratio_error / (1 + shape) ** 2),
        "effective_number": effective,
        **{key: metrics[key] for key in ("kl", "chi2", "chi2_ndf", "chi2_probability")},
    }
    return metrics, curves


def _plain(values: Floats) -> list[float | None]:
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


def _efficiency(kept: Flags, inside: Floats, edges: Floats, everything: Any) -> dict[str, Any]:
    """Give the kept fraction of each bin with its interval; None in empty bins."""
    k = np.histogram(inside[kept], edges)[0]
    low, high = wilson(k, everything)
    fraction = np.divide(k, everything, out=np.full(len(k), np.nan), where=everything > 0)
    bands = {"value": fraction, "low": low, "high": high}
    return {"efficiency": float(kept.mean()), **{key: _plain(v) for key, v in bands.items()}}


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


def reweight(values: Mapping[str, Floats], kept: Flags, fold: Floats, folds: int) -> Filter | None:
    """Weight the events that a threshold keeps, so that they look like all of them.

    Boosted trees learn the kept fraction of events from their observables [n]; each event gets the
    inverse of what trees say that have not seen its fold. None without folds, and with fewer than
    50 kept or rejected events. Trees can repair only what the observables show, and only where a
    threshold leaves any events at all: weights are 20 at most.
    """
    if folds < 2 or not values or min(kept.sum(), (~kept).sum()) < _FEWEST_REJECTED:
        return None
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    inputs = np.stack(list(values.values()), axis=1)
    part = np.minimum((fold * folds).astype(np.int64), folds - 1)
    fraction = np.ones(len(kept))
    for i in range(folds):
        inside = part == i
        training = ~inside
        if not inside.any():
            continue
        if kept[training].all() or not kept[training].any():
            return None
        trees = HistGradientBoostingClassifier(
            max_iter=60, max_leaf_nodes=15, early_stopping=False, random_state=0
        )
        # Threads that share busy cores wait for each other longer than they work.
        with threadpool_limits(1):
            trees.fit(inputs[training], kept[training])
        fraction[inside] = trees.predict_proba(inputs[inside])[:, 1]
    return Filter.reweighted(kept, np.clip(fraction, _SMALLEST_FRACTION, 1.0))
