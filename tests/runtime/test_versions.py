"""Versions: of Python, of this package, and of what is installed."""

from __future__ import annotations

import platform

import smartbkg_tf
from smartbkg_tf.runtime.versions import SOFTWARE, versions


def test_only_what_is_asked_for_and_installed() -> None:
    found = versions(("numpy", "python", "no-such-package-anywhere"))
    assert list(found) == ["numpy", "python"]
    assert found["python"] == platform.python_version()
    assert versions(("smartbkg_tf",)) == {"smartbkg_tf": smartbkg_tf.__version__}


def test_all_that_matters_by_default() -> None:
    assert {"python", "smartbkg_tf", "tensorflow", "keras", "numpy"} <= set(versions())
    assert set(versions()) <= set(SOFTWARE)
