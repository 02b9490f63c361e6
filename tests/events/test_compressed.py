"""Rows that are read without h5py are the rows that h5py reads."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from smartbkg_tf.events.compressed import read_rows

ROW = np.dtype([("index", "<i8"), ("text", "S50", (1,)), ("values", "<f8", (3,))])


def rows(n: int) -> np.ndarray:
    random = np.random.default_rng(n)
    values = np.zeros(n, dtype=ROW)
    values["index"] = np.arange(n)
    values["text"][:, 0] = [b"x" * int(k) for k in random.integers(0, 51, n)]
    values["values"] = random.normal(size=(n, 3))
    return values


@pytest.mark.parametrize("between", [False, True])
def test_chunks_that_follow_each_other_and_that_do_not(tmp_path: Path, between: bool) -> None:
    values = rows(5000)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        node = file.create_dataset("t", (5000,), ROW, chunks=(700,))
        for i, low in enumerate(range(0, 5000, 700)):
            node[low : low + 700] = values[low : low + 700]
            if between and i % 2:
                file[f"other{i}"] = np.arange(1000 * i)
    with h5py.File(tmp_path / "a.h5", "r") as file:
        for start, stop in ((0, 5000), (0, 4999), (650, 3000), (699, 4901), (1400, 2800)):
            found = read_rows(file["t"], start, stop)
            assert found.tobytes() == values[start:stop].tobytes()


def test_numbers_at_odd_places(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(4000, 9))
    row = np.dtype([("byte", "u1"), ("block", "<f8", (9,))])
    table = np.zeros(4000, dtype=row)
    table["block"] = values
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["shift"] = np.zeros(3, np.uint8)
        file.create_dataset("table", data=table)
        file.create_dataset("block", data=values)
    with h5py.File(tmp_path / "a.h5", "r") as file:
        found = read_rows(file["table"], 10, 3990)["block"]
        np.testing.assert_array_equal(found, values[10:3990])
        block = read_rows(file["block"], 10, 3990)
        np.testing.assert_array_equal(block, values[10:3990])
        assert block.flags.aligned


def test_a_file_that_is_cut_while_it_is_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["whole"] = np.arange(1 << 16)
    with h5py.File(tmp_path / "a.h5", "r") as file:
        node = file["whole"]
        os.truncate(tmp_path / "a.h5", 1 << 17)
        with pytest.raises(OSError, match="shorter while it was read"):
            read_rows(node, 0, len(node))


def test_what_has_other_bytes_in_the_file_is_converted(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("big", data=np.arange(20000, dtype=">i4"))
        never = file.create_dataset("never", (50000,), "f8", chunks=(1000,), fillvalue=7.0)
        never[3000:4000] = 1.0
        kind = h5py.h5t.C_S1.copy()
        kind.set_size(8)
        kind.set_strpad(h5py.h5t.STR_SPACEPAD)
        space = h5py.h5s.create_simple((20000,))
        blanks = h5py.h5d.create(file.id, b"blanks", kind, space)
        blanks.write(space, space, np.array([b"ab      "] * 20000, "S8"), kind)
    with h5py.File(tmp_path / "a.h5", "r") as file:
        for name in ("big", "never", "blanks"):
            np.testing.assert_array_equal(read_rows(file[name], 0, len(file[name])), file[name][:])
