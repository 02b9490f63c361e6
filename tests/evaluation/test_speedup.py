"""Speedup on test events: by hand, by integrals, and the spread of real draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import minimize_scalar
from scipy.stats import norm

from smartbkg_tf.evaluation.bootstrap import measure
from smartbkg_tf.evaluation.conditions import SAMPLE, Conditions
from smartbkg_tf.evaluation.metrics import place_of
from smartbkg_tf.evaluation.speedup import (
    Speedups,
    speedup_dependence,
    threshold_entries,
    weight_distribution,
)
from smartbkg_tf.evaluation.speedup_quantities import (
    HalvedRules,
    SampledRules,
    ThresholdSpeedups,
    best_sampling,
    drawn_decisions,
    posterior,
)
from smartbkg_tf.filtering.predictions import SkimPredictions
from smartbkg_tf.filtering.rules import Decision, SamplingRule, decide
from smartbkg_tf.filtering.score_counts import ScoreCounts
from smartbkg_tf.settings.costs import CostSettings

FREE = CostSettings(generation=0, network=0)
AS_HERE = Conditions(None, SAMPLE, CostSettings(), "default")


def gaussian_sample(seed: int, n: int, retention: float = 0.1) -> tuple[Any, Any, Any]:
    """Scores of failing and passing events around 0 and 2; halves at random."""
    random = np.random.default_rng(seed)
    labels = (random.random(n) < retention).astype(np.int8)
    return random.normal(2.0 * labels, 1.0), labels, random.random(n) < 0.5


def halved(seed: int, n: int, retention: float = 0.1) -> ScoreCounts:
    scores, labels, second = gaussian_sample(seed, n, retention)
    return ScoreCounts.of(scores, labels, second_half=second)


def speedups_of(
    scores: Any,
    labels: Any,
    decision: Decision | None = None,
    number: int = 5,
    conditions: Conditions = AS_HERE,
) -> dict[str, Any]:
    skim, biased = None, False
    if decision is not None:
        skim = SkimPredictions(
            scores, decision.probability, decision.kept, decision.weight, np.asarray(labels)
        )
        biased = bool(np.any(decision.probability == 0))
    second = np.arange(len(scores)) % 2 == 0
    counts = ScoreCounts.of(scores, labels, second_half=second)
    parts = Speedups(counts, conditions, skim, biased=biased)
    return parts.metrics(measure(counts, parts.quantities, number, 0))


def test_decisions_by_hand() -> None:
    scores = np.array([3.0, 2.0, 2.0, 1.0])
    p = np.array([1.0, 0.5, 0.5, 0.25])
    labels = np.array([1, 1, 0, 0])
    free = Conditions(None, SAMPLE, FREE, "default")
    decision = Decision(p, np.array([True, True, False, True]), np.array([1.0, 2.0, 0.0, 4.0]))
    found = speedups_of(scores, labels, decision, conditions=free)["sampling"]
    # mean p = 9/16, mean 1/p of passing = 3/2.
    assert found["speedup"] == pytest.approx(16 / 9 / 1.5)
    assert found["simulated_fraction"] == pytest.approx(9 / 16)
    # Kept passing weights 1 and 2: (3)^2 / 5 = 1.8 effective of 2; 3 of 4 simulated.
    assert found["effective_passing"] == pytest.approx(1.8)
    assert found["speedup_drawn"] == pytest.approx((4 / 3) * 1.8 / 2)
    assert found["sum_of_weights"] == pytest.approx(3.0)
    assert found["sum_of_weights_error"] == pytest.approx(1.0)
    assert found["n_passing"] == 2
    # One of ten events passes: mean p = 0.1 * 3/4 + 0.9 * 3/8, of those drawn 0.1 + 0.9 / 2.
    rare = Conditions(0.1, "metrics.retention", FREE, "default")
    found = speedups_of(scores, labels, decision, conditions=rare)["sampling"]
    assert found["simulated_fraction"] == pytest.approx(0.4125)
    assert found["speedup"] == pytest.approx(1 / 0.4125 / 1.5)
    assert found["speedup_drawn"] == pytest.approx(0.9 / 0.55)
    passes = labels == 1
    nothing = drawn_decisions(np.full(4, 0.5), np.zeros(4), passes, FREE)
    assert nothing["speedup_drawn"] == nothing["effective_passing"] == 0.0
    with pytest.raises(ValueError, match="outside"):
        drawn_decisions(np.array([0.0, 1.0]), np.zeros(2), passes[:2], FREE)


def test_draws_scatter_around_the_expectation_as_claimed() -> None:
    random = np.random.default_rng(0)
    n = 20_000
    passes = random.random(n) < 0.05
    p = SamplingRule(a=0.8, b=1.5).probability(random.normal(0, 1, n) + 2 * passes)
    results = []
    for _ in range(100):
        weight = decide(p, random.random(n)).weight
        results.append(drawn_decisions(p, weight, passes, CostSettings()))
    drawn = np.array([r["speedup_drawn"] for r in results])
    expected = CostSettings().speedup(p.mean(), (1 / p[passes]).mean())
    assert drawn.mean() == pytest.approx(expected, rel=0.02)
    pulls = [(r["sum_of_weights"] - r["n_passing"]) / r["sum_of_weights_error"] for r in results]
    assert abs(np.mean(pulls)) < 0.4
    assert 0.75 < np.std(pulls) < 1.3


def test_an_enriched_sample_has_the_speedups_of_the_natural_one() -> None:
    """Half of its events pass, naturally 2 %: a perfect filter saves 1.01 / 0.031, not 1.98."""
    scores, labels, _ = gaussian_sample(5, 150_000, 0.02)
    random = np.random.default_rng(1)
    enriched = (labels == 1) | (random.random(len(labels)) < 0.02 / 0.98)
    p = SamplingRule(a=0.8, b=1.5).probability(scores)
    sampled = decide(p, random.random(len(p)))
    kept = scores >= 1.0
    cut = Decision(kept.astype(float), kept, kept.astype(float))
    natural = Conditions(0.02, "metrics.retention", CostSettings(), "default")
    for decision in (sampled, cut):
        part = Decision(*(column[enriched] for column in vars(decision).values()))
        found = speedups_of(scores[enriched], labels[enriched], part, 20, natural)
        assert found["limits"]["perfect_filter"] == pytest.approx(1.01 / 0.031)
        # The retention holds in every resample.
        assert found["limits"]["perfect_filter_error"] < 1e-9
        assert (found["retention"], found["retention_from"]) == (
            pytest.approx(0.02),
            "metrics.retention",
        )
        expected = speedups_of(scores, labels, decision, 5)
        own = "sampling" if decision is sampled else "own_threshold"
        for name in ("fitted_rule", own):
            difference = found[name]["speedup"] - expected[name]["speedup"]
            assert abs(difference) < 4 * found[name]["speedup_error"], name
            assert found[name]["speedup_error"] < 0.1 * found[name]["speedup"]
        for one, other in zip(found["threshold"], expected["threshold"], strict=True):
            assert one["speedup"] == pytest.approx(other["speedup"], rel=0.15)
        as_here = speedups_of(scores[enriched], labels[enriched], part, 5)
        assert as_here["limits"]["perfect_filter"] == pytest.approx(1.98, abs=0.05)
        assert as_here["retention_from"] == SAMPLE


def test_errors_are_those_of_repeated_samples() -> None:
    """Of decisions, of the fitted rule and of the limits."""
    found = []
    for seed in range(24):
        scores, labels, _ = gaussian_sample(seed, 1500)
        p = SamplingRule(a=0.8, b=1.5).probability(scores)
        decision = decide(p, np.random.default_rng(seed).random(1500))
        one = speedups_of(scores, labels, decision, 20)
        found.append(
            [
                part[f"{key}{kind}"]
                for part, key in (
                    (one["sampling"], "speedup"),
                    (one["fitted_rule"], "speedup"),
                    (one["limits"], "perfect_filter"),
                )
                for kind in ("", "_error")
            ]
        )
    values, errors = np.array(found)[:, ::2], np.array(found)[:, 1::2]
    np.testing.assert_allclose(errors.mean(axis=0), values.std(axis=0, ddof=1), rtol=0.5)


def test_the_threshold_of_the_predictions() -> None:
    found = []
    for seed in range(24):
        scores, labels, _ = gaussian_sample(seed, 1500)
        kept = scores > 1
        decision = Decision(kept.astype(float), kept, kept.astype(float))
        one = speedups_of(scores, labels, decision, 20)
        assert "sampling" not in one
        # What sampling by these scores would save is known all the same.
        assert one["fitted_rule"]["speedup"] > 1
        own = one["own_threshold"]
        efficiency = kept[labels == 1].mean()
        assert own["efficiency"] == pytest.approx(efficiency)
        assert own["kept_fraction"] == pytest.approx(kept.mean())
        assert own["lowest_kept_score"] == scores[kept].min()
        assert own["speedup"] == pytest.approx(
            CostSettings().threshold_speedup(kept.mean(), efficiency)
        )
        found.append([own["speedup"], own["speedup_error"]])
    values, errors = np.array(found).T
    assert errors.mean() == pytest.approx(values.std(ddof=1), rel=0.5)


def test_thresholds_by_hand() -> None:
    counts = ScoreCounts.of([4.0, 3.0, 2.0, 1.0], [1, 0, 1, 0])
    places = np.array([place_of(counts, 0.5), place_of(counts, 1.0)])
    measured = measure(counts, {"it": ThresholdSpeedups(places, FREE)}, 10, 0)["it"]
    half, whole = threshold_entries(counts, places, measured)
    assert (half["threshold"], half["kept_fraction"], half["efficiency"]) == (4.0, 0.25, 0.5)
    assert half["speedup"] == pytest.approx(0.5 / 0.25)
    assert (whole["threshold"], whole["kept_fraction"]) == (2.0, 0.75)
    assert whole["speedup"] == pytest.approx(1 / 0.75)
    assert half["speedup_error"] > 0


def test_rules_are_used_on_the_half_that_they_have_not_seen() -> None:
    rules = HalvedRules((SamplingRule(a=1.0, b=0.0), SamplingRule(a=1.0, b=5.0)))
    p = rules.probability(np.array([0.0, 0.0]), np.array([False, True]))
    np.testing.assert_allclose(p, [1 / 20, 1.0])
    labels = np.zeros(100, np.int8)
    labels[:18] = 1
    few = ScoreCounts.of(np.arange(100.0), labels, second_half=np.arange(100) % 2)
    assert HalvedRules.fit(few, CostSettings()) is None


def test_the_best_sampling_is_that_of_integrals_over_the_densities() -> None:
    """With the true posterior, c found by a search, and all means by quadrature."""
    retention, cost = 0.1, CostSettings()
    k = cost.generation + cost.network

    def density(s: float, passing: bool) -> float:
        return float(norm.pdf(s, 2.0 if passing else 0.0))

    def q(s: float) -> float:
        a = retention * density(s, True)
        return a / (a + (1 - retention) * density(s, False))

    def inverse_speedup(c: float) -> float:
        def p(s: float) -> float:
            return min(1.0, c * np.sqrt(q(s)))

        # Where p reaches 1 there is a kink.
        kink = 1.0 + 0.5 * np.log((1 - retention) / retention / max(c * c - 1, 1e-9))
        options: dict[str, Any] = {"points": [kink], "limit": 200}
        passing = quad(lambda s: density(s, True) * p(s), -8, 10, **options)[0]
        failing = quad(lambda s: density(s, False) * p(s), -8, 10, **options)[0]
        inverse = quad(lambda s: density(s, True) / p(s), -8, 10, **options)[0]
        mean = retention * passing + (1 - retention) * failing
        return (k + mean) * inverse / (cost.generation + 1)

    expected = (
        1
        / minimize_scalar(
            inverse_speedup, bounds=(1.01, 5), method="bounded", options={"xatol": 1e-3}
        ).fun
    )
    counts = halved(3, 400_000)
    p = best_sampling(counts, cost)[None, None]
    found = SampledRules(p, cost)(counts)
    assert found[0, 0] == pytest.approx(expected, rel=0.02)
    assert found[0, 0] > expected * 0.995  # it is the best on these very events
    # No threshold on q and no rule of the family beats it.
    for a in (0.3, 0.5, 0.7, 1.0, 1.5):
        for b in (0.5, 1.0, 1.5, 2.0, 2.5):
            rule = SamplingRule(a=a, b=b).probability(counts.score)[None, None]
            assert SampledRules(rule, cost)(counts)[0, 0] <= found[0, 0]


def test_the_best_sampling_by_search_over_c_on_the_same_events() -> None:
    counts = halved(1, 2000)
    root = np.sqrt(posterior(counts))
    for cost in (CostSettings(), CostSettings(generation=1.0, network=0.2)):
        scan = [
            SampledRules(np.minimum(1, c * root)[None, None], cost)(counts)[0, 0]
            for c in np.geomspace(0.5, 30, 3000)
        ]
        best = SampledRules(best_sampling(counts, cost)[None, None], cost)(counts)[0, 0]
        assert best >= max(scan) - 1e-12
        assert best == pytest.approx(max(scan), rel=1e-4)


def test_posterior_is_that_of_scikit_learn() -> None:
    from sklearn.isotonic import IsotonicRegression

    scores, labels, _ = gaussian_sample(0, 500)
    counts = ScoreCounts.of(scores, labels)
    expected = IsotonicRegression().fit(scores, labels).predict(counts.score)
    np.testing.assert_allclose(posterior(counts), expected, atol=1e-9)


def test_scores_alone_tell_what_sampling_would_save() -> None:
    cost = CostSettings()
    found = []
    for seed in range(12):
        counts = halved(seed, 4000)
        parts = Speedups(counts, AS_HERE)
        measured = measure(counts, parts.quantities, 5, 0)
        found.append(parts.metrics(measured)["sampling"]["speedup"])
    # Independent of the fit: a scan of the clipped exponential on a large sample.
    scores, labels, _ = gaussian_sample(99, 200_000)
    rules = (SamplingRule(a=a, b=b) for a in np.arange(0.4, 2.0, 0.2) for b in (1, 1.5, 2, 2.5))
    probabilities = (rule.probability(scores) for rule in rules)
    best = max(cost.speedup(p.mean(), (1 / p[labels == 1]).mean()) for p in probabilities)
    assert best > 1.5
    spread = np.std(found, ddof=1) / np.sqrt(len(found))
    assert abs(np.mean(found) - best) < 4 * spread + 0.01 * best


def test_dependence_on_retention_and_times() -> None:
    counts = halved(2, 20_000)
    cost = CostSettings()
    rules = HalvedRules.fit(counts, cost)
    found = speedup_dependence(counts, rules, cost)
    for name in ("retention", "generation", "network", "simulation"):
        curve = found[name]
        perfect, best, fitted = (
            np.array(curve[key]) for key in ("perfect", "best_sampling", "fitted_rule")
        )
        assert np.all(perfect >= best)
        assert np.all(best >= fitted * 0.98)  # measured on halves, which scatter
        falling = name != "simulation"
        assert np.all(np.diff(perfect) < 0) == falling
    # Perfect filters by hand: (g + 1) / (g + n + r).
    generation = np.array(found["generation"]["value"])
    retention = counts.n_passing / 20_000
    np.testing.assert_allclose(
        found["generation"]["perfect"], (generation + 1) / (generation + 0.001 + retention)
    )
    # The rule that is fitted near another one is the one that is found by search.
    dear = CostSettings(generation=float(generation[-1]))
    again = HalvedRules.fit(counts, dear)
    assert again is not None
    p = np.array([[again.used_on(half).probability(counts.score)] for half in (0, 1)])
    assert found["generation"]["fitted_rule"][-1] == pytest.approx(
        SampledRules(p, dear)(counts)[0, 0], rel=5e-3
    )


def test_distribution_of_weights_by_hand() -> None:
    counts = ScoreCounts.of([0.0, 1.0, 1.0, 2.0], [0, 0, 1, 1])
    found = weight_distribution(counts, np.array([[0.1, 0.5, 1.0]]), bins=3)
    np.testing.assert_allclose(found["edges"], 10 ** (np.arange(4) / 3), rtol=1e-6)
    # Expected kept: weight 10: 0.1 failing; weight 2: 0.5 of each; weight 1: one passing.
    np.testing.assert_allclose(found["failing"], [0.5, 0.0, 0.1])
    np.testing.assert_allclose(found["passing"], [1.5, 0.0, 0.0])
