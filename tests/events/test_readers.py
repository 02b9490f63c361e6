from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest

from smartbkg_tf.errors import ConfigurationError, InputError
from smartbkg_tf.events.hdf5 import write_hdf5
from smartbkg_tf.events.parquet import write_parquet
from smartbkg_tf.events.readers import (
    Reader,
    count_events,
    find_reader,
    iterate_events,
    particle_set,
)
from smartbkg_tf.events.table import EventTable, concatenate
from smartbkg_tf.settings.base import settings, validate
from smartbkg_tf.settings.plugins import plugin
from tests.events.comparison import assert_same_events
from tests.mdst_twin import write_mdst_twin
from tests.own_reader import write_my_reader
from tests.samples import make_events


def test_formats_are_told_by_content_not_by_name(tmp_path: Path) -> None:
    table = make_events(7)
    write_hdf5(tmp_path / "a.dat", table)
    write_parquet(tmp_path / "b.h5", table)
    twin = write_mdst_twin(tmp_path / "c.parquet", 5)
    paths = [tmp_path / name for name in ("c.parquet", "a.dat", "b.h5")]
    readers = [type(find_reader(path)).__name__ for path in paths]
    assert readers == ["MdstReader", "HDF5Reader", "ParquetReader"]
    assert [count_events(path) for path in paths] == [5, 7, 7]
    pieces = list(iterate_events(paths, chunk_events=4))
    assert [(path.name, len(piece)) for path, piece in pieces] == [
        ("c.parquet", 4), ("c.parquet", 1), ("a.dat", 4), ("a.dat", 3), ("b.h5", 4), ("b.h5", 3),
    ]  # fmt: skip
    assert_same_events(pieces[0][1], twin.take(np.arange(4)))
    for _, piece in (pieces[2], pieces[4]):
        assert_same_events(piece, table.take(np.arange(4)))
    assert all(piece.decay_strings is not None for _, piece in pieces)


def test_one_name_is_a_list_of_one(tmp_path: Path) -> None:
    write_hdf5(tmp_path / "a.h5", make_events(3))
    assert len(list(iterate_events(tmp_path / "a.h5"))) == 1
    assert len(list(iterate_events(str(tmp_path / "a.h5")))) == 1
    assert list(iterate_events([])) == []


def test_key_is_passed_on(tmp_path: Path) -> None:
    write_hdf5(tmp_path / "a.h5", make_events(3))
    write_parquet(tmp_path / "b.parquet", make_events(3))
    write_mdst_twin(tmp_path / "c.root", 3)
    for path in ("a.h5", "b.parquet", "c.root"):
        _, piece = next(iterate_events(tmp_path / path, key="train_events"))
        assert piece.decay_strings is None
        _, piece = next(iterate_events(tmp_path / path, key="decay_strings"))
        assert piece.particles == {}


def test_without_decay_text_tokens_come_from_the_links(tmp_path: Path) -> None:
    write_hdf5(tmp_path / "a.h5", make_events(3))
    write_parquet(tmp_path / "b.parquet", make_events(3))
    write_mdst_twin(tmp_path / "c.root", 3)
    for path in ("a.h5", "b.parquet", "c.root"):
        _, piece = next(iterate_events(tmp_path / path, decay_text=False))
        assert piece.decay_strings is None
        _, piece = next(iterate_events(tmp_path / path, decay_text=False, key="decay_strings"))
        assert piece.decay_strings is not None
        assert piece.particles == {}


@pytest.fixture
def lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_lines", raising=False)
    return write_my_reader(tmp_path)


@settings
class Command:
    """As settings of a command hold a reader."""

    reader: Annotated[Any, plugin("smartbkg_tf.events.readers.Reader")] | None = None


def test_a_reader_from_a_file_outside_the_package(lines: Path) -> None:
    chosen = {"_target_": "my_lines.Lines", "production": 4}
    reader = validate(Command, {"reader": chosen}).reader
    assert find_reader(lines, reader) is reader
    assert count_events(lines, reader=reader) == 3
    assert particle_set(lines, reader=reader) == "tables"
    table = make_events(2)
    write_hdf5(lines.with_name("b.h5"), table)
    found = list(iterate_events([lines, lines.with_name("b.h5")], chunk_events=2, reader=reader))
    assert [(path.name, len(piece)) for path, piece in found] == [
        ("a.lines", 2), ("a.lines", 1), ("b.h5", 2),
    ]  # fmt: skip
    first = found[0][1]
    assert first.keys["production"].tolist() == [4, 4]
    assert first.labels["skim"].tolist() == [1, 0]
    # Decay strings are built, and what was not asked for is left out.
    assert first.decay_strings is not None
    assert first.decay_strings.tolist() == [" 511 (--> 211 -211 <--)", " 22"]
    ((_, strings),) = iterate_events(lines, key="decay_strings", reader=reader)
    assert strings.particles == {}
    ((_, particles),) = iterate_events(lines, key="train_events", reader=reader)
    assert particles.decay_strings is None


def test_readers_of_the_package_have_arguments(tmp_path: Path) -> None:
    mixed = {"_target_": "smartbkg_tf.events.mdst.MdstReader", "event_type": "mixed"}
    write_mdst_twin(tmp_path / "c.root", 3)
    reader = validate(Command, {"reader": mixed}).reader
    _, twin = next(iterate_events(tmp_path / "c.root", reader=reader))
    assert twin.event_type.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"_target_": "my_lines.Lines", "prodution": 4}, "prodution: there is no such key"),
        ({"_target_": "my_lines.Lines", "production": -1}, "reader.production"),
        ({"_target_": "my_lines.Line"}, "has no class 'Line'; did you mean 'Lines'"),
        ({"_target_": "pathlib.Path"}, "does not inherit Reader"),
    ],
)
def test_readers_that_are_none(lines: Path, chosen: dict[str, Any], message: str) -> None:
    assert lines.exists()
    with pytest.raises(ConfigurationError, match=message):
        validate(Command, {"reader": chosen})


def test_a_reader_without_particles_is_refused(tmp_path: Path) -> None:
    nothing = dataclasses.replace(
        make_events(2, with_strings=False), particles={}, offsets=np.zeros(3, dtype=np.int64)
    )

    class Empty(Reader):
        def iterate(self, path: Path, *, chunk_events: int, key: str) -> Iterator[EventTable]:
            yield nothing

    (tmp_path / "a").write_bytes(b"x")
    with pytest.raises(InputError, match="its events have no particles"):
        list(iterate_events(tmp_path / "a", reader=Empty()))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"PK\x03\x04 and so on", "zip or npz"),
        (b"\x1f\x8b and so on", "unpack it first"),
        (b"\x93NUMPY and so on", "NumPy array"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (b"label,evtNum\n", "is not an event file\n"),
    ],
)
def test_other_files(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.h5").write_bytes(content)
    for function in (find_reader, count_events, lambda path: list(iterate_events(path))):
        with pytest.raises(InputError, match=message) as error:
            function(tmp_path / "a.h5")
        assert str(tmp_path / "a.h5") in str(error.value)


def test_wrong_arguments(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        next(iterate_events(tmp_path / "a.parquet", chunk_events=0))
    with pytest.raises(ValueError, match="key='x'"):
        next(iterate_events(tmp_path / "a.parquet", key="x"))  # type: ignore[arg-type]


def test_folders_and_missing_files(tmp_path: Path) -> None:
    (tmp_path / "data.h5").write_bytes(b"x")
    with pytest.raises(InputError, match=r"is a folder.*data.h5") as error:
        find_reader(tmp_path)
    assert f"input='{tmp_path}/*.h5'" in str(error.value)
    with pytest.raises(InputError, match="does not exist"):
        find_reader(tmp_path / "none.h5")


def test_a_bad_file_is_told_before_the_first_is_read(tmp_path: Path) -> None:
    write_hdf5(tmp_path / "a.h5", make_events(3))
    (tmp_path / "b.h5").write_bytes(b"")
    with pytest.raises(InputError, match="is empty"):
        next(iterate_events([tmp_path / "a.h5", tmp_path / "b.h5"]))


def test_a_range_of_events_is_that_of_the_whole_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smartbkg_tf.events.parquet.ROW_GROUP", 6)
    table = make_events(20)
    write_hdf5(tmp_path / "a.h5", table)
    write_parquet(tmp_path / "b.parquet", table)
    write_mdst_twin(tmp_path / "c.root", 20)
    for name in ("a.h5", "b.parquet", "c.root"):
        path = tmp_path / name
        assert find_reader(path).divisible
        whole = concatenate([piece for _, piece in iterate_events(path)])
        for begin, end in ((0, 20), (0, 6), (5, 13), (13, 14), (14, 99), (18, 20)):
            pieces = [t for _, t in iterate_events(path, begin=begin, end=end, chunk_events=4)]
            assert all(0 < len(piece) <= 4 for piece in pieces)
            assert_same_events(concatenate(pieces), whole.slice(begin, min(end, 20)))
