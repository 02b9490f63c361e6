"""Leave the slow tests of a model to `make test-slow`."""

from __future__ import annotations

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what a test class names as slow."""
    for item in items:
        names = getattr(getattr(item, "cls", None), "slow", ())
        if item.name in names or getattr(item, "originalname", item.name) in names:
            item.add_marker(pytest.mark.slow)
