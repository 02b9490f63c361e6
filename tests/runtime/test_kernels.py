"""Compiled loops where numba has no place for what it compiled."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
from numba.core.caching import CacheImpl

import smartbkg_tf
from smartbkg_tf.runtime.kernels import kernel


def _sum(values):
    total = 0.0
    for value in values:
        total += value
    return total


def test_a_kernel_works_where_nothing_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CacheImpl, "_locator_classes", [])
    for compiled in (kernel(_sum), kernel(inline="always")(_sum)):
        assert compiled(np.arange(5.0)) == 10.0
        assert compiled.nopython_signatures


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
