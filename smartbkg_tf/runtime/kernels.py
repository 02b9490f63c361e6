"""One way to compile loops. Imported only where they run, because numba is slow to import."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def kernel(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Compile a loop with numba, and keep the result on the disk if there is a place for it.

    Use as ``@kernel`` or ``@kernel(inline="always")``; other threads run beside it.
    """
    if function is None:
        return lambda decorated: kernel(decorated, **options)
    try:
        return numba.njit(cache=True, nogil=True, **options)(function)
    except RuntimeError:
        # Neither the package's folder nor the user's can be written, as in some containers.
        return numba.njit(nogil=True, **options)(function)
