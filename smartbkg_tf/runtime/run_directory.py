"""Which file is where in a run directory: the contract between train, apply and evaluate."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smartbkg_tf.errors import InputError
from smartbkg_tf.runtime.files import read_json, read_yaml
from smartbkg_tf.runtime.log import LOG


@dataclass(frozen=True)
class RunDirectory:
    """The files of one training run.

    Parameters
    ----------
    path : pathlib.Path
        The folder.
    """

    path: Path

    @property
    def config(self) -> Path:
        """The resolved configuration, YAML."""
        return self.path / "config.yaml"

    @property
    def metadata(self) -> Path:
        """Versions, git commit, dataset hash, seeds, hardware, timings, YAML."""
        return self.path / "metadata.yaml"

    @property
    def dataset(self) -> Path:
        """A copy of the dataset's ``dataset.json``: how to encode; skims learned."""
        return self.path / "dataset.json"

    @property
    def model(self) -> Path:
        """The best model."""
        return self.path / "model.keras"

    @property
    def last_model(self) -> Path:
        """The model after the last epoch."""
        return self.path / "last.keras"

    @property
    def checkpoints(self) -> Path:
        """Folder of the state of a run that is not finished; removed in the end."""
        return self.path / "checkpoints"

    @property
    def bad_batch(self) -> Path:
        """Keys of the events of the first batch with a loss that is not finite, CSV."""
        return self.path / "bad_batch.csv"

    @property
    def history(self) -> Path:
        """One row per epoch, CSV."""
        return self.path / "history.csv"

    @property
    def tensorboard(self) -> Path:
        """Event files for TensorBoard."""
        return self.path / "tensorboard"

    @property
    def summary(self) -> Path:
        """The layers as text."""
        return self.path / "model.txt"

    @property
    def drawing(self) -> Path:
        """The architecture as SVG; only where Graphviz and pydot are installed."""
        return self.path / "model.svg"

    @property
    def filter(self) -> Path:
        """How a score becomes a sampling probability, JSON (fitted on validation events)."""
        return self.path / "filter.json"

    @property
    def metrics(self) -> Path:
        """Results on test events, JSON."""
        return self.path / "metrics.json"

    @property
    def predictions(self) -> Path:
        """Scores of the test events, parquet."""
        return self.path / "predictions.parquet"

    @property
    def done(self) -> Path:
        """Exists when the run is complete, JSON."""
        return self.path / "done.json"

    @property
    def log(self) -> Path:
        """What the terminal showed; of every process that worked on the run."""
        return self.path / LOG

    @property
    def failure(self) -> Path:
        """Why this job of a sweep failed, JSON."""
        return self.path / "failed.json"

    @property
    def plots(self) -> Path:
        """Folder of the figures."""
        return self.path / "plots"

    def files(self) -> list[Path]:
        """All files and folders that a run may have, whether they exist or not."""
        names = (name for name, value in vars(type(self)).items() if isinstance(value, property))
        return [getattr(self, name) for name in names]

    def read_config(self) -> dict[str, Any]:
        """Read the resolved configuration; `InputError` when it is missing or damaged."""
        return read_yaml(self.config)

    def read_metadata(self) -> dict[str, Any]:
        """Read the metadata; `InputError` when they are missing or damaged."""
        return read_yaml(self.metadata)

    def dataset_information(self) -> dict[str, Any]:
        """Read the copy of ``dataset.json``; `InputError` when it is missing or damaged."""
        values: dict[str, Any] = read_json(self.dataset, made_by="python -m smartbkg_tf.train")
        return values


def open_run(path: str | Path) -> RunDirectory:
    """Open a finished run directory.

    Parameters
    ----------
    path : str or pathlib.Path
        The folder that `train` wrote.

    Returns
    -------
    RunDirectory
        Its files.

    Raises
    ------
    InputError
        When the folder is missing, is not a run directory, or holds no model yet.
    """
    run = RunDirectory(Path(path))
    made_by = "run directories are made by: python -m smartbkg_tf.train model=resnet"
    if not run.path.is_dir():
        raise InputError("the run directory does not exist", where=path, next_step=made_by)
    for file in (run.config, run.dataset):
        if not file.is_file():
            raise InputError(
                f"is not a run directory: {file.name} is missing", where=path, next_step=made_by
            )
    if not run.model.is_file():
        raise InputError(
            "the run holds no trained model (model.keras is missing)", where=path, next_step=made_by
        )
    return run
