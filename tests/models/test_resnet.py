"""The three variants of the original's ResNet."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest

from smartbkg_tf.errors import ConfigurationError
from smartbkg_tf.models.base import NNBaseClass
from smartbkg_tf.models.decay_branches import WideCnn
from smartbkg_tf.models.network import BranchedNetwork
from smartbkg_tf.models.particle_branches import ResNet
from tests.models.model_test_case import (
    VARIANT,
    VOCABULARY,
    ModelTestCase,
    common_arguments,
    random_events,
)

SMALL: dict[str, Any] = {
    "particles": ResNet(filters=8, kernel_sizes=[4, 3]),
    "decay": WideCnn(filters=6, kernel_sizes=[4, 5, 9], units=12, out=8, dropout=0.0),
    "head": {"units": [16, 8], "dropout": 0.0},
}


class TestCombined(ModelTestCase):
    network_class: ClassVar[type[NNBaseClass]] = BranchedNetwork
    inputs = "combined"
    arguments: ClassVar[dict[str, Any]] = SMALL
    # Overfitting is many such steps.
    slow = ("test_one_compiled_fit_step",)


class TestParticles(ModelTestCase):
    network_class: ClassVar[type[NNBaseClass]] = BranchedNetwork
    inputs = "particles"
    arguments: ClassVar[dict[str, Any]] = SMALL
    # A part of the combined one.
    slow = VARIANT


class TestDecay(ModelTestCase):
    network_class: ClassVar[type[NNBaseClass]] = BranchedNetwork
    inputs = "decay"
    arguments: ClassVar[dict[str, Any]] = SMALL
    # A part of the combined one.
    slow = VARIANT


def count_by_hand(inputs: str) -> int:
    """Weights of the original's sizes, from the description in the issue."""
    norm = 4  # gamma, beta and the two moving averages of each channel
    particles = VOCABULARY * 8
    width = 8 + 5 + 2 * 8  # features, charge one-hot, two embeddings
    for kernel in (4, 3, 3, 3):
        particles += kernel * width * 64 + norm * 64 + kernel * 64 * 64 + norm * 64
        if width != 64:
            particles += width * 64 + norm * 64
        width = 64
    decay = VOCABULARY * 8 + sum(k * 8 * 64 + norm * 64 for k in range(4, 10))
    decay += 6 * 64 * 128 + 128 + 128 * 32 + 32
    event = {"combined": 64 + 32, "particles": 64, "decay": 32}[inputs]
    head = event * 256 + 256 + 256 * 128 + 128 + 128 * 2 + 2
    return head + (particles if inputs != "decay" else 0) + (decay if inputs != "particles" else 0)


@pytest.mark.parametrize("inputs", ["combined", "particles", "decay"])
def test_default_sizes_are_the_originals(inputs: str) -> None:
    network = BranchedNetwork(**common_arguments(inputs), particles=ResNet(), decay=WideCnn())
    assert network.model.count_params() == count_by_hand(inputs)


def test_each_variant_reads_its_own_inputs() -> None:
    read = {
        inputs: BranchedNetwork(**common_arguments(inputs), **SMALL).input_names
        for inputs in ("particles", "decay")
    }
    assert read["particles"] == ("particle_input", "pdg_input", "mother_pdg_input")
    assert read["decay"] == ("decay_input",)


def test_arrays_go_by_name_whatever_else_the_batch_holds() -> None:
    network = BranchedNetwork(**common_arguments("combined"), **SMALL)
    events = random_events(3)
    exact = {name: events[name] for name in network.input_names}
    shuffled = dict(reversed(list(events.items())))
    np.testing.assert_array_equal(network.model(shuffled), network.model(exact))


def test_two_embeddings_when_not_shared() -> None:
    def embeddings(share: bool) -> int:
        sizes = {**SMALL, "particles": ResNet(filters=8, share_embedding=share)}
        model = BranchedNetwork(**common_arguments("particles"), **sizes).model
        return sum(type(layer).__name__ == "Embedding" for layer in model.layers)

    assert (embeddings(True), embeddings(False)) == (1, 2)


def test_particles_without_features_are_refused() -> None:
    arguments = {**common_arguments("combined"), "feature_names": ()}
    with pytest.raises(ConfigurationError, match=r"model.inputs=decay"):
        BranchedNetwork(**arguments, **SMALL)
