"""Kept, weighted events are those of an unfiltered sample; wrong weights are noticed.

The small version of `benchmarks.closure`: scores of the real model, rules, random numbers and
weights of `apply`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.closure import Analysis, after_threshold, close
from smartbkg_tf.events.table import EventTable
from smartbkg_tf.filtering import rules
from smartbkg_tf.filtering.filter_file import read_filter
from smartbkg_tf.filtering.rules import Decision, Rule, combine, decide, random_numbers
from smartbkg_tf.filtering.scorers import KerasScorer
from tests.filtering.conftest import SKIMS, Trained
from tests.samples import make_events

Floats = npt.NDArray[np.float64]
SEEDS = 20


@pytest.fixture(scope="module")
def events() -> EventTable:
    return make_events(2000, seed=11, skims=SKIMS)


@pytest.fixture(scope="module")
def scores(events: EventTable, fitted: Trained) -> npt.NDArray[np.float32]:
    return KerasScorer(fitted.run).score_events(events)


@pytest.fixture(scope="module")
def chosen(fitted: Trained) -> dict[str, Rule]:
    return dict(read_filter(fitted.run.filter).rules(SKIMS))


def observables(events: EventTable) -> dict[str, Floats]:
    """Quantities that the score knows something about."""
    p, first = events.particles, events.offsets[:-1]
    return {
        "particles": np.diff(events.offsets).astype(np.float64),
        "charged": np.add.reduceat(np.abs(p["charge"]), first),
        "energy": np.add.reduceat(p["energy"], first),
        "largest_pz": np.maximum.reduceat(p["pz"], first),
    }


def sampled(
    events: EventTable,
    scores: npt.NDArray[np.float32],
    chosen: dict[str, Rule],
    draw: Callable[..., Floats] = random_numbers,
) -> list[list[Decision]]:
    """Decide as `apply` does: for every seed the decisions of each skim."""
    p = [rule.probability(scores[:, i]) for i, rule in enumerate(chosen.values())]
    return [[decide(q, draw(events.keys, seed)) for q in p] for seed in range(SEEDS)]


def analysis_of(events: EventTable, passing: Any, decisions: list[Decision]) -> Analysis:
    probability = np.max([d.probability for d in decisions], axis=0)
    found = {name: values[passing] for name, values in observables(events).items()}
    return Analysis(probability[passing], found)


def test_weights_are_unbiased(
    events: EventTable, scores: npt.NDArray[np.float32], chosen: dict[str, Rule]
) -> None:
    decisions = sampled(events, scores, chosen)
    for i, skim in enumerate(SKIMS):
        passing = events.labels[skim] == 1
        analysis = analysis_of(events, passing, decisions[0][i : i + 1])
        weights = np.stack([d[i].weight[passing] for d in decisions])
        assert 0.2 < (weights > 0).mean() < 0.95
        assert close(analysis, weights, replicas=100).problems() == []
    passing = np.any([events.labels[skim] == 1 for skim in SKIMS], axis=0)
    analysis = analysis_of(events, passing, decisions[0])
    together = np.stack([combine(d).weight[passing] for d in decisions])
    assert close(analysis, together, replicas=100).problems() == []


def test_what_a_threshold_loses_is_seen(
    events: EventTable, scores: npt.NDArray[np.float32], chosen: dict[str, Rule]
) -> None:
    passing = events.labels[SKIMS[0]] == 1
    one = rules.KeepAll().probability(scores[:, 0])
    everything = analysis_of(events, passing, [decide(one, np.zeros(len(one)))])
    kept = scores[passing, 0] > np.quantile(scores[passing, 0], 0.3)
    analysis, weights = after_threshold(everything, kept)
    bins = sum(part.stop - part.start for part in analysis.slices().values())
    assert analysis.chi2(weights).sum() > 2 * bins


def _unweighted(d: list[Decision]) -> Floats:
    return d[0].kept.astype(np.float64)


def _of_one_skim_where_any_keeps(d: list[Decision]) -> Floats:
    return np.where(combine(d).kept, 1 / d[0].probability, 0.0)


def _of_any_where_one_skim_keeps(d: list[Decision]) -> Floats:
    return np.where(d[0].kept, 1 / combine(d).probability, 0.0)


@pytest.mark.parametrize(
    "wrong", [_unweighted, _of_one_skim_where_any_keeps, _of_any_where_one_skim_keeps]
)
def test_wrong_weights_are_noticed(
    wrong: Callable[[list[Decision]], Floats],
    events: EventTable,
    scores: npt.NDArray[np.float32],
    chosen: dict[str, Rule],
) -> None:
    decisions = sampled(events, scores, chosen)
    passing = events.labels[SKIMS[0]] == 1
    analysis = analysis_of(events, passing, decisions[0][:1])
    weights = np.stack([wrong(d)[passing] for d in decisions])
    assert close(analysis, weights, replicas=100).problems()


def test_seeds_that_share_their_numbers_are_noticed(
    events: EventTable, scores: npt.NDArray[np.float32], chosen: dict[str, Rule]
) -> None:
    """One number for all seeds: each sum is right, and their spread is not."""
    decisions = sampled(events, scores, chosen, lambda keys, _: random_numbers(keys, 1))
    passing = events.labels[SKIMS[0]] == 1
    analysis = analysis_of(events, passing, decisions[0][:1])
    weights = np.stack([d[0].weight[passing] for d in decisions])
    assert close(analysis, weights, replicas=100).problems()
