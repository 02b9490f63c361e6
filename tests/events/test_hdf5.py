from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartbkg_tf.errors import InputError, OutputError
from smartbkg_tf.events.decay_strings import build_decay_strings
from smartbkg_tf.events.hdf5 import TrainingFile, write_hdf5
from smartbkg_tf.events.readers import Key, count_events
from smartbkg_tf.events.table import EVENT_TYPES, PARTICLE_COLUMNS, EventTable, concatenate
from tests.events.comparison import assert_same_events, iterate_hdf5
from tests.samples import make_events


def full_table(n_events: int = 60, **options: object) -> EventTable:
    """Make events with all that a file can hold, odd numbers included."""
    table = make_events(n_events, seed=3, skims=("first", "second"), **options)  # type: ignore[arg-type]
    random = np.random.default_rng(0)
    particles = dict(table.particles)
    particles["x"] = particles["x"].copy()
    particles["x"][:4] = [np.nan, -0.0, np.inf, 1e-310]
    return dataclasses.replace(
        table,
        particles=particles,
        event_type=random.integers(-1, len(EVENT_TYPES), n_events).astype(np.int8),
        observables={"Mbc": random.normal(5.28, 0.01, n_events), "R2": np.full(n_events, np.nan)},
    )


@pytest.mark.parametrize("chunk", [1, 7, 60, 1000])
def test_round_trip_to_the_last_bit(tmp_path: Path, chunk: int) -> None:
    table = full_table(empty=(0, 5, 6, 59))
    write_hdf5(tmp_path / "a.h5", table)
    pieces = list(iterate_hdf5(tmp_path / "a.h5", chunk_events=chunk))
    assert [len(piece) for piece in pieces[:-1]] == [chunk] * (len(pieces) - 1)
    assert_same_events(concatenate(pieces), table)
    assert count_events(tmp_path / "a.h5") == 60


def test_all_events_empty(tmp_path: Path) -> None:
    # Known trap 9.
    table = make_events(4, empty=(0, 1, 2, 3))
    write_hdf5(tmp_path / "a.h5", table)
    assert_same_events(concatenate(list(iterate_hdf5(tmp_path / "a.h5"))), table)
    assert len(pd.read_hdf(tmp_path / "a.h5", "train_events")) == 0


def test_no_events_is_written_and_refused_when_read(tmp_path: Path) -> None:
    write_hdf5(tmp_path / "a.h5", make_events(3).take(np.array([], dtype=int)))
    with pytest.raises(InputError, match="holds no events"):
        next(iterate_hdf5(tmp_path / "a.h5"))


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=12),
    st.lists(st.sampled_from([1, 1, 2, 5]), min_size=12, max_size=12),
    st.integers(1, 5),
)
def test_neighbours_of_equal_number_are_never_merged(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int], numbers: list[int], chunk: int
) -> None:
    # Known traps 2, 3: unsorted, interleaved and repeated event numbers.
    n_events, n = len(counts), sum(counts)
    particles = {k: np.arange(n).astype(d) for k, d in PARTICLE_COLUMNS.items()}
    particles["motherIndex"] = np.full(n, -1, dtype=np.int32)
    keys = {k: np.zeros(n_events, np.int64) for k in ("experiment", "production")}
    table = EventTable(
        particles=particles,
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        keys={**keys, "run": np.arange(n_events), "event": np.array(numbers[:n_events])},
        event_type=np.zeros(n_events, dtype=np.int8),
        labels={"skim": np.zeros(n_events, dtype=np.int8)},
    )
    path = tmp_path_factory.mktemp("neighbours") / "a.h5"
    write_hdf5(path, table)
    found = concatenate(list(iterate_hdf5(path, chunk_events=chunk)))
    assert_same_events(found, dataclasses.replace(table, decay_strings=build_decay_strings(table)))


def test_pandas_reads_all_keys_without_a_warning(tmp_path: Path) -> None:
    table = full_table(empty=(2,))
    write_hdf5(tmp_path / "a.h5", table)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        particles = pd.read_hdf(tmp_path / "a.h5", "train_events")
        strings = pd.read_hdf(tmp_path / "a.h5", "decay_strings")
        events = pd.read_hdf(tmp_path / "a.h5", "events")
    assert list(particles.index.names) == ["label", "evtNum", "arrayIndex"]
    assert list(particles.columns) == list(PARTICLE_COLUMNS)
    for name, values in table.particles.items():
        np.testing.assert_array_equal(particles[name].to_numpy(), values, err_msg=name)
    event = table.event_of_particle()
    index = particles.index
    np.testing.assert_array_equal(index.get_level_values("evtNum"), table.keys["event"][event])
    np.testing.assert_array_equal(index.get_level_values("label"), table.labels["first"][event])
    assert index.get_level_values("arrayIndex")[:3].tolist() == [0, 1, 2]
    assert strings.index.name == "evtNum"
    assert list(strings.columns) == ["label", "decay_str"]
    assert table.decay_strings is not None
    assert strings["decay_str"].tolist() == table.decay_strings.tolist()
    assert events.columns.tolist() == [
        "experiment", "run", "event", "production", "n_particles", "event_type",
        "label_first", "label_second", "Mbc", "R2",
    ]  # fmt: skip
    names = [*EVENT_TYPES, "unknown"]
    assert events["event_type"].tolist() == [names[code] for code in table.event_type]
    assert events["n_particles"].tolist() == np.diff(table.offsets).tolist()


def test_pandas_reads_a_slice(tmp_path: Path) -> None:
    table = full_table()
    write_hdf5(tmp_path / "a.h5", table)
    part = pd.read_hdf(tmp_path / "a.h5", "train_events", start=5, stop=9)
    assert part["PDG"].tolist() == table.particles["PDG"][5:9].tolist()
    strings = pd.read_hdf(tmp_path / "a.h5", "decay_strings", start=2, stop=3)
    assert strings["decay_str"].tolist() == [table.decay_strings[2]]  # type: ignore[index]


def test_what_is_written_holds_no_pickled_data(tmp_path: Path) -> None:
    write_hdf5(tmp_path / "a.h5", full_table())
    objects: list[str] = []

    def look(name: str, node: object) -> None:
        if isinstance(node, h5py.Dataset) and node.dtype.kind == "O":
            objects.append(name)

    with h5py.File(tmp_path / "a.h5") as file:
        file.visititems(look)
    assert objects == []


def test_exact_float32_is_stored_as_such(tmp_path: Path) -> None:
    table = make_events(30)
    single = dataclasses.replace(
        table,
        particles={
            k: v.astype(np.float32).astype(np.float64) if v.dtype == np.float64 else v
            for k, v in table.particles.items()
        },
    )
    write_hdf5(tmp_path / "a.h5", single)
    assert set(pd.read_hdf(tmp_path / "a.h5", "train_events").dtypes) == {
        np.dtype(np.float32),
        np.dtype(np.int32),
    }
    assert_same_events(next(iterate_hdf5(tmp_path / "a.h5")), single)


def test_parts_by_key(tmp_path: Path) -> None:
    table = full_table()
    write_hdf5(tmp_path / "a.h5", table)
    only = next(iterate_hdf5(tmp_path / "a.h5", key="train_events"))
    assert only.decay_strings is None
    assert_same_events(only, table, strings=False)
    strings = next(iterate_hdf5(tmp_path / "a.h5", key="decay_strings"))
    assert strings.particles == {}
    assert strings.n_particles == 0
    assert strings.decay_strings is not None
    assert strings.decay_strings.tolist() == table.decay_strings.tolist()  # type: ignore[union-attr]
    assert strings.labels["second"].tolist() == table.labels["second"].tolist()


def test_strings_are_built_where_they_are_missing(tmp_path: Path) -> None:
    table = make_events(20, with_strings=False)
    write_hdf5(tmp_path / "a.h5", table)
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        del file["decay_strings"]
    found = next(iterate_hdf5(tmp_path / "a.h5"))
    assert found.decay_strings is not None
    assert found.decay_strings.tolist() == make_events(20).decay_strings.tolist()  # type: ignore[union-attr]
    with pytest.raises(InputError, match=r"no key 'decay_strings'.*train_events"):
        next(iterate_hdf5(tmp_path / "a.h5", key="decay_strings"))


def test_decay_strings_alone(tmp_path: Path) -> None:
    table = make_events(20)
    strings = dataclasses.replace(table, particles={}, offsets=np.zeros(21, dtype=np.int64))
    write_hdf5(tmp_path / "a.h5", strings)
    assert_same_events(next(iterate_hdf5(tmp_path / "a.h5", key="decay_strings")), strings)
    assert count_events(tmp_path / "a.h5") == 20
    with pytest.raises(InputError, match="no key 'train_events'") as error:
        next(iterate_hdf5(tmp_path / "a.h5"))
    assert "key=decay_strings" in str(error.value)


def test_one_long_string_does_not_blow_up_the_file(tmp_path: Path) -> None:
    table = make_events(400)
    assert table.decay_strings is not None
    strings = table.decay_strings.copy()
    strings[7] = " 211" * 20000
    long = dataclasses.replace(table, decay_strings=strings)
    write_hdf5(tmp_path / "a.h5", long)
    assert (tmp_path / "a.h5").stat().st_size < 3e6  # unpacked: 32 MB
    found = next(iterate_hdf5(tmp_path / "a.h5", key="decay_strings"))
    assert found.decay_strings is not None
    assert found.decay_strings.tolist() == strings.tolist()
    assert pd.read_hdf(tmp_path / "a.h5", "decay_strings")["decay_str"].tolist() == strings.tolist()


def test_nothing_to_write(tmp_path: Path) -> None:
    table = make_events(2, with_strings=False)
    nothing = dataclasses.replace(table, particles={}, offsets=np.zeros(3, dtype=np.int64))
    with pytest.raises(OutputError, match="nothing to write"):
        write_hdf5(tmp_path / "a.h5", nothing)
    clash = dataclasses.replace(table, observables={"run": np.zeros(2)})
    with pytest.raises(OutputError, match="cannot be called 'run'"):
        write_hdf5(tmp_path / "a.h5", clash)
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    program = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from smartbkg_tf.events.hdf5 import write_hdf5\n"
        "from smartbkg_tf.events.parquet import write_parquet\n"
        "from smartbkg_tf.errors import OutputError\n"
        "from tests.samples import make_events\n"
        "table = make_events(300)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (60000, 60000))\n"
        "for write in (write_hdf5, write_parquet):\n"
        "    try:\n"
        "        write(Path(sys.argv[1]) / 'a', table)\n"
        "    except OutputError as error:\n"
        "        print('refused:', str(error).splitlines()[0])\n"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        cwd=root, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.count("refused:") == 2
    assert "cannot be written" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_does_not_exist_is_made(tmp_path: Path) -> None:
    write_hdf5(tmp_path / "new" / "deep" / "a.h5", make_events(2))
    assert [p.name for p in (tmp_path / "new" / "deep").iterdir()] == ["a.h5"]


def _edit(path: Path, change: Callable[[h5py.File], None]) -> None:
    with h5py.File(path, "r+") as file:
        change(file)


def _other_number(file: h5py.File) -> None:
    codes = file["train_events/axis1_label1"]
    last = codes.shape[0] - 1
    codes[last] = 0


def _other_label(file: h5py.File) -> None:
    rows = file["decay_strings/table"]
    row = rows[11]
    row["values_block_0"] = 1 - row["values_block_0"]
    rows[11] = row


def _fewer_rows(file: h5py.File) -> None:
    rows = file["events/table"]
    rows.resize((rows.shape[0] - 1,))


def _no_column(file: h5py.File) -> None:
    for node in file["train_events"].values():
        if node.dtype.kind == "S" and b"prodTime" in node[:]:
            names = node[:]
            names[names == b"prodTime"] = b"prodtim"
            node[:] = names


def _broken_number(file: h5py.File) -> None:
    rows = file["events/table"]
    row = rows[3]
    row["values_block_1"] = b"mixd"
    rows[3] = row


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_other_number, "event 29 of the file .*has evtNum 30 there and 1 here"),
        (_other_label, "event 11 of the file .*has label [01] there and [01] here"),
        (_fewer_rows, "do not belong to each other.*29 events"),
        (_no_column, "lacks the columns prodTime; did you mean 'prodtim'"),
        (_broken_number, "row 3 holds 'mixd'; did you mean 'mixed'"),
    ],
)
def test_tables_that_disagree(
    tmp_path: Path, change: Callable[[h5py.File], None], message: str
) -> None:
    write_hdf5(tmp_path / "a.h5", make_events(30))
    _edit(tmp_path / "a.h5", change)
    # With particles the strings are not read: the mother links tell the same.
    key: Key = "decay_strings" if change is _other_label else "all"
    with pytest.raises(InputError, match=message) as error:
        list(iterate_hdf5(tmp_path / "a.h5", chunk_events=8, key=key))
    assert str(tmp_path / "a.h5") in str(error.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    write_hdf5(tmp_path / "good.h5", make_events(30))
    data = (tmp_path / "good.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(data[: len(data) // 2])
    (tmp_path / "text.h5").write_text("label,evtNum\n")
    (tmp_path / "empty.h5").write_bytes(b"")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["train_event"] = np.zeros(3)
    with h5py.File(tmp_path / "array.h5", "w") as file:
        file["train_events"] = np.zeros(3)
    with h5py.File(tmp_path / "nothing.h5", "w"):
        pass
    for name, message in {
        "cut.h5": "truncated HDF5 file",
        "text.h5": "is not an HDF5 file",
        "empty.h5": "is not an HDF5 file",
        "other.h5": "no key 'train_events'; did you mean 'train_event'",
        "array.h5": "not a data frame",
        "nothing.h5": "it holds no keys",
    }.items():
        with pytest.raises(InputError, match=message) as error:
            next(iterate_hdf5(tmp_path / name))
        assert str(tmp_path / name) in str(error.value)


def test_slices_out_of_order(tmp_path: Path) -> None:
    table = full_table()
    write_hdf5(tmp_path / "a.h5", table)
    with TrainingFile(tmp_path / "a.h5") as file:
        assert len(file) == 60
        for start, stop in ((50, 55), (0, 3), (58, 99), (4, 4)):
            expected = table.take(np.arange(start, min(stop, 60)))
            assert_same_events(file.read(start, stop), expected, strings=False)


def test_decay_text_is_left_out_where_mother_links_tell_the_same(tmp_path: Path) -> None:
    table = full_table()
    write_hdf5(tmp_path / "a.h5", table)
    found = concatenate(list(iterate_hdf5(tmp_path / "a.h5", decay_text=False)))
    assert found.decay_strings is None
    assert_same_events(found, table, strings=False)
    strings = next(iterate_hdf5(tmp_path / "a.h5", key="decay_strings", decay_text=False))
    assert strings.decay_strings is not None


def test_a_file_that_is_cut_while_it_is_read(tmp_path: Path) -> None:
    write_hdf5(tmp_path / "a.h5", make_events(3000))
    with TrainingFile(tmp_path / "a.h5") as file:
        assert len(file.read(0, 10)) == 10
        os.truncate(tmp_path / "a.h5", (tmp_path / "a.h5").stat().st_size // 2)
        for stop in (10, 3000):
            with pytest.raises(InputError, match="became shorter while it was read"):
                file.read(0, stop)


def test_a_file_that_is_replaced_while_it_is_read(tmp_path: Path) -> None:
    table = make_events(300)
    write_hdf5(tmp_path / "a.h5", table)
    with TrainingFile(tmp_path / "a.h5") as file:
        write_hdf5(tmp_path / "a.h5", make_events(3))
        assert_same_events(file.read(0, 300), table, strings=False)


def test_memory_stays_flat(tmp_path: Path) -> None:
    table = concatenate([make_events(500)] * 16)
    keys = {**table.keys, "event": np.arange(8000)}
    write_hdf5(tmp_path / "a.h5", dataclasses.replace(table, keys=keys))
    whole = sum(values.nbytes for values in table.particles.values())
    tracemalloc.start()
    try:
        for _ in iterate_hdf5(tmp_path / "a.h5", chunk_events=200):
            pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < whole / 4


def test_damaged_bytes_never_give_a_traceback(tmp_path: Path) -> None:
    write_hdf5(tmp_path / "good.h5", make_events(5))
    data = np.frombuffer((tmp_path / "good.h5").read_bytes(), dtype=np.uint8)
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        bad = data.copy()
        bad[random.integers(0, 20000, 12)] = random.integers(0, 256, 12)
        (tmp_path / "bad.h5").write_bytes(bad.tobytes())
        try:
            list(iterate_hdf5(tmp_path / "bad.h5"))
        except InputError:
            refused += 1
    assert refused > 20
