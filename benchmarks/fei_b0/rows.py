"""What stands in the folder of one finished model of the benchmark.

``row.json`` describes the model, ``validation.parquet`` and ``predictions.parquet`` hold its scores
of validation and test events in the layout of `smartbkg_tf.apply`. Folders are called
``RUNS/NAME/seed_N``; a name is a row of the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.fei_b0.sample import SKIM
from smartbkg_tf.errors import InputError
from smartbkg_tf.events.table import EVENT_TYPES, KEY_COLUMNS
from smartbkg_tf.filtering.predictions import PredictionsWriter, read_predictions
from smartbkg_tf.filtering.rules import KeepAll, decide
from smartbkg_tf.runtime.files import read_json, write_json

Floats = npt.NDArray[np.float64]
Keys = Mapping[str, npt.NDArray[np.int64]]

ROW, VALIDATION, TEST = "row.json", "validation.parquet", "predictions.parquet"


@dataclass(frozen=True)
class Row:
    """A finished model.

    Parameters
    ----------
    name : str
        Row of the table.
    seed : int
        Of the training.
    kind : {"network", "trees", "average"}
        What it is.
    inputs : str
        What it reads, in words.
    knows_skim : bool
        Whether its inputs use cuts, decay modes or purities of the skim.
    parameters : int
        Weights of a network, leaves of trees.
    events_per_second : float or None
        Training events per second, over a whole pass; None for trees.
    cpu_minutes : float or None
        Of the training, user and system time of all threads; None if not measured.
    passes : int
        Epochs of a network, iterations of trees.
    validation_auc : float
        On the validation events, which chose the epoch or the number of trees.
    details : dict
        Settings that tell how to make it again.
    """

    name: str
    seed: int
    kind: str
    inputs: str
    knows_skim: bool
    parameters: int
    events_per_second: float | None
    cpu_minutes: float | None
    passes: int
    validation_auc: float
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Scores:
    """Scores of events in the order of their keys.

    Parameters
    ----------
    keys : numpy.ndarray [n, 4]
        int64: experiment, run, event, production.
    label : numpy.ndarray [n]
        int8.
    score : numpy.ndarray [n]
        float64 logits.
    """

    keys: npt.NDArray[np.int64]
    label: npt.NDArray[np.int8]
    score: Floats

    def same_events(self, other: Scores) -> bool:
        """Say whether keys and labels agree.

        Parameters
        ----------
        other : Scores
            Those of another model.

        Returns
        -------
        bool
            Whether paired differences have a meaning.
        """
        return np.array_equal(self.keys, other.keys) and np.array_equal(self.label, other.label)


def folder_of(runs: Path, name: str, seed: int) -> Path:
    """Say where a model stands.

    Parameters
    ----------
    runs : pathlib.Path
        Folder of all models.
    name : str
        Row of the table.
    seed : int
        Of the training.

    Returns
    -------
    pathlib.Path
        ``RUNS/NAME/seed_N``.
    """
    return runs / name / f"seed_{seed}"


def write_row(folder: Path, row: Row) -> None:
    """Write ``row.json``.

    Parameters
    ----------
    folder : pathlib.Path
        The model's folder.
    row : Row
        Its description.
    """
    write_json(folder / ROW, asdict(row))


def read_row(folder: Path) -> Row:
    """Read ``row.json``.

    Parameters
    ----------
    folder : pathlib.Path
        The model's folder.

    Returns
    -------
    Row
        Its description.

    Raises
    ------
    InputError
        When it is missing, damaged or has other entries.
    """
    values = read_json(folder / ROW, made_by="benchmarks.fei_b0.run, trees or average")
    try:
        return Row(**values)
    except TypeError as error:
        raise InputError(f"does not describe a model ({error})", where=folder / ROW) from error


def write_scores(
    path: Path, keys: Keys, labels: npt.NDArray[np.int8], scores: Floats, **information: Any
) -> None:
    """Write scores in the layout of `smartbkg_tf.apply`; every event is kept.

    Parameters
    ----------
    path : pathlib.Path
        The parquet file.
    keys : mapping of str to numpy.ndarray [n]
        Event keys.
    labels : numpy.ndarray [n]
        int8.
    scores : numpy.ndarray [n]
        Logits.
    **information
        Kept in the file.
    """
    decision = decide(KeepAll().probability(scores), np.zeros(len(scores)))
    event_type = np.full(len(scores), EVENT_TYPES.index("mixed"), dtype=np.int8)
    with PredictionsWriter(path, [SKIM], information) as writer:
        logits = scores.astype(np.float32)[:, None]
        writer.write(keys, event_type, logits, [decision], {SKIM: labels})


def read_scores(path: Path) -> Scores:
    """Read scores.

    Parameters
    ----------
    path : pathlib.Path
        A table of predictions.

    Returns
    -------
    Scores
        In the order of the keys.

    Raises
    ------
    InputError
        When the file is missing or damaged, or lacks the skim.
    """
    table = read_predictions(path)
    if SKIM not in table.skims:
        raise InputError(
            f"holds no scores of {SKIM} (there are: {', '.join(table.skims)})", where=path
        )
    keys = np.stack([table.keys[name] for name in KEY_COLUMNS], axis=1)
    order = np.lexsort(keys.T[::-1])
    skim = table.skims[SKIM]
    return Scores(keys[order], skim.label[order], skim.score[order].astype(np.float64))
