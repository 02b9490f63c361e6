"""Memory maps: ``NAME.memmap`` with ``NAME.memmap.shape`` and ``NAME.memmap.dtype`` beside it.

Both metadata files are JSON text (`memmap_metadata`). Names are exact: nothing is found by
searching a folder for a part of a name.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.dataset.hashing import HASH, new_hash
from smartbkg_tf.dataset.memmap_metadata import DTYPES, read_dtype, read_shape, write_metadata
from smartbkg_tf.errors import InputError, did_you_mean

#: Bytes at the beginning, middle and end of a map that make its fingerprint.
_PROBE = 1 << 16

#: Bytes that are collected before they are written: a dozen maps grow by little at a time.
_BUFFER = 1 << 17

_MADE_BY = "dataset directories are made by: python -m smartbkg_tf.preprocess"
_COPY_AGAIN = "copy it again from its source, or run preprocess again"


def map_path(directory: Path, name: str) -> Path:
    """Give the file of a map."""
    return directory / f"{name}.memmap"


class MapWriter:
    """Write a map block by block; it ends where the last block ends.

    `shape` is that of one row. Plain writes are used: a full disk is then an error, where writing
    through a memory map would kill the process.
    """

    def __init__(
        self, directory: Path, name: str, dtype: npt.DTypeLike, shape: Sequence[int] = ()
    ) -> None:
        self.path = map_path(directory, name)
        self.dtype = np.dtype(dtype)
        self.shape = tuple(int(n) for n in shape)
        if self.dtype.name not in DTYPES:
            raise ValueError(f"{name}: a map cannot hold {self.dtype}")
        self.rows = 0
        self._hash = new_hash()
        self._file = open(self.path, "wb", buffering=_BUFFER)  # noqa: SIM115 (closed by close)

    def append(self, block: npt.NDArray[Any]) -> None:
        """Write the next rows [n, ...], of exactly the map's type and trailing shape."""
        if block.dtype != self.dtype:
            raise ValueError(f"{self.path.name}: a block of {block.dtype} for {self.dtype}")
        if block.ndim == 0 or block.shape[1:] != self.shape:
            raise ValueError(f"{self.path.name}: a block of {block.shape} for rows of {self.shape}")
        data = np.ascontiguousarray(block).reshape(-1).view(np.uint8).data if block.size else b""
        self._file.write(data)
        self._hash.update(data)
        self.rows += len(block)

    def close(self) -> dict[str, Any]:
        """Finish the map and give ``shape``, ``dtype``, ``bytes``, ``xxh3`` and ``fingerprint``."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        shape = (self.rows, *self.shape)
        write_metadata(self.path, shape, self.dtype)
        return {
            "shape": list(shape),
            "dtype": self.dtype.name,
            "bytes": self.path.stat().st_size,
            HASH: self._hash.hexdigest(),
            "fingerprint": fingerprint(self.path),
        }

    def abandon(self) -> None:
        """Close the file as it stands; the disk may be full."""
        with contextlib.suppress(OSError):
            self._file.close()


def open_map(
    directory: str | Path, name: str, recorded: dict[str, Any] | None = None
) -> npt.NDArray[Any]:
    """Open a map for reading; nothing is read before it is used.

    InputError when the map or a metadata file is missing, damaged, truncated or not the one that
    was `recorded`, as `MapWriter.close` returned it.
    """
    shape, dtype = check_map(directory, name, recorded)
    if 0 in shape:
        # An empty file cannot be mapped.
        empty = np.zeros(shape, dtype=dtype)
        empty.flags.writeable = False
        return empty
    return np.memmap(map_path(Path(directory), name), dtype=dtype, mode="r", shape=shape)


def check_map(
    directory: str | Path, name: str, recorded: dict[str, Any] | None = None
) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Check a map as `open_map` does without opening it; gives its shape and type."""
    directory = Path(directory)
    path = map_path(directory, name)
    if not path.is_file():
        there = sorted(p.name.removesuffix(".memmap") for p in directory.glob("*.memmap"))
        raise InputError(
            f"the memory map '{name}' is missing; {did_you_mean(name, there)}",
            where=path,
            next_step=_MADE_BY,
        )
    shape, dtype = read_shape(path), read_dtype(path)
    expected = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    size = path.stat().st_size
    if size != expected:
        word = "truncated" if size < expected else "too long"
        raise InputError(
            f"the map is {word}: {size} bytes, but {list(shape)} of {dtype} make {expected}",
            where=path,
            next_step=_COPY_AGAIN,
        )
    if recorded is None:
        return shape, dtype
    problem = None
    if list(shape) != list(recorded["shape"]) or dtype.name != recorded["dtype"]:
        problem = (
            f"the map holds {list(shape)} of {dtype}, dataset.json records {recorded['shape']} of "
            f"{recorded['dtype']}: it is another file"
        )
    elif fingerprint(path) != recorded["fingerprint"]:
        problem = "the content is not what dataset.json records: the map was swapped or damaged"
    if problem is not None:
        raise InputError(problem, where=path, next_step=_COPY_AGAIN)
    return shape, dtype


def fingerprint(path: Path) -> str:
    """Hash size, beginning, middle and end of a file: 16 digits, cheap, however long it is."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with open(path, "rb") as stream:
        for start in sorted({0, max(0, size // 2 - _PROBE // 2), max(0, size - _PROBE)}):
            stream.seek(start)
            digest.update(stream.read(_PROBE))
    return digest.hexdigest()[:16]
