"""Which file is where in a run directory: the contract between train, apply and evaluate."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smartbkg_tf.errors import InputError
from smartbkg_tf.runtime.files import read_json, read_yaml
from smartbkg_tf.runtime.log import LOG

#: Names a run directory that comes with the package, before its name.
PRESET = "preset:"
PRESETS = Path(__file__).parents[1] / "presets"


@dataclass(frozen=True)
class _File:
    """The path of one file or folder of a run, as an attribute of `RunDirectory`."""

    name: str

    def __get__(self, run: RunDirectory, owner: type[RunDirectory]) -> Path:
        return run.path / self.name


@dataclass(frozen=True)
class RunDirectory:
    """The files of one training run, in the folder `path`."""

    path: Path

    #: The resolved configuration.
    config = _File("config.yaml")
    #: Versions, git commit, dataset hash, seeds, hardware, timings.
    metadata = _File("metadata.yaml")
    #: A copy of the dataset's: how to encode; skims learned.
    dataset = _File("dataset.json")
    #: The best model.
    model = _File("model.keras")
    #: The model after the last epoch.
    last_model = _File("last.keras")
    #: Folder of the state of a run that is not finished; removed in the end.
    checkpoints = _File("checkpoints")
    #: Keys of the events of the first batch with a loss that is not finite.
    bad_batch = _File("bad_batch.csv")
    #: One row per epoch.
    history = _File("history.csv")
    #: Event files for TensorBoard.
    tensorboard = _File("tensorboard")
    #: The layers as text.
    summary = _File("model.txt")
    #: The architecture; only where Graphviz and pydot are installed.
    drawing = _File("model.svg")
    #: How a score becomes a sampling probability (fitted on validation events).
    filter = _File("filter.json")
    #: Results on test events.
    metrics = _File("metrics.json")
    #: Scores of the test events.
    predictions = _File("predictions.parquet")
    #: Exists when the run is complete.
    done = _File("done.json")
    #: What the terminal showed; of every process that worked on the run.
    log = _File(LOG)
    #: Why this job of a sweep failed.
    failure = _File("failed.json")
    #: After which epoch a search ended this training.
    pruned = _File("pruned.json")
    #: Folder of the figures.
    plots = _File("plots")

    def files(self) -> list[Path]:
        """All files and folders that a run may have, whether they exist or not."""
        return [self.path / f.name for f in vars(type(self)).values() if isinstance(f, _File)]

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
    """Open a run directory; `InputError` when it is missing, none, or holds no model yet."""
    run = RunDirectory(Path(path))
    reason = None
    if not run.path.is_dir():
        reason = "the run directory does not exist"
    elif missing := [file.name for file in (run.config, run.dataset) if not file.is_file()]:
        reason = f"is not a run directory: {missing[0]} is missing"
    elif not run.model.is_file():
        reason = "the run holds no trained model (model.keras is missing)"
    if reason is not None:
        made_by = "run directories are made by: python -m smartbkg_tf.train model=resnet"
        raise InputError(reason, where=path, next_step=made_by)
    return run


def open_trained(path: str) -> RunDirectory:
    """Open a run directory to build on: of a training, or ``preset:NAME`` of this package."""
    if not path.startswith(PRESET):
        return open_run(path)
    name = path.removeprefix(PRESET)
    known = sorted(file.parent.name for file in PRESETS.glob("*/config.yaml"))
    if name not in known:
        raise InputError(
            f"there is no preset '{name}'; there are: {', '.join(known)}",
            next_step="choose one of them, or give a run directory",
        )
    return open_run(PRESETS / name)
