"""Compiled passes over labels and rows against plain NumPy."""

from __future__ import annotations

import numpy as np

from smartbkg_tf.dataset.blocks import count_labels, put_rows, unlabelled
from smartbkg_tf.events.memory import bytes_of_array


def test_labels_are_counted_by_type_and_skim() -> None:
    random = np.random.default_rng(1)
    labels = random.integers(-1, 2, (200, 3)).astype(np.int8)
    types = random.integers(-1, 4, 200).astype(np.int8)
    counts = count_labels(labels, types)
    for code in range(-1, 4):
        for column, value in enumerate((1, 0, -1)):
            expected = np.count_nonzero(labels[types == code] == value, axis=0)
            assert counts[code + 1, :, column].tolist() == expected.tolist()


def test_no_events_have_no_labels() -> None:
    counts = count_labels(np.empty((0, 2), np.int8), np.empty(0, np.int8))
    assert counts.sum(axis=0).tolist() == [[0, 0, 0], [0, 0, 0]]
    assert len(unlabelled(np.empty((0, 2), np.int8))) == 0


def test_unlabelled_events_are_those_without_any_label() -> None:
    labels = np.array([[-1, -1], [-1, 0], [1, -1], [1, 1]], dtype=np.int8)
    assert unlabelled(labels).tolist() == [True, False, False, False]


def test_rows_come_to_their_places() -> None:
    values = np.arange(12, dtype=np.float64).reshape(4, 3)
    marks = np.array([4, 5, 6, 7], dtype=np.int8)
    out, out_marks = np.zeros((5, 3)), np.zeros(5, np.int8)
    put_rows(
        (bytes_of_array(values), bytes_of_array(marks)),
        np.array([3, 0]),
        (bytes_of_array(out), bytes_of_array(out_marks)),
        np.array([1, 4]),
        np.array([24, 1]),
    )
    assert out[[1, 4]].tolist() == values[[3, 0]].tolist()
    assert not out[[0, 2, 3]].any()
    assert out_marks.tolist() == [0, 7, 0, 0, 4]
