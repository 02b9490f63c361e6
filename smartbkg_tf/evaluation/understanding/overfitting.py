"""Overfitting: are training events scored better than events that the network never saw."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.evaluation.metrics import Estimate, delong
from smartbkg_tf.filtering.score_counts import ScoreCounts, known_scores

_BINS = 30


def compare_samples(
    train_score: npt.ArrayLike,
    train_label: npt.ArrayLike,
    test_score: npt.ArrayLike,
    test_label: npt.ArrayLike,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Compare scores of training and test events, [n] each: numbers, and the data of the figure.

    The samples are independent, so the errors of the two AUC (DeLong's) add in quadrature. ``ks``
    is the largest difference of the cumulative distributions of a class, with the probability of a
    larger one by chance (Kolmogorov and Smirnov).
    """
    from scipy.stats import ks_2samp

    samples = {"train": (train_score, train_label), "test": (test_score, test_label)}
    areas, parts = {}, {}
    metrics: dict[str, Any] = {}
    for name, (score, label) in samples.items():
        counts = ScoreCounts.of(score, label)
        areas[name] = delong(counts)
        s, passes = known_scores(score, label)
        parts[name] = {"passing": s[passes], "failing": s[~passes]}
        metrics |= areas[name].named(f"auc_{name}")
        metrics[f"n_{name}"] = len(s)
        metrics[f"n_passing_{name}"] = int(passes.sum())
    difference = areas["train"].value - areas["test"].value
    error = float(np.hypot(areas["train"].error, areas["test"].error))
    metrics |= Estimate(difference, error).named("auc_difference")
    metrics["ks"] = {}
    everything = np.concatenate([s for part in parts.values() for s in part.values()])
    low, high = np.quantile(everything, [0.002, 0.998])
    if not high > low:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, _BINS + 1)
    data: dict[str, Any] = {"edges": edges.tolist()}
    for kind in ("failing", "passing"):
        test = ks_2samp(parts["train"][kind], parts["test"][kind], method="asymp")
        metrics["ks"][kind] = {
            "distance": float(test.statistic),
            "probability": float(test.pvalue),
        }
        for name in samples:
            inside = np.clip(parts[name][kind], low, high)
            data[f"{name}_{kind}"] = np.histogram(inside, edges)[0].tolist()
    return metrics, {**data, **metrics}
