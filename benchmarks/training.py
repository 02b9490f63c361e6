"""Events per second in training: this package against a port of the original's program.

    python benchmarks/training.py --dataset DATASET [--events 8192] [--parts port,parts,...]

`port` is the combined ResNet of kahn-jms/smartBKG (2018-2020) and its loop, written anew for
Keras 3: features normalised beforehand, every event padded to 100 particles and 150 tokens in
NumPy memory maps, a Python generator that cuts out one batch after the other, `fit`, Keras's
batch normalisation, no masks, a sigmoid. `parts` takes the ingredients of ours away one by one.
`models` trains networks of conf/model with and without XLA, `divided` with
``training.micro_batches``, `steps` with ``training.steps_per_execution``.

Whole epochs on the same events with the same batch size, in turns in one process; the first
epoch of each side is not counted. Printed are medians of paired ratios and their range.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from common import report, sample, write_dataset

from smartbkg_tf.dataset.dataset import Dataset, open_dataset
from smartbkg_tf.runtime.quiet import load_tensorflow

load_tensorflow()

import keras  # noqa: E402

from smartbkg_tf.dataset import stream  # noqa: E402
from smartbkg_tf.models.normalisation import ParticleNormalisation  # noqa: E402
from smartbkg_tf.models.packing import set_packing  # noqa: E402
from smartbkg_tf.models.registry import build  # noqa: E402
from smartbkg_tf.runtime.command import compose_settings  # noqa: E402
from smartbkg_tf.settings.training import TrainSettings  # noqa: E402
from smartbkg_tf.training.devices import device_scope  # noqa: E402
from smartbkg_tf.training.divergence import StopOnDivergence  # noqa: E402
from smartbkg_tf.training.input_pipeline import trimmed  # noqa: E402
from smartbkg_tf.training.micro_batches import (  # noqa: E402
    number_of_micro_batches,
    use_micro_batches,
)

BATCH = 256
PARTICLES, TOKENS = 100, 150


def original_network(vocabulary: int, columns: int) -> keras.Model:
    """Build the original's combined ResNet as a user of Keras 3 would write it down."""
    layers = keras.layers

    def normalised(x: Any, filters: int, kernel: int, active: bool = True) -> Any:
        x = layers.BatchNormalization()(layers.Conv1D(filters, kernel, padding="same")(x))
        return layers.LeakyReLU(0.3)(x) if active else x

    features = keras.Input((PARTICLES, columns), name="particle_input")
    codes = keras.Input((PARTICLES,), dtype="int32", name="pdg_input")
    mothers = keras.Input((PARTICLES,), dtype="int32", name="mother_pdg_input")
    tokens = keras.Input((TOKENS,), dtype="int32", name="decay_input")
    embedding = layers.Embedding(vocabulary, 8)
    x = layers.Concatenate()([features, embedding(codes), embedding(mothers)])
    for number, kernel in enumerate((4, 3, 3, 3)):
        around = x if number else normalised(x, 64, 1, active=False)
        inside = normalised(normalised(x, 64, kernel), 64, kernel)
        x = layers.LeakyReLU(0.3)(layers.Add()([around, inside]))
    x = layers.GlobalAveragePooling1D()(x)
    decay = layers.Embedding(vocabulary, 8)(tokens)
    columns_of_tokens = [
        layers.GlobalAveragePooling1D()(normalised(decay, 64, kernel)) for kernel in range(4, 10)
    ]
    y = layers.LeakyReLU(0.3)(layers.Dense(128)(layers.Concatenate()(columns_of_tokens)))
    y = layers.LeakyReLU(0.3)(layers.Dense(32)(layers.Dropout(0.4)(y)))
    z = layers.LeakyReLU(0.3)(layers.Dense(256)(layers.Concatenate()([x, y])))
    z = layers.LeakyReLU(0.3)(layers.Dense(128)(layers.Dropout(0.4)(z)))
    out = layers.Dense(1, activation="sigmoid", name="y_output")(z)
    return keras.Model([features, codes, mothers, tokens], out)


class Port:
    """The original's program: memory maps, a generator, `fit`."""

    def __init__(self, folder: Path, dataset: Dataset, rows: np.ndarray) -> None:
        normalise = ParticleNormalisation(
            list(dataset.feature_names), dataset.information["normalisation"]["features"]
        )
        names = ("particle_input", "pdg_input", "mother_pdg_input", "decay_input")
        arrays = dataset.batch(rows, names, PARTICLES, TOKENS)
        arrays["particle_input"] = np.asarray(normalise(arrays["particle_input"]))
        arrays["y"] = np.asarray(dataset.labels[rows, :1], dtype=np.float32)
        for name, values in arrays.items():
            np.save(folder / f"{name}.npy", values)
        self.maps = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in arrays}
        self.names = names
        keras.utils.set_random_seed(1)
        vocabulary = int(dataset.information["vocabulary"]["size"])
        self.model = original_network(vocabulary, arrays["particle_input"].shape[-1])
        self.model.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"])
        self.steps = len(rows) // BATCH

    def batches(self) -> Iterator[tuple[dict[str, Any], Any]]:
        while True:
            for begin in range(0, self.steps * BATCH, BATCH):
                part = slice(begin, begin + BATCH)
                x = {name: np.array(self.maps[name][part]) for name in self.names}
                yield x, np.array(self.maps["y"][part])

    def epoch(self) -> tuple[float, float]:
        """Events per second, and per second of a processor, of one epoch."""
        clock = Watch()
        self.model.fit(
            self.batches(),
            steps_per_epoch=self.steps,
            epochs=1,
            verbose=0,
            callbacks=[clock],
            shuffle=False,
        )
        return clock.rates(self.steps * BATCH)


class Watch(keras.callbacks.Callback):  # type: ignore[misc]
    """Seconds from the begin of an epoch to the end of its last step, and its CPU time."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._begin, self._begin_cpu = time.perf_counter(), time.process_time()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.seconds = time.perf_counter() - self._begin
        self.cpu_seconds = time.process_time() - self._begin_cpu

    def rates(self, events: int) -> tuple[float, float]:
        return events / self.seconds, events / self.cpu_seconds


class Ours:
    """What `train` does, an epoch at a time."""

    def __init__(
        self,
        dataset: Dataset,
        rows: np.ndarray,
        overrides: list[str],
        *,
        packed: bool = True,
        trim: bool = True,
    ) -> None:
        settings = compose_settings("train", TrainSettings, overrides)
        training = settings.training
        self.events = len(rows) // BATCH * BATCH
        with device_scope(training):
            self.network = build(
                settings.model, dataset.information, max_particles=PARTICLES, max_tokens=TOKENS
            )
            model = self.network.compile(training, steps_per_epoch=self.events // BATCH)
            if not packed:
                set_packing(model, False)
            use_micro_batches(model, number_of_micro_batches(training, model, 1))
            stream_of_all = stream.training_stream(
                dataset,
                rows[: self.events],
                seed=1,
                batch_size=BATCH,
                inputs=self.network.input_names,
                max_particles=PARTICLES,
                max_tokens=TOKENS,
            )
            trimmed_too = trim and not training.xla
            self.stream = trimmed(stream_of_all) if trimmed_too else stream_of_all
            self.watch = Watch()
            self.callbacks = [StopOnDivergence(model), self.watch]
        self.number = 0

    def epoch(self) -> tuple[float, float]:
        """Events per second, and per second of CPU time, of one epoch."""
        first, self.number = self.number, self.number + 1
        self.network.fit(
            self.stream, initial_epoch=first, epochs=self.number, callbacks=self.callbacks
        )
        return self.watch.rates(self.events)


Rates = dict[str, list[tuple[float, float]]]


def in_turns(rounds: int, sides: dict[str, Callable[[], tuple[float, float]]]) -> Rates:
    for side in sides.values():
        side()
    found: Rates = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            found[name].append(side())
    return found


def ratios(found: Rates, name: str, reference: str, clock: int) -> list[float]:
    pairs = zip(found[name], found[reference], strict=True)
    return [ours[clock] / other[clock] for ours, other in pairs]


def show(found: Rates, reference: str) -> None:
    """Print rates, and ratios by the clock and by CPU time."""
    for name, rates in found.items():
        text = f"  {name:32s} {statistics.median(wall for wall, _ in rates):6.0f} events/s"
        for clock, what in enumerate(("ratio", "CPU time")):
            values = ratios(found, name, reference, clock)
            middle = statistics.median(values)
            text += f"   {what} {middle:.2f} ({min(values):.2f} to {max(values):.2f})"
        print(text, flush=True)


def port(folder: Path, dataset: Dataset, rows: np.ndarray, options: argparse.Namespace) -> None:
    """Ours against the original's program."""
    theirs = Port(folder, dataset, rows)
    ours = Ours(dataset, rows, ["model=resnet"])
    found = in_turns(options.rounds, {"port of the original": theirs.epoch, "ours": ours.epoch})
    show(found, "port of the original")
    value = statistics.median(ratios(found, "ours", "port of the original", 0))
    report("training, ours / port of the original", value, 2)


def parts(_: Path, dataset: Dataset, rows: np.ndarray, options: argparse.Namespace) -> None:
    """Take the ingredients away one by one."""
    every: dict[str, tuple[list[str], dict[str, bool]]] = {
        "masked, padded to 100 and 150": ([], {"packed": False, "trim": False}),
        "trimmed to the longest": ([], {"packed": False}),
        "packed (default)": ([], {}),
        "packed, 8 steps_per_execution": (["training.steps_per_execution=8"], {}),
    }
    sides = {
        name: Ours(dataset, rows, ["model=resnet", *overrides], **choices).epoch
        for name, (overrides, choices) in every.items()
    }
    show(in_turns(options.rounds, sides), "masked, padded to 100 and 150")


def models(_: Path, dataset: Dataset, rows: np.ndarray, options: argparse.Namespace) -> None:
    """Every network with and without XLA."""
    for name in options.models.split(","):
        sides: dict[str, Callable[[], tuple[float, float]]] = {}
        seconds = 0.0
        for xla in ("false", "true"):
            overrides = [f"model={name}", f"training.xla={xla}"]
            side = Ours(dataset, rows, overrides)
            begin = time.perf_counter()
            side.epoch()
            seconds = time.perf_counter() - begin
            sides["XLA" if xla == "true" else "plain"] = side.epoch
        print(f"{name} (first epoch with XLA {seconds:.0f} s)", flush=True)
        show(in_turns(options.rounds, sides), "plain")


def divided(_: Path, dataset: Dataset, rows: np.ndarray, options: argparse.Namespace) -> None:
    """Batches in micro-batches of similar length; networks with batch normalisation cannot."""
    for name in ("treenet", "transformer", "gcn", "gatgap"):
        compare(dataset, rows, options.rounds, name, "training.micro_batches", (1, 2, 4, 8))


def steps(_: Path, dataset: Dataset, rows: np.ndarray, options: argparse.Namespace) -> None:
    """Several batches in one call of the compiled step."""
    for name in ("gcn", "treenet"):
        compare(dataset, rows, options.rounds, name, "training.steps_per_execution", (1, 8))


def compare(
    dataset: Dataset,
    rows: np.ndarray,
    rounds: int,
    name: str,
    setting: str,
    values: tuple[int, ...],
) -> None:
    """Values of a setting against the first of them."""
    sides = {
        f"{setting}={value}": Ours(dataset, rows, [f"model={name}", f"{setting}={value}"]).epoch
        for value in values
    }
    print(name, flush=True)
    show(in_turns(rounds, sides), f"{setting}={values[0]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", help="a dataset directory; else random events are made")
    parser.add_argument("--events", type=int, default=8192)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--parts", default="port,parts,models")
    parser.add_argument("--models", default="resnet,conv1x1,vanilla_cnn,gcn,transformer,treenet")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        folder = Path(name)
        if options.dataset:
            dataset = open_dataset(options.dataset)
        else:
            dataset = open_dataset(write_dataset(folder / "made", sample(options.events, None)))
        rows = np.arange(min(len(dataset), options.events))
        for part in options.parts.split(","):
            print(f"{part} (load {os.getloadavg()[0]:.1f})", flush=True)
            (folder / part).mkdir()
            globals()[part](folder / part, dataset, rows, options)


if __name__ == "__main__":
    main()
