"""Loss curves of a training on several devices against those on one: they should be the same.

    python benchmarks/devices.py --output FOLDER [--models gcn,resnet] [--devices 1,again,2,4,8]
        [--precisions float32,bfloat16,float16] [--micro_batches auto,1] [--optimizers sgd,adamw]
        [--table] [--check]

Networks of conf/model in their full size, without dropout, are trained on logical devices by the
parts of which `train` is made. The last of three batches has fewer events than there are devices,
validation batches cannot be divided either; there are two skims, one with unknown labels, and
weights of classes.

Printed are the largest differences of losses and AUCs, training and validation, from those of one
device. ``again`` is one device that reads the events of every batch in the opposite order: the same
mathematics, sums in another order; its difference is what rounding alone makes. What is in
``FOLDER/results`` is not done again. ``--table`` trains nothing; ``--check`` ends with 1 where a
loss differs by more than `ALLOWED` and by more than `NOISE` times what rounding makes.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from common import sample, write_dataset

from smartbkg_tf.dataset.dataset import Dataset, open_dataset
from smartbkg_tf.errors import ConfigurationError
from smartbkg_tf.runtime.command import compose_settings, configuration_directory
from smartbkg_tf.runtime.quiet import load_tensorflow
from smartbkg_tf.runtime.text_table import text_table
from smartbkg_tf.settings.plugins import plain
from smartbkg_tf.settings.preprocessing import SplitFractions
from smartbkg_tf.settings.training import TrainSettings
from smartbkg_tf.training.chosen_events import choose_events
from smartbkg_tf.training.run_folder import flat_settings

load_tensorflow()

import tensorflow as tf  # noqa: E402

from smartbkg_tf.dataset import stream  # noqa: E402
from smartbkg_tf.models.registry import build  # noqa: E402
from smartbkg_tf.training.devices import device_scope, share_batches  # noqa: E402
from smartbkg_tf.training.input_pipeline import filled, trimmed  # noqa: E402
from smartbkg_tf.training.micro_batches import (  # noqa: E402
    number_of_micro_batches,
    use_micro_batches,
)

BATCH = 16
#: Events of the last batch of the pass.
LAST = 3
BATCHES = 3
EPOCHS = 2
#: Share of validation events: some twenty.
WATCHED = 0.07
#: One device, events of a batch in the opposite order.
AGAIN = "again"
#: Largest difference of losses that needs no explanation. Every device rounds its part of a
#: gradient to the 8 or 11 bits of its type before they are added up in float32, so that what a
#: training changes in a loss, at most 0.1 in these few steps, is known to that precision.
ALLOWED = {"float32": 1e-6, "bfloat16": 0.1 * 2**-8, "float16": 0.1 * 2**-11}
NOISE = 4.0
#: Loss and AUC of both parts of the data, in the order of the columns.
CURVES = ("loss", "val_loss", "auc", "val_auc")


def networks() -> list[str]:
    folder = Path(str(configuration_directory())) / "model"
    return sorted(path.stem for path in folder.glob("[!_]*.yaml") if path.stem != "custom")


def make_dataset(folder: Path) -> Path:
    """Label some hundred events by their charged particles; a third of the second labels is -1."""
    if not (folder / "dataset").exists():
        table = sample(300)
        charged = np.abs(table.particles["charge"]) > 0
        tracks = np.add.reduceat(charged, table.offsets[:-1])
        passing = (tracks > np.median(tracks)).astype(np.int8)
        other = (table.particles["energy"][table.offsets[:-1]] * 1e4 % 2 < 1).astype(np.int8)
        other[::3] = -1
        labels = {"many_tracks": passing, "half_known": other}
        write_dataset(folder, replace(table, labels=labels))
    return folder / "dataset"


def overrides_of(model: str, precision: str, micro: str, optimizer: str) -> list[str]:
    """Everything that decides, but for the number of devices."""
    chosen = [f"model={model}", "data.balance=null", "training.class_weights=balanced"]
    chosen += [f"training.epochs={EPOCHS}", f"training.batch_size={BATCH}"]
    chosen += ["training.device=cpu", f"training.micro_batches={micro}"]
    chosen.append(f"data.fractions.validation={WATCHED}")
    chosen.append(f"training/optimizer={optimizer}")
    if optimizer == "sgd":
        chosen.append("training.learning_rate=0.01")
    if precision != "float32":
        chosen.append(f"training.mixed_precision={precision}")
    if model in ("trees", "treenet_trees"):
        chosen += ["model.head.forest.trees=25", "model.head.forest.min_samples=5"]
    settings = compose_settings("train", TrainSettings, chosen)
    named = flat_settings(plain(settings.model))
    return [*chosen, *(f"model.{key}=0" for key in named if key.endswith("dropout"))]


def share_of_training(dataset: Dataset) -> float:
    """Find the share of training events with which the last batch of a pass has LAST events."""
    wanted = (BATCHES - 1) * BATCH + LAST
    low, high = 0.0, 0.7
    for _ in range(60):
        share = (low + high) / 2
        found = len(dataset.split(SplitFractions(train=share, validation=WATCHED))["train"])
        if found == wanted:
            return share
        low, high = (share, high) if found < wanted else (low, share)
    raise SystemExit("no share of the events fits; change the number of events")


def train(path: Path, name: str, devices: str, share: float) -> dict[str, Any]:
    """Train one network and give its curves."""
    chosen = overrides_of(*name.split("-"))
    n = 1 if devices == AGAIN else int(devices)
    chosen += [f"training.devices={n}", f"data.fractions.train={share}"]
    settings = compose_settings("train", TrainSettings, chosen)
    training = settings.training
    dataset = open_dataset(path)
    events = choose_events(settings, dataset)
    begin, cpu = time.perf_counter(), time.process_time()
    with device_scope(training) as strategy:
        with strategy.scope():
            network = build(settings.model, dataset.information, settings.normalisation)
            model = network.compile(training, steps_per_epoch=BATCHES)
            if not network.one_pass:
                use_micro_batches(model, number_of_micro_batches(training, model, n))
            if n > 1:
                share_batches(model)
        options = {"batch_size": BATCH, "inputs": network.input_names}
        weights = [
            w.table(dataset.label_names) for w in (events.weights, events.validation_weights)
        ]
        learned = stream.training_stream(
            dataset, events.train, seed=1, class_weights=weights[0], **options
        )
        watched = stream.evaluation_stream(
            dataset, events.validation, with_weights=True, class_weights=weights[1], **options
        )
        network.prepare(learned, watched, training)
        learned = trimmed(learned)
        if devices == AGAIN:
            learned = learned.map(
                lambda *batch: tf.nest.map_structure(lambda values: values[::-1], batch)
            )
        history = network.fit(
            filled(learned, n), validation_data=filled(watched, n), epochs=EPOCHS
        ).history
    return {
        "curves": {curve: history[curve] for curve in CURVES},
        "seconds": round(time.perf_counter() - begin, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
    }


def work(arguments: argparse.Namespace) -> None:
    """Train every network on every number of devices."""
    # Improving the graphs costs more than these few steps.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    path = make_dataset(arguments.output)
    share = share_of_training(open_dataset(path))
    numbers = arguments.devices.split(",")
    processor = tf.config.list_physical_devices("CPU")[0]
    most = max(int(n) for n in numbers if n != AGAIN)
    logical = [tf.config.LogicalDeviceConfiguration()] * most
    tf.config.set_logical_device_configuration(processor, logical)
    for name, devices in itertools.product(configurations(arguments), numbers):
        result = arguments.output / "results" / f"{name}-{devices}.json"
        if result.exists():
            continue
        try:
            found = train(path, name, devices, share)
        except ConfigurationError as error:
            found = {"refused": str(error)}
        except Exception as error:  # What fails is a cell of the table.
            found = {"failed": f"{type(error).__name__}: {error}"[:2000]}
        result.write_text(json.dumps(found))
        print(name, devices, json.dumps(found)[:300], flush=True)


def configurations(arguments: argparse.Namespace) -> list[str]:
    choices = (arguments.optimizers, arguments.precisions, arguments.micro_batches)
    return [
        f"{model}-{precision}-{micro}-{optimizer}"
        for optimizer, precision, micro in itertools.product(*(text.split(",") for text in choices))
        for model in arguments.models.split(",")
    ]


def differences(arguments: argparse.Namespace, name: str) -> dict[str, dict[str, float | str]]:
    """Give the largest differences of losses and AUCs from one device, by number of devices."""
    found: dict[str, dict[str, Any]] = {}
    for n in arguments.devices.split(","):
        path = arguments.output / "results" / f"{name}-{n}.json"
        found[n] = json.loads(path.read_text()) if path.exists() else {"missing": ""}
    one = found.pop("1").get("curves")
    result: dict[str, dict[str, float | str]] = {}
    for n, values in found.items():
        for what in (CURVES[:2], CURVES[2:]):
            cell: float | str = next(iter(values)) if one else "missing"
            if one and "curves" in values:
                pairs = [(values["curves"][c], one[c]) for c in what]
                cell = max(float(np.abs(np.subtract(*pair)).max()) for pair in pairs)
            result.setdefault(what[0], {})[n] = cell
    return result


def table(arguments: argparse.Namespace) -> tuple[str, list[str]]:
    """Show the differences, and name the configurations whose losses differ by too much."""
    numbers = [n for n in arguments.devices.split(",") if n != "1"]
    rows, wrong = [], []
    for name in configurations(arguments):
        model, precision, micro, optimizer = name.split("-")
        for curve, cells in differences(arguments, name).items():
            texts = [c if isinstance(c, str) else f"{c:.1e}" for c in cells.values()]
            rows.append((model, optimizer, precision, micro, curve, *texts))
            if curve != "loss":
                continue
            noise = cells.get(AGAIN, 0.0)
            most = max(ALLOWED[precision], NOISE * (noise if isinstance(noise, float) else 0.0))
            counted = [cells[n] for n in numbers if n != AGAIN and cells[n] != "refused"]
            if any(isinstance(c, str) or not c <= most for c in counted):
                wrong.append(name)
    head = ("model", "optimiser", "precision", "micro-batches", "curve", *numbers)
    return text_table(head, rows), wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--models", default=",".join(networks()))
    parser.add_argument("--devices", default=f"1,{AGAIN},2,4,8")
    parser.add_argument("--precisions", default="float32")
    parser.add_argument("--micro_batches", default="auto")
    parser.add_argument("--optimizers", default="sgd")
    parser.add_argument("--check", action="store_true", help="fail where losses differ")
    parser.add_argument("--table", action="store_true", help="of what is there, train nothing")
    arguments = parser.parse_args()
    (arguments.output / "results").mkdir(parents=True, exist_ok=True)
    if not arguments.table:
        work(arguments)
    text, wrong = table(arguments)
    print(text)
    if wrong:
        print(f"differ by more than rounding: {', '.join(wrong)}")
    if wrong and arguments.check:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
