"""How well scores separate: of all events, of each event type, and of their natural mixture."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from smartbkg_tf.evaluation import curves
from smartbkg_tf.evaluation.bootstrap import Measured, Quantity, of
from smartbkg_tf.evaluation.conditions import SAMPLE, Conditions
from smartbkg_tf.evaluation.metrics import (
    CalibrationError,
    Separation,
    areas,
    calibration_losses,
    delong,
)
from smartbkg_tf.events.cross_sections import cross_sections
from smartbkg_tf.events.table import EVENT_TYPES
from smartbkg_tf.filtering.predictions import SkimPredictions
from smartbkg_tf.filtering.rules import Rule
from smartbkg_tf.filtering.score_counts import Floats, ScoreCounts
from smartbkg_tf.settings.stored import StoredCalibration

_TYPE_NAMES = (*EVENT_TYPES, "unknown")

#: Some of the events of a sample.
Selection = Callable[[ScoreCounts], ScoreCounts]


class Quality:
    """Numbers and curves of one skim; `quantities` are to be measured with their bootstrap errors.

    `calibration` holds slope and intercept, where they were fitted; `rule` is drawn above scores.
    The retention of `conditions` is that of the natural mixture; all others are of these events.
    """

    def __init__(
        self,
        counts: ScoreCounts,
        efficiencies: Sequence[float],
        calibration: StoredCalibration | None = None,
        rule: Rule | None = None,
        conditions: Conditions | None = None,
    ) -> None:
        self._counts, self._calibration, self._rule = counts, calibration, rule
        self._logit = (1.0, 0.0)
        self._all = Separation(counts, efficiencies)
        self._roc, self._recall = curves.RocCurve(counts), curves.PrecisionRecallCurve(counts)
        self.quantities: dict[str, Quantity] = {
            **{"all": self._all, "roc": self._roc, "precision_recall": self._recall},
        }
        if calibration is not None:
            self._logit = (calibration["slope"], calibration["intercept"])
            self.quantities["calibrated"] = CalibrationError(counts, *self._logit)
        self._present = [int(i) for i in np.flatnonzero(counts.counts.sum(axis=(0, 2, 3)))]
        self._types: dict[str, Separation] = {}
        for position in self._present:
            select = _type_selection(position)
            of_type = Separation(select(counts), places=self._all.places)
            self._types[_TYPE_NAMES[position]] = of_type
            self.quantities[_TYPE_NAMES[position]] = of(select, of_type)
        self._conditions = conditions
        self._mixture: Separation | None = None
        # Cross-sections need two types, and all of them known.
        self._by_section = len(self._present) > 1 and self._present[-1] < len(EVENT_TYPES)
        if self._by_section or (conditions is not None and conditions.retention is not None):
            self._mixture = Separation(self._natural(counts), efficiencies)
            self.quantities["mixture"] = of(self._natural, self._mixture)

    def _natural(self, sample: ScoreCounts) -> ScoreCounts:
        """Weight failing events by the retention first, and then event types by cross-section."""
        if self._conditions is not None:
            sample = self._conditions.natural(sample)
        return naturally_mixed(sample) if self._by_section else sample

    def metrics(self, measured: Mapping[str, Measured], skim: SkimPredictions) -> dict[str, Any]:
        """Give the entries of ``metrics.json``; AUC and average precision are exact."""
        counts = self._counts
        n_events, n_passing = _numbers(counts)
        area, precision = areas(skim.score, skim.label)
        result: dict[str, Any] = {
            **self._all.entries(measured["all"]),
            "auc": area,
            "average_precision": precision,
            "auc_error_delong": delong(counts).error,
            "n_events": n_events,
            "n_passing": n_passing,
            "n_unknown_label": len(skim.label) - n_events,
            **_losses(counts),
            "by_event_type": {
                name: {
                    **dict(zip(("n_events", "n_passing"), _numbers(of_type.counts), strict=True)),
                    **of_type.entries(measured[name]),
                }
                for name, of_type in self._types.items()
            },
            "natural_mixture": self._mixture
            and {
                "event_types": [EVENT_TYPES[position] for position in self._present]
                if self._by_section
                else [],
                "retention_from": SAMPLE
                if self._conditions is None
                else self._conditions.retention_from,
                **self._mixture.entries(measured["mixture"], weighted=True),
            },
        }
        if self._calibration is not None:
            error = measured["calibrated"]
            result["calibrated"] = {
                **self._calibration,
                **_losses(counts, *self._logit),
                "expected_calibration_error": float(error.value),
                "expected_calibration_error_error": float(error.error),
            }
        return result

    def curves(self, measured: Mapping[str, Measured]) -> dict[str, Any]:
        """Give the data of figures by their names."""
        return {
            "roc": self._roc.data(measured["roc"]),
            "precision_recall": self._recall.data(measured["precision_recall"]),
            "scores": curves.score_histogram(self._counts, self._rule),
            "calibration": curves.reliability(self._counts, *self._logit),
        }


def naturally_mixed(counts: ScoreCounts) -> ScoreCounts:
    """Weight event types by cross-section; the weights of all events add up to 1."""
    n_events = counts.counts.sum(axis=(0, 2, 3))
    share = np.where(n_events > 0, _sections(), 0.0)
    share /= share.sum()
    weight = np.divide(share, n_events, out=np.zeros_like(share), where=n_events > 0)
    return counts.weighted(weight)


@functools.cache
def _sections() -> Floats:
    """Cross-sections by event type, nb; 0 for events of unknown type."""
    sections = cross_sections()
    return np.array([*(sections[name] for name in EVENT_TYPES), 0.0])


def _type_selection(position: int) -> Selection:
    return lambda sample: sample.of_type(position)


def _numbers(counts: ScoreCounts) -> tuple[int, int]:
    """Count all and passing events."""
    return round(counts.n_failing + counts.n_passing), round(counts.n_passing)


def _losses(counts: ScoreCounts, slope: float = 1.0, intercept: float = 0.0) -> dict[str, float]:
    loss, brier = calibration_losses(counts, slope, intercept)
    return {**loss.named("log_loss"), **brier.named("brier")}
