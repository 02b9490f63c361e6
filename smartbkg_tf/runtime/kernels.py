"""One way to compile loops. Imported only where they run, because numba is slow to import."""

from __future__ import annotations

import contextlib
import os
import pickle
from collections.abc import Callable
from typing import Any

import numba
from numba.core import caching


def kernel(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Compile a loop with numba, and keep the result on the disk if there is a place for it.

    Use as ``@kernel`` or ``@kernel(inline="always")``; other threads run beside it.
    """
    if function is None:
        return lambda decorated: kernel(decorated, **options)
    compiled = numba.njit(nogil=True, **options)(function)
    compiled._cache = KernelCache(function)
    return compiled


class _InstalledLocator(caching.InTreeCacheLocator):
    """``__pycache__`` beside the source, which need not be writable."""

    def ensure_cache_path(self) -> None:
        """Leave the folder as it is."""


class _InstalledImpl(caching.CompileResultCacheImpl):
    _locator_classes = (_InstalledLocator,)


class _InstalledCache(caching.FunctionCache):
    """What the owner of the installation compiled: as trustworthy as the source."""

    _impl_class = _InstalledImpl


def _cache(kind: type[caching.FunctionCache], function: Callable[..., Any]) -> caching._Cache:
    """Make a cache; one that keeps nothing where there is no folder for it."""
    try:
        return kind(function)
    except RuntimeError:
        return caching.NullCache()


class KernelCache(caching._Cache):
    """Read what lies beside the source, else numba's own cache, which also takes what is new.

    numba alone ignores a folder that it cannot write, as in an image or on CVMFS, and stops the
    work when its folder is full. Its files are pickles: none is read from a folder of its own cache
    that belongs to another user or that everybody can write.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._installed = _cache(_InstalledCache, function)
        self._own = _cache(caching.FunctionCache, function)
        if self._own.cache_path is not None:
            folder = os.stat(self._own.cache_path)
            if folder.st_uid != os.geteuid() or folder.st_mode & 0o002:
                self._own = caching.NullCache()

    @property
    def cache_path(self) -> str | None:
        """The folder for what is new."""
        path: str | None = self._own.cache_path
        return path

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Give what was compiled for a signature and this processor; None makes numba compile."""
        for cache in (self._installed, self._own):
            # Unreadable, or damaged by a crash: compiled again.
            with contextlib.suppress(OSError, EOFError, pickle.UnpicklingError):
                found = cache.load_overload(sig, target_context)
                if found is not None:
                    return found
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep it; a disk that is full or was taken away does not stop the work."""
        with contextlib.suppress(OSError, EOFError, pickle.UnpicklingError):
            self._own.save_overload(sig, data)

    def enable(self) -> None:
        """Be used; caches of numba can be switched."""
        self._installed.enable()
        self._own.enable()

    def disable(self) -> None:
        """Be left out."""
        self._installed.disable()
        self._own.disable()

    def flush(self) -> None:
        """Forget what this user has compiled."""
        self._own.flush()
