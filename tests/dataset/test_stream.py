"""tf.data streams: every event once, in a reproducible new order each epoch."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import config

from smartbkg_tf.dataset import batches, order, stored
from smartbkg_tf.dataset.batches import TrainingBatches
from smartbkg_tf.dataset.dataset import Dataset, open_dataset
from smartbkg_tf.dataset.stream import (
    EpochCounter,
    evaluation_stream,
    training_stream,
)
from smartbkg_tf.encoding.pad import INPUT_NAMES, INPUTS_OF, pad
from smartbkg_tf.errors import ConfigurationError, InputError
from tests.datasets import make_dataset, write_dataset
from tests.samples import make_events

OPTIONS: dict[str, Any] = {"batch_size": 32, "inputs": "combined", "seed": 3}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return open_dataset(make_dataset(tmp_path_factory.mktemp("stream"), 200))


def momenta(dataset: Dataset, rows: np.ndarray) -> np.ndarray:
    """Give the first px, which is different for every event."""
    return dataset.batch(rows, "particles")["particle_input"][:, 0, 5]


def one_pass(stream: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[int]]:
    batches = [[np.asarray(p) for p in (x["particle_input"], y, w)] for x, y, w in stream]
    x, y, w = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    return x[:, 0, 5], y, w, [len(b[1]) for b in batches]


# 1, primes, exact multiples, one more, and batches larger than the data (trap 16)
@pytest.mark.parametrize("n", [1, 2, 31, 32, 33, 64, 97, 200])
@pytest.mark.parametrize("batch_size", [1, 32, 500])
def test_every_event_once_for_any_number_of_events(
    dataset: Dataset, n: int, batch_size: int
) -> None:
    rows = np.sort(np.random.default_rng(n).permutation(200)[:n])
    stream = training_stream(dataset, rows, **{**OPTIONS, "batch_size": batch_size})
    found, labels, weights, sizes = one_pass(stream)
    steps = -(-n // batch_size)
    assert (
        TrainingBatches(dataset, rows, **{**OPTIONS, "batch_size": batch_size}).n_batches
        == steps
        == len(sizes)
    )
    assert int(stream.cardinality()) == steps
    assert sizes[:-1] == [batch_size] * (steps - 1)
    assert sum(sizes) == n  # the tail is not lost
    expected = momenta(dataset, rows)
    np.testing.assert_array_equal(np.sort(found), np.sort(expected))
    # Labels belong to their events.
    by_momentum = dict(zip(expected.tolist(), dataset.labels[rows, 0].tolist(), strict=True))
    assert [by_momentum[e] for e in found.tolist()] == labels[:, 0].tolist()
    assert (weights == 1).all()


def test_each_pass_is_a_new_order_and_each_seed_its_own(dataset: Dataset) -> None:
    rows = np.arange(200)
    stream = training_stream(dataset, rows, **OPTIONS)
    passes = [one_pass(stream)[0] for _ in range(3)]
    again = training_stream(dataset, rows, **OPTIONS)
    for one in passes:
        np.testing.assert_array_equal(one_pass(again)[0], one)
    other = one_pass(training_stream(dataset, rows, **{**OPTIONS, "seed": 4}))[0]
    assert len({tuple(one.tolist()) for one in (*passes, other)}) == 4
    assert not np.array_equal(passes[0], momenta(dataset, rows))


def test_order_of_the_indices_does_not_matter(dataset: Dataset) -> None:
    rows = np.random.default_rng(0).permutation(200)[:150]
    first = one_pass(training_stream(dataset, rows, **OPTIONS))[0]
    second = one_pass(training_stream(dataset, np.sort(rows), **OPTIONS))[0]
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(("epoch", "batch"), [(0, 0), (0, 3), (2, 0), (1, 6), (1, 7)])
def test_begins_in_the_middle_of_any_epoch(dataset: Dataset, epoch: int, batch: int) -> None:
    rows = np.arange(200)
    stream = training_stream(dataset, rows, **OPTIONS)
    whole = [one_pass(stream)[0] for _ in range(4)]
    counter = EpochCounter(epoch, parts=True)
    resumed = training_stream(dataset, rows, **OPTIONS, counter=counter)
    counter.first_batch = batch
    rest = [np.asarray(x["particle_input"])[:, 0, 5] for x, _, _ in resumed]
    assert len(rest) == 7 - batch
    rest_of_epoch = np.concatenate([np.empty(0, np.float32), *rest])
    np.testing.assert_array_equal(rest_of_epoch, whole[epoch][batch * 32 :])
    counter.first_batch = 0
    np.testing.assert_array_equal(one_pass(resumed)[0], whole[epoch + 1])


def test_the_caller_may_keep_the_counter(dataset: Dataset) -> None:
    counter = EpochCounter(epoch=5)
    stream = training_stream(dataset, np.arange(200), **OPTIONS, counter=counter)
    first = one_pass(stream)[0]
    assert counter.epoch == 6
    assert not np.array_equal(one_pass(stream)[0], first)
    counter.epoch = 5
    np.testing.assert_array_equal(one_pass(stream)[0], first)


def test_batches_that_were_kept_stay_as_they_were(dataset: Dataset) -> None:
    """Trap 16: one buffer for all batches overwrote those in the queue."""
    stream = training_stream(dataset, np.arange(200), **OPTIONS)
    kept, copies = [], []
    for x, _, _ in stream:
        kept.append(x["particle_input"].numpy())
        copies.append(kept[-1].copy())
    for one, copy in zip(kept, copies, strict=True):
        np.testing.assert_array_equal(one, copy)
    assert not any(np.shares_memory(kept[0], other) for other in kept[1:])


def test_signature_is_static(dataset: Dataset) -> None:
    stream = training_stream(
        dataset, [0, 1], batch_size=2, inputs=INPUT_NAMES, seed=0, max_particles=40, max_tokens=50
    )
    inputs, labels, weights = stream.element_spec
    shapes = {name: (tuple(spec.shape), spec.dtype) for name, spec in inputs.items()}
    assert shapes == {
        "particle_input": ((None, 40, 9), tf.float32),
        "pdg_input": ((None, 40), tf.int32),
        "mother_pdg_input": ((None, 40), tf.int32),
        "mother_index_input": ((None, 40), tf.int32),
        "decay_input": ((None, 50), tf.int32),
        "event_type_input": ((None,), tf.int32),
    }
    assert tuple(labels.shape) == (None, 1)
    assert tuple(weights.shape) == (None,)
    assert stream.options().autotune.enabled is False


def test_inputs_are_those_of_the_dataset(dataset: Dataset) -> None:
    rows = np.array([5, 3, 190])
    options = {"batch_size": 3, "inputs": INPUT_NAMES, "max_particles": 40, "max_tokens": 50}
    ((x, y),) = evaluation_stream(dataset, rows, **options)
    for name, values in dataset.batch(rows, INPUT_NAMES, 40, 50).items():
        np.testing.assert_array_equal(x[name], values)
    np.testing.assert_array_equal(y[:, 0], dataset.labels[rows, 0])


def test_evaluation_keeps_the_given_order_in_every_pass(dataset: Dataset) -> None:
    rows = np.random.default_rng(1).permutation(200)[:77]
    stream = evaluation_stream(dataset, rows, batch_size=16, inputs="particles")
    assert int(stream.cardinality()) == 5
    for _ in range(2):
        found = np.concatenate([x["particle_input"].numpy()[:, 0, 5] for x, _ in stream])
        np.testing.assert_array_equal(found, momenta(dataset, rows))
    elements = list(
        evaluation_stream(dataset, rows, batch_size=100, inputs="decay", with_weights=True)
    )
    assert len(elements[0]) == 3
    assert (elements[0][2].numpy() == 1).all()


def test_several_skims_unknown_labels_and_class_weights(tmp_path: Path) -> None:
    both = make_events(60, seed=1, skims=("a", "b"))
    one = make_events(40, seed=2, skims=("a",))
    dataset = open_dataset(write_dataset(tmp_path, both, one))
    stream = training_stream(
        dataset, np.arange(100), **OPTIONS, class_weights={"a": (0.5, 2.0), "b": (1.0, 3.0)}
    )
    found, labels, weights, _ = one_pass(stream)
    assert labels.shape == weights.shape == (100, 2)
    place = {e: i for i, e in enumerate(momenta(dataset, np.arange(100)).tolist())}
    known = dataset.labels[[place[e] for e in found.tolist()]]
    assert np.count_nonzero(known[:, 1] == -1) == 40
    np.testing.assert_array_equal(labels, np.maximum(known, 0))
    np.testing.assert_array_equal(weights[:, 0], np.where(known[:, 0] == 1, 2.0, 0.5))
    expected = np.select([known[:, 1] == -1, known[:, 1] == 1], [0.0, 3.0], 1.0)
    np.testing.assert_array_equal(weights[:, 1], expected)


def test_balance_is_drawn_anew_each_epoch(dataset: Dataset) -> None:
    rows = np.arange(200)
    n_passing = int((dataset.labels[:, 0] == 1).sum())
    stream = training_stream(dataset, rows, **OPTIONS, balance=0.5)
    epochs = [one_pass(stream) for _ in range(3)]
    for found, labels, _, sizes in epochs:
        assert labels.sum() == n_passing
        assert len(found) == n_passing + round(n_passing / 2)
        assert len(sizes) == TrainingBatches(dataset, rows, **OPTIONS, balance=0.5).n_batches
    failing = [set(found[labels[:, 0] == 0].tolist()) for found, labels, _, _ in epochs]
    assert failing[0] != failing[1]
    again = training_stream(dataset, rows, **OPTIONS, balance=0.5, counter=EpochCounter(2))
    np.testing.assert_array_equal(one_pass(again)[0], epochs[2][0])


def test_fit_trains_on_the_stream_with_one_pass_per_epoch(dataset: Dataset) -> None:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((20, 9), name="particle_input")
    outputs = keras.layers.Dense(1)(keras.layers.Flatten()(inputs))
    model = keras.Model({"particle_input": inputs}, outputs)
    model.compile(loss=keras.losses.BinaryCrossentropy(from_logits=True), jit_compile=False)
    counter = EpochCounter()
    split = dataset.split()
    stream = training_stream(
        dataset, split["train"], batch_size=32, inputs=["particle_input"], seed=0,
        max_particles=20, counter=counter,
    )  # fmt: skip
    validation = evaluation_stream(
        dataset, split["validation"], batch_size=32, inputs=["particle_input"], max_particles=20
    )
    history = model.fit(
        stream, validation_data=validation, epochs=4, verbose=0, shuffle=False
    ).history
    assert counter.epoch == 4
    assert len(history["loss"]) == 4
    assert np.isfinite(history["loss"]).all()
    assert np.isfinite(history["val_loss"]).all()


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"indices": []}, InputError, "no events to stream"),
        ({"indices": [200]}, IndexError, r"0\.\.199"),
        ({"batch_size": 0}, ConfigurationError, "batch_size must be at least 1"),
        ({"balance": 0.0}, ConfigurationError, "balance must be a positive number"),
        ({"seed": -1}, ConfigurationError, "seed"),
        ({"inputs": "particle"}, ConfigurationError, "did you mean 'particles'"),
        ({"class_weights": "balance"}, ConfigurationError, "balanced"),
    ],
)
def test_what_cannot_be_streamed(
    dataset: Dataset, change: dict[str, Any], kind: type[Exception], message: str
) -> None:
    arguments = {"indices": np.arange(200), **OPTIONS, **change}
    with pytest.raises(kind, match=message):
        training_stream(dataset, **arguments)


def test_balance_without_one_of_the_classes(dataset: Dataset) -> None:
    failing = np.flatnonzero(dataset.labels[:, 0] == 0)
    with pytest.raises(InputError, match="one class only"):
        training_stream(dataset, failing, **OPTIONS, balance=1.0)


def test_no_labels_to_train_on(tmp_path: Path) -> None:
    dataset = open_dataset(write_dataset(tmp_path, make_events(10, skims=())))
    with pytest.raises(InputError, match=r"no labels to train on\n.*produce"):
        training_stream(dataset, np.arange(10), **OPTIONS)
    ((_, labels),) = evaluation_stream(dataset, np.arange(10), batch_size=10, inputs="decay")
    assert int((np.asarray(labels) != 0).sum()) == 0


def by_key(dataset: Dataset) -> dict[float, int]:
    rows = np.arange(len(dataset))
    return {e: i for i, e in enumerate(momenta(dataset, rows).tolist())}


@pytest.mark.parametrize("inputs", ["combined", "particles", "decay"])
def test_buckets_pad_each_batch_to_its_own_events(dataset: Dataset, inputs: str) -> None:
    rows = np.arange(200)
    options: dict[str, Any] = {
        "inputs": [*INPUTS_OF[inputs], "event_type_input"], "batch_size": 16, "with_weights": True
    }  # fmt: skip
    plain = evaluation_stream(dataset, rows, **options)
    stream = evaluation_stream(dataset, rows, **options, length_buckets=3)
    assert int(stream.cardinality()) == int(plain.cardinality()) == 13
    widths = set()
    seen: list[bytes] = []
    for x, y, w in stream:
        for name, values in x.items():
            if values.ndim > 1:
                widths.add((name, values.shape[1]))
        name = "decay_input" if inputs == "decay" else "pdg_input"
        used = int((x[name].numpy() != 0).sum(axis=1).max())
        assert used <= x[name].shape[1] < used + 60
        assert len(y) == len(w)
        seen.extend(row.tobytes().rstrip(b"\0") for row in x[name].numpy())
    assert len({w for n, w in widths if n == name}) <= 3
    expected = [row.tobytes().rstrip(b"\0") for x, _, _ in plain for row in x[name].numpy()]
    assert sorted(seen) == sorted(expected)  # every event once, none cut
    with pytest.raises(ConfigurationError, match="length_buckets must be at least 1"):
        evaluation_stream(dataset, rows, **options, length_buckets=0)


def test_buckets_of_the_validation_leave_no_event_out(dataset: Dataset) -> None:
    rows = np.random.default_rng(1).permutation(200)[:77]
    stream = evaluation_stream(
        dataset, rows, batch_size=16, inputs="combined", length_buckets=3, with_weights=True
    )
    places = by_key(dataset)
    found = []
    for x, y, _ in stream:
        chosen = [places[e] for e in x["particle_input"].numpy()[:, 0, 5].tolist()]
        np.testing.assert_array_equal(y[:, 0], dataset.labels[chosen, 0])
        found.extend(chosen)
    assert sorted(found) == sorted(rows.tolist())


@pytest.mark.parametrize("gap", [0, 3, 1000])
def test_what_lies_between_wanted_events_changes_nothing(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, gap: int
) -> None:
    """Events are read one by one, or with those between them."""
    monkeypatch.setattr(stored, "GAP", gap)
    monkeypatch.setattr(stored, "STRETCH", 50)
    rows = np.arange(3, 200, 5)
    found = one_pass(training_stream(dataset, rows, **OPTIONS))[0]
    np.testing.assert_array_equal(np.sort(found), np.sort(momenta(dataset, rows)))
    events = dataset.stored("combined").read(rows)
    expected = dataset.batch(rows, "combined", 50, 60)
    for name, values in pad(events, None, "combined", 50, 60).items():
        np.testing.assert_array_equal(values, expected[name])


def test_batches_that_overlap_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many small groups, read ahead in a thread, give what the map gives."""
    dataset = open_dataset(make_dataset(tmp_path, 150, seed=8))
    rows = np.flatnonzero(np.random.default_rng(0).random(150) < 0.7)
    monkeypatch.setattr(order, "BLOCK", 8)
    monkeypatch.setattr(order, "BLOCKS_IN_GROUP", 2)
    options: dict[str, Any] = {"batch_size": 13, "inputs": INPUT_NAMES, "seed": 1}
    stream = training_stream(dataset, rows, **options)
    for epoch in range(2):
        for batch, (x, _, _) in enumerate(stream):
            chosen = TrainingBatches(dataset, rows, **options).rows(epoch, batch)
            for name, values in dataset.batch(chosen, INPUT_NAMES).items():
                np.testing.assert_array_equal(x[name], values)


def test_a_map_that_is_cut_while_it_is_read_is_named(tmp_path: Path) -> None:
    dataset = open_dataset(make_dataset(tmp_path, 50))
    reader = dataset.stored("combined")
    path = dataset.path / "particle_input.memmap"
    with open(path, "r+b") as stream:
        stream.truncate(path.stat().st_size - 4)
    with pytest.raises(InputError, match=r"particle_input\.memmap.*ends too early"):
        reader.read(np.arange(50))


def test_streams_do_not_map_the_large_columns(tmp_path: Path) -> None:
    dataset = open_dataset(make_dataset(tmp_path, 50))
    one_pass(training_stream(dataset, np.arange(50), **OPTIONS))
    mapped = Path("/proc/self/maps").read_text() if Path("/proc/self/maps").exists() else ""
    assert f"{dataset.path}/labels.memmap" in mapped or not mapped
    assert f"{dataset.path}/particle_input.memmap" not in mapped
    assert f"{dataset.path}/decay_input.memmap" not in mapped


def test_mirrored_devices_train_on_every_event(dataset: Dataset) -> None:
    """`tf.distribute` divides the batches; nothing is lost or met twice."""
    strategy = tf.distribute.MirroredStrategy(["/cpu:0"])
    stream = training_stream(dataset, np.arange(200), **OPTIONS)
    found = []
    for x, _, _ in strategy.experimental_distribute_dataset(stream):
        for part in strategy.experimental_local_results(x["particle_input"]):
            found.append(part.numpy()[:, 0, 5])
    np.testing.assert_array_equal(
        np.sort(np.concatenate(found)), np.sort(momenta(dataset, np.arange(200)))
    )


def test_batches_are_made_while_the_model_works_although_all_repeats_itself(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two sleeps overlap under TensorFlow's determinism, and the order stays."""
    spent: list[float] = []

    def sleep() -> None:
        begin = time.monotonic()
        time.sleep(0.03)
        spent.append(time.monotonic() - begin)

    make = batches.Batches._padded

    def slowly(*arguments: Any) -> Any:
        sleep()
        return make(*arguments)

    rows, options = np.arange(200), {**OPTIONS, "batch_size": 20}
    expected = one_pass(training_stream(dataset, rows, **options))[0]
    monkeypatch.setattr(batches.Batches, "_padded", slowly)
    config.enable_op_determinism()
    try:
        iterator = iter(training_stream(dataset, rows, **options))
        found = [next(iterator)]
        spent.clear()
        begin = time.monotonic()
        for batch in iterator:
            found.append(batch)
            sleep()
        took = time.monotonic() - begin
    finally:
        config.disable_op_determinism()
    np.testing.assert_array_equal(one_pass(found)[0], expected)
    assert len(spent) >= 15
    # One after the other they take the sum; side by side about half of it.
    assert took < 0.8 * sum(spent)
