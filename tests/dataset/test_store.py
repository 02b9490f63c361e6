"""Memory maps on disk: what is written is what is read, and nothing else is."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from smartbkg_tf.dataset.memmap_metadata import DTYPES, read_dtype, read_shape
from smartbkg_tf.dataset.store import MapWriter, map_path, open_map
from smartbkg_tf.errors import InputError


def write_map(directory: Path, name: str, values: np.ndarray) -> dict[str, Any]:
    """Write a whole map at once."""
    writer = MapWriter(directory, name, values.dtype, values.shape[1:])
    writer.append(values)
    return writer.close()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(7,), (7, 3), (5, 2, 3), (0, 4), (4, 0)])
def test_round_trip(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    values = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    recorded = write_map(tmp_path, "a", values)
    read = open_map(tmp_path, "a", recorded)
    assert read.dtype == values.dtype
    np.testing.assert_array_equal(read, values)
    assert not read.flags.writeable


def test_metadata_are_json(tmp_path: Path) -> None:
    write_map(tmp_path, "a", np.zeros((4, 9), np.float32))
    assert json.loads((tmp_path / "a.memmap.shape").read_text()) == [4, 9]
    assert json.loads((tmp_path / "a.memmap.dtype").read_text()) == "float32"


def test_a_map_that_was_not_finished_cannot_be_opened(tmp_path: Path) -> None:
    """Trap 12: metadata written at the end left an unreadable map after a crash."""
    writer = MapWriter(tmp_path, "a", np.float32, (9,))
    writer.append(np.zeros((1, 9), np.float32))
    writer.abandon()
    with pytest.raises(InputError, match=r"the shape of a\.memmap is missing"):
        open_map(tmp_path, "a")


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (np.zeros((2, 3), np.float64), "float64 for float32"),
        (np.zeros((2, 3), np.int32), "int32 for float32"),
        (np.zeros((2, 1), np.float32), r"\(2, 1\)"),
        (np.zeros(3, np.float32), r"\(3,\)"),
        (np.zeros((2, 3, 1), np.float32), r"\(2, 3, 1\)"),
    ],
)
def test_blocks_that_do_not_fit_are_refused(
    tmp_path: Path, block: np.ndarray, message: str
) -> None:
    """Trap 11: another type reinterpreted the bytes, a wrong shape was broadcast."""
    writer = MapWriter(tmp_path, "a", np.float32, (3,))
    with pytest.raises(ValueError, match=message):
        writer.append(block)
    assert writer.rows == 0
    writer.abandon()


def test_blocks_in_another_memory_order_are_written_as_rows(tmp_path: Path) -> None:
    values = np.arange(12, dtype=np.int32).reshape(3, 4)
    write_map(tmp_path, "a", np.asfortranarray(values))
    np.testing.assert_array_equal(open_map(tmp_path, "a"), values)
    write_map(tmp_path, "b", values[:, ::2])
    np.testing.assert_array_equal(open_map(tmp_path, "b"), values[:, ::2])


def test_objects_cannot_be_stored(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot hold object"):
        MapWriter(tmp_path, "a", object, (3,))


def test_names_are_exact(tmp_path: Path) -> None:
    write_map(tmp_path, "mother_pdg_input", np.arange(3, dtype=np.int16))
    with pytest.raises(InputError, match="'pdg_input' is missing; did you mean 'mother_pdg"):
        open_map(tmp_path, "pdg_input")


def test_truncated_and_too_long_maps_are_refused_by_name(tmp_path: Path) -> None:
    write_map(tmp_path, "a", np.arange(100, dtype=np.int64))
    os.truncate(map_path(tmp_path, "a"), 799)
    with pytest.raises(InputError, match=r"a\.memmap: the map is truncated"):
        open_map(tmp_path, "a")
    with map_path(tmp_path, "a").open("ab") as stream:
        stream.write(b"12")
    with pytest.raises(InputError, match="too long: 801 bytes"):
        open_map(tmp_path, "a")


def test_swapped_and_damaged_maps_of_the_right_size_are_refused_by_name(tmp_path: Path) -> None:
    values = np.arange(100_000, dtype=np.int64)
    recorded = {name: write_map(tmp_path, name, values + i) for i, name in enumerate("ab")}
    first, second = map_path(tmp_path, "a"), map_path(tmp_path, "b")
    data = first.read_bytes()
    second.write_bytes(data)
    with pytest.raises(InputError, match=r"b\.memmap: .*swapped or damaged"):
        open_map(tmp_path, "b", recorded["b"])
    first.write_bytes(data[:-8] + bytes(8))
    with pytest.raises(InputError, match=r"a\.memmap: .*swapped or damaged"):
        open_map(tmp_path, "a", recorded["a"])


def test_a_map_of_another_shape_is_refused(tmp_path: Path) -> None:
    recorded = write_map(tmp_path, "a", np.zeros((4, 2), np.int8))
    write_map(tmp_path, "a", np.zeros((2, 4), np.int8))
    with pytest.raises(InputError, match=r"holds \[2, 4\] of int8, dataset.json records \[4, 2\]"):
        open_map(tmp_path, "a", recorded)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickled_metadata_of_the_original_are_read(tmp_path: Path, protocol: int) -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    write_map(tmp_path, "a", values)
    (tmp_path / "a.memmap.shape").write_bytes(pickle.dumps((2, 3), protocol))
    for name in ("float32", "<f4", "f4"):
        (tmp_path / "a.memmap.dtype").write_bytes(pickle.dumps(name, protocol))
        np.testing.assert_array_equal(open_map(tmp_path, "a"), values)


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch {self.path}",))


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("kind", ["shape", "dtype"])
def test_pickles_that_run_code_are_refused_by_name_and_not_run(
    tmp_path: Path, kind: str, protocol: int
) -> None:
    write_map(tmp_path, "a", np.zeros(3, np.int8))
    trace = tmp_path / "trace"
    (tmp_path / f"a.memmap.{kind}").write_bytes(pickle.dumps(Bomb(trace), protocol))
    with pytest.raises(InputError, match=rf"a\.memmap\.{kind}: .*system"):
        open_map(tmp_path, "a")
    assert not trace.exists()


@pytest.mark.parametrize(
    "value",
    [np.dtype("float32"), np.float32(3), Path("x"), (1, 2.5), {"a": 1}, None, (-1,), (True,)],
)
def test_anything_but_plain_shapes_is_refused(tmp_path: Path, value: Any) -> None:
    (tmp_path / "a.memmap.shape").write_bytes(pickle.dumps(value))
    with pytest.raises(InputError, match=r"a\.memmap\.shape"):
        read_shape(map_path(tmp_path, "a"))


@pytest.mark.parametrize(
    "value", ["object", "O", "U10", ">f4", "float128", "datetime64[s]", "nonsense", 7, ("int8",)]
)
def test_anything_but_plain_types_is_refused(tmp_path: Path, value: Any) -> None:
    for data in (pickle.dumps(value), json.dumps(value).encode()):
        (tmp_path / "a.memmap.dtype").write_bytes(data)
        with pytest.raises(InputError, match=r"a\.memmap\.dtype"):
            read_dtype(map_path(tmp_path, "a"))


@pytest.mark.parametrize("data", [b"", b"[1, 2", b"\x80\x05K", b"[" * 4000, b"1" * 5000, b"\xff"])
def test_damaged_metadata(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.memmap.shape").write_bytes(data)
    with pytest.raises(InputError, match=r"a\.memmap\.shape"):
        read_shape(map_path(tmp_path, "a"))


def test_missing_metadata(tmp_path: Path) -> None:
    write_map(tmp_path, "a", np.zeros(3, np.int8))
    (tmp_path / "a.memmap.dtype").unlink()
    with pytest.raises(InputError, match=r"the dtype of a\.memmap is missing"):
        open_map(tmp_path, "a")


@pytest.mark.parametrize("rows", [1, 5000, 40_000])
def test_blocks_of_any_length_make_the_same_map(tmp_path: Path, rows: int) -> None:
    """Short ones are collected before they are written and hashed."""
    values = np.random.default_rng(0).integers(0, 100, 100_000).astype(np.int16)[:70_000]
    whole = write_map(tmp_path, "whole", values)
    writer = MapWriter(tmp_path, "parts", np.int16)
    lengths = [rows, 1, 3 * rows, 2]
    begin = 0
    while begin < len(values):
        length = lengths[begin % 4]
        writer.append(values[begin : begin + length])
        begin += length
    parts = writer.close()
    assert parts == whole
    np.testing.assert_array_equal(open_map(tmp_path, "parts", parts), values)
