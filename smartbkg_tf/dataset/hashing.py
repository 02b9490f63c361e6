"""Hashes of files and streams: as fast as memory, so that every byte can be hashed.

XXH3 with 64 bits (``xxhsum -H3 FILE`` prints the same) finds every accident and tells files apart;
it is no protection against malice. SHA-256 takes a third of the time of the whole
preprocessing on one core.
"""

from __future__ import annotations

import mmap
from io import FileIO
from pathlib import Path
from typing import Any

import xxhash

#: Name of the hash in ``dataset.json``, and how it is made. Data sets of earlier versions have
#: the second one.
ALGORITHMS: dict[str, Any] = {"xxh3": xxhash.xxh3_64, "xxh64": xxhash.xxh64}

#: What new files are hashed with.
HASH = "xxh3"

#: Bytes of a file that are mapped at a time, and how: all pages at once.
_PIECE = 1 << 23
_MAP = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)


def new_hash() -> Any:
    """Begin a hash of bytes that come piece by piece.

    Returns
    -------
    xxhash.xxh3_64
        With ``update(data)`` and ``hexdigest()``, which gives 16 hexadecimal digits.

    Examples
    --------
    >>> hash = new_hash()
    >>> hash.update(b"abc")
    >>> hash.hexdigest()
    '78af5f94892f3950'
    """
    return ALGORITHMS[HASH]()


def hash_file(path: str | Path, algorithm: str = HASH) -> str:
    """Hash the bytes of a file.

    Parameters
    ----------
    path : str or pathlib.Path
        The file.
    algorithm : str, default "xxh3"
        A key of `ALGORITHMS`.

    Returns
    -------
    str
        16 hexadecimal digits.

    Raises
    ------
    OSError
        When the file cannot be read, or becomes shorter meanwhile.
    """
    result = ALGORITHMS[algorithm]()
    with open(path, "rb", buffering=0) as stream:
        size = stream.seek(0, 2)
        for place in range(0, size, _PIECE):
            n_bytes = min(_PIECE, size - place)
            try:
                piece: Any = mmap.mmap(stream.fileno(), n_bytes, _MAP, mmap.PROT_READ, offset=place)
            except (OSError, ValueError):  # some file systems cannot map
                piece = _read(stream, place, n_bytes, path)
            result.update(memoryview(piece))
    return str(result.hexdigest())


def _read(stream: FileIO, place: int, n_bytes: int, path: str | Path) -> bytes:
    """Read exactly so many bytes: a file may become shorter, and one read may give less."""
    stream.seek(place)
    pieces, missing = [], n_bytes
    while missing:
        pieces.append(stream.read(missing))
        if not pieces[-1]:
            raise OSError(f"{path}: became {missing} bytes shorter while it was read")
        missing -= len(pieces[-1])
    return b"".join(pieces)
