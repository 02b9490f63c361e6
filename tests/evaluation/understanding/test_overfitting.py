"""Training against test events."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from smartbkg_tf.errors import InputError
from smartbkg_tf.evaluation.understanding.overfitting import compare_samples


def sample(seed: int, strength: float, n: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = (random.random(n) < 0.2).astype(np.int8)
    return strength * labels + random.normal(size=n), labels


def test_equal_samples_and_samples_known_by_heart() -> None:
    test = sample(1, 1.0)
    equal, data = compare_samples(*sample(2, 1.0), *test)
    assert abs(equal["auc_difference"]) < 3 * equal["auc_difference_error"]
    assert min(equal["ks"][kind]["probability"] for kind in equal["ks"]) > 0.01
    assert sum(data["test_passing"]) == equal["n_passing_test"] == test[1].sum()
    known, _ = compare_samples(*sample(2, 2.0), *test)
    assert known["auc_difference"] > 5 * known["auc_difference_error"]
    assert known["ks"]["passing"]["probability"] < 1e-6 < known["ks"]["failing"]["probability"]
    assert known["auc_test"] == pytest.approx(roc_auc_score(test[1], test[0]))
    expected = np.hypot(known["auc_train_error"], known["auc_test_error"])
    assert known["auc_difference_error"] == pytest.approx(expected)


def test_a_sample_without_passing_events_is_refused() -> None:
    with pytest.raises(InputError, match="all 5 events fail"):
        compare_samples(np.zeros(5), np.zeros(5), *sample(1, 1.0))
