"""Building a dataset: reproducible, all or nothing, and honest about what was dropped."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from smartbkg_tf.dataset import build as build_module
from smartbkg_tf.dataset import shuffle, sources
from smartbkg_tf.dataset.build import build_dataset
from smartbkg_tf.dataset.dataset import open_dataset
from smartbkg_tf.dataset.writer import DatasetWriter
from smartbkg_tf.errors import InputError, OutputError
from smartbkg_tf.events.hdf5 import TrainingFile, write_hdf5
from smartbkg_tf.events.parquet import write_parquet
from smartbkg_tf.events.table import EventTable, concatenate
from tests.datasets import make_dataset, preprocess_settings, write_dataset
from tests.encoding.tables import particle, table_of
from tests.samples import make_events

ROOT = Path(__file__).resolve().parents[2]


def maps_of(path: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(path.iterdir())}


def with_column(table: EventTable, name: str, row: int, value: float) -> EventTable:
    column = table.particles[name].copy()
    column[row] = value
    return replace(table, particles={**table.particles, name: column})


def assert_nothing_left(folder: Path, *expected: str) -> None:
    """No output, and nothing half-written beside it, hidden or not."""
    assert sorted(p.name for p in folder.iterdir()) == sorted(expected)


# Reproducibility


def test_files_order_chunks_ranges_and_workers_do_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = [make_events(n, seed=n, skims=("a", "b")) for n in (70, 31, 52)]
    first = write_dataset(tmp_path / "first", *tables)
    expected = maps_of(first)
    files = [str(tmp_path / f"first/tables/events_{i}.h5") for i in range(3)]

    def build(name: str, **options: Any) -> dict[str, bytes]:
        return maps_of(build_dataset(preprocess_settings(output=tmp_path / name, **options)))

    assert build("reverse", input=files[::-1]) == expected
    assert build("comma", input=",".join(files)) == expected
    assert build("folder", input=str(tmp_path / "first/tables")) == expected
    assert build("chunks", input=files, chunk_events=7) == expected
    assert build("workers", input=files, workers=3, chunk_events=20) == expected
    monkeypatch.setattr(sources, "RANGE_EVENTS", 40)
    assert build("parts", input=files, workers=2, chunk_events=20) == expected
    for room in (0, 3000, 30_000):  # by way of the disk, on several levels, and once at the end
        monkeypatch.setattr(shuffle, "MEMORY_BYTES", room)
        assert build(f"room{room}", input=files, chunk_events=20) == expected
    monkeypatch.setattr(build_module, "_EVENTS_AT_A_TIME", 7)
    assert build("pieces", input=files) == expected
    other = build("seed", input=files, seed=2)
    assert other["keys.memmap"] != expected["keys.memmap"]
    assert len(other["keys.memmap"]) == len(expected["keys.memmap"])


def test_events_moved_between_files_give_the_same_maps(tmp_path: Path) -> None:
    table = make_events(90, seed=1)
    one = write_dataset(tmp_path / "one", table)
    parts = np.array_split(np.random.default_rng(0).permutation(90), 4)
    four = write_dataset(tmp_path / "four", *(table.take(part) for part in parts))
    first, second = maps_of(one), maps_of(four)
    for name in first:
        if name != "dataset.json":
            assert first[name] == second[name], name
    assert open_dataset(one).digest == open_dataset(four).digest


def test_the_order_is_random(tmp_path: Path) -> None:
    dataset = open_dataset(make_dataset(tmp_path, 500))
    event = dataset.keys["event"]
    assert abs(np.corrcoef(event, np.arange(500))[0, 1]) < 0.2
    assert np.count_nonzero(np.diff(event) == 1) < 8


def test_parquet_tables_give_the_same_maps(tmp_path: Path) -> None:
    table = make_events(30, seed=4)
    write_parquet(tmp_path / "t.parquet", table)
    path = build_dataset(preprocess_settings(str(tmp_path / "t.parquet"), tmp_path / "d"))
    first, second = maps_of(path), maps_of(write_dataset(tmp_path / "h5", table))
    first.pop("dataset.json")
    assert all(second[name] == data for name, data in first.items())


# Contents of dataset.json


def test_information(tmp_path: Path) -> None:
    tables = [make_events(n, seed=n, skims=("a", "b")) for n in (200, 100)]
    path = write_dataset(tmp_path, *tables, max_particles=15, max_tokens=40, chunk_events=60)
    information = json.loads((path / "dataset.json").read_text())
    table = concatenate(tables)
    lengths = np.diff(table.offsets)
    words = np.array([len(s.split()) for s in table.decay_strings])  # type: ignore[union-attr]
    assert information["format_version"] == 1
    assert information["encoding"]["feature_names"][-1] == "charge"
    assert information["encoding"]["units"][:3] == ["GeV", "ns", "cm"]
    assert information["n_events"] == 300
    assert information["n_particles"] == lengths.sum()
    assert information["max_lengths"] == {"particles": lengths.max(), "tokens": words.max()}
    assert information["truncated"] == {
        "particles": int((lengths > 15).sum()),
        "tokens": int((words > 40).sum()),
    }
    for skim in ("a", "b"):
        counts = information["counts"]["labels"][skim]
        assert counts["passing"] == int(table.labels[skim].sum())
        assert counts["passing"] + counts["failing"] == 300
        for code, name in enumerate(("mixed", "charged")):
            chosen = table.event_type == code
            counts = information["counts"]["labels_by_event_type"][name][skim]
            assert counts["passing"] == int(table.labels[skim][chosen].sum())
            assert information["counts"]["event_types"][name] == int(chosen.sum())
    for name, numbers in information["statistics"].items():
        values = table.particles[name].astype(np.float32).astype(np.float64)
        np.testing.assert_allclose(
            [numbers[k] for k in ("mean", "spread", "min", "max")],
            [values.mean(), values.std(), values.min(), values.max()],
            rtol=1e-9,
            atol=1e-12,
        )
    assert set(information["statistics"]) == set(information["encoding"]["feature_names"])
    assert [source["name"] for source in information["sources"]] == ["events_0.h5", "events_1.h5"]
    assert all(len(source["xxh3"]) == 16 for source in information["sources"])
    assert information["normalisation"]["features"]["x"]["transform"] == "asinh"
    assert information["dropped"] == {}
    assert str(tmp_path) not in (path / "dataset.json").read_text()


def test_summary_tells_retention_truncation_and_unknown_codes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = with_column(make_events(100, seed=1), "PDG", 3, 98765432)
    write_dataset(tmp_path, replace(table, decay_strings=None), max_particles=15)
    out = capsys.readouterr().out
    assert "fei_hadronic_b0: 30 events pass, retention (30.00 +- 4.58) %" in out
    assert "have more than 15 particles (longest: " in out
    assert "PDG codes without a token became 'unknown': 98765432 (" in out
    assert "events/s" in out


def test_skims_that_a_file_lacks_are_unknown_there(tmp_path: Path) -> None:
    first, second = make_events(30, seed=1, skims=("a", "b")), make_events(20, seed=2, skims=("b",))
    dataset = open_dataset(write_dataset(tmp_path, first, second))
    assert dataset.label_names == ("a", "b")
    run = dataset.keys["run"]
    assert (dataset.labels[run == 2, 0] == -1).all()
    assert (dataset.labels[:, 1] >= 0).all()
    assert (dataset.labels[run == 1] >= 0).all()
    assert dataset.information["counts"]["labels"]["a"]["unknown"] == 20


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_order_of_skims_does_not_follow_file_names(
    tmp_path: Path, order: tuple[int, int]
) -> None:
    tables = (make_events(20, seed=1, skims=("b", "c")), make_events(20, seed=2, skims=("a",)))
    dataset = open_dataset(write_dataset(tmp_path, *(tables[i] for i in order)))
    assert dataset.label_names == ("a", "b", "c")


def test_skims_of_which_all_files_give_one_order_keep_it(tmp_path: Path) -> None:
    tables = [make_events(20, seed=i, skims=("b", "a")) for i in (1, 2)]
    unlabelled = replace(make_events(5, seed=3), labels={})
    path = write_dataset(tmp_path, *tables, unlabelled, mode="lenient")
    assert open_dataset(path).label_names == ("b", "a")


def test_unlabelled_events_make_a_dataset_to_apply_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = open_dataset(write_dataset(tmp_path, make_events(20, skims=())))
    assert len(dataset) == 20
    assert (dataset.labels == -1).all()
    assert "can be applied to, not trained on" in capsys.readouterr().out


@pytest.mark.parametrize("key", ["all", "train_events", "decay_strings"])
def test_parts_of_the_tables(tmp_path: Path, key: str) -> None:
    whole = open_dataset(make_dataset(tmp_path / "all", 40))
    dataset = open_dataset(make_dataset(tmp_path / "part", 40, key=key))
    names = [n for n in dataset.information["inputs"] if n != "event_type_input"]
    assert ("particle_input" in names) is (key != "decay_strings")
    expected = whole.batch(np.arange(40), names)
    for name, values in dataset.batch(np.arange(40), names).items():
        np.testing.assert_array_equal(values, expected[name])


# Strict and lenient


def spoilt() -> EventTable:
    """Ten sound events, then one with each fault."""
    good = [particle(511), particle(211, 0)]
    bad = [
        [particle(511, x=float("nan"))],
        [particle(511, E=-2.0)],
        [particle(511), particle(211, 7)],
        [],
        good,
    ]
    strings = [" 511 (--> 211 <--)"] * 10 + [" 511"] * 4 + [" 511 (--> 211 <--)"]
    labels = [0, 1] * 5 + [1, 1, 1, 1, -1]
    return table_of([good] * 10 + bad, labels={"a": labels}, strings=strings)


def test_strict_reports_every_fault_at_once_and_writes_nothing(tmp_path: Path) -> None:
    table = spoilt()
    clash = table.take(np.array([0, 1, 2]))
    clash = with_column(clash, "energy", 0, 7.0)
    with pytest.raises(InputError) as caught:
        write_dataset(tmp_path, table, clash)
    text = str(caught.value).replace(str(tmp_path / "tables/events_0.h5"), "{file}")
    for expected in (
        "7 problems",
        "1 event with NaN, infinite or too large values in x ({file}: experiment 1003, run 1, "
        "event 11, production 0)",
        "1 event with negative energies ({file}: experiment 1003, run 1, event 12",
        "1 event with mother indices out of range or circular",
        "1 event with no particles ({file}: experiment 1003, run 1, event 14",
        "1 event with no known label, where other events have one ({file}: experiment 1003, "
        "run 1, event 15",
        "2 events with a key that another, identical event has",
        "2 events with a key that another, different event has",
        "mode=lenient",
    ):
        assert expected in text, expected
    assert_nothing_left(tmp_path, "tables")


def test_lenient_drops_and_records(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = spoilt()
    clash = with_column(table.take(np.array([0, 1, 2])), "energy", 0, 7.0)
    dataset = open_dataset(write_dataset(tmp_path, table, clash, mode="lenient"))
    # Event 1 is gone twice (its copies differ), 2 and 3 stay once.
    assert sorted(dataset.keys["event"].tolist()) == list(range(2, 11))
    assert dataset.information["dropped"] == {
        "not_finite": 1,
        "negative_energy": 1,
        "mother_index": 1,
        "no_particles": 1,
        "no_label": 1,
        "duplicate": 2,
        "conflict": 2,
    }
    assert np.isfinite(dataset.batch(np.arange(9))["particle_input"]).all()
    assert "warning: dropped 2 events with a key that another, different event" in (
        capsys.readouterr().out
    )


def test_broken_decay_strings_are_told_where_they_are_read(tmp_path: Path) -> None:
    """With particles in a file of ours tokens come from their mothers, as the text did."""
    table = make_events(20, seed=1)
    assert table.decay_strings is not None
    strings = table.decay_strings.copy()
    strings[3] = strings[3][:-8]
    broken = replace(table, decay_strings=strings)
    with pytest.raises(InputError, match="1 event with decay strings whose brackets do not fit"):
        write_dataset(tmp_path / "text", broken, key="decay_strings")
    first, second = (
        maps_of(write_dataset(tmp_path / name, one))
        for name, one in (("broken", broken), ("sound", table))
    )
    assert first["decay_input.memmap"] == second["decay_input.memmap"]


def test_conflicting_labels_of_one_key_are_a_conflict(tmp_path: Path) -> None:
    table = make_events(20, seed=1)
    flipped = replace(table, labels={k: (1 - v).astype(np.int8) for k, v in table.labels.items()})
    with pytest.raises(InputError, match=r"2 events with a key that another, different event"):
        write_dataset(tmp_path, table, flipped.take(np.array([4])))


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("memory_bytes", [0, 1 << 28])
def test_labels_of_the_same_events_in_several_tables_are_merged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: tuple[int, int], memory_bytes: int
) -> None:
    monkeypatch.setattr(shuffle, "MEMORY_BYTES", memory_bytes)
    both = replace(make_events(30, seed=1, skims=("a", "b")), observables={"q2": np.arange(30.0)})
    one = replace(both, labels={"a": both.labels["a"]}, observables={})
    other = replace(both, labels={"b": both.labels["b"]}).take(np.arange(20))
    tables = (one, other)
    merged = open_dataset(write_dataset(tmp_path, *(tables[i] for i in order)))
    assert merged.label_names == ("a", "b")
    assert merged.information["dropped"] == {}
    place = merged.keys["event"] - 1
    assert sorted(place) == list(range(30))
    np.testing.assert_array_equal(merged.labels[:, 0], both.labels["a"][place])
    expected = np.where(place < 20, both.labels["b"][place], -1)
    np.testing.assert_array_equal(merged.labels[:, 1], expected)
    np.testing.assert_array_equal(
        merged.observables["q2"], np.where(place < 20, place.astype(float), np.nan)
    )


def test_copies_without_a_new_label_are_duplicates_beside_merged_ones(tmp_path: Path) -> None:
    both = make_events(30, seed=1, skims=("a", "b"))
    one = replace(both, labels={"a": both.labels["a"]})
    some = one.take(np.array([3, 4]))
    wrong = replace(both, labels={"b": 1 - both.labels["b"]}).take(np.array([7]))
    path = write_dataset(tmp_path, some, both, one, wrong, mode="lenient")
    assert open_dataset(path).information["dropped"] == {"duplicate": 2, "conflict": 3}
    assert len(open_dataset(path)) == 29


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_what_is_dropped_does_not_depend_on_the_order_of_files(
    tmp_path: Path, order: tuple[int, int]
) -> None:
    table = make_events(30, seed=1)
    tables = (table, with_column(table, "px", 0, 5.0).take(np.array([0, 4])))
    path = write_dataset(tmp_path, *(tables[i] for i in order), mode="lenient")
    assert len(open_dataset(path)) == 29
    assert open_dataset(path).information["dropped"] == {"duplicate": 1, "conflict": 2}


def test_one_class_is_refused_when_nothing_can_be_learned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = make_events(20, seed=1, skims=("a", "b"))
    one = {"a": np.zeros(20, np.int8), "b": np.ones(20, np.int8)}
    with pytest.raises(InputError, match=r"a: all 20 events .* fail[\s\S]*b: all 20 .* pass"):
        write_dataset(tmp_path / "1", replace(table, labels=one))
    assert_nothing_left(tmp_path / "1", "tables")
    # A rare skim beside a useful one is worth a warning only.
    dataset = open_dataset(
        write_dataset(tmp_path / "2", replace(table, labels={**table.labels, "a": one["a"]}))
    )
    assert dataset.label_names == ("a", "b")
    assert "warning: a: all 20 events" in capsys.readouterr().out
    write_dataset(tmp_path / "3", replace(table, labels=one), mode="lenient")


def test_no_usable_event_is_an_error_in_lenient_mode_too(tmp_path: Path) -> None:
    table = table_of([[particle(511, E=-1.0)]] * 3)
    with pytest.raises(InputError, match="no usable event is left: 3 events with negative"):
        write_dataset(tmp_path, table, mode="lenient")
    assert_nothing_left(tmp_path, "tables")


# Nothing half-written


def test_existing_output_is_kept_unless_asked(tmp_path: Path) -> None:
    path = make_dataset(tmp_path, 20)
    before = maps_of(path)
    files = str(tmp_path / "tables/*.h5")
    with pytest.raises(OutputError, match="exists already"):
        build_dataset(preprocess_settings(files, path))
    with pytest.raises(InputError):
        build_dataset(preprocess_settings(files + "x", path, overwrite=True))
    assert maps_of(path) == before
    build_dataset(preprocess_settings(files, path, overwrite=True, seed=5))
    assert maps_of(path)["keys.memmap"] != before["keys.memmap"]
    assert_nothing_left(tmp_path, "tables", "dataset")


def test_overwriting_replaces_datasets_only(tmp_path: Path) -> None:
    make_dataset(tmp_path, 10)
    tables = tmp_path / "tables"
    run = tmp_path / "run"  # It holds a copy of the dataset's description.
    run.mkdir()
    (run / "dataset.json").write_text("{}")
    (run / "model.keras").write_text("weights of a week")
    for output in (tables, tables / "events_0.h5", run):
        with pytest.raises(OutputError, match="is not replaced"):
            build_dataset(preprocess_settings(str(tables), output, overwrite=True))
    assert_nothing_left(run, "dataset.json", "model.keras")
    assert_nothing_left(tables, "events_0.h5")
    (tmp_path / "empty").mkdir()
    path = build_dataset(preprocess_settings(str(tables), tmp_path / "empty"))
    assert len(open_dataset(path)) == 10


def test_output_in_folders_that_do_not_exist_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trap 14: an output without a folder failed."""
    make_dataset(tmp_path, 10)
    monkeypatch.chdir(tmp_path)
    files = "tables/events_0.h5"
    assert len(open_dataset(build_dataset(preprocess_settings(files, "bare")))) == 10
    assert len(open_dataset(build_dataset(preprocess_settings(files, "a/b/c")))) == 10


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: os.truncate(path, path.stat().st_size // 2),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_text("no table"),
    ],
)
@pytest.mark.parametrize("workers", [1, 2])
def test_a_damaged_file_leaves_nothing_behind(
    tmp_path: Path, damage: Callable[[Path], object], workers: int
) -> None:
    tables = tmp_path / "tables"
    tables.mkdir()
    for i in range(2):
        write_hdf5(tables / f"{i}.h5", make_events(40, seed=i))
    damage(tables / "1.h5")
    with pytest.raises(InputError, match=r"1\.h5"):
        build_dataset(
            preprocess_settings(str(tables / "*.h5"), tmp_path / "dataset", workers=workers)
        )
    assert_nothing_left(tmp_path, "tables")


@pytest.mark.parametrize("limit", [2_000, 40_000, 120_000])
def test_a_full_disk_is_one_clear_message_and_leaves_nothing(tmp_path: Path, limit: int) -> None:
    """A file-size limit stands in for the full disk: writes fail in the same calls."""
    tables = tmp_path / "tables"
    tables.mkdir()
    write_hdf5(tables / "0.h5", make_events(400))
    program = f"""
import os, resource, signal, sys
sys.path.insert(0, {str(ROOT)!r})
from tests.datasets import preprocess_settings
from smartbkg_tf.dataset.build import build_dataset
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
settings = preprocess_settings({str(tables / "0.h5")!r}, {str(tmp_path / "dataset")!r})
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
try:
    build_dataset(settings)
except OSError as error:
    print("OSError", error.errno)
"""
    environment = {**os.environ, "NUMBA_CACHE_DIR": os.environ.get("NUMBA_CACHE_DIR", "")}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert f"OSError {errno.EFBIG}" in done.stdout
    assert_nothing_left(tmp_path, "tables")


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupted_run_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    append, calls = DatasetWriter.append, []

    def interrupted(self: DatasetWriter, block: Any, *others: Any) -> None:
        append(self, block, *others)
        calls.append(len(block))
        raise KeyboardInterrupt

    monkeypatch.setattr(DatasetWriter, "append", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_dataset(tmp_path, 50, workers=workers)
    assert calls == [50]
    assert_nothing_left(tmp_path, "tables")


def test_all_files_that_cannot_be_opened_are_named_at_once(tmp_path: Path) -> None:
    write_hdf5(tmp_path / "0.h5", make_events(10))
    (tmp_path / "1.h5").write_text("no table")
    (tmp_path / "2.h5").touch()
    with pytest.raises(InputError, match=r"2 problems[\s\S]*1\.h5[\s\S]*2\.h5: is empty"):
        build_dataset(preprocess_settings(str(tmp_path / "*.h5"), tmp_path / "d"))
    assert_nothing_left(tmp_path, "0.h5", "1.h5", "2.h5")


def test_a_source_that_is_cut_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A memory map of it would end the process with SIGBUS."""
    read = TrainingFile.read

    def cut(self: TrainingFile, start: int, stop: int) -> EventTable:
        os.truncate(self.path, os.path.getsize(self.path) // 2)
        return read(self, start, stop)

    monkeypatch.setattr(TrainingFile, "read", cut)
    with pytest.raises(InputError, match=r"events_0\.h5: .*became shorter"):
        write_dataset(tmp_path, make_events(300, seed=1))
    assert_nothing_left(tmp_path, "tables")


def test_missing_inputs(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing matches[\s\S]*smartbkg_tf\.produce"):
        build_dataset(preprocess_settings(str(tmp_path / "*.h5"), tmp_path / "d"))
    with pytest.raises(InputError, match="no input: give input=FILE"):
        build_dataset(preprocess_settings(None, tmp_path / "d"))
    with pytest.raises(InputError, match="holds no tables"):
        build_dataset(preprocess_settings(str(tmp_path), tmp_path / "d"))
    path = make_dataset(tmp_path / "made", 10)
    with pytest.raises(InputError, match="is a dataset directory already"):
        build_dataset(preprocess_settings(str(path), tmp_path / "d"))


def test_memory_does_not_grow_with_the_data(tmp_path: Path) -> None:
    """Five times the events, the same peak: measured in processes of their own."""
    base = make_events(500, seed=1)
    tables = tmp_path / "tables"
    tables.mkdir()
    for i in range(10):
        table = base.take(np.resize(np.arange(500), 4000))
        keys = {**table.keys, "event": np.arange(4000), "run": np.full(4000, i)}
        write_hdf5(tables / f"{i}.h5", replace(table, keys=keys))
    program = f"""
import resource, sys
sys.path.insert(0, {str(ROOT)!r})
from tests.datasets import preprocess_settings
from smartbkg_tf.dataset import build, shuffle
shuffle.MEMORY_BYTES = 1 << 21
files, output = sys.argv[1], sys.argv[2]
build.build_dataset(preprocess_settings(files, output, chunk_events=1000))
print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""

    def peak(files: str, name: str) -> int:
        output = str(tmp_path / name)
        done = subprocess.run(
            [sys.executable, "-c", program, files, output],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return int(done.stdout.split("peak ")[1])

    small = peak(str(tables / "[01].h5"), "small")
    large = peak(str(tables / "*.h5"), "large")
    n_bytes = sum(p.stat().st_size for p in (tmp_path / "large").iterdir())
    assert n_bytes > 20e6
    # kB; the maps grew by 28 MB, the tables by 75 MB. Each of the open files takes 1 MB.
    assert large - small < 8 * 1000 + 4000
    shutil.rmtree(tables)
