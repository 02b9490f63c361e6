"""Compiled loops: where they are kept, where they are read, and what cannot be kept."""

from __future__ import annotations

import ast
import errno
import importlib.util
import os
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from numba.core.caching import CacheImpl, IndexDataCacheFile, InTreeCacheLocator

import smartbkg_tf
from smartbkg_tf.runtime.kernels import kernel

SOURCE = """
from smartbkg_tf.runtime.kernels import kernel

@kernel
def total(values):
    sum = 0
    for value in values:
        sum += value
    return sum
"""

INTEGERS = np.arange(5)


def _sum(values):
    total = 0.0
    for value in values:
        total += value
    return total


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install a module whose kernel was compiled for integers, by somebody else."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "site" / "installed.py"
    path.parent.mkdir()
    path.write_text(SOURCE)
    assert start(path)(INTEGERS) == 10
    assert kept(path.parent) == 1

    def refuse(self: Any) -> None:
        raise PermissionError(errno.EACCES, "read-only", self.get_cache_path())

    monkeypatch.setattr(InTreeCacheLocator, "ensure_cache_path", refuse)
    return path


def start(path: Path) -> Any:
    """Import the module as a new process would."""
    spec = importlib.util.spec_from_file_location("installed", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.total


def kept(folder: Path) -> int:
    return len(list(folder.rglob("*.nbc")))


def hits(compiled: Any) -> int:
    return sum(compiled.stats.cache_hits.values())


def test_what_was_compiled_with_the_installation_is_read_by_everybody(installed: Path) -> None:
    compiled = start(installed)
    assert compiled(INTEGERS) == 10
    assert hits(compiled) == 1
    assert kept(installed.parents[1] / "cache") == 0


def test_what_is_missing_goes_to_the_cache_of_the_user(installed: Path) -> None:
    """As on another processor, of which the installation knows nothing."""
    for expected in (0, 1):
        compiled = start(installed)
        assert compiled(np.arange(5.0)) == 10.0
        assert hits(compiled) == expected
    assert kept(installed.parents[1] / "cache") == 1
    assert kept(installed.parent) == 1


def test_changed_source_is_compiled_again(installed: Path) -> None:
    installed.write_text(SOURCE.replace("sum += value", "sum += 2 * value"))
    assert start(installed)(INTEGERS) == 20


def test_a_full_disk_does_not_stop_the_work(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "the disk is full")

    monkeypatch.setattr(IndexDataCacheFile, "_save_data", full)
    assert start(installed)(np.arange(5.0)) == 10.0


@pytest.mark.parametrize("name", ["*.nbi", "*.nbc"])
def test_a_damaged_file_is_compiled_again(installed: Path, name: str) -> None:
    """Those of the installation, then the user's own."""
    for folder in (installed.parent, installed.parents[1] / "cache"):
        for path in folder.rglob(name):
            path.write_bytes(path.read_bytes()[:-5])
        compiled = start(installed)
        assert compiled(INTEGERS) == 10
        assert hits(compiled) == 0


def test_nothing_is_read_from_a_folder_that_others_can_write(installed: Path) -> None:
    floats = np.arange(5.0)
    start(installed)(floats)
    (path,) = (installed.parents[1] / "cache").rglob("*.nbc")
    path.parent.chmod(0o777)
    compiled = start(installed)
    assert compiled(floats) == 10.0
    assert (hits(compiled), compiled._cache.cache_path) == (0, None)
    if os.geteuid() == 0:
        path.parent.chmod(0o755)
        os.chown(path.parent, 12345, -1)
        assert start(installed)._cache.cache_path is None


def test_a_kernel_works_where_nothing_can_be_written(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CacheImpl, "_locator_classes", [])
    for compiled in (kernel(_sum), kernel(inline="always")(_sum), start(installed)):
        assert compiled(np.arange(5.0)) == 10.0
        assert compiled.nopython_signatures
        assert compiled._cache.cache_path is None


def test_a_kernel_without_a_file_works() -> None:
    scope: dict[str, Any] = {}
    exec(SOURCE, scope)
    assert scope["total"](INTEGERS) == 10


def test_every_kernel_of_the_package_is_made_so() -> None:
    root = Path(smartbkg_tf.__file__).parent
    for path in root.rglob("*.py"):
        if path == root / "runtime" / "kernels.py":
            continue
        names = {
            node.attr
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Attribute)
        }
        assert not names & {"njit", "jit", "vectorize", "guvectorize"}, path
