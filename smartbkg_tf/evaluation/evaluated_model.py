"""A model to evaluate: its name, its predictions, and its results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from smartbkg_tf.errors import InputError
from smartbkg_tf.evaluation.results import EvaluatedSkim
from smartbkg_tf.filtering.predictions import Predictions, read_predictions
from smartbkg_tf.runtime.run_directory import RunDirectory

#: The command that makes run directories.
MADE_BY = "python -m smartbkg_tf.train model=resnet"


@dataclass(frozen=True)
class EvaluatedModel:
    """A model that is evaluated.

    Parameters
    ----------
    name : str
        Unique among the models of one evaluation.
    predictions : Predictions
        Scores, decisions, labels; of this model alone.
    file : pathlib.Path
        Where they come from.
    run : RunDirectory, optional
        Its run directory.
    results : dict of str to EvaluatedSkim
        Numbers and curves by skim.
    refused : dict of str to str
        Why a skim has no result.
    """

    name: str
    predictions: Predictions
    file: Path
    run: RunDirectory | None = None
    results: dict[str, EvaluatedSkim] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


def open_model(path: Path, name: str) -> EvaluatedModel:
    """Read the predictions of a run directory or of a file; nothing is measured yet."""
    if not path.is_dir():
        return EvaluatedModel(name, read_predictions(path), path)
    run = RunDirectory(path)
    if not run.predictions.is_file():
        raise InputError(
            "holds no predictions.parquet: it is not a run directory, or its training was not "
            "finished",
            where=path,
            next_step=f"run directories are made by: {MADE_BY}; predictions for other events by: "
            "python -m smartbkg_tf.apply",
        )
    return EvaluatedModel(name, read_predictions(run.predictions), run.predictions, run)


def unique_names(paths: Sequence[Path]) -> list[str]:
    """Give each path its last part, with as many folders before it as tell it from the others."""
    resolved = [path.resolve() for path in paths]
    parts = []
    for path in resolved:
        if path.name == "predictions.parquet":  # its folder says more
            path = path.parent
        parts.append((path.with_suffix("") if path.suffix == ".parquet" else path).parts)
    depth = 1
    while depth < max(len(p) for p in parts) and len({p[-depth:] for p in parts}) < len(parts):
        depth += 1
    names = ["/".join(p[-depth:]) for p in parts]
    # x and x.parquet in one folder differ by their suffix alone.
    return names if len(set(names)) == len(names) else [str(path) for path in resolved]
