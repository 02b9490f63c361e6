"""Padding that no event of a batch needs."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from smartbkg_tf.training.trimming import STEP, trim_padding, trimmed
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
