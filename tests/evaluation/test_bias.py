"""Bias of filters: numbers by hand and against SciPy, and tests that are uniform without bias."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.special import rel_entr

from smartbkg_tf.evaluation.bias import _ranked, compare_observables
from smartbkg_tf.evaluation.bias_filters import Filter, Filters, filters_of, reweight
from smartbkg_tf.evaluation.bias_tests import (
    chi_squared,
    compare,
    divergence,
    kolmogorov_smirnov,
    wilson,
)
from smartbkg_tf.evaluation.observables import Observables
from smartbkg_tf.evaluation.speedup_quantities import HalvedRules
from smartbkg_tf.filtering.predictions import Predictions, SkimPredictions
from smartbkg_tf.filtering.rules import Rule, SamplingRule, ThresholdRule, decide
from smartbkg_tf.filtering.score_counts import ScoreCounts
from smartbkg_tf.settings.costs import CostSettings
from smartbkg_tf.settings.evaluation import BiasSettings, MetricsSettings


def compared(x: Any, filter: Filter, edges: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    x, edges = np.asarray(x, dtype=np.float64), np.asarray(edges, dtype=np.float64)
    return compare(x, np.clip(x, edges[0], edges[-1]), edges, filter)


def test_weighted_numbers_by_hand() -> None:
    sampled = Filter.sampling(np.array([0.5, 0.25, 1.0]), np.array([2.0, 4.0, 1.0]))
    found, curves = compared([1.0, 1.0, 2.0], sampled, [1.0, 1.5, 2.0])
    assert curves["kept"] == [6.0, 1.0]
    np.testing.assert_allclose(curves["kept_error"], [np.sqrt(20), 1.0])
    assert curves["ratio"] == [3.0, 1.0]
    # Variance of the sampling: (1 - p) / p = 1 + 3 in the first bin, 0 in the second.
    np.testing.assert_allclose(curves["ratio_error"], [1.0, 0.0])
    assert curves["pull"] == [None, None]  # too few events for a normal distribution
    # Normalised: 2/3 and 1/3 before, 6/7 and 1/7 after.
    np.testing.assert_allclose(
        curves["asymmetry"],
        [(2 / 3 - 6 / 7) / (2 / 3 + 6 / 7), (1 / 3 - 1 / 7) / (1 / 3 + 1 / 7)],
    )
    assert found["chi2"] == pytest.approx((7 - 3) ** 2 / 4)  # too few events for two bins
    assert found["effective_number"] == pytest.approx(49 / 21)
    assert found["mean_kept"] == pytest.approx(8 / 7)
    assert found["kl"] == pytest.approx(6 / 7 * np.log(9 / 7) + 1 / 7 * np.log(3 / 7))
    assert found["ks"] == pytest.approx(6 / 7 - 2 / 3)


def test_a_threshold_is_compared_with_random_thinning() -> None:
    kept = np.array([True] * 30 + [False] * 10 + [True] * 10 + [False] * 30)
    x = np.repeat([0.0, 1.0], 40)
    found, curves = compared(x, Filter.threshold(kept), [-0.5, 0.5, 1.5])
    assert curves["kept"] == [60.0, 20.0]  # normalised to all 80 events
    assert curves["ratio"] == [1.5, 0.5]
    expected = stats.chi2_contingency([[30, 10], [10, 30]], correction=False)
    assert found["chi2"] == pytest.approx(expected.statistic)
    assert found["chi2_ndf"] == expected.dof
    # Of 40 events each, half of all kept: V = 40.
    np.testing.assert_allclose(curves["pull"], [20 / np.sqrt(40), -20 / np.sqrt(40)])
    assert found["chi2_probability"] == pytest.approx(expected.pvalue)
    # js is the square of SciPy's distance.
    from scipy.spatial.distance import jensenshannon

    assert found["js"] == pytest.approx(jensenshannon([0.75, 0.25], [0.5, 0.5]) ** 2)
    assert found["kl_probability"] < 0.01


def test_nothing_kept_and_everything_kept() -> None:
    x = np.arange(10.0)
    found, curves = compared(x, Filter.threshold(np.zeros(10, bool)), [0.0, 5.0, 10.0])
    assert found["n_kept"] == 0
    assert found["kl"] is found["ks"] is found["mean_kept"] is found["chi2_probability"] is None
    found, curves = compared(x, Filter.threshold(np.ones(10, bool)), [0.0, 5.0, 9.0, 10.0])
    assert (found["kl"], found["ks"], found["chi2"]) == (0.0, 0.0, 0.0)
    assert (found["ks_probability"], found["kl_probability"]) == (1.0, 1.0)
    assert curves["ratio"] == [1.0, 1.0, 1.0]


def test_divergence_and_its_noise_floor() -> None:
    before = np.array([400.0, 0.0, 300.0, 300.0])
    after = np.array([50.0, 0.0, 20.0, 30.0])
    found = divergence(before, after, 9 * before)  # one of ten events is kept
    assert found["kl"] == pytest.approx(rel_entr([0.5, 0.2, 0.3], [0.4, 0.3, 0.3]).sum())
    # Expansion of the mean: (bins - 1) / (2 kept) (1 - kept / all).
    assert found["kl_floor"] == pytest.approx(2 / 200 * 0.9, rel=0.25)
    assert found["kl_floor_error"] == pytest.approx(np.sqrt(4) / 200 * 0.9, rel=0.35)


def test_tests_are_uniform_for_filters_without_bias_and_pulls_are_normal() -> None:
    """For sampling, and for a threshold on something that has nothing to do with x."""
    random = np.random.default_rng(0)
    found: dict[str, list[list[float]]] = {"sampling": [], "threshold": []}
    pulls: dict[str, list[float]] = {"sampling": [], "threshold": []}
    keys = ("chi2_probability", "ks_probability", "kl_probability")
    for _ in range(150):
        x, score = random.normal(size=(2, 1500))
        x = x + score * 0.7  # sampling by a score that knows about x stays unbiased
        p = SamplingRule(a=0.7, b=0.5, maximum_weight=8).probability(score)
        decision = decide(p, random.random(1500))
        filters = {
            "sampling": Filter.sampling(p, decision.weight),
            "threshold": Filter.threshold(random.random(1500) < 0.6),
        }
        edges = np.linspace(*np.quantile(x, [0.005, 0.995]), 11)
        for kind, filter in filters.items():
            numbers, curves = compared(x, filter, edges)
            found[kind].append([numbers[key] for key in keys])
            pulls[kind] += [pull for pull in curves["pull"] if pull is not None]
    for kind, rows in found.items():
        for key, values in zip(keys, np.array(rows).T, strict=True):
            uniform = stats.kstest(values, "uniform").pvalue
            assert uniform > 1e-3, (kind, key, uniform)
        assert abs(np.mean(pulls[kind])) < 0.15
        assert np.std(pulls[kind]) == pytest.approx(1.0, abs=0.1)


def test_ks_of_unweighted_events_is_that_of_scipy() -> None:
    random = np.random.default_rng(0)
    x = np.round(random.normal(size=300), 1)  # with ties
    kept = random.random(300) < 0.4
    distance, probability = kolmogorov_smirnov(x, kept.astype(float), np.full(300, 1.5))
    assert distance == pytest.approx(stats.ks_2samp(x[kept], x).statistic)
    assert 0 < probability <= 1


def test_ks_where_the_observable_follows_the_score() -> None:
    """The variance of the weights then lies at one end of the distribution."""
    random = np.random.default_rng(1)
    found = []
    for _ in range(200):
        score = random.normal(size=1000)
        p = np.clip(1 / (1 + np.exp(-score)), 0.05, 1.0)
        weight = np.where(random.random(1000) < p, 1 / p, 0.0)
        x = score + random.normal(size=1000)
        found.append(kolmogorov_smirnov(x, weight, (1 - p) / p)[1])
    assert stats.kstest(found, "uniform").pvalue > 1e-3
    assert np.mean(np.array(found) < 0.05) < 0.11


def test_nothing_kept_is_ranked_last_and_a_threshold_has_the_fraction_of_known_events() -> None:
    kept = np.array([True, True, False, False])
    known = np.array([True, True, True, False])
    assert Filter.threshold(kept).of(known).variance[0] == pytest.approx(0.5)
    none = Filter.threshold(np.zeros(3, dtype=bool))
    metrics, _ = compare(np.arange(3.0), np.arange(3.0), np.array([-0.5, 1.5, 2.5]), none)
    some, _ = compare(np.arange(3.0), np.arange(3.0), np.array([-0.5, 1.5, 2.5]), none)
    some |= {"kl": 1.0, "kl_floor": 0.1, "kl_floor_error": 0.1}
    names = {"empty": {"filters": {"threshold": metrics}}, "full": {"filters": {"threshold": some}}}
    assert _ranked(names, "threshold") == ["full", "empty"]


def test_bins_are_joined_until_they_hold_ten_effective_events() -> None:
    before, after, variance = np.array([[4.0, 7, 20, 3], [5, 6, 18, 3], [0, 0, 20, 0]])
    value, used, probability = chi_squared(before, after, variance, absolute=True)
    # 11 events in the first two bins, without variance; 20^2 / 40 = 10; the rest joins them.
    assert used == 1
    assert value == pytest.approx((21 - 23) ** 2 / 20)
    assert probability == pytest.approx(stats.chi2.sf(value, 1))


def test_wilson_by_hand_and_by_its_coverage() -> None:
    # z = 1: roots of (k/n - e)^2 = e (1 - e) / n.
    for k, n in ((0, 5), (3, 10), (10, 10)):
        low, high = wilson(k, n)
        expected = sorted(np.roots([1 + 1 / n, -2 * k / n - 1 / n, (k / n) ** 2]).real)
        assert [float(low), float(high)] == pytest.approx(expected, abs=1e-12)
    random = np.random.default_rng(0)
    truth = random.random(20_000)
    k = random.binomial(30, truth)
    low, high = wilson(k, np.full(20_000, 30))
    assert np.mean((low <= truth) & (truth <= high)) == pytest.approx(0.683, abs=0.02)
    assert np.isnan(wilson(0, 0)[0])


def make_predictions(n: int, rule: Rule | None, seed: int = 0) -> tuple[Predictions, Any]:
    """Make passing events with an observable that the score knows about, and others."""
    random = np.random.default_rng(seed)
    label = (random.random(n) < 0.5).astype(np.int8)
    score = (random.normal(size=n) + 1.5 * label).astype(np.float32)
    p = np.ones(n) if rule is None else rule.probability(score)
    decision = decide(p, random.random(n))
    skim = SkimPredictions(score, p, decision.kept, decision.weight, label)
    keys = {
        name: np.full(n, 1) if name != "event" else np.arange(n)
        for name in ("experiment", "run", "event", "production")
    }
    rows = np.flatnonzero(label == 1)
    values = {
        "known": score[rows] + random.normal(size=len(rows)),
        "other": random.normal(size=len(rows)),
        "count": np.round(random.normal(8, 3, len(rows))),
    }
    values["other"][:50] = np.nan
    observables = Observables(rows, np.arange(len(rows)) > 20, values)
    return Predictions(keys, np.zeros(n, np.int8), {"one": skim}, {}), observables


def filters_for(predictions: Predictions, settings: MetricsSettings) -> Filters:
    skim = predictions.skims["one"]
    second = np.arange(len(skim.score)) % 2 == 1
    counts = ScoreCounts.of(skim.score, skim.label, second_half=second)
    rules = HalvedRules.fit(counts, CostSettings())
    return filters_of(predictions, "one", settings, counts, rules, second)


def test_scores_alone_show_the_bias_of_a_threshold_and_of_the_fitted_rule() -> None:
    predictions, observables = make_predictions(12_000, None)
    settings = MetricsSettings(efficiencies=[0.5, 0.9], bias=BiasSettings(efficiency=0.8, folds=3))
    filters = filters_for(predictions, settings)
    assert filters.main == "sampling"
    metrics, data = compare_observables(filters, observables, settings.bias)
    bias, known = metrics["bias"], metrics["observables"]["known"]
    assert bias["efficiency"] == pytest.approx(0.8, abs=1e-3)
    assert bias["sampling_from"].startswith("rule fitted on one half")
    assert bias["n_without_row"] == 21
    assert bias["ranking"]["threshold"][0] == "known"
    assert metrics["observables"]["other"]["n_missing"] == 50
    of = known["filters"]
    # A threshold biases, weights of the sampling repair it, and so do trees that see the cause.
    assert of["threshold"]["kl"] > 0.0015 > of["threshold"]["kl_floor"]
    assert of["threshold"]["chi2_probability"] < 1e-6
    assert of["sampling"]["chi2_probability"] > 1e-3
    assert of["sampling"]["kl_probability"] > 0.005
    assert of["reweighted"]["kl"] < 0.2 * of["threshold"]["kl"]
    assert bias["effective_fraction"]["reweighted"] < bias["effective_fraction"]["threshold"]
    assert metrics["observables"]["other"]["filters"]["threshold"]["chi2_probability"] > 1e-3
    # The same numbers under the keys that scripts read.
    assert known["n_kept"] == of["sampling"]["n_kept"]
    assert known["chi2"] == of["sampling"]["chi2"]
    # Whole numbers fall into the middle of their bins.
    edges = np.array(data["observable_count"]["edges"])
    np.testing.assert_array_equal(edges % 1, 0.5)
    scan = data["efficiency_known"]["thresholds"]
    assert [round(one["efficiency"], 2) for one in scan] == [0.9, 0.5]
    assert scan[1]["value"][0] < 0.1 < 0.9 < scan[1]["value"][-1]
    kinds = [
        f"{kind}_{name}" for name in observables.values for kind in ("observable", "efficiency")
    ]
    assert list(data) == [*kinds, "bias_ranking"]
    assert data["bias_ranking"]["observables"] == bias["ranking"]["sampling"]


def test_decisions_of_the_predictions_are_taken() -> None:
    settings = MetricsSettings(bias=BiasSettings(folds=0))
    predictions, observables = make_predictions(6000, SamplingRule(a=1.0, b=1.0))
    filters = filters_for(predictions, settings)
    assert filters.information["sampling_from"] == "decisions of the predictions"
    passing = predictions.skims["one"].label == 1
    np.testing.assert_array_equal(
        filters.filters["sampling"].weight, predictions.skims["one"].weight[passing]
    )
    metrics, _ = compare_observables(filters, observables, settings.bias)
    assert set(metrics["observables"]["known"]["filters"]) == {"threshold", "sampling"}

    predictions, observables = make_predictions(6000, ThresholdRule(threshold=1.0))
    filters = filters_for(predictions, settings)
    assert filters.main == "threshold"
    assert filters.information["threshold"] == pytest.approx(1.0, abs=0.01)
    metrics, _ = compare_observables(filters, observables, settings.bias)
    known = metrics["observables"]["known"]
    assert known["chi2"] is None  # its events are lost for good, there is no such test
    assert known["mean_kept"] - known["mean_all"] > 10 * known["mean_kept_error"]


def test_a_sampling_that_kept_every_passing_event_is_judged_by_its_own_decisions() -> None:
    predictions, _ = make_predictions(2000, None)
    skim = predictions.skims["one"]
    p = np.where(skim.label == 1, 1.0, 0.5)
    decision = decide(p, np.random.default_rng(0).random(2000))
    skim = SkimPredictions(skim.score, p, decision.kept, decision.weight, skim.label)
    sampled = Predictions(predictions.keys, predictions.event_type, {"one": skim}, {})
    filters = filters_for(sampled, MetricsSettings())
    assert filters.information["sampling_from"] == "decisions of the predictions"
    assert np.all(filters.filters["sampling"].weight == 1)


def test_trees_learn_nothing_from_too_few_events() -> None:
    x = {"x": np.arange(100.0)}
    fold = np.linspace(0, 0.99, 100)
    assert reweight(x, np.arange(100) >= 49, fold, 5) is None
    assert reweight(x, np.arange(100) >= 50, fold, 0) is None
    assert reweight({}, np.arange(100) >= 50, fold, 5) is None
    assert reweight(x, np.arange(100) >= 50, fold[::-1].copy() * 0, 5) is None
