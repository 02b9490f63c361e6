"""One small dataset and one trained network for all tests of training."""

from __future__ import annotations

from pathlib import Path

import pytest

from smartbkg_tf.dataset.dataset import open_dataset
from smartbkg_tf.runtime.run_directory import RunDirectory
from smartbkg_tf.training import resume
from smartbkg_tf.training.fit import fit
from tests.shared import made_once
from tests.training.samples import SHARED_RUN, small_dataset, tiny_settings


@pytest.fixture(scope="session")
def dataset_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a dataset directory of 600 random events, 30 % of which pass."""
    return made_once(tmp_path_factory, "training", small_dataset) / "dataset"


@pytest.fixture(scope="session")
def run(dataset_path: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """Train one network without a break; all its checkpoints are kept, one after each epoch."""

    def train(folder: Path) -> None:
        settings = tiny_settings(dataset_path, folder / "run", *SHARED_RUN)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(resume, "KEPT", 1000)
            patch.syspath_prepend(str(Path(__file__).resolve().parents[2]))
            fit(settings, open_dataset(dataset_path))

    return RunDirectory(made_once(tmp_path_factory, "training_run", train) / "run")
