"""Whether batches are made while the network works, under `training.deterministic=true`.

    python benchmarks/prefetch.py [--tables 'tables/*.h5'] [--events 20000] [--rounds 5]

Under determinism tf.data makes the elements of a generator only when they are asked for. Ours
works ahead in threads of its own. Both kinds of stream run in turns in one process, on the same
events; the "network" sleeps as long as a batch takes to make.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from common import paired, ratio, report, sample, write_dataset

BATCH = 512


def seconds(stream: Any, work: float) -> tuple[float, float]:
    """Time from the first to the last batch, and the wait for a batch."""
    iterator = iter(stream)
    next(iterator)
    start, waited, n = time.perf_counter(), 0.0, 0
    while True:
        begin = time.perf_counter()
        try:
            next(iterator)
        except StopIteration:
            return time.perf_counter() - start, waited / n
        waited += time.perf_counter() - begin
        n += 1
        time.sleep(work)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=20000)
    parser.add_argument("--tables", help="training tables to take events from")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()

    import numpy as np
    import tensorflow as tf

    from smartbkg_tf.dataset import batches
    from smartbkg_tf.dataset.dataset import open_dataset
    from smartbkg_tf.dataset.stream import training_stream

    tf.config.experimental.enable_op_determinism()
    making: list[float] = []
    make = batches.Batches._padded

    def timed(*arguments: Any) -> Any:
        # As slow as a batch of large events from a slow disk.
        begin = time.perf_counter()
        time.sleep(0.02)
        made = make(*arguments)
        making.append(time.perf_counter() - begin)
        return made

    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        path = write_dataset(Path(folder), sample(options.events, options.tables))
        dataset = open_dataset(path)
        new = partial(
            training_stream, dataset, np.arange(len(dataset)), batch_size=BATCH, inputs="combined",
            seed=1,
        )  # fmt: skip
        with mock.patch.object(batches.Batches, "_padded", timed):
            stream = new()
            seconds(stream, 0.0)
            work = statistics.median(making)
            waits: dict[str, list[float]] = {"ahead": [], "one by one": []}

            def side(name: str) -> float:
                ahead = batches.ahead if name == "ahead" else lambda items, _=1: items
                with mock.patch.object(batches, "ahead", ahead):
                    took, waited = seconds(stream, work)
                waits[name].append(waited)
                return took

            found = paired(options.rounds, **{name: partial(side, name) for name in waits})
    print(f"  {work * 1e3:.1f} ms to make a batch, as much to use it")
    for name, values in waits.items():
        print(f"  {name:10s} waits {statistics.median(values) * 1e3:6.1f} ms for a batch")
    report("epoch, one by one / ahead", ratio(found["one by one"], found["ahead"]), 1.5)


if __name__ == "__main__":
    main()
