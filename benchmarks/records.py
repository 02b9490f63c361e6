"""What a table costs ``produce`` beside its events: planning, process pool, records, resuming.

Run: ``python benchmarks/records.py [tables ...]`` (100, 1000 and 5000). The pool, the records and
``production.json`` are those of ``produce``; a table holds a few bytes instead of events. The cost
of a table must not depend on their number.
"""

from __future__ import annotations

import functools
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from smartbkg_tf.generation.manifest import Manifest
from smartbkg_tf.generation.source import Report, Task
from smartbkg_tf.generation.table_records import write_record
from smartbkg_tf.runtime.command import compose_settings
from smartbkg_tf.runtime.pool import run_in_processes
from smartbkg_tf.settings.generation import ProduceSettings

WORKERS = 2


def make(task: Task, directory: Path, settings_hash: str) -> Report:
    """Write a table without events, and its record as a worker of ``produce`` does."""
    (directory / task.name).write_text(task.name)
    passing = dict.fromkeys(task.settings.skim, 0)
    report = Report(task.name, [task.name], [], task.event_type, task.n_events, 0, passing)
    write_record(report, task, directory, settings_hash)
    return report


def fresh(settings: ProduceSettings, directory: Path) -> None:
    tasks, _ = settings.source.plan(settings)
    manifest = Manifest(directory, settings)
    manifest.refuse_foreign(tasks, overwrite=False)
    manifest.begin()
    job = functools.partial(make, directory=directory, settings_hash=manifest.hash)
    assert sum(1 for _ in run_in_processes(tasks, job, WORKERS)) == len(tasks)
    manifest.save()


def again(settings: ProduceSettings, directory: Path) -> None:
    tasks, _ = settings.source.plan(settings)
    manifest = Manifest(directory, settings)
    manifest.refuse_foreign(tasks, overwrite=False)
    assert all(manifest.finished(task) for task in tasks)
    manifest.begin()


def seconds(
    function: Callable[[ProduceSettings, Path], None], n: int, folder: Path
) -> tuple[float, float]:
    """Measure CPU time, that of ended workers included, and elapsed time."""
    settings = compose_settings(
        "produce", ProduceSettings, ["chunk_size=1", f"n_events={n}", f"workers={WORKERS}"]
    )
    before, start = os.times(), time.perf_counter()
    function(settings, folder)
    elapsed, after = time.perf_counter() - start, os.times()
    return sum(after[:4]) - sum(before[:4]), elapsed


def main(numbers: list[int]) -> None:
    print("ms a table; starting the processes (a run of two tables) is subtracted")
    print(f"{'tables':>8} {'made: CPU':>12} {'elapsed':>12} {'found: CPU':>12} {'elapsed':>12}")
    start = []
    for n in (WORKERS, *numbers):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            found = [*seconds(fresh, n, folder), *seconds(again, n, folder)]
        if not start:
            start = found
            continue
        row = [1e3 * (mine - fixed) / n for mine, fixed in zip(found, start, strict=True)]
        print(f"{n:8d}" + "".join(f" {value:12.3f}" for value in row), flush=True)


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]] or [100, 1000, 5000])
