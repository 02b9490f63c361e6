"""Small settings and datasets for the tests of training."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from smartbkg_tf.runtime.command import compose_settings
from smartbkg_tf.runtime.run_directory import RunDirectory
from smartbkg_tf.settings.training import TrainSettings
from tests.datasets import write_dataset
from tests.samples import make_events

#: A network that trains in seconds.
TINY = (
    "model.inputs=particles",
    "model.particles.filters=6",
    "model.particles.kernel_sizes=[3]",
    "model.head.units=[8]",
    "model.head.dropout=0.1",
    "training.batch_size=64",
    "training.epochs=2",
    "training.progress=false",
    "filter.bootstrap=5",
)

#: What the one shared run adds: everything that has a state of its own.
SHARED_RUN = (
    "training.epochs=4",
    "training.ema=0.8",
    "++training.schedule.patience=0",
    "training.early_stopping=3",
    "data.balance=1.5",
)


def tiny_settings(dataset: Path, run_dir: Path | None, *overrides: str) -> TrainSettings:
    """Compose the settings of `train` for a tiny network."""
    return settings_of(dataset, run_dir, *TINY, *overrides)


def settings_of(dataset: Path, run_dir: Path | None, *overrides: str) -> TrainSettings:
    """Compose the settings of `train`."""
    texts: Sequence[str] = [
        f"data.path='{dataset}'",
        *([] if run_dir is None else [f"run_dir='{run_dir}'"]),
        *overrides,
    ]
    return compose_settings("train", TrainSettings, texts)


def small_dataset(folder: Path, n_events: int = 600, **options: Any) -> Path:
    """Make a dataset directory of random events."""
    return write_dataset(folder, make_events(n_events, seed=5, **options), max_particles=40)


_TIMES = ("seconds", "events_per_second", "waiting_share")


def history(run: RunDirectory) -> list[dict[str, float]]:
    """Read the history, a row for each epoch."""
    rows = csv.DictReader(run.history.read_text().splitlines())
    return [{name: float(value) for name, value in row.items()} for row in rows]


def without_times(rows: list[dict[str, float]]) -> list[dict[str, float]]:
    """Leave out what differs from run to run."""
    return [{k: v for k, v in r.items() if k not in _TIMES} for r in rows]
