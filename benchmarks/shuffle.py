"""CPU time of ``preprocess`` against the number of chunks that are shuffled on the disk.

Run: ``python benchmarks/shuffle.py [chunks ...]`` (10, 100, 1000 and 5000).
A chunk has 4 events instead of 10 000, and memory is smaller in proportion, so that 5000 chunks
take the steps of 5 * 10^7 events. Printed are the CPU time per event beyond that of an empty build,
its ratio to the largest number before, and the exponent fitted from 1000 on: 1 is a straight line.
Between 100 and 1000 chunks the events no longer fit into memory, which costs once.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from common import preprocess_settings, sample

from smartbkg_tf.dataset import build, shuffle
from smartbkg_tf.events.hdf5 import write_hdf5
from smartbkg_tf.events.table import EventTable

CHUNK = 4


def scale_memory() -> None:
    """Hold as many chunks in memory as with chunks of the default size."""
    shuffle.MEMORY_BYTES = shuffle.MEMORY_BYTES * CHUNK // 10_000


def cpu_seconds(table: EventTable, n_chunks: int, folder: Path) -> float:
    """Preprocess so many chunks; give the CPU time of this process and those that it started."""
    file, output = folder / "events.h5", folder / "dataset"
    write_hdf5(file, table.take(np.arange(CHUNK * n_chunks)))
    settings = preprocess_settings(str(file), output, chunk_events=CHUNK, mode="lenient")
    before = os.times()
    with (
        open(os.devnull, "w") as nothing,
        contextlib.redirect_stdout(nothing),
        contextlib.redirect_stderr(nothing),
    ):
        build.build_dataset(settings)
    seconds = sum(os.times()[:4]) - sum(before[:4])
    shutil.rmtree(output)
    return seconds


def main(numbers: list[int]) -> None:
    scale_memory()
    table = sample(CHUNK * max(numbers), None)
    costs: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as name:
        cpu_seconds(table, 2, Path(name))  # compiles
        fixed = min(cpu_seconds(table, 2, Path(name)) for _ in range(3))
        print(f"     2 chunks {fixed:9.2f} s, taken off the others")
        for n in sorted(numbers):
            seconds = min(cpu_seconds(table, n, Path(name)) for _ in range(3 if n <= 100 else 1))
            costs[n] = max(seconds - fixed, 1e-3)
            line = f"{n:6d} chunks {seconds:9.2f} s {1e6 * costs[n] / n / CHUNK:9.1f} us an event"
            if len(costs) > 1:
                (last, before), (_, now) = list(costs.items())[-2:]
                line += f"   {now / n / (before / last):.2f} x that of {last} chunks"
            print(line, flush=True)
    many = {n: cost for n, cost in costs.items() if n >= 1000}
    if len(many) > 1:
        slope = np.polyfit(np.log(list(many)), np.log(list(many.values())), 1)[0]
        print(f"fitted exponent from {min(many)} chunks on: {slope:.2f} (a straight line: 1)")


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]] or [10, 100, 1000, 5000])
