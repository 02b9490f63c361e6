"""Differences between models that were evaluated on the same events."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.evaluation.metrics import auc, bootstrap_areas
from smartbkg_tf.events.table import KEY_COLUMNS
from smartbkg_tf.filtering.predictions import Predictions


def common_order(
    first: Predictions, second: Predictions
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None:
    """Put two tables of the same events into one order.

    Parameters
    ----------
    first, second : Predictions
        The tables.

    Returns
    -------
    tuple of numpy.ndarray [n] or None
        Positions in each table; None if the events are not exactly the same.
    """
    if len(first) != len(second):
        return None
    # Stable: events that share a key keep the order of their table.
    orders = [
        np.lexsort([table.keys[name] for name in reversed(KEY_COLUMNS)])
        for table in (first, second)
    ]
    same = all(
        np.array_equal(first.keys[name][orders[0]], second.keys[name][orders[1]])
        for name in KEY_COLUMNS
    )
    return (orders[0], orders[1]) if same else None


def auc_differences(
    models: Mapping[str, Predictions], *, number: int = 200, seed: int = 0
) -> tuple[list[dict[str, Any]], list[str]]:
    """Compare the AUC of every pair of models on the same events.

    Both models see the same bootstrap resamples, so the error of the difference is
    smaller than their errors added in quadrature when they err on the same events.

    Parameters
    ----------
    models : mapping of str to Predictions
        By name.
    number : int, default 200
        Bootstrap resamples.
    seed : int, default 0
        Of the resamples.

    Returns
    -------
    differences : list of dict
        ``model``, ``other``, ``skim``, ``difference`` (model - other), ``error``.
    remarks : list of str
        Which pairs cannot be compared, and why.
    """
    differences: list[dict[str, Any]] = []
    remarks: list[str] = []
    for (name, first), (other, second) in itertools.combinations(models.items(), 2):
        orders = common_order(first, second)
        if orders is None:
            remarks.append(
                f"{name} and {other} were evaluated on different events: their numbers differ "
                "by chance too, and no paired difference is given"
            )
            continue
        for skim in first.skims:
            if skim not in second.skims:
                continue
            a, b = first.skims[skim], second.skims[skim]
            y = a.label[orders[0]]
            if not np.array_equal(y, b.label[orders[1]]):
                remarks.append(f"{name} and {other} have different labels of {skim}")
                continue
            if len(np.unique(y[y >= 0])) < 2:
                continue
            scores = a.score[orders[0]], b.score[orders[1]]
            areas = [bootstrap_areas(s, y, number=number, seed=seed)[0] for s in scores]
            differences.append(
                {
                    "model": name,
                    "other": other,
                    "skim": skim,
                    "difference": auc(scores[0], y) - auc(scores[1], y),
                    "error": float(np.std(areas[0] - areas[1], ddof=1)),
                }
            )
    return differences, remarks
