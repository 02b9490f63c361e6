"""What the benchmarks of the data path share: paired timing, samples, the machine."""

from __future__ import annotations

import glob
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from smartbkg_tf.dataset.build import build_dataset
from smartbkg_tf.events.hdf5 import write_hdf5
from smartbkg_tf.events.readers import iterate_events
from smartbkg_tf.events.table import EventTable, concatenate
from smartbkg_tf.runtime.command import compose, to_settings
from smartbkg_tf.settings.preprocessing import PreprocessSettings


def sample(n_events: int, tables: str | None = None) -> EventTable:
    """Take events of tables (or produce some) and repeat them under new keys."""
    with tempfile.TemporaryDirectory() as folder:
        if tables is None:
            tables = f"{folder}/tables/*.h5"
            subprocess.run(
                [
                    *(sys.executable, "-m", "smartbkg_tf.produce", "event_type=mixed", "seed=1"),
                    *(f"n_events={min(n_events, 4000)}", f"output={folder}/tables"),
                ],
                check=True,
                stdout=subprocess.DEVNULL,
            )
        paths = [Path(path) for path in sorted(glob.glob(tables))]
        base = concatenate([table for _, table in iterate_events(paths)])
    table = base.take(np.resize(np.arange(len(base)), n_events))
    return replace(table, keys={**table.keys, "event": np.arange(n_events)})


def preprocess_settings(
    input: str | list[str], output: str | Path, **options: Any
) -> PreprocessSettings:
    """Make settings of `preprocess` as its command line makes them."""
    config = compose("preprocess")
    for key, value in {"input": input, "output": str(output), **options}.items():
        OmegaConf.update(config, key, value, force_add=True)
    return to_settings(PreprocessSettings, config)


def write_dataset(folder: Path, table: EventTable, **options: Any) -> Path:
    """Write events as a table and preprocess them; give the dataset directory."""
    folder.mkdir(parents=True, exist_ok=True)
    write_hdf5(folder / "events.h5", table)
    return build_dataset(
        preprocess_settings(str(folder / "events.h5"), folder / "dataset", **options)
    )


def seconds(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def paired(rounds: int, **functions: Callable[[], float]) -> dict[str, list[float]]:
    """Measure all in turns, so that a busy machine slows all of them alike."""
    found: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            found[name].append(function())
    return found


def ratio(numerators: list[float], denominators: list[float]) -> float:
    """Median of the ratios of pairs."""
    return statistics.median(a / b for a, b in zip(numerators, denominators, strict=True))


def report(what: str, value: float, target: float, unit: str = "x") -> None:
    """Print a ratio beside its target."""
    verdict = "met" if value >= target else "NOT MET"
    print(f"{what:62s} {value:8.2f} {unit}   target {target:g}   {verdict}", flush=True)
