"""Targets and weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from smartbkg_tf.dataset.dataset import Dataset, open_dataset
from smartbkg_tf.dataset.weights import class_weight_table, targets, weights
from smartbkg_tf.errors import ConfigurationError, InputError
from tests.datasets import make_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return open_dataset(make_dataset(tmp_path_factory.mktemp("w"), 200, skims=("a", "b")))


def test_unknown_labels_weigh_nothing() -> None:
    table = np.array([[0.5, 2.0], [1.0, 3.0]], dtype=np.float32)
    labels = np.array([[0, 1], [1, -1], [-1, 0]], dtype=np.int8)
    assert weights(labels, table).tolist() == [[0.5, 3.0], [2.0, 0.0], [0.0, 1.0]]
    assert targets(labels).tolist() == [[0, 1], [1, 0], [0, 0]]
    assert weights(labels[:, :1], table[:1]).tolist() == [0.5, 2.0, 0.0]
    assert weights(labels, table).dtype == targets(labels).dtype == np.float32


def test_balanced_weights_give_both_classes_the_same_sum(dataset: Dataset) -> None:
    rows = dataset.split()["train"]
    table = class_weight_table(dataset, rows, "balanced")
    given = weights(dataset.labels[rows], table)
    for i in range(2):
        passing = dataset.labels[rows, i] == 1
        np.testing.assert_allclose(given[passing, i].sum(), given[~passing, i].sum(), rtol=1e-5)
        np.testing.assert_allclose(given[:, i].mean(), 1, rtol=1e-5)


def test_weights_by_name(dataset: Dataset) -> None:
    rows = np.arange(200)
    assert class_weight_table(dataset, rows, None).tolist() == [[1, 1], [1, 1]]
    assert class_weight_table(dataset, rows, {"b": (1, 4)}).tolist() == [[1, 1], [1, 4]]
    assert class_weight_table(dataset, rows, (0.5, 2)).tolist() == [[0.5, 2], [0.5, 2]]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("balance", "did you mean 'balanced'"),
        ({"c": (1, 1)}, "there are: a, b"),
        ({"a": (1, -1)}, ">= 0"),
        ({"a": (1, float("nan"))}, ">= 0"),
        ((1, 2, 3), "two weights"),
    ],
)
def test_weights_that_cannot_be(dataset: Dataset, value: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        class_weight_table(dataset, np.arange(200), value)


def test_one_class_cannot_be_balanced(dataset: Dataset, tmp_path: Path) -> None:
    rows = np.flatnonzero(dataset.labels[:, 0] == 0)
    with pytest.raises(InputError, match="a has events of one class only"):
        class_weight_table(dataset, rows, "balanced")
