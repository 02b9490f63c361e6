"""One small dataset for all tests of training."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.samples import small_dataset


@pytest.fixture(scope="session")
def dataset_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a dataset directory of 600 random events, 30 % of which pass."""
    return small_dataset(tmp_path_factory.mktemp("training"))
