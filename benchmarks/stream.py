"""How fast events come out of a dataset directory, against a plain NumPy gather.

    python benchmarks/stream.py [--events 40000] [--rounds 3]

Both sides run in turns in one process, on the same events, warm, timed from the first to
the last batch: rates differ from machine to machine, the ratio matters. The ceiling is a
gather of random rows from padded arrays in memory, which is what training without a
dataset directory would do.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from smartbkg_tf.dataset.dataset import Dataset, open_dataset
from smartbkg_tf.dataset.stream import evaluation_stream, training_stream
from smartbkg_tf.encoding.pad import INPUTS_OF
from tests.datasets import write_dataset
from tests.samples import make_events

BATCH = 1024


def make(folder: Path, n_events: int, storage: str) -> Dataset:
    """Repeat some thousand events under new keys."""
    base = make_events(min(n_events, 4000), seed=1)
    table = base.take(np.resize(np.arange(len(base)), n_events))
    table = replace(table, keys={**table.keys, "event": np.arange(n_events)})
    return open_dataset(write_dataset(folder / storage, table, storage=storage))


def rate(batches: Iterable[Any], size_of: Any) -> float:
    """Events per second from the first to the last batch."""
    iterator = iter(batches)
    next(iterator)
    start, n = time.perf_counter(), 0
    for batch in iterator:
        n += size_of(batch)
    return n / (time.perf_counter() - start)


def gather(arrays: dict[str, np.ndarray], labels: np.ndarray, seed: int) -> Iterable[Any]:
    order = np.random.default_rng(seed).permutation(len(labels))
    for begin in range(0, len(order), BATCH):
        rows = order[begin : begin + BATCH]
        yield {name: values[rows] for name, values in arrays.items()}, labels[rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=40000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ragged = make(Path(folder), options.events, "ragged")
        padded = make(Path(folder), options.events, "padded")
        rows = np.arange(options.events)
        arrays = padded.batch(rows)
        streams = {
            f"{dataset.storage} {what}": stream
            for dataset in (ragged, padded)
            for what, stream in (
                ("training", training_stream(
                    dataset, rows, batch_size=BATCH, inputs="combined", seed=1)),
                ("evaluation", evaluation_stream(
                    dataset, rows, batch_size=BATCH, inputs="combined")),
            )
        }  # fmt: skip
        kernel = "ragged batches, no TensorFlow"
        names = ("plain gather", kernel, *streams)
        rates: dict[str, list[float]] = {name: [] for name in names}
        for turn in range(options.rounds + 1):
            found = {"plain gather": rate(gather(arrays, ragged.labels, turn), lambda b: len(b[1]))}
            order = np.random.default_rng(turn).permutation(options.events)
            batches = (ragged.batch(order[i : i + BATCH]) for i in range(0, len(order), BATCH))
            found[kernel] = rate(batches, lambda b: len(b["decay_input"]))
            for name, stream in streams.items():
                found[name] = rate(stream, lambda b: int(b[1].shape[0]))
            if turn:  # the first turn compiles
                for name, value in found.items():
                    rates[name].append(value)
    print(f"{options.events} events, {INPUTS_OF['combined']}, batches of {BATCH}")
    ceiling = statistics.median(rates["plain gather"])
    for name, values in rates.items():
        value = statistics.median(values)
        print(f"{name:32s} {value / 1e3:8.0f} thousand events/s   ratio {value / ceiling:5.2f}")


if __name__ == "__main__":
    main()
