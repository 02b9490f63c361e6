"""Trees as a layer against scikit-learn's own prediction."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from smartbkg_tf.models.forest import Forest


def fitted(
    seed: int, n: int = 3000, **options: object
) -> tuple[HistGradientBoostingClassifier, np.ndarray]:
    random = np.random.default_rng(seed)
    x = random.normal(size=(n, 7)).astype(np.float32)
    x[:, 0] = random.integers(0, 5, n)
    y = (x[:, 0] + x[:, 1] * x[:, 2] + random.normal(size=n) > 2).astype(int)
    settings = {"max_iter": 30, "max_leaf_nodes": 8, "early_stopping": False, **options}
    return HistGradientBoostingClassifier(**settings).fit(x, y), x


def forest_of(*models: Any, trees: int = 40, leaves: int = 8) -> Forest:
    layer = Forest(len(models), trees, leaves)
    layer.build((None, 7))
    layer.take(
        [
            (
                [one[0].nodes for one in model._predictors],
                float(model._baseline_prediction.ravel()[0]),
            )
            for model in models
        ]
    )
    return layer


def test_scores_are_those_of_scikit_learn() -> None:
    (first, x), (second, _) = fitted(1), fitted(2, max_iter=12, max_leaf_nodes=5)
    scores = np.asarray(forest_of(first, second)(x))
    expected = np.stack([m.decision_function(x) for m in (first, second)], axis=1)
    np.testing.assert_allclose(scores, expected, atol=2e-6)
    assert expected.std() > 0.5


def test_values_on_a_threshold_go_the_same_way() -> None:
    model, x = fitted(3)
    nodes = np.concatenate([one[0].nodes for one in model._predictors])
    splits = nodes[nodes["is_leaf"] == 0]
    at = np.repeat(x[:1], len(splits), axis=0)
    for below in (-np.inf, np.inf):
        values = splits["num_threshold"].astype(np.float32)
        at[np.arange(len(splits)), splits["feature_idx"]] = np.nextafter(values, np.float32(below))
        np.testing.assert_allclose(
            np.asarray(forest_of(model)(at))[:, 0], model.decision_function(at), atol=2e-6
        )


def test_a_tree_without_a_split_and_a_forest_without_trees() -> None:
    x = np.zeros((50, 7), np.float32)
    y = np.arange(50) % 2
    constant = HistGradientBoostingClassifier(max_iter=3, early_stopping=False).fit(x, y)
    scores = np.asarray(forest_of(constant)(x[:4]))[:, 0]
    assert scores == pytest.approx(constant.decision_function(x[:4]), abs=1e-6)
    empty = Forest(1, 2, 4)
    empty.build((None, 7))
    empty.take([([], 0.7)])
    assert np.asarray(empty(x[:3]))[:, 0] == pytest.approx(0.7)
