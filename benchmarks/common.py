"""What the benchmarks of the data path share: paired timing, samples, the machine."""

from __future__ import annotations

import glob
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from smartbkg_tf.events.readers import iterate_events
from smartbkg_tf.events.table import EventTable, concatenate
from tests.samples import make_events


def sample(n_events: int, tables: str | None) -> EventTable:
    """Take events of real tables (or random trees) and repeat them under new keys."""
    if tables:
        paths = [Path(path) for path in sorted(glob.glob(tables))]
        base = concatenate([table for _, table in iterate_events(paths)])
    else:
        base = make_events(min(n_events, 4000), seed=1)
    table = base.take(np.resize(np.arange(len(base)), n_events))
    return replace(table, keys={**table.keys, "event": np.arange(n_events)})


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
