"""Prepare items ahead of their use, in a thread; and keep libraries to one."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

#: What TensorFlow and OpenMP read when they start, and that processes share a GPU.
_ONE_THREAD = {
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
}


def one_thread() -> None:
    """Let TensorFlow calculate on one thread in this process and in those that it starts.

    One thread gives the same bits in every process. No effect once TensorFlow is imported, nor on
    what the environment says already.
    """
    if "tensorflow" not in sys.modules:
        for name, value in _ONE_THREAD.items():
            os.environ.setdefault(name, value)


def ahead(items: Generator[T, None, None], n_items: int = 1) -> Generator[T, None, None]:
    """Yield the items of a generator while a thread prepares the next `n_items`.

    When the caller stops, no further item is made and the generator is closed.
    """
    end = object()
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as pool:
        waiting = deque(pool.submit(next, items, end) for _ in range(n_items))
        try:
            while (item := waiting.popleft().result()) is not end:
                waiting.append(pool.submit(next, items, end))
                yield item  # type: ignore[misc]
        finally:
            pool.shutdown(cancel_futures=True)
            items.close()
