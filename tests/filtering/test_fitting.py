"""The fit of the sampling rule: the known optimum, errors, few events, calibration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from smartbkg_tf.errors import InputError
from smartbkg_tf.filtering.filter_file import passing_quantiles, read_filter
from smartbkg_tf.filtering.fitting import fit_calibration, fit_sampling_rule, sampling_rule
from smartbkg_tf.filtering.rules import SamplingRule
from smartbkg_tf.filtering.score_counts import ScoreCounts
from smartbkg_tf.runtime.files import write_json
from smartbkg_tf.settings.costs import CostSettings
from smartbkg_tf.settings.stored import StoredRule

RETENTION, SEPARATION = 0.04, 2.2


def make_scores(n: int, seed: int = 0, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Exact logits of two Gaussians; `shift` is what balanced training adds."""
    random = np.random.default_rng(seed)
    labels = (random.random(n) < RETENTION).astype(np.int8)
    x = random.normal(0, 1, n) + SEPARATION * labels
    prior = np.log(RETENTION / (1 - RETENTION))
    return SEPARATION * x - SEPARATION**2 / 2 + prior + shift, labels


def fit(scores: np.ndarray, labels: np.ndarray, **options: Any) -> StoredRule:
    return fit_sampling_rule(ScoreCounts.of(scores, labels), **options)


def speedup_of(rule: SamplingRule, scores: np.ndarray, labels: np.ndarray) -> float:
    p = rule.probability(scores)
    return CostSettings().speedup(p.mean(), float((1 / p[labels == 1]).mean()))


@pytest.fixture(scope="module")
def population() -> tuple[np.ndarray, np.ndarray]:
    return make_scores(400_000, seed=99)


def test_finds_the_best_rule_of_all(population: tuple[np.ndarray, np.ndarray]) -> None:
    fitted = fit(*make_scores(40_000), bootstrap=20)
    # Exact logits: the slope is that of sqrt(odds), a little less where odds are large.
    assert fitted["a"] == pytest.approx(0.48, abs=0.06)
    # No rule of a brute scan over the whole population beats it by more than a percent.
    best = max(
        speedup_of(SamplingRule(a=a, b=b), *population)
        for a in np.linspace(0.2, 1.0, 17)
        for b in np.linspace(-2.0, 2.0, 17)
    )
    found = speedup_of(sampling_rule(fitted), *population)
    assert found > 0.99 * best
    assert fitted["speedup_validation"] == pytest.approx(
        found, abs=4 * fitted["speedup_validation_error"]
    )
    assert found > speedup_of(SamplingRule(a=1.0, b=fitted["b"]), *population)


def test_balanced_training_moves_the_offset_only() -> None:
    fits = [fit(*make_scores(20_000, shift=s), bootstrap=0) for s in (0.0, 3.2)]
    assert fits[1]["a"] == pytest.approx(fits[0]["a"], rel=0.02)
    assert fits[1]["b"] - fits[0]["b"] == pytest.approx(3.2, abs=0.05)
    assert fits[1]["speedup_validation"] == pytest.approx(fits[0]["speedup_validation"], rel=1e-3)


def test_scale_of_the_scores_does_not_matter() -> None:
    scores, labels = make_scores(20_000)
    small, large = (fit(scores * s, labels, bootstrap=0) for s in (1e-3, 1e3))
    assert small["a"] * 1e-3 == pytest.approx(large["a"] * 1e3, rel=0.02)
    assert small["speedup_validation"] == pytest.approx(large["speedup_validation"], rel=1e-4)


def test_errors_are_those_of_repeated_experiments() -> None:
    fits = [fit(*make_scores(4000, seed=s), bootstrap=16) for s in range(20)]
    for key in ("speedup_validation", "a", "b"):
        values = [f[key] for f in fits]
        claimed = np.mean([f[f"{key}_error"] for f in fits])
        # 20 repetitions know a spread to 16 %; the bootstrap itself is no better.
        assert 0.55 < claimed / np.std(values, ddof=1) < 1.8, key


def test_few_passing_events_do_not_make_a_reckless_rule(
    population: tuple[np.ndarray, np.ndarray],
) -> None:
    speedups = []
    for seed in range(30):
        scores, labels = make_scores(200, seed=seed)
        fitted = fit(scores, labels, bootstrap=5)
        assert sampling_rule(fitted).probability(scores).min() >= 1 / 20 - 1e-12
        speedups.append(speedup_of(sampling_rule(fitted), *population))
    # About eight passing events each: never much worse than no filter, on average good.
    assert min(speedups) > 0.95
    assert np.mean(speedups) > 1.6


@pytest.mark.parametrize("labels", [np.zeros(50, np.int8), np.ones(50, np.int8)])
def test_one_class_keeps_everything(labels: np.ndarray) -> None:
    scores = np.linspace(-3, 3, 50)
    fitted = fit(scores, labels)
    assert np.all(sampling_rule(fitted).probability(scores) == 1.0)
    assert fitted["speedup_validation"] == 1.0


def test_a_useless_score_gives_no_speedup_and_no_harm() -> None:
    random = np.random.default_rng(0)
    labels = (random.random(20_000) < 0.1).astype(np.int8)
    fitted = fit(random.normal(size=20_000), labels, bootstrap=10)
    fresh = random.normal(size=100_000)
    marks = (random.random(100_000) < 0.1).astype(np.int8)
    assert 0.97 < speedup_of(sampling_rule(fitted), fresh, marks) < 1.03
    constant = fit(np.zeros(100), labels[:100])
    assert np.all(sampling_rule(constant).probability(np.zeros(100)) == 1.0)


def test_retention_undoes_enrichment() -> None:
    scores, labels = make_scores(200_000, seed=5)
    # Keep every passing event and one failing in ten.
    enriched = (labels == 1) | (np.arange(len(labels)) % 10 == 0)
    natural = fit(scores, labels, bootstrap=0)
    wrong = fit(scores[enriched], labels[enriched], bootstrap=0)
    right = fit(scores[enriched], labels[enriched], retention=float(labels.mean()), bootstrap=0)
    assert right["speedup_validation"] == pytest.approx(natural["speedup_validation"], rel=0.01)
    assert abs(wrong["speedup_validation"] - natural["speedup_validation"]) > 0.3


def test_unknown_labels_are_left_out() -> None:
    scores, labels = make_scores(5000)
    more = np.concatenate([scores, np.full(1000, 50.0)])
    marks = np.concatenate([labels, np.full(1000, -1, np.int8)])
    first = fit(scores, labels, bootstrap=0)
    assert fit(more, marks, bootstrap=0) == first


def test_same_seed_same_errors() -> None:
    scores, labels = make_scores(2000)
    fits = [fit(scores, labels, bootstrap=10, seed=s) for s in (1, 1, 2)]
    assert fits[0] == fits[1]
    assert fits[0]["speedup_validation_error"] != fits[2]["speedup_validation_error"]


def test_a_larger_floor_is_obeyed() -> None:
    scores, labels = make_scores(20_000)
    loose = fit(scores, labels, maximum_weight=100.0, bootstrap=0)
    tight = fit(scores, labels, maximum_weight=4.0, bootstrap=0)
    assert sampling_rule(tight).probability(scores).min() == pytest.approx(0.25)
    assert sampling_rule(loose).probability(scores).min() < 0.1
    assert loose["speedup_validation"] > tight["speedup_validation"]


def test_calibration_finds_slope_and_offset() -> None:
    scores, labels = make_scores(100_000, seed=2, shift=3.0)
    slope, intercept = fit_calibration(ScoreCounts.of(scores * 2, labels))
    assert slope == pytest.approx(0.5, abs=0.02)
    assert intercept == pytest.approx(-3.0, abs=0.15)
    with pytest.raises(InputError, match="all 2 events fail"):
        fit_calibration(ScoreCounts.of([0.0, 1.0], [0, 0]))
    # Separated classes would make an unsmoothed fit diverge.
    slope, _ = fit_calibration(ScoreCounts.of([-2.0, -1.0, 1.0, 2.0], [0, 0, 1, 1]))
    assert 0 < slope < 10


def test_a_stored_rule_is_read_back_or_refused_by_name(tmp_path: Path) -> None:
    fitted = fit(*make_scores(1000), bootstrap=5)
    path = tmp_path / "filter.json"
    calibration = {"slope": 1.0, "intercept": -0.5}
    quantiles = passing_quantiles(np.arange(2001.0))
    one = {**fitted, "calibration": calibration, "passing_scores": quantiles}
    write_json(path, {"one": one})
    stored = read_filter(path)
    assert stored.rules(("one",)) == {"one": sampling_rule(fitted)}
    assert stored.values["one"]["calibration"] == calibration
    assert stored.thresholds(("one",), 0.9)["one"].threshold == 200.0

    with pytest.raises(InputError, match=r"no rule for the skim two \(there are: one\)"):
        stored.rules(("two",))
    rule = {"a": 0.5, "b": 0.0, "maximum_weight": 20}
    for words, values in (
        ("one.maximum_weight is missing", {"one": {"a": 0.5, "b": 0.0}}),
        ("one.a: .*greater than or equal to 0, not -1", {"one": {**rule, "a": -1}}),
        ("is damaged: .*dictionary", [1]),
    ):
        write_json(path, values)
        with pytest.raises(InputError, match=words):
            read_filter(path)
    with pytest.raises(InputError, match="does not exist"):
        read_filter(tmp_path / "missing.json")
