"""A third list and columns of the event, declared in one place, from the table to the score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from smartbkg_tf.dataset import shuffle
from smartbkg_tf.dataset.batches import TrainingBatches
from smartbkg_tf.dataset.build import build_dataset
from smartbkg_tf.dataset.dataset import Dataset, open_dataset
from smartbkg_tf.dataset.stream import (
    EpochCounter,
    evaluation_stream,
    training_stream,
)
from smartbkg_tf.encoding.encode import check_and_encode, encode
from smartbkg_tf.encoding.events import Events, concatenate, read_frames
from smartbkg_tf.encoding.feature_sets import FeatureSet, complete
from smartbkg_tf.encoding.pad import pad
from smartbkg_tf.errors import ConfigurationError, InputError
from smartbkg_tf.events.table import EventTable
from smartbkg_tf.events.vocabulary import default_vocabulary
from smartbkg_tf.settings.encoding import Column
from tests.datasets import preprocess_settings, write_dataset
from tests.samples import make_events

EXAMPLES = Path(__file__).resolve().parents[2] / "examples/features"
NAME = "candidate_features.WithCandidates"
FURTHER = ("visible_input", "candidate_input", "candidate_kind_input")
LENGTHS = {"max_particles": 40, "max_tokens": 60}


@pytest.fixture(autouse=True)
def _examples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setenv("PYTHONPATH", f"{EXAMPLES}:{EXAMPLES.parents[1]}")  # of processes


def encoded(table: EventTable) -> Events:
    return encode(table, complete(NAME, **LENGTHS), default_vocabulary())


def by_hand(table: EventTable, event: int) -> list[list[float]]:
    """Candidates of one event as the docstring says it: mass, momentum, kind."""
    rows = range(table.offsets[event], table.offsets[event + 1])
    p, found = table.particles, []
    for kaon in rows:
        for pion in rows:
            if abs(p["PDG"][kaon]) != 321 or abs(p["PDG"][pion]) != 211:
                continue
            if p["charge"][kaon] * p["charge"][pion] < 0:
                total = [p[n][kaon] + p[n][pion] for n in ("energy", "px", "py", "pz")]
                squared = sum(x * x for x in total[1:])
                mass = max(total[0] ** 2 - squared, 0.0) ** 0.5
                found.append([mass, squared**0.5, float(p["charge"][kaon] > 0)])
    return found


def test_encoded_and_padded() -> None:
    table = make_events(60, seed=3)
    events = encoded(table)
    batch = pad(events, None, [*FURTHER, "pdg_input"], 40, 60)
    shapes = {name: (values.dtype.name, values.shape[1:]) for name, values in batch.items()}
    assert shapes == {
        "visible_input": ("float32", (2,)),
        "candidate_input": ("float32", (16, 2)),
        "candidate_kind_input": ("int32", (16,)),
        "pdg_input": ("int32", (40,)),
    }
    assert events.lengths("candidates").max() > 4
    for i in range(len(table)):
        expected = np.array(by_hand(table, i)).reshape(-1, 3)
        assert events.lengths("candidates")[i] == len(expected)
        n = min(len(expected), 16)
        np.testing.assert_allclose(batch["candidate_input"][i, :n], expected[:n, :2], rtol=1e-5)
        np.testing.assert_array_equal(batch["candidate_kind_input"][i, :n], expected[:n, 2])
        assert not batch["candidate_input"][i, n:].any()
    one = encoded(table.take([7]))
    for name in FURTHER:
        np.testing.assert_array_equal(pad(one, None, FURTHER, 40, 60)[name][0], batch[name][7])


def test_taken_joined_and_written(tmp_path: Path) -> None:
    events = encoded(make_events(30, seed=1))
    some = events.take(np.array([5, 3, 29]))
    with open(tmp_path / "events", "wb") as stream:
        some.write(stream)
        events.write(stream)
    again = concatenate(list(read_frames(tmp_path / "events")))
    expected = concatenate([some, events])
    assert again.schema == expected.schema
    for name, values in expected.columns.items():
        np.testing.assert_array_equal(again[name], values)
        assert again[name].dtype == values.dtype
    for axis, offsets in expected.offsets.items():
        np.testing.assert_array_equal(again.offsets[axis], offsets)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("further")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLES))
        tables = (make_events(250, seed=1), make_events(150, seed=2))
        return open_dataset(write_dataset(folder, *tables, features=NAME, **LENGTHS))


def test_stored_whatever_the_files_and_workers(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert set(FURTHER) < set(dataset.information["inputs"])
    tables = {(run, event): (run - 1, event - 1) for run in (1, 2) for event in range(1, 251)}
    sources = [encoded(make_events(250, seed=1)), encoded(make_events(150, seed=2))]
    batch = dataset.batch(np.arange(400), FURTHER)
    keys = zip(dataset.keys["run"].tolist(), dataset.keys["event"].tolist(), strict=True)
    for i, key in enumerate(keys):
        source, row = tables[key]
        for name, values in pad(sources[source], [row], FURTHER, 40, 60).items():
            np.testing.assert_array_equal(batch[name][i], values[0])
    files = str(dataset.path.parent / "tables/*.h5")
    monkeypatch.setattr(shuffle, "MEMORY_BYTES", 100_000)
    options: dict[str, Any] = {"features": NAME, "chunk_events": 40, "workers": 2, **LENGTHS}
    other = build_dataset(preprocess_settings(files, tmp_path / "other", **options))
    for path in sorted(dataset.path.glob("*.memmap")):
        assert (other / path.name).read_bytes() == path.read_bytes(), path.name


def test_streamed(dataset: Dataset) -> None:
    options: dict[str, Any] = {"batch_size": 64, "inputs": [*FURTHER, "pdg_input"]}
    rows = dataset.split()["train"]
    stream = training_stream(dataset, rows, **options, seed=1, balance=1.0)
    shapes = {name: tuple(spec.shape) for name, spec in stream.element_spec[0].items()}
    assert shapes["candidate_input"] == (None, 16, 2)
    assert shapes["visible_input"] == (None, 2)
    chosen_rows = TrainingBatches(dataset, rows, **options, seed=1, balance=1.0)
    for batch, (x, _, _) in enumerate(stream):
        chosen = chosen_rows.rows(0, batch)
        for name, values in dataset.batch(chosen, options["inputs"]).items():
            np.testing.assert_array_equal(x[name], values)
    counter = EpochCounter(parts=True)
    counter.first_batch = 1
    rest = training_stream(dataset, rows, **options, seed=1, balance=1.0, counter=counter)
    whole = [x["candidate_input"].numpy() for x, *_ in evaluation_stream(dataset, rows, **options)]
    assert sum(map(len, whole)) == len(rows)
    assert next(iter(rest))[0]["candidate_input"].shape[1:] == (16, 2)


def test_a_network_reads_them_from_training_to_application(
    dataset: Dataset, tmp_path: Path
) -> None:
    from smartbkg_tf.filtering.scorers import KerasScorer
    from smartbkg_tf.runtime.command import compose_settings
    from smartbkg_tf.settings.training import TrainSettings
    from smartbkg_tf.training.fit import fit

    settings = compose_settings(
        "train",
        TrainSettings,
        [
            "model=custom",
            "model._target_=candidate_network.CandidateNetwork",
            f"data.path='{dataset.path}'",
            f"run_dir='{tmp_path / 'run'}'",
            "training.epochs=2",
            "training.batch_size=64",
            "training.progress=false",
        ],
    )
    run = fit(settings, dataset)
    scorer = KerasScorer(run, batch_size=64)
    assert set(scorer.input_names) == set(FURTHER)
    offline = scorer.score_dataset(dataset, np.arange(400))
    assert np.ptp(offline) > 0
    # The same events, encoded one table at a time as in application.
    table = make_events(150, seed=2)
    online = scorer.score_events(table)
    mine = dataset.keys["run"] == 2
    np.testing.assert_allclose(
        online[dataset.keys["event"][mine] - 1], offline[mine], rtol=1e-5, atol=1e-6
    )


class Plain(FeatureSet):
    """One column."""

    names = ("energy",)
    units = ("GeV",)

    def compute(self, table: EventTable) -> np.ndarray:
        return np.asarray(table.particles["energy"])[:, None]


class Taken(Plain):
    """A name that every dataset has."""

    further_columns = (Column(name="labels"),)


class OfParticles(Plain):
    """A further column of an axis that has columns of its own."""

    further_columns = (Column(name="more_input", axis="particles", max_length=3),)


class NoLength(Plain):
    """A list of which it is not known how long it is in a batch."""

    further_columns = (Column(name="more_input", axis="more"),)


class Good(Plain):
    """A list that the tests below fill wrongly."""

    further_columns = (Column(name="more_input", axis="more", dtype="int8", max_length=3),)
    given: dict[str, Any] = {}

    def compute_further(self, table: EventTable) -> dict[str, Any]:
        return type(self).given


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Taken", "cannot be called 'labels'"),
        ("OfParticles", "cannot be called 'particles'"),
        ("NoLength", "'more_input' needs a max_length"),
    ],
)
def test_declarations_that_cannot_be(name: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        complete(f"tests.dataset.test_further_columns.{name}", **LENGTHS)


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        ({}, ConfigurationError, r"gives \[\], not \['more', 'more_input'\]"),
        ({"more": [1], "more_input": [1]}, ConfigurationError, "rows of each of 3 events"),
        ({"more": [1, 0, 2], "more_input": [1]}, ConfigurationError, r"is \(1,\), not \(3,\)"),
        ({"more": [1, 0, 2], "more_input": [1, 2, 300]}, InputError, r"t\.h5.*into int8"),
        ({"more": [1, 0, 1], "more_input": [1, float("nan")]}, InputError, "NaN"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value encountered in cast:RuntimeWarning")
def test_values_that_do_not_fit(
    monkeypatch: pytest.MonkeyPatch, given: Any, kind: type[Exception], message: str
) -> None:
    monkeypatch.setattr(Good, "given", given)
    encoding = complete("tests.dataset.test_further_columns.Good", **LENGTHS)
    with pytest.raises(kind, match=message):
        check_and_encode(make_events(3), encoding, default_vocabulary(), file="t.h5")
