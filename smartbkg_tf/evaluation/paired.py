"""Differences between models that were evaluated on the same events."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from smartbkg_tf.evaluation.metrics import auc_difference
from smartbkg_tf.events.keys import KeyIndex
from smartbkg_tf.filtering.predictions import Predictions


def auc_differences(models: Mapping[str, Predictions]) -> tuple[list[dict[str, Any]], list[str]]:
    """Compare the AUC of every pair of models on the same events.

    Gives ``model``, ``other``, ``skim``, ``difference`` (model - other) and ``error`` of every
    pair, and remarks on which pairs cannot be compared, and why.
    """
    differences: list[dict[str, Any]] = []
    remarks: list[str] = []
    for (name, first), (other, second) in itertools.combinations(models.items(), 2):
        rows = KeyIndex(second.keys).find(first.keys)
        if len(first) != len(second) or np.any(rows < 0):
            remarks.append(
                f"{name} and {other} were evaluated on different events: their numbers differ "
                "by chance too, and no paired difference is given"
            )
            continue
        for skim, a in first.skims.items():
            if skim not in second.skims:
                continue
            b = second.skims[skim]
            if not np.array_equal(a.label, b.label[rows]):
                remarks.append(f"{name} and {other} have different labels of {skim}")
                continue
            if len(np.unique(a.label[a.label >= 0])) < 2:
                continue
            estimate = auc_difference(a.score, b.score[rows], a.label)
            differences.append(
                {
                    "model": name,
                    "other": other,
                    "skim": skim,
                    "difference": estimate.value,
                    "error": estimate.error,
                }
            )
    return differences, remarks
