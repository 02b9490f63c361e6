"""How fast events come out of a dataset directory: warm, cold, in little memory, to a network.

    python benchmarks/stream.py [--tables 'tables/*.h5'] [--events 100000]
                                [--parts warm,cold,memory,training]

Sides of a ratio run in turns in one process, on the same events, timed from the first to the
last batch; printed are medians of paired ratios. The ceiling of `warm` is a gather of random
rows from padded arrays in memory, which is what training without a dataset directory does.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from common import paired, ratio, report, sample, write_dataset

from smartbkg_tf.dataset.dataset import Dataset, open_dataset

BATCH = 1024
PARTS = ("warm", "cold", "memory", "training")
OPTIONS: dict[str, Any] = {"batch_size": BATCH, "inputs": "combined", "seed": 1}


def quiet(function: Callable[[], Any]) -> Any:
    import contextlib

    with (
        open(os.devnull, "w") as nothing,
        contextlib.redirect_stdout(nothing),
        contextlib.redirect_stderr(nothing),
    ):
        return function()


def make(folder: Path, options: argparse.Namespace) -> Dataset:
    table = sample(options.events, options.tables)
    return open_dataset(quiet(lambda: write_dataset(folder / "made", table)))


def rate(batches: Iterable[Any], size_of: Callable[[Any], int] | None = None) -> float:
    """Events per second from the first to the last batch."""
    iterator = iter(batches)
    next(iterator)
    start, n = time.perf_counter(), 0
    for batch in iterator:
        n += size_of(batch) if size_of else int(batch[1].shape[0])
    return n / (time.perf_counter() - start)


def gather(arrays: dict[str, np.ndarray], labels: np.ndarray, seed: int) -> Iterable[Any]:
    order = np.random.default_rng(seed).permutation(len(labels))
    for begin in range(0, len(order), BATCH):
        rows = order[begin : begin + BATCH]
        yield {name: values[rows] for name, values in arrays.items()}, labels[rows]


def without_autotune(stream: Any) -> Any:
    import tensorflow as tf

    options = tf.data.Options()
    options.autotune.enabled = False
    return stream.with_options(options)


def write_records(path: Path, arrays: dict[str, np.ndarray], labels: np.ndarray) -> None:
    import tensorflow as tf

    def feature(data: bytes) -> Any:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[data]))

    with tf.io.TFRecordWriter(str(path)) as writer:
        for i in range(len(labels)):
            values = {name: feature(array[i].tobytes()) for name, array in arrays.items()}
            values["y"] = feature(labels[i].astype(np.float32).tobytes())
            example = tf.train.Example(features=tf.train.Features(feature=values))
            writer.write(example.SerializeToString())


def read_records(path: Path, arrays: dict[str, np.ndarray], n_skims: int) -> Any:
    import tensorflow as tf

    layout = dict.fromkeys((*arrays, "y"), tf.io.FixedLenFeature([], tf.string))

    def parse(records: Any) -> Any:
        found = tf.io.parse_example(records, layout)
        x = {
            name: tf.reshape(tf.io.decode_raw(found[name], array.dtype), (-1, *array.shape[1:]))
            for name, array in arrays.items()
        }
        return x, tf.reshape(tf.io.decode_raw(found["y"], tf.float32), (-1, n_skims))

    stream = tf.data.TFRecordDataset(str(path)).shuffle(16384).batch(BATCH)
    return without_autotune(stream.map(parse, num_parallel_calls=2).prefetch(4))


def from_generator(arrays: dict[str, np.ndarray], labels: np.ndarray) -> Any:
    import tensorflow as tf

    def events() -> Iterable[Any]:
        for i in np.random.default_rng(0).permutation(len(labels)):
            yield {name: values[i] for name, values in arrays.items()}, labels[i]

    signature = (
        {n: tf.TensorSpec(v.shape[1:], v.dtype) for n, v in arrays.items()},
        tf.TensorSpec(labels.shape[1:], labels.dtype),
    )
    stream = tf.data.Dataset.from_generator(events, output_signature=signature)
    return without_autotune(stream.batch(BATCH).prefetch(4))


def warm(folder: Path, options: argparse.Namespace) -> None:
    from smartbkg_tf.dataset.stream import evaluation_stream, training_stream

    ragged = make(folder, options)
    few = min(options.events, 40000)  # padded arrays in memory, and slow designs
    arrays = ragged.batch(np.arange(few))
    labels = ragged.labels[:few].astype(np.float32)
    records = folder / "events.tfrecord"
    write_records(records, arrays, labels)
    every = np.arange(options.events)
    train = ragged.split()["train"]
    passing = ragged.labels[train, 0].mean()
    balance = min(3.0, (1 - passing) / passing / 2)  # never all failing events
    slow_rows = np.arange(min(few, 20000))
    streams = {
        "training": training_stream(ragged, every, **OPTIONS),
        # What `train` reads by default: a part of the events, and of those a new part each epoch.
        "default training": training_stream(ragged, train, **OPTIONS, balance=balance),
        "validation": evaluation_stream(
            ragged, every, batch_size=BATCH, inputs="combined", length_buckets=8
        ),
        "TFRecordDataset": read_records(records, arrays, labels.shape[1]),
        "from_generator": from_generator(
            {n: v[slow_rows] for n, v in arrays.items()}, labels[slow_rows]
        ),
    }
    sides = {name: (lambda stream=stream: rate(stream)) for name, stream in streams.items()}
    sides["gather"] = lambda: rate(gather(arrays, labels, 0))
    paired(1, **sides)
    found = paired(options.rounds, **sides)
    for name, values in found.items():
        print(f"  {name:20s} {statistics.median(values) / 1e3:8.0f} thousand events/s")
    report(
        "default training / all events, warm",
        ratio(found["default training"], found["training"]), 0.5,
    )  # fmt: skip
    for name, target in (("gather", 0.3), ("TFRecordDataset", 1.5), ("from_generator", 2.0)):
        report(f"training stream / {name}, warm", ratio(found["training"], found[name]), target)


def drop(dataset: Dataset) -> int:
    """Drop the pages of all maps; returns the bytes that an epoch reads."""
    total = 0
    for path in dataset.path.glob("*.memmap"):
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)
    for name in ("particle_input", "charge", "pdg_input", "mother_pdg_input", "decay_input",
                 "particle_offsets", "decay_offsets", "labels"):  # fmt: skip
        total += (dataset.path / f"{name}.memmap").stat().st_size
    return total


def sequential(dataset: Dataset) -> float:
    """Bytes per second of plain reading of the largest maps, cold."""
    drop(dataset)
    buffer, total, start = bytearray(1 << 22), 0, time.perf_counter()
    for name in ("particle_input", "pdg_input", "mother_pdg_input", "decay_input", "charge"):
        with open(dataset.path / f"{name}.memmap", "rb", buffering=0) as stream:
            while n := stream.readinto(buffer):
                total += n
    return total / (time.perf_counter() - start)


def cold(folder: Path, options: argparse.Namespace) -> None:
    from smartbkg_tf.dataset.stream import training_stream

    grow(make(folder, options), folder / "grown", options.cold_gb * 1e9)
    dataset = open_dataset(folder / "grown")
    stream = training_stream(dataset, np.arange(len(dataset)), **OPTIONS)
    for _ in stream:
        pass

    def streamed() -> float:
        n_bytes = drop(dataset)
        start = time.perf_counter()
        for _ in stream:
            pass
        return n_bytes / (time.perf_counter() - start)

    found = paired(options.rounds, ours=streamed, sequential=lambda: sequential(dataset))
    for name, values in found.items():
        print(f"  {name:12s} {statistics.median(values) / 1e6:8.0f} MB/s")
    print(f"  {statistics.median(found['ours']) / drop(dataset) * len(dataset):,.0f} events/s")
    report(
        "training stream / sequential reading, cold, bytes",
        ratio(found["ours"], found["sequential"]), 0.7,
    )  # fmt: skip


MEMORY_PROGRAM = """
import resource, sys, time
limit = int(sys.argv[2])
import numpy as np
import tensorflow as tf
from smartbkg_tf.dataset.dataset import open_dataset
from smartbkg_tf.dataset.stream import training_stream

def resident():
    with open("/proc/self/status") as file:
        found = dict(line.split(":", 1) for line in file)
    return [int(found[k].split()[0]) / 1024 for k in ("VmSize", "VmRSS", "RssAnon")]

next(iter(tf.data.Dataset.range(2).map(lambda x: x + 1)))
size, base, _ = resident()
if limit:
    used = int(size * 1e6 * 1.05)
    resource.setrlimit(resource.RLIMIT_AS, (used + limit, used + limit))
dataset = open_dataset(sys.argv[1])
rows = np.arange(len(dataset))
stream = training_stream(dataset, rows, batch_size=1024, inputs="combined", seed=1)
n, peak, anonymous, start = 0, 0.0, 0.0, time.perf_counter()
for i, (x, y, w) in enumerate(stream):
    n += int(y.shape[0])
    if i % 20 == 0:
        peak = max(peak, resident()[1])
        anonymous = max(anonymous, resident()[2])
print(f"{n} events, {n / (time.perf_counter() - start):.0f} events/s, resident {peak:.0f} MB "
      f"(TensorFlow alone {base:.0f} MB), without mapped files {anonymous:.0f} MB, "
      f"of the stream {peak - base:.0f} MB")
"""


def memory(folder: Path, options: argparse.Namespace) -> None:
    """Stream data that are larger than what the process may map and hold."""
    dataset = make(folder, options)
    grown = folder / "grown"
    n_bytes = grow(dataset, grown, options.large_gb * 1e9)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}

    def run(path: Path, limit: int) -> str:
        done = subprocess.run(
            [sys.executable, "-c", MEMORY_PROGRAM, str(path), str(limit)],
            capture_output=True, text=True, env=environment,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(done.stderr[-2000:])
        return done.stdout.strip()

    print(f"  {sum(p.stat().st_size for p in dataset.path.iterdir()) / 1e9:.2f} GB: "
          f"{run(dataset.path, 0)}")  # fmt: skip
    # After TensorFlow is loaded, the process may map half as much as the data are large.
    text = run(grown, int(n_bytes / 2))
    print(f"  {n_bytes / 1e9:.2f} GB, of which the process may map half: {text}")
    for what in ("without mapped files ", "of the stream "):
        report(f"600 MB / memory {what}", 600 / float(text.split(what)[1].split()[0]), 1)


def grow(dataset: Dataset, target: Path, n_bytes: float) -> int:
    """Repeat all events under other keys, map by map: many GB in seconds."""
    import json

    from smartbkg_tf.dataset.information import with_checksum
    from smartbkg_tf.dataset.store import MapWriter

    target.mkdir()
    information = json.loads((dataset.path / "dataset.json").read_text())
    total = sum(entry["bytes"] for entry in information["maps"].values())
    n = max(1, int(np.ceil(n_bytes / total)))
    maps = {}
    for name, entry in information["maps"].items():
        values = np.fromfile(dataset.path / f"{name}.memmap", entry["dtype"])
        values = values.reshape(entry["shape"])
        is_offsets = name.endswith("_offsets")
        writer = MapWriter(target, name, entry["dtype"], entry["shape"][1:])
        for i in range(n):
            if is_offsets:
                writer.append(values[int(i > 0) :] + i * values[-1])
            else:
                if name == "keys":
                    values[:, 1] = i
                writer.append(values)
        maps[name] = writer.close()
    information |= {"maps": maps, "n_events": information["n_events"] * n}
    (target / "dataset.json").write_text(json.dumps(with_checksum(information)))
    return total * n


def network(dataset: Dataset, inputs: str = "combined") -> Any:
    import keras

    from smartbkg_tf.models.registry import build
    from smartbkg_tf.runtime.command import compose_settings
    from smartbkg_tf.settings.training import TrainSettings

    keras.utils.set_random_seed(1)
    settings = compose_settings("train", TrainSettings, [f"model.inputs={inputs}"])
    found = build(settings.model, dataset.information)
    found.model.compile(
        optimizer=keras.optimizers.AdamW(1e-3),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        jit_compile=False,
    )
    return found


def training(folder: Path, options: argparse.Namespace) -> None:
    """Whole epochs from the stream against whole epochs from arrays in memory, same shapes."""
    import tensorflow as tf

    from smartbkg_tf.dataset.stream import training_stream

    dataset = make(folder, argparse.Namespace(**{**vars(options), "events": options.train_events}))
    n, batch = len(dataset) // 256 * 256, 256
    net = network(dataset)
    rows = np.arange(n)
    arrays = dataset.batch(rows, net.input_names)
    labels = dataset.labels[:n].astype(np.float32)
    weights = np.ones(n, np.float32)
    stream = training_stream(
        dataset, rows, batch_size=batch, inputs=net.input_names, seed=1
    )  # fmt: skip
    in_memory = without_autotune(
        tf.data.Dataset.from_tensor_slices((arrays, labels, weights))
        .shuffle(16384, seed=1).batch(batch).prefetch(4)
    )  # fmt: skip

    processors: dict[str, list[float]] = {"stream": [], "memory": []}

    def epoch(name: str, data: Any) -> float:
        """Events per second from the first to the last step."""
        times: list[float] = []
        spent: list[float] = []

        class Clock(tf.keras.callbacks.Callback):  # type: ignore[misc]
            def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
                times.append(time.perf_counter())
                spent.append(time.process_time())

        net.model.fit(data, epochs=1, verbose=0, shuffle=False, callbacks=[Clock()])
        processors[name].append((len(times) - 1) * batch / (spent[-1] - spent[0]))
        return (len(times) - 1) * batch / (times[-1] - times[0])

    sides: dict[str, Callable[[], float]] = {
        "stream": lambda: epoch("stream", stream),
        "memory": lambda: epoch("memory", in_memory),
    }
    paired(1, **sides)
    found = paired(options.rounds, **sides)
    for name, values in found.items():
        print(f"  {name:8s} {statistics.median(values):8.0f} events/s")
    report("training on the stream / on arrays", ratio(found["stream"], found["memory"]), 0.95)
    by_processors = ratio(processors["stream"][1:], processors["memory"][1:])
    report("the same by the time of the processors", by_processors, 0.95)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100000)
    parser.add_argument("--train-events", type=int, default=8000)
    parser.add_argument("--tables", help="training tables to take events from")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--large-gb", type=float, default=6)
    parser.add_argument("--cold-gb", type=float, default=1.5)
    parser.add_argument("--parts", default=",".join(PARTS))
    options = parser.parse_args()
    for name in options.parts.split(","):
        print(f"{name} (load {os.getloadavg()[0]:.1f})", flush=True)
        with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
            globals()[name](Path(folder), options)


if __name__ == "__main__":
    main()
