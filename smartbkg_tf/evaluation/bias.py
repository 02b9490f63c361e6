"""Do kept events have the distributions of all events? Numbers and curves for every observable."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from smartbkg_tf.evaluation.bias_filters import Filters, Flags, reweight
from smartbkg_tf.evaluation.bias_tests import PUBLISHED_LIMIT, compare, plain_values, wilson
from smartbkg_tf.evaluation.metrics import effective_number
from smartbkg_tf.evaluation.observables import Observables
from smartbkg_tf.filtering.score_counts import Floats
from smartbkg_tf.settings.evaluation import BiasSettings


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


def _efficiency(kept: Flags, inside: Floats, edges: Floats, everything: Any) -> dict[str, Any]:
    """Give the kept fraction of each bin with its interval; None in empty bins."""
    k = np.histogram(inside[kept], edges)[0]
    low, high = wilson(k, everything)
    fraction = np.divide(k, everything, out=np.full(len(k), np.nan), where=everything > 0)
    bands = {"value": fraction, "low": low, "high": high}
    return {"efficiency": float(kept.mean()), **{key: plain_values(v) for key, v in bands.items()}}
