from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from smartbkg_tf.errors import InputError, OutputError
from smartbkg_tf.events.parquet import ROW_GROUP, ParquetReader, write_parquet
from smartbkg_tf.events.table import EVENT_TYPES, EventTable, concatenate
from tests.events.comparison import assert_same_events, read_with
from tests.events.test_hdf5 import full_table
from tests.samples import make_events


def iterate_parquet(path: Path, **options: Any) -> Iterator[EventTable]:
    return read_with(ParquetReader(), path, **options)


@pytest.mark.parametrize("chunk", [1, 7, 60, 1000])
def test_round_trip_to_the_last_bit(tmp_path: Path, chunk: int) -> None:
    table = full_table(empty=(0, 5, 6, 59))
    write_parquet(tmp_path / "a.parquet", table)
    pieces = list(iterate_parquet(tmp_path / "a.parquet", chunk_events=chunk))
    assert [len(piece) for piece in pieces[:-1]] == [chunk] * (len(pieces) - 1)
    assert_same_events(concatenate(pieces), table)
    assert ParquetReader().count(tmp_path / "a.parquet") == 60


def test_several_row_groups(tmp_path: Path) -> None:
    table = make_events(20).take(np.arange(2 * ROW_GROUP + 10) % 20)
    write_parquet(tmp_path / "a.parquet", table)
    assert pq.ParquetFile(tmp_path / "a.parquet").num_row_groups == 3
    pieces = list(iterate_parquet(tmp_path / "a.parquet", chunk_events=ROW_GROUP - 1))
    assert_same_events(concatenate(pieces), table)


def test_pandas_reads_it(tmp_path: Path) -> None:
    table = full_table(empty=(2,))
    write_parquet(tmp_path / "a.parquet", table)
    frame = pd.read_parquet(tmp_path / "a.parquet")
    assert frame["event"].tolist() == table.keys["event"].tolist()
    assert frame["PDG"][0].tolist() == table.particles["PDG"][: table.offsets[1]].tolist()
    assert len(frame["PDG"][2]) == 0
    names = [*EVENT_TYPES, "unknown"]
    assert frame["event_type"].tolist() == [names[code] for code in table.event_type]


def test_parts_by_key(tmp_path: Path) -> None:
    table = full_table()
    write_parquet(tmp_path / "a.parquet", table)
    only = next(iterate_parquet(tmp_path / "a.parquet", key="train_events"))
    assert only.decay_strings is None
    assert_same_events(only, table, strings=False)
    strings = next(iterate_parquet(tmp_path / "a.parquet", key="decay_strings"))
    assert strings.particles == {}
    assert strings.decay_strings.tolist() == table.decay_strings.tolist()  # type: ignore[union-attr]


def _rewrite(path: Path, frame: pa.Table) -> Path:
    pq.write_table(frame, path)
    return path


def test_strings_are_built_where_they_are_missing(tmp_path: Path) -> None:
    table = make_events(20)
    write_parquet(tmp_path / "a.parquet", table)
    frame = pq.read_table(tmp_path / "a.parquet").drop_columns(["decay_str"])
    path = _rewrite(tmp_path / "b.parquet", frame)
    assert_same_events(next(iterate_parquet(path)), table)
    with pytest.raises(InputError, match="lacks the columns decay_str"):
        next(iterate_parquet(path, key="decay_strings"))


def test_files_that_are_none(tmp_path: Path) -> None:
    table = make_events(20)
    write_parquet(tmp_path / "good.parquet", table)
    data = (tmp_path / "good.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(data[: len(data) // 2])
    (tmp_path / "text.parquet").write_text("hello")
    good = pq.read_table(tmp_path / "good.parquet")
    _rewrite(tmp_path / "none.parquet", good.slice(0, 0))
    _rewrite(
        tmp_path / "column.parquet",
        good.rename_columns(["Run" if n == "run" else n for n in good.column_names]),
    )
    flat = good.set_column(good.column_names.index("px"), "px", pa.array(np.zeros(20)))
    _rewrite(tmp_path / "flat.parquet", flat)
    short = good.set_column(good.column_names.index("px"), "px", pa.array([[0.0]] * 20))
    _rewrite(tmp_path / "short.parquet", short)
    counts = good.set_column(
        good.column_names.index("n_particles"), "n_particles", pa.array([1] * 20)
    )
    _rewrite(tmp_path / "counts.parquet", counts)
    holes = good.set_column(
        good.column_names.index("px"), "px", pa.array([None] * 20, pa.list_(pa.float64()))
    )
    _rewrite(tmp_path / "holes.parquet", holes)
    letters = good.set_column(
        good.column_names.index("decay_str"),
        "decay_str",
        pa.array([b" 511\xff"] * 20, pa.binary()).cast(pa.string(), safe=False),
    )
    _rewrite(tmp_path / "letters.parquet", letters)
    ones = pa.array([[1] * len(event) for event in good["px"].to_pylist()], pa.list_(pa.int64()))
    for kind, name in ((pa.bool_(), "bool"), (pa.timestamp("ns"), "date")):
        values = ones.cast(pa.list_(kind))
        other = good.set_column(good.column_names.index("px"), "px", values)
        _rewrite(tmp_path / f"{name}.parquet", other)
    for name, message in {
        "cut.parquet": "cannot be read as Parquet",
        "text.parquet": "cannot be read as Parquet",
        "none.parquet": "holds no events",
        "letters.parquet": "cannot be read as Parquet",
        "column.parquet": "lacks the columns run; did you mean 'Run'",
        "flat.parquet": "px: holds no lists",
        "short.parquet": "px: the lists are not as long",
        "counts.parquet": "n_particles does not count",
        "bool.parquet": "px: holds no numbers but bool",
        "date.parquet": "px: holds no numbers but datetime64",
        "holes.parquet": "px: the lists of 20 events are missing",
    }.items():
        key = "decay_strings" if name == "letters.parquet" else "all"
        with pytest.raises(InputError, match=message) as error:
            list(iterate_parquet(tmp_path / name, key=key))
        assert str(tmp_path / name) in str(error.value)


def test_nothing_to_write(tmp_path: Path) -> None:
    table = make_events(2, with_strings=False)
    nothing = dataclasses.replace(table, particles={}, offsets=np.zeros(3, dtype=np.int64))
    with pytest.raises(OutputError, match="nothing to write"):
        write_parquet(tmp_path / "a.parquet", nothing)
    for name in ("run", "px", "decay_str", "label_x"):
        clash: EventTable = dataclasses.replace(table, observables={name: np.zeros(2)})
        with pytest.raises(OutputError, match=f"cannot be called '{name}'"):
            write_parquet(tmp_path / "a.parquet", clash)
    assert list(tmp_path.iterdir()) == []
