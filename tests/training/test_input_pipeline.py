"""Padding that is cut, rows that are added, and time that is waited."""

from __future__ import annotations

import time

import numpy as np
import pytest
import tensorflow as tf

from smartbkg_tf.training.input_pipeline import (
    EVENTS,
    STEP,
    WaitingTime,
    filled,
    trim_padding,
    trimmed,
)
from tests.models.model_test_case import longer, random_events


def padded(particles: int, tokens: int, to: int) -> dict[str, tf.Tensor]:
    events = longer(random_events(5, particles, tokens), to)
    events["pdg_input"][2, :particles] = 3  # One event has the full length.
    events["decay_input"][1, :tokens] = 3
    return {name: tf.constant(values) for name, values in events.items()}


@pytest.mark.parametrize(("particles", "tokens"), [(1, 8), (8, 9), (9, 1), (30, 17)])
def test_lengths_and_contents(particles: int, tokens: int) -> None:
    batch = padded(particles, tokens, to=70)
    cut = trim_padding(batch)
    for name, values in cut.items():
        if name == "event_type_input":
            np.testing.assert_array_equal(values, batch[name])
            continue
        longest = tokens if name == "decay_input" else particles
        assert values.shape[1] == -(-longest // STEP) * STEP
        np.testing.assert_array_equal(values, batch[name][:, : values.shape[1]])
    assert set(cut) == set(batch)


def test_never_longer_than_the_batch_and_never_empty() -> None:
    batch = padded(5, 5, to=0)
    assert trim_padding(batch)["pdg_input"].shape[1] == 5
    nothing = {name: tf.zeros_like(values) for name, values in padded(5, 5, to=20).items()}
    assert trim_padding(nothing)["particle_input"].shape[1] == STEP


def test_only_what_a_network_reads() -> None:
    batch = {"decay_input": padded(5, 5, to=40)["decay_input"]}
    assert trim_padding(batch)["decay_input"].shape[1] == STEP


def test_stream_keeps_labels_and_weights() -> None:
    batch = padded(5, 5, to=40)
    stream = tf.data.Dataset.from_tensors((batch, tf.ones((5, 1)), tf.ones(5))).repeat(2)
    elements = list(trimmed(stream))
    assert len(elements) == 2
    inputs, labels, weights = elements[0]
    assert inputs["particle_input"].shape == (5, STEP, 9)
    assert (labels.shape, weights.shape) == ((5, 1), (5,))


def test_filled_batches_can_be_shared_and_keep_their_sums() -> None:
    inputs = {
        "particle_input": np.ones((10, 4, 3), np.float32),
        "pdg_input": np.ones((10, 4), np.int32),
        "mother_index_input": np.zeros((10, 4), np.int32),
        "event_type_input": np.ones(10, np.int32),
    }
    weights = np.linspace(1, 2, 10).astype(np.float32)
    stream = tf.data.Dataset.from_tensor_slices((inputs, np.ones((10, 1), np.float32), weights))
    stream = stream.batch(7)
    assert filled(stream, 1) is stream
    found = list(filled(stream, 4))
    assert [len(labels) for _, labels, _ in found] == [8, 4]
    for (more, labels, grown), first, last in zip(found, (0, 7), (7, 10), strict=True):
        n = last - first
        # The loss divides by the number of rows.
        assert np.mean(grown) == pytest.approx(np.mean(weights[first:last]), rel=1e-6)
        assert np.sum(more[EVENTS]) == pytest.approx(n, rel=1e-6)
        assert len(set(np.asarray(more[EVENTS]).tolist())) == 1, "devices count alike"
        assert not np.any(grown[n:])
        assert not np.any(labels[n:])
        assert not np.any(more["pdg_input"][n:])
        assert np.all(more["mother_index_input"][n:] == -1)
        assert np.all(more["mother_index_input"][:n] == 0)
        assert more["particle_input"].shape == (len(labels), 4, 3)


def test_time_that_is_waited_leaves_out_the_first_batch() -> None:
    waiting = WaitingTime()

    def slow(number: np.int64) -> np.int64:
        time.sleep(0.05)
        return number

    stream = tf.data.Dataset.range(4).map(lambda i: tf.numpy_function(slow, [i], tf.int64))
    measured = waiting.measure(stream)
    for _ in range(2):
        assert [int(number) for number in measured] == [0, 1, 2, 3]
        assert 0.15 <= waiting.seconds < 5
    ready = waiting.measure(tf.data.Dataset.range(4))
    list(ready)
    assert waiting.seconds < 0.15
