"""Hashes of files: known values, every bit, files that cannot be mapped or change."""

from __future__ import annotations

import os
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from smartbkg_tf.dataset import hashing
from smartbkg_tf.dataset.hashing import hash_file, new_hash


def test_a_file_is_hashed_like_its_bytes(tmp_path: Path) -> None:
    """Values as `xxhsum -H3` prints them."""
    file = tmp_path / "file"
    for data, expected in ((b"", "2d06800538d394c2"), (b"abc", "78af5f94892f3950")):
        file.write_bytes(data)
        assert hash_file(file) == expected
        pieces = new_hash()
        for byte in data:
            pieces.update(bytes([byte]))
        assert pieces.hexdigest() == expected


def test_any_bit_counts(tmp_path: Path) -> None:
    data = bytearray(np.random.default_rng(0).bytes(3_000_001))
    file = tmp_path / "file"
    file.write_bytes(data)
    before = hash_file(file)
    whole = new_hash()
    whole.update(data)
    assert before == whole.hexdigest()
    for place in (0, 31, 32, 1_500_000, 3_000_000):
        data[place] ^= 1
        file.write_bytes(data)
        assert hash_file(file) != before
        data[place] ^= 1


class _Slow(FileIO):
    """A file of which one read gives a few bytes only, as network file systems may do."""

    def readinto(self, room: Any, /) -> int | None:
        return super().readinto(memoryview(room)[:1000])


def test_files_that_give_a_few_bytes_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_bytes(np.random.default_rng(1).bytes(20_001))
    expected = hash_file(file)
    monkeypatch.setattr(hashing, "open", lambda path, *_, **__: _Slow(path), raising=False)
    assert hash_file(file) == expected


class _Cut(FileIO):
    """A file that is cut after its size was taken."""

    def readinto(self, room: Any, /) -> int | None:
        os.truncate(str(self.name), 3000)
        return super().readinto(room)


def test_a_file_that_becomes_shorter_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never a hash of something else, nor the end of the process, as of a map."""
    file = tmp_path / "file"
    file.write_bytes(b"x" * 5000)
    monkeypatch.setattr(hashing, "open", lambda path, *_, **__: _Cut(path), raising=False)
    with pytest.raises(OSError, match="2000 bytes shorter"):
        hash_file(file)
