"""Which events stood in the first batch that gave no number."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.runtime.files import atomic_file

#: Parts of the key of an event.
KEY = ("experiment", "run", "event", "production")


def write_bad_batch(path: Path, dataset: Any, rows: npt.NDArray[np.int64]) -> None:
    """Write keys and labels of events.

    Parameters
    ----------
    path : pathlib.Path
        The CSV file.
    dataset : smartbkg_tf.dataset.dataset.Dataset
        Where the events are.
    rows : numpy.ndarray [n]
        Their positions.
    """
    labels = np.asarray(dataset.labels)[rows]
    keys = [np.asarray(dataset.keys[part])[rows] for part in KEY]
    with atomic_file(path) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([*KEY, *(f"label_{name}" for name in dataset.label_names), "position"])
        writer.writerows(zip(*keys, *labels.T, rows, strict=True))
