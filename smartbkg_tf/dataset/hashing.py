"""Hashes of files: as fast as memory, so that every byte can be hashed.

XXH3 with 64 bits (``xxhsum -H3 FILE`` prints the same) finds every accident and tells files apart;
it is no protection against malice.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import xxhash

#: Name of the hash in ``dataset.json``.
HASH = "xxh3"

#: Begin such a hash of bytes that come piece by piece.
new_hash: Any = xxhash.xxh3_64


def hash_file(path: str | Path) -> str:
    """Hash the bytes of a file: 16 hexadecimal digits; OSError if it becomes shorter meanwhile."""
    with open(path, "rb", buffering=0) as stream:
        n_bytes = os.fstat(stream.fileno()).st_size
        result = hashlib.file_digest(stream, new_hash).hexdigest()
        left = n_bytes - stream.tell()
    if left > 0:
        raise OSError(f"{path}: became {left} bytes shorter while it was read")
    return result
