"""The batches of a stream are pinned: a run that is resumed must meet the same ones.

The digests were taken from the code of November 2026 before blocks were read by every stream.
All values of the sample are whole numbers, so that they hold on every processor.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from itertools import islice
from typing import Any

import numpy as np
import pytest

from smartbkg_tf.dataset.batches import EvaluationBatches, TrainingBatches
from smartbkg_tf.dataset.dataset import Dataset, open_dataset
from smartbkg_tf.dataset.stream import (
    EpochCounter,
    evaluation_stream,
    training_stream,
)
from smartbkg_tf.encoding.pad import INPUT_NAMES
from smartbkg_tf.events.table import PARTICLE_COLUMNS, EventTable
from tests.datasets import write_dataset

N_EVENTS = 40_000
OPTIONS: dict[str, Any] = {"batch_size": 1000, "inputs": INPUT_NAMES, "seed": 11}


def sample() -> EventTable:
    """Many small events: an epoch has several groups of blocks, and batches overlap them."""
    event = np.arange(1, N_EVENTS + 1)
    lengths = 1 + event % 5
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    owner = np.repeat(event, lengths)
    place = np.arange(len(owner)) - np.repeat(offsets[:-1], lengths)
    values = {name: (owner * (k + 1) + place) % 997 for k, name in enumerate(PARTICLE_COLUMNS)}
    codes = np.array([300553, 511, -511, 421, 211, -321, 22])
    values["PDG"] = codes[(owner + place) % 7]
    values["motherIndex"] = place - 1
    values["motherPDG"] = np.where(place > 0, codes[(owner + place - 1) % 7], 0)
    values["charge"] = (owner + place) % 3 - 1
    values["status"] = np.ones_like(owner)
    return EventTable(
        particles={name: values[name].astype(dtype) for name, dtype in PARTICLE_COLUMNS.items()},
        offsets=offsets.astype(np.int64),
        keys={
            "experiment": np.full(N_EVENTS, 1003),
            "run": event // 1000,
            "event": event,
            "production": np.zeros(N_EVENTS, np.int64),
        },
        event_type=(event % 3).astype(np.int8),
        labels={"skim": (event % 7 == 0).astype(np.int8)},
    )


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("golden")
    return open_dataset(write_dataset(folder, sample(), max_particles=4, max_tokens=9))


def digest(batches: Iterable[Any]) -> str:
    """Hash every byte, shape and type of some batches."""
    total = hashlib.sha256()
    for inputs, *others in batches:
        for name, values in [*sorted(inputs.items()), *enumerate(others)]:
            array = np.asarray(values)
            total.update(f"{name} {array.dtype} {array.shape}".encode())
            total.update(array.tobytes())
    return total.hexdigest()[:16]


def digest_of(values: Any) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()[:16]


TRAINING: dict[str, tuple[dict[str, Any], list[str]]] = {
    "all": ({}, ["87f96fad1fc7fafc", "da0c6a07f63ca98a"]),
    "balance": ({"balance": 3.0}, ["75d411cbc4cba926", "13a62d453e1975d0"]),
    "few": ({"balance": 0.02}, ["fb1ec6ddfa082175", "5dda5725848c10d3"]),
    "symmetries": (
        {"balance": 3.0, "symmetries": ["charge_conjugation", "mirror"]},
        ["9a24ef2e4a40c684", "7e9ff915ec5c67ec"],
    ),
}


@pytest.mark.parametrize("case", TRAINING)
def test_training(dataset: Dataset, case: str) -> None:
    options, expected = TRAINING[case]
    rows = dataset.split()["train"]
    stream = training_stream(dataset, rows, **OPTIONS, **options)
    assert [digest(stream), digest(stream)] == expected


@pytest.mark.parametrize("balance", [None, 3.0])
def test_a_resumed_epoch_is_the_rest_of_it(dataset: Dataset, balance: float | None) -> None:
    rows = dataset.split()["train"]
    counter = EpochCounter(1, parts=True)
    stream = training_stream(dataset, rows, **OPTIONS, balance=balance, counter=counter)
    whole = list(stream)
    for first, last in ((0, 3), (9, None), (len(whole) - 1, None), (len(whole), None)):
        counter.epoch, counter.first_batch, counter.last_batch = 1, first, last
        assert digest(stream) == digest(islice(whole, first, last))


#: Digests of the validation events, and of some events in any order.
EVALUATION: dict[str, tuple[dict[str, Any], str, str]] = {
    "in order": ({}, "142d54432c01b1a7", "be66b55d83ec442e"),
    "sorted by length": ({"length_buckets": 8}, "63d974b1f1b97a98", "6003552cd4d5e12f"),
}


@pytest.mark.parametrize("case", EVALUATION)
@pytest.mark.parametrize("part", ["validation", "mixed"])
def test_evaluation(dataset: Dataset, case: str, part: str) -> None:
    options, in_order, mixed = EVALUATION[case]
    rows, expected = dataset.split()["validation"], in_order
    if part == "mixed":
        rows, expected = np.random.default_rng(5).permutation(N_EVENTS)[:3500], mixed
    stream = evaluation_stream(
        dataset, rows, batch_size=300, inputs=INPUT_NAMES, with_weights=True, **options
    )
    assert [digest(stream), digest(stream)] == [expected, expected]


def test_events_of_a_batch(dataset: Dataset) -> None:
    rows = dataset.split()["train"]
    found = [
        TrainingBatches(dataset, rows, balance=balance, **OPTIONS).rows(1, batch)
        for balance in (None, 3.0)
        for batch in (0, 7, 14)
    ]
    assert digest_of(np.concatenate(found)) == "707a688bbc0987b0"
    validation = dataset.split()["validation"]
    options = {"batch_size": 300, "inputs": INPUT_NAMES, "length_buckets": 8}
    assert (
        digest_of(EvaluationBatches(dataset, validation, **options).rows(0, 4))
        == "9c77131df1bafc64"
    )
