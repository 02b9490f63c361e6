"""The trained run of the tests of filtering, with predictions of its test events."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from smartbkg_tf.dataset.dataset import open_dataset
from smartbkg_tf.filtering.apply import predict_split
from smartbkg_tf.runtime.run_directory import RunDirectory
from smartbkg_tf.settings.filtering import FilterFitSettings
from tests.filtering.conftest import Trained, make_events_and_run, sample
from tests.shared import made_once


@pytest.fixture(scope="session")
def predicted(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Give a run with predictions of two skims, its dataset, and the events."""
    folder = made_once(tmp_path_factory, "filtering", make_events_and_run)
    dataset = open_dataset(folder / "dataset")

    def predict(copy: Path) -> None:
        run = RunDirectory(Path(shutil.copytree(folder / "run", copy / "run")))
        predict_split(run, dataset, filter_fit=FilterFitSettings(bootstrap=10))

    run = RunDirectory(made_once(tmp_path_factory, "understanding", predict) / "run")
    return Trained(run, dataset, sample(), folder / "tables")
