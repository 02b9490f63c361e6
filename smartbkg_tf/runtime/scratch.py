"""Memory that is used again and again: fresh pages cost more than what is written to them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


class Scratch:
    """Arrays that are lent out by name, each until it is asked for again; for one thread.

    Examples
    --------
    >>> scratch = Scratch()
    >>> first = scratch.empty("tokens", (3,), "int16")
    >>> np.shares_memory(first, scratch.empty("tokens", (2, 1), "int8"))
    True
    """

    def __init__(self) -> None:
        self._held: dict[str, npt.NDArray[np.uint8]] = {}

    def empty(self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Give an array of any content.

        Parameters
        ----------
        name : str
            What was lent under this name before must not be needed any more.
        shape : tuple of int
            Of the array.
        dtype : dtype
            Of the array.

        Returns
        -------
        numpy.ndarray [shape]
            C-contiguous.
        """
        kind = np.dtype(dtype)
        n_bytes = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
        held = self._held.get(name)
        if held is None or len(held) < n_bytes:
            # A little more: the next ones are about as long, not exactly.
            held = self._held[name] = np.empty(n_bytes + n_bytes // 8, dtype=np.uint8)
        return held[:n_bytes].view(kind).reshape(shape)
