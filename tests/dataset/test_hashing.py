"""XXH64, against values of the reference implementation and itself in pieces."""

from __future__ import annotations

from io import FileIO
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from smartbkg_tf.dataset import hashing
from smartbkg_tf.dataset.hashing import XXH64, hash_file


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "ef46db3751d8e999"),
        (b"a", "d24ec4f1a98c6e5b"),
        (b"abc", "44bc2cf5ad770999"),
        (b"Nobody inspects the spammish repetition", "fbcea83c8a378bf1"),
    ],
)
def test_known_values(data: bytes, expected: str) -> None:
    assert XXH64(data).hexdigest() == expected


@settings(max_examples=100, deadline=None)
@given(pieces=st.lists(st.binary(max_size=90), max_size=6))
def test_pieces_and_whole_agree(pieces: list[bytes]) -> None:
    whole, parts = b"".join(pieces), XXH64()
    for piece in pieces:
        parts.update(piece)
        parts.update(np.empty(0, np.float32).data)
    assert parts.hexdigest() == XXH64(whole).hexdigest()


@settings(max_examples=50, deadline=None)
@given(n=st.integers(0, 9), seed=st.integers(0, 2**32 - 1))
def test_stripes_at_once_are_those_one_by_one(n: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    # An odd place: the bytes of a file need not be aligned.
    data = random.integers(0, 256, 32 * n + 1, dtype=np.uint8)[1:]
    lanes = random.integers(0, 2**64, 4, dtype=np.uint64)
    other = lanes.copy()
    hashing._stripes_one_by_one(lanes, data)
    hashing._stripes_at_once(other, data)
    np.testing.assert_array_equal(lanes, other)


def test_any_bit_counts(tmp_path: Path) -> None:
    data = bytearray(np.random.default_rng(0).bytes(3_000_001))
    file = tmp_path / "file"
    file.write_bytes(data)
    before = hash_file(file)
    assert before == XXH64(bytes(data)).hexdigest()
    for place in (0, 31, 32, 1_500_000, 3_000_000):
        data[place] ^= 1
        file.write_bytes(data)
        assert hash_file(file) != before
        data[place] ^= 1


class _Slow(FileIO):
    """A file of which one read gives a few bytes only, as network file systems may do."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(size or 0, 1000)) or b""


def _refuse(*_: object, **__: object) -> None:
    raise ValueError("mmap length is greater than file size")


def test_files_that_cannot_be_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_bytes(np.random.default_rng(1).bytes(20_001))
    expected = hash_file(file)
    monkeypatch.setattr(hashing.mmap, "mmap", _refuse)
    monkeypatch.setattr(hashing, "open", lambda path, *_, **__: _Slow(path), raising=False)
    assert hash_file(file) == expected


def test_a_file_that_becomes_shorter_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never a hash of something else: the size was taken before."""
    file = tmp_path / "file"
    file.write_bytes(b"x" * 5000)

    def cut(*_: object, **__: object) -> None:
        file.write_bytes(b"x" * 3000)
        _refuse()

    monkeypatch.setattr(hashing.mmap, "mmap", cut)
    with pytest.raises(OSError, match="2000 bytes shorter"):
        hash_file(file)
