"""Batches in micro-batches of similar length: the same step with less padding."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from smartbkg_tf.dataset.dataset import open_dataset
from smartbkg_tf.errors import ConfigurationError
from smartbkg_tf.models.registry import build
from smartbkg_tf.runtime.command import compose_settings
from smartbkg_tf.settings.training import TrainingSettings, TrainSettings
from smartbkg_tf.training import micro_batches
from smartbkg_tf.training.fit import fit
from smartbkg_tf.training.input_pipeline import STEP
from smartbkg_tf.training.micro_batches import (
    number_of_micro_batches,
    sorted_parts,
    use_micro_batches,
)
from tests.training.samples import history

NETWORK = (
    "model=treenet",
    "training.batch_size=64",
    "training.epochs=2",
    "training.progress=false",
    "model.particles.units=8",
    "model.particles.hidden=12",
    "model.particles.layers=1",
    "model.particles.heads=2",
    "model.head.units=[8]",
)
RESNET = ("model=resnet", "model.inputs=decay", "model.decay.kernel_sizes=[3]")
GCN = (
    *("model=gcn", "model.inputs=particles", "model.particles.units=8"),
    *("model.particles.graph_layers=1", "model.particles.dense_layers=1"),
    *("model.head.units=[8]", "model.head.dropout=0.1"),
    *("training.batch_size=64", "training.epochs=2", "training.progress=false"),
)
NO_DROPOUT = (*NETWORK, "model.particles.dropout=0", "model.head.dropout=0")


@given(st.lists(st.integers(0, 12), min_size=1, max_size=12), st.integers(1, 5))
@settings(deadline=None, max_examples=40)
def test_parts_hold_every_event_once_from_short_to_long(lengths: list[int], n: int) -> None:
    tokens = np.zeros((len(lengths), 12), np.int32)
    for row, length in enumerate(lengths):
        tokens[row, :length] = row + 1
    inputs = {"pdg_input": tf.constant(tokens), "event_type_input": tf.range(len(lengths))}
    parts, counted, order = sorted_parts(inputs, n)
    assert len(parts) == len(counted) == n
    assert all(
        len(part["pdg_input"]) == max(size, 1) for part, size in zip(parts, counted, strict=True)
    )
    parts = [
        {name: x[:size] for name, x in part.items()}
        for part, size in zip(parts, counted, strict=True)
    ]
    events = np.concatenate([part["event_type_input"].numpy() for part in parts])
    assert np.array_equal(events, order.numpy())
    assert sorted(events.tolist()) == list(range(len(lengths)))
    assert np.array_equal(np.asarray(lengths)[events], np.sort(lengths))
    sizes = [len(part["event_type_input"]) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    for part in parts:
        longest = max((lengths[i] for i in part["event_type_input"].numpy()), default=0)
        if longest:
            assert part["pdg_input"].shape[1] == min(-(-longest // STEP) * STEP, 12)
        for row, event in enumerate(part["event_type_input"].numpy()):
            assert np.count_nonzero(part["pdg_input"][row]) == lengths[event]


def _settings(dataset: Path, run_dir: Path | None, *overrides: str) -> TrainSettings:
    place = [f"data.path='{dataset}'", *([] if run_dir is None else [f"run_dir='{run_dir}'"])]
    return compose_settings("train", TrainSettings, [*place, *overrides])


@pytest.fixture(scope="module")
def _built(dataset_path: Path) -> tuple[Any, Any, list[Any]]:
    network, dataset = _network(dataset_path)
    return network, dataset, network.model.get_weights()


@pytest.fixture
def shared(_built: tuple[Any, Any, list[Any]]) -> Iterator[tuple[Any, Any]]:
    """Give one network for all tests, as it was made, and the dataset."""
    network, dataset, weights = _built
    network.model.set_weights(weights)
    yield network, dataset
    vars(network.model).pop("call", None)


def _network(
    dataset_path: Path, *overrides: str, network: tuple[str, ...] = NO_DROPOUT
) -> tuple[Any, Any]:
    chosen = _settings(dataset_path, None, *network, "training/optimizer=sgd", *overrides)
    dataset = open_dataset(dataset_path)
    keras.utils.set_random_seed(7)
    lengths = {"max_particles": None, "max_tokens": None}
    built = build(chosen.model, dict(dataset.information), chosen.normalisation, **lengths)
    built.compile(chosen.training, steps_per_epoch=1, retention=[0.3])
    return built, dataset


def _batch(network: Any, dataset: Any, n_events: int) -> Any:
    rows = np.arange(n_events)
    inputs = dataset.batch(rows, network.input_names, *dataset.lengths(None, None))
    labels = dataset.labels[rows].astype(np.float32)
    weights = np.linspace(0.5, 2.0, n_events, dtype=np.float32)[:, None]
    tensors = {name: tf.constant(inputs[name]) for name in network.input_names}
    return tensors, tf.constant(labels), tf.constant(weights)


@pytest.mark.parametrize(
    ("n_events", "n", "overrides"),
    [
        (32, 4, ()),
        (30, 7, ("training/loss=focal",)),
        (3, 4, ()),
        (24, 3, ("training/loss=speedup",)),
    ],
)
def test_the_step_is_that_of_the_whole_batch(
    shared: tuple[Any, Any],
    dataset_path: Path,
    n_events: int,
    n: int,
    overrides: tuple[str, ...],
) -> None:
    """Weights, loss and metrics after one step are those of Keras's own."""
    network, dataset = shared
    first = network.model.get_weights()
    chosen = _settings(dataset_path, None, *NO_DROPOUT, "training/optimizer=sgd", *overrides)
    results = []
    for parts in (1, n):
        network.model.set_weights(first)
        network.compile(chosen.training, steps_per_epoch=1, retention=[0.3])
        before = [w.numpy() for w in network.model.trainable_weights]
        use_micro_batches(network.model, parts)
        logs = network.model.train_step(_batch(network, dataset, n_events))
        after = [w.numpy() for w in network.model.trainable_weights]
        assert any(not np.array_equal(a, b) for a, b in zip(before, after, strict=True))
        moved = [a - b for a, b in zip(after, before, strict=True)]
        results.append((moved, {name: float(value) for name, value in logs.items()}))
    (whole, logs), (divided, divided_logs) = results
    assert logs == pytest.approx(divided_logs, rel=1e-5)
    largest = max(float(np.abs(m).max()) for m in whole)
    # What a step moves is known no better than float32 holds the weights (of order one).
    rounding = 4 * np.finfo(np.float32).eps
    for a, b in zip(whole, divided, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4 * largest + rounding)


def test_scores_stay_those_of_the_events(shared: tuple[Any, Any]) -> None:
    network, dataset = shared
    inputs, _, _ = _batch(network, dataset, 30)
    whole = network.model(inputs, training=False).numpy()
    use_micro_batches(network.model, 4)
    np.testing.assert_array_equal(network.model(inputs, training=False), whole)
    # Without dropout, those of training are the same but for the rounding of other shapes.
    np.testing.assert_allclose(network.model(inputs, training=True), whole, atol=1e-4)


def test_a_training_step_of_the_users_own_is_taken(dataset_path: Path, tmp_path: Path) -> None:
    """In its calls of the network it gets micro-batches, too."""
    steps: list[int] = []
    divided: list[int] = []

    class Own(keras.Model):
        def train_step(self, data: Any) -> dict[str, Any]:
            steps.append(1)
            x, y, weights = data
            with tf.GradientTape() as tape:
                outputs = self(x, training=True)
                loss = self.compute_loss(x, y, outputs, weights)
            variables = self.trainable_weights
            self.optimizer.apply(tape.gradient(loss, variables), variables)
            return self.compute_metrics(x, y, outputs, weights)

    def build_model(network: Any) -> keras.Model:
        model = built(network)
        return Own(model.inputs, model.outputs[0])

    def sorted_and_counted(inputs: Any, n: int) -> Any:
        divided.append(n)
        return sorted_parts(inputs, n)

    options = ("training.epochs=1", "training.micro_batches=2")
    chosen = _settings(dataset_path, tmp_path / "run", *NETWORK, *options)
    dataset = open_dataset(dataset_path)
    lengths = {"max_particles": None, "max_tokens": None}
    found = type(build(chosen.model, dict(dataset.information), **lengths))
    built = found.build_model
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(found, "build_model", build_model)
        patch.setattr(micro_batches, "sorted_parts", sorted_and_counted)
        run = fit(chosen, dataset)
    assert steps
    assert set(divided) == {2}
    assert [row["loss"] for row in history(run)] == [0.0], "it does not count its losses"


def test_training_in_micro_batches_repeats_itself(dataset_path: Path, tmp_path: Path) -> None:
    """With dropout: the same seed gives the same history; the last batch is smaller than most."""
    histories = []
    for name in ("first", "second"):
        chosen = _settings(dataset_path, tmp_path / name, *GCN, "training.micro_batches=2")
        run = fit(chosen, open_dataset(dataset_path))
        lines = run.history.read_text(encoding="utf-8").splitlines()
        histories.append([line.split(",")[:5] for line in lines])
    assert histories[0] == histories[1]
    assert len(histories[0]) == 3


def _number(dataset_path: Path, *overrides: str, devices: int = 1) -> int:
    chosen = _settings(dataset_path, None, *overrides)
    dataset = open_dataset(dataset_path)
    lengths = {"max_particles": None, "max_tokens": None}
    network = build(chosen.model, dict(dataset.information), chosen.normalisation, **lengths)
    return number_of_micro_batches(chosen.training, network.model, devices)


@pytest.mark.parametrize(
    ("overrides", "devices", "expected"),
    [
        (NETWORK, 1, 4),
        ((*NETWORK, "training.micro_batches=3"), 1, 3),
        ((*NETWORK, "training.batch_size=6"), 2, 1),
        ((*NETWORK, "training.xla=true"), 1, 1),
        (RESNET, 1, 1),
    ],
)
def test_the_number_follows_the_network(
    dataset_path: Path, overrides: tuple[str, ...], devices: int, expected: int
) -> None:
    assert _number(dataset_path, *overrides, devices=devices) == expected


def test_batch_normalisation_cannot_be_divided(dataset_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="batch normalisation") as caught:
        _number(dataset_path, "training.micro_batches=4", *RESNET)
    assert "training.micro_batches=4" in str(caught.value)


def test_a_network_that_cannot_tell_the_length() -> None:
    inputs = keras.Input((None, 3), name="particle_input")
    model = keras.Model(inputs, keras.layers.GlobalMaxPooling1D()(inputs))
    with pytest.raises(ConfigurationError, match="pdg_input or decay_input"):
        number_of_micro_batches(TrainingSettings(micro_batches=2), model, 1)
    assert number_of_micro_batches(TrainingSettings(), model, 1) == 1
