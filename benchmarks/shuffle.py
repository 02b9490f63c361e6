"""CPU time of ``preprocess`` against the number of sorted chunks that are shuffled on the disk.

Run: ``python benchmarks/shuffle.py [chunks ...]`` (10, 100, 1000 and 5000; less than two minutes).
A chunk has 4 events instead of 10 000, and memory is smaller in proportion, so that 5000 chunks
take the steps of 5 * 10^7 events. Numbers that would end after the limit are extrapolated from the
two before. Printed are the time of a chunk, the exponent between neighbours, and the exponent
fitted to all from 100 on: 1 is a straight line.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from common import preprocess_settings, sample

from smartbkg_tf.dataset import build, sources
from smartbkg_tf.events.hdf5 import write_hdf5
from smartbkg_tf.events.table import EventTable

CHUNK = 4
LIMIT_SECONDS = 100.0


def scale_memory() -> None:
    """Hold as many chunks in memory as with chunks of the default size, and no whole sample."""
    build.MERGE_BYTES = build.MERGE_BYTES * CHUNK // 10_000
    build.MEMORY_BYTES = sources.MEMORY_BYTES = 0


def cpu_seconds(table: EventTable, n_chunks: int, folder: Path) -> float:
    """Preprocess so many chunks; give the CPU time of this process and those that it started."""
    file, output = folder / "events.h5", folder / "dataset"
    write_hdf5(file, table.take(np.arange(CHUNK * n_chunks)))
    settings = preprocess_settings(str(file), output, chunk_events=CHUNK)
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


def exponent(measured: dict[int, float]) -> float:
    """Give the power of the number of chunks between the last two measurements."""
    (n, before), (last, now) = list(measured.items())[-2:]
    return math.log(now / before) / math.log(last / n)


def main(numbers: list[int]) -> None:
    start = time.monotonic()
    scale_memory()
    table = sample(CHUNK * max(numbers), None)
    measured: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as name:
        cpu_seconds(table, 10, Path(name))  # compiles
        for n in sorted(numbers):
            if len(measured) > 1:
                last, now = list(measured.items())[-1]
                expected = now * (n / last) ** exponent(measured)
                if time.monotonic() - start + expected > LIMIT_SECONDS:
                    print(f"{n:6d} chunks {expected:9.0f} s extrapolated, not run", flush=True)
                    continue
            measured[n] = cpu_seconds(table, n, Path(name))
            line = f"{n:6d} chunks {measured[n]:9.2f} s {1e3 * measured[n] / n:9.2f} ms a chunk"
            if len(measured) > 1:
                line += f"   exponent {exponent(measured):.2f}"
            print(line, flush=True)
    many = {n: cost for n, cost in measured.items() if n >= 100}
    if len(many) > 1:
        slope = np.polyfit(np.log(list(many)), np.log(list(many.values())), 1)[0]
        print(f"fitted exponent from {min(many)} chunks on: {slope:.2f} (a straight line: 1)")


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]] or [10, 100, 1000, 5000])
