"""Read files that others may truncate meanwhile, when a memory map would kill the process."""

from __future__ import annotations

from io import FileIO
from typing import Any

import numpy as np
import numpy.typing as npt


def read_into(stream: FileIO, place: int, values: npt.NDArray[Any]) -> None:
    """Fill a contiguous array with the bytes at a place; OSError if the file ends before."""
    room: Any = values.reshape(-1).view(np.uint8).data if values.nbytes else b""
    stream.seek(place)
    while len(room):
        n_bytes = stream.readinto(room)  # one read may give less
        if not n_bytes:
            raise OSError(f"{stream.name!s}: became {len(room)} bytes shorter while it was read")
        room = room[n_bytes:]
