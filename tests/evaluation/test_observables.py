"""Bias observables: weighted errors, no division by empty bins, keys of four parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from smartbkg_tf.errors import InputError
from smartbkg_tf.evaluation.observables import compare_observable, read_observables
from smartbkg_tf.filtering.predictions import Predictions
from smartbkg_tf.filtering.rules import Rule, SamplingRule, ThresholdRule, decide


def make_sample(n: int, seed: int = 0) -> tuple[np.ndarray, ...]:
    random = np.random.default_rng(seed)
    passing = random.random(n) < 0.5
    scores = random.normal(0, 1, n) + passing
    # Correlated with the score: a filter without weights biases it.
    return scores + random.normal(0, 1, n), passing, scores, random.random(n)


def compare(
    rule: Rule,
    values: np.ndarray,
    passing: np.ndarray,
    scores: np.ndarray,
    uniform: np.ndarray,
    *,
    bins: int = 20,
) -> dict[str, Any] | None:
    decision = decide(rule.probability(scores), uniform)
    return compare_observable(values, passing, decision.probability, decision.weight, bins=bins)


def test_sampling_is_unbiased_with_the_right_errors() -> None:
    chi2 = bins = 0.0
    for seed in range(30):
        found = compare(
            SamplingRule(a=1.0, b=1.0, maximum_weight=10.0), *make_sample(4000, seed), bins=10
        )
        assert found is not None
        chi2 += found["chi2"]
        bins += found["bins_used"]
        assert sum(found["all"]) == found["n_passing"]
        assert 0 < found["effective_number"] < found["n_kept"] < found["n_passing"]
    assert abs(chi2 - bins) < 5 * np.sqrt(2 * bins)


def test_a_threshold_shows_its_bias() -> None:
    found = compare(ThresholdRule(threshold=1.0), *make_sample(4000))
    assert found is not None
    assert found["chi2"] is None  # its events are lost for good, there is no such test
    assert found["mean_kept"] - found["mean_all"] > 10 * found["mean_kept_error"]


def test_weighted_error_by_hand() -> None:
    found = compare_observable(
        np.array([1.0, 1.0, 2.0, 9.0]),
        np.array([True, True, True, False]),
        np.array([0.5, 0.25, 1.0, 1.0]),
        np.array([2.0, 4.0, 1.0, 1.0]),
        bins=2,
    )
    assert found is not None
    assert found["all"] == [2.0, 1.0]
    assert found["kept"] == [6.0, 1.0]
    np.testing.assert_allclose(found["kept_error"], [np.sqrt(20), 1.0])
    assert found["ratio"] == [3.0, 1.0]
    # Variance of the sampling: (1 - p) / p = 1 + 3 in the first bin, 0 in the second.
    np.testing.assert_allclose(found["ratio_error"], [1.0, 0.0])
    assert found["chi2"] == pytest.approx((6 - 2) ** 2 / 4)
    assert found["bins_used"] == 1
    assert found["effective_number"] == pytest.approx(49 / 21)
    assert found["mean_kept"] == pytest.approx(8 / 7)


def test_empty_bins_and_nothing_kept() -> None:
    values = np.array([0.0, 10.0])
    found = compare_observable(values, np.ones(2, bool), np.full(2, 0.5), np.zeros(2), bins=5)
    assert found is not None
    assert found["ratio"] == [0.0, None, None, None, 0.0]
    assert found["mean_kept"] is None
    assert compare_observable(values, np.zeros(2, bool), np.ones(2), np.ones(2)) is None
    assert compare_observable(values * np.nan, np.ones(2, bool), np.ones(2), np.ones(2)) is None


def make_predictions(n: int) -> Predictions:
    keys = {
        "experiment": np.full(n, 1003),
        "run": np.arange(n) // 5,
        "event": np.arange(n) % 5,  # the event number alone identifies nothing
        "production": np.full(n, 1),
    }
    return Predictions(keys, np.zeros(n, np.int8), {}, {})


def test_joined_on_the_whole_key_in_any_order(tmp_path: Path) -> None:
    path = tmp_path / "observables.parquet"
    predictions = make_predictions(20)
    frame = pd.DataFrame({**predictions.keys, "thrust": np.arange(20.0), "event_type": "mixed"})
    frame["Mbc"] = pd.array([None, *range(19)], dtype="Int64")
    frame.drop(index=3).sample(frac=1, random_state=1).to_parquet(path)
    found = read_observables(path, predictions)
    assert list(found) == ["thrust", "Mbc"]
    expected = np.arange(20.0)
    expected[3] = np.nan
    np.testing.assert_array_equal(found["thrust"], expected)
    assert np.isnan(found["Mbc"][0])
    assert found["Mbc"][19] == 18


def test_broken_observables(tmp_path: Path) -> None:
    path = tmp_path / "o.parquet"
    predictions = make_predictions(5)

    def refused(words: str, frame: pd.DataFrame | None = None) -> None:
        if frame is not None:
            frame.to_parquet(path)
        with pytest.raises(InputError, match=words):
            read_observables(path, predictions)

    whole = pd.DataFrame({**predictions.keys, "x": 1.0})
    refused("do not exist")
    path.write_text("nothing")
    refused("not a complete parquet")
    refused("lacks the column production", whole.drop(columns="production"))
    refused("no column of numbers", whole.drop(columns="x"))
    refused("row 2 of x holds 1e\\+308", whole.assign(x=[1.0, np.nan, 1e308, 2.0, np.inf]))
    refused("5 events more than once", pd.concat([whole, whole]))
    refused("none of the predicted events", whole.assign(experiment=9))
    for column in ("x", [0.5, 1, 2, 3, 4], [None, 1, 2, 3, 4]):
        refused(
            "event holds something else than whole numbers",
            pd.DataFrame({**predictions.keys, "event": column, "thrust": 1.0}),
        )
