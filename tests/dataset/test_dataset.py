"""An opened dataset gives the events of the tables."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from smartbkg_tf.dataset.dataset import Dataset, open_dataset
from smartbkg_tf.dataset.information import with_checksum
from smartbkg_tf.dataset.store import map_path
from smartbkg_tf.dataset.verify import verify_dataset
from smartbkg_tf.encoding.encode import encode, pad
from smartbkg_tf.encoding.pad import INPUT_NAMES
from smartbkg_tf.errors import ConfigurationError, InputError
from smartbkg_tf.events.table import EventTable, concatenate
from smartbkg_tf.events.vocabulary import default_vocabulary
from smartbkg_tf.runtime.files import write_json
from smartbkg_tf.settings.encoding import EncodingSettings
from tests.datasets import make_dataset, write_dataset
from tests.encoding.tables import particle, table_of
from tests.samples import make_events

SKIMS = ("fei_hadronic_b0", "other")


def events() -> EventTable:
    """Two files with equal event numbers, and an observable in one of them."""
    first, second = make_events(60, seed=1, skims=SKIMS), make_events(40, seed=2, skims=SKIMS)
    second = replace(second, observables={"Mbc": np.linspace(5.2, 5.29, 40)})
    return concatenate([first, second])


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder, table = tmp_path_factory.mktemp("dataset"), events()
    path = write_dataset(folder, table.take(np.arange(60)), table.take(np.arange(60, 100)))
    return open_dataset(path)


def rows_in_table(dataset: Dataset, table: EventTable) -> np.ndarray:
    """Find where in the table each event of the dataset stands."""
    place = {
        key: i
        for i, key in enumerate(zip(*(table.keys[k].tolist() for k in dataset.keys), strict=True))
    }
    assert len(place) == len(table)
    keys = zip(*(column.tolist() for column in dataset.keys.values()), strict=True)
    return np.array([place[key] for key in keys])


def test_every_event_has_its_own_features_labels_and_key(dataset: Dataset) -> None:
    """Traps 2, 3 and 13: order, equal numbers in different files, labels that belong."""
    table = events()
    rows = rows_in_table(dataset, table)
    assert sorted(rows.tolist()) == list(range(100))
    assert not np.array_equal(rows, np.arange(100))  # shuffled across the files
    encoded = encode(table, EncodingSettings(), default_vocabulary())
    expected = pad(encoded, rows, INPUT_NAMES, 100, 150)
    batch = dataset.batch(np.arange(100), INPUT_NAMES)
    assert tuple(batch) == INPUT_NAMES
    for name in INPUT_NAMES:
        assert batch[name].dtype == expected[name].dtype
        np.testing.assert_array_equal(batch[name], expected[name], err_msg=name)
    for i, skim in enumerate(SKIMS):
        np.testing.assert_array_equal(dataset.labels[:, i], table.labels[skim][rows])
    np.testing.assert_array_equal(dataset.event_type, table.event_type[rows])
    np.testing.assert_array_equal(dataset.observables["Mbc"], table.observables["Mbc"][rows])
    np.testing.assert_array_equal(dataset.n_particles, np.diff(table.offsets)[rows])


@pytest.mark.parametrize("lengths", [(5, 7), (30, 150), (100, 20)])
def test_lengths_are_a_choice_of_the_reader(dataset: Dataset, lengths: tuple[int, int]) -> None:
    whole = dataset.batch([3, 99, 0], INPUT_NAMES)
    batch = dataset.batch([3, 99, 0], INPUT_NAMES, *lengths)
    n, t = lengths
    for name in ("particle_input", "pdg_input", "mother_pdg_input"):
        np.testing.assert_array_equal(batch[name], whole[name][:, :n])
    mothers = whole["mother_index_input"][:, :n]
    expected = np.where(mothers < n, mothers, -1)
    np.testing.assert_array_equal(batch["mother_index_input"], expected)
    np.testing.assert_array_equal(batch["decay_input"], whole["decay_input"][:, :t])


def test_nothing_is_cut_on_disk(tmp_path: Path) -> None:
    dataset = open_dataset(make_dataset(tmp_path, 30, max_particles=6, max_tokens=8))
    long = dataset.batch([0, 1], max_particles=60, max_tokens=120)
    assert (long["pdg_input"][:, 6:] > 0).any()
    assert (long["decay_input"][:, 8:] > 0).any()
    assert dataset.information["truncated"]["particles"] > 0
    assert dataset.information["truncated"]["tokens"] > 0


def test_padded_data_sets_of_before_are_refused_with_the_command_that_remakes_them(
    tmp_path: Path,
) -> None:
    path = make_dataset(tmp_path, 20)
    information = json.loads((path / "dataset.json").read_text()) | {"storage": "padded"}
    write_json(path / "dataset.json", with_checksum(information))
    with pytest.raises(InputError, match=r"storage=padded, .*\n.*smartbkg_tf\.preprocess input="):
        open_dataset(path)


def test_mothers_beyond_the_readers_length_are_none(tmp_path: Path) -> None:
    # In no generator a mother stands behind its daughter; where one does, it must not point
    # into the padding, at any length.
    event = [particle(211, 2), particle(511), particle(-411, 1), particle(22, 2)]
    table = table_of([event] * 4, labels={"a": [0, 1, 0, 1]})
    dataset = open_dataset(write_dataset(tmp_path, table, max_particles=6))
    for length, expected in ((2, [-1, -1]), (3, [2, -1, 1]), (6, [2, -1, 1, 2, -1, -1])):
        found = dataset.batch([0, 1, 2, 3], ["mother_index_input"], length)
        assert found["mother_index_input"].tolist() == [expected] * 4


def test_positions_outside_are_refused(dataset: Dataset) -> None:
    for bad in ([100], [-1]):
        with pytest.raises(IndexError, match=r"0\.\.99"):
            dataset.batch(bad)
    with pytest.raises(InputError, match="at least 1"):
        dataset.batch([0], max_tokens=0)


def test_batches_are_new_arrays_that_may_be_written_to(dataset: Dataset) -> None:
    first = dataset.batch([0, 1], INPUT_NAMES)
    for values in first.values():
        values[:] = 3
    second = dataset.batch([0, 1], INPUT_NAMES)
    assert all(not (values == 3).all() for values in second.values())


def test_maps_are_read_only(dataset: Dataset) -> None:
    for values in (dataset.labels, dataset.event_type, *dataset.keys.values()):
        with pytest.raises(ValueError, match="read-only"):
            values[0] = 1


def test_properties(dataset: Dataset) -> None:
    assert len(dataset) == 100
    assert dataset.label_names == SKIMS
    assert dataset.vocabulary_size == default_vocabulary().size
    assert dataset.encoding == EncodingSettings()
    assert dataset.normalisation.name == "physical"
    assert dataset.feature_names[0] == "energy"
    assert len(dataset.digest) == 16
    assert "100 events" in repr(dataset)


def test_parts_hold_all_events(dataset: Dataset) -> None:
    parts = dataset.split({"train": 0.5, "validation": 0.2, "test": 0.3})
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(100))


def test_sent_to_another_process(dataset: Dataset) -> None:
    again = pickle.loads(pickle.dumps(dataset))
    assert len(pickle.dumps(dataset)) < 1000
    np.testing.assert_array_equal(
        again.batch([5])["decay_input"], dataset.batch([5])["decay_input"]
    )


def test_used_in_a_fork(dataset: Dataset) -> None:
    expected = dataset.batch(np.arange(100))["particle_input"].sum()
    reader, writer = multiprocessing.Pipe(duplex=False)
    # os.fork alone: a fork of the test process under threads warns by design.
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            writer.send(float(dataset.batch(np.arange(100))["particle_input"].sum()))
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert reader.recv() == expected


def test_used_by_threads(dataset: Dataset) -> None:
    expected = [dataset.batch([i, 99 - i], INPUT_NAMES) for i in range(50)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: dataset.batch([i, 99 - i], INPUT_NAMES), range(50)))
    for one, other in zip(expected, found, strict=True):
        for name in INPUT_NAMES:
            np.testing.assert_array_equal(one[name], other[name])


def test_inputs_that_the_dataset_lacks(tmp_path: Path) -> None:
    only = open_dataset(make_dataset(tmp_path, 30, key="decay_strings"))
    assert only.batch([0], "decay")["decay_input"].any()
    for inputs in ("combined", "particles", ["pdg_input"]):
        with pytest.raises(InputError, match=r"no .*pdg_input.*key=decay_strings") as caught:
            only.check_inputs(inputs)
        assert "model.inputs=decay" in str(caught.value)
    with pytest.raises(ConfigurationError, match="did you mean 'combined'"):
        only.check_inputs("combine")


def test_a_path_that_is_missing_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"does not exist\n.*python -m smartbkg_tf\.preprocess"):
        open_dataset(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"is not a dataset directory: dataset\.json is missing"):
        open_dataset(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is not a directory"):
        open_dataset(tmp_path / "file")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 2}, r"format version 2; this smartbkg_tf reads 1.*\n.*newer"),
        ({"format_version": "1"}, "no format_version"),
        ({"vocabulary": {"size": 9, "digest": "0" * 16}}, "another list of PDG codes"),
        ({"label_names": None}, None),
        ({"storage": None}, "storage: .* not None"),
        ({"label_names": [3]}, r"label_names\.0: input should be a valid string, not 3"),
        ({"label_names": ["a", "b"]}, r"20 events with 2 labels do not fit .* \[20, 1\]"),
        ({"n_events": -1}, "n_events: input should be greater than or equal to 0, not -1"),
        ({"maps": {"labels": {"shape": "x"}}}, r"maps\.labels\.shape: [\s\S]*bytes is missing"),
        ({"normalisation": {"features": {}}}, r"normalisation\.name is missing"),
        ({"encoding": {"features": "original", "max_particles": 100, "max_tokens": 150,
                       "feature_names": ["energy"]}}, "feature set 'original' has the columns"),
    ],
)  # fmt: skip
def test_information_that_does_not_fit(
    tmp_path: Path, change: dict[str, object], message: str | None
) -> None:
    path = make_dataset(tmp_path, 20)
    information = json.loads((path / "dataset.json").read_text()) | change
    if message is None:
        information.pop(*change)
        message = r"label_names is missing"
    write_json(path / "dataset.json", with_checksum(information))
    with pytest.raises(InputError, match=message):
        open_dataset(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values["normalisation"]["features"]["energy"].update(spread=7.0),
        lambda values: values.update(label_names=["other"]),
        lambda values: values["inputs"].pop(),
        lambda values: values["encoding"].update(max_particles=7),
        lambda values: values.update(storage="padded"),
        lambda values: values["counts"]["event_types"].update(mixed=0),
    ],
)
def test_changes_of_the_description_are_found(
    tmp_path: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    path = make_dataset(tmp_path, 20)
    information = json.loads((path / "dataset.json").read_text())
    information["software"]["numpy"] = "1"  # says nothing about the events
    write_json(path / "dataset.json", information)
    open_dataset(path)
    change(information)
    write_json(path / "dataset.json", information)
    for read in (open_dataset, verify_dataset):
        with pytest.raises(
            InputError, match=r"dataset\.json: was changed after preprocess wrote it"
        ):
            read(path)


def test_swapped_maps_are_refused_at_opening(tmp_path: Path) -> None:
    path = make_dataset(tmp_path, 20)
    a, b, c = (map_path(path, name) for name in ("pdg_input", "mother_pdg_input", "x"))
    os.rename(a, c)
    os.rename(b, a)
    os.rename(c, b)
    with pytest.raises(InputError, match=r"pdg_input\.memmap: .*swapped or damaged"):
        open_dataset(path)


def test_verify_finds_what_opening_cannot_and_tells_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make_dataset(tmp_path, 3000)
    verify_dataset(path)
    assert "is whole: 3000 events" in capsys.readouterr().out
    file = map_path(path, "particle_input")
    data = bytearray(file.read_bytes())
    assert len(data) > 500_000
    data[100_000] ^= 1  # between beginning, middle and end
    file.write_bytes(data)
    open_dataset(path)
    os.truncate(map_path(path, "labels"), 3)
    map_path(path, "keys").unlink()
    with pytest.raises(InputError, match="3 problems") as caught:
        verify_dataset(path)
    for text in (
        "particle_input.memmap: the content has changed",
        "labels.memmap: the map is truncated",
        "'keys' is missing",
    ):
        assert text in str(caught.value)


def test_hashes_of_an_earlier_version_are_told(tmp_path: Path) -> None:
    path = make_dataset(tmp_path, 20)
    file = path / "dataset.json"
    information = json.loads(file.read_text(encoding="utf-8"))
    information["maps"]["keys"]["xxh64"] = information["maps"]["keys"].pop("xxh3")
    file.write_text(json.dumps(with_checksum(information)), encoding="utf-8")
    assert len(open_dataset(path)) == 20
    with pytest.raises(InputError, match=r"keys\.memmap: dataset\.json holds no xxh3 of it"):
        verify_dataset(path)


def test_chosen_skims_are_the_labels_in_their_order(dataset: Dataset) -> None:
    chosen = dataset.with_skims([SKIMS[1], SKIMS[0]])
    np.testing.assert_array_equal(chosen.labels, dataset.labels[:, ::-1])
    assert not np.array_equal(chosen.labels, dataset.labels)
    assert chosen.label_names == SKIMS[::-1]
    assert not chosen.labels.flags.writeable
    one = open_dataset(dataset.path, [SKIMS[1]])
    assert one.labels.shape == (len(dataset), 1)
    counts = one.information["counts"]
    passing = int(np.count_nonzero(dataset.labels[:, 1] == 1))
    assert counts["labels"][SKIMS[1]]["passing"] == passing
    assert all(list(by_label) == [SKIMS[1]] for by_label in counts["labels_by_event_type"].values())
    assert dataset.label_names == SKIMS, "the dataset itself is as it was"
    for key, part in dataset.split().items():
        np.testing.assert_array_equal(one.split()[key], part)
    assert dataset.with_skims(None) is dataset
    assert one.with_skims([SKIMS[1]]) is one


def test_chosen_skims_reach_other_processes(dataset: Dataset) -> None:
    chosen = open_dataset(dataset.path, [SKIMS[1]])
    copy = pickle.loads(pickle.dumps(chosen))
    assert copy.label_names == (SKIMS[1],)
    np.testing.assert_array_equal(copy.labels, chosen.labels)


@pytest.mark.parametrize(
    ("skims", "message"),
    [
        (["othre"], "no label 'othre'; did you mean 'other'"),
        (["other", "other"], "'other' is named more than once"),
        ([], "no skim is named"),
    ],
)
def test_a_wrong_choice_of_skims_is_refused(
    dataset: Dataset, skims: list[str], message: str
) -> None:
    for choose in (dataset.with_skims, lambda names: open_dataset(dataset.path, names)):
        with pytest.raises(ConfigurationError, match=message):
            choose(skims)
    with pytest.raises(ConfigurationError, match="no label"):
        open_dataset(dataset.path, [SKIMS[1]]).with_skims([SKIMS[0]])
