"""Every model of ``conf/model`` with the same small budget: AUC, rate and size of each.

    python benchmarks/models.py --data dataset --output runs/models [--seconds 240]

``dataset`` is the one of the quality benchmark (``benchmarks/fei_b0``): its fractions divide the
events. Each model trains on one core for as many events as its own rate allows in `--seconds`
(a short run measures the rate), with a cosine schedule that ends there: fast models see all
events several times, slow ones a part of them twice. So the table ranks what a model makes of a
small budget, not what it can reach. A model that is in `--output` already is not trained again.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.fei_b0.sample import FRACTIONS, N_EACH

#: Less validation events than the quality benchmark has: slow models pay for them with time.
VALIDATION = 0.02

#: Balanced training events in the dataset.
N_TRAINING = 2 * N_EACH


def train(model: str, data: str, folder: Path, *, epochs: int, share: float) -> None:
    """Train on a share of the training events, with one thread."""
    environment = {**os.environ, "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
    overrides = {
        "model": model,
        "data.path": data,
        "data.fractions.train": FRACTIONS["train"] * share,
        "data.fractions.validation": VALIDATION,
        "data.fractions.test": FRACTIONS["test"],
        "data.balance": "null",
        "training.epochs": epochs,
        "training/schedule": "cosine",
        "training.early_stopping": "null",
        "training.monitor": "val_auc",
        "training.batch_size": 128,
        "training.progress": "false",
        "run_dir": folder,
    }
    command = [sys.executable, "-m", "smartbkg_tf.train"]
    command += [f"{key}={value}" for key, value in overrides.items()]
    with folder.with_suffix(".log").open("w") as log:
        subprocess.run(command, env=environment, stdout=log, stderr=log, check=True)


def rate(folder: Path) -> float:
    """Events per second of the last epoch, when everything is compiled."""
    with (folder / "history.csv").open() as file:
        return float(list(csv.DictReader(file))[-1]["events_per_second"])


def measure(model: str, data: str, output: Path, seconds: float) -> None:
    """Measure the rate, then train for the budget."""
    if (output / model / "done.json").is_file():
        return
    if not (output / f"{model}_rate" / "done.json").is_file():
        train(model, data, output / f"{model}_rate", epochs=2, share=0.02)
    n_events = rate(output / f"{model}_rate") * seconds
    epochs = max(2, min(30, round(n_events / N_TRAINING)))
    share = min(1.0, n_events / (epochs * N_TRAINING))
    train(model, data, output / model, epochs=epochs, share=share)


def row(model: str, output: Path) -> str:
    """Describe a finished model in one line of a table."""
    folder = output / model
    metrics = json.loads((folder / "metrics.json").read_text())
    with (folder / "history.csv").open() as file:
        epochs = len(list(csv.DictReader(file)))
    return (
        f"| `{model}` | {metrics['auc']:.4f} +- {metrics['auc_error']:.4f} "
        f"| {rate(folder):.0f} | {epochs} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=240.0)
    parser.add_argument("--models", default=None)
    arguments = parser.parse_args()
    folder = Path(__file__).resolve().parents[1] / "conf" / "model"
    every = sorted(path.stem for path in folder.glob("*.yaml") if path.stem != "custom")
    models = arguments.models.split(",") if arguments.models else every
    arguments.output.mkdir(parents=True, exist_ok=True)
    print("| model | AUC on test events | events/s, one core | epochs |\n| --- | --- | --- | --- |")
    for model in models:
        measure(model, arguments.data, arguments.output, arguments.seconds)
        print(row(model, arguments.output), flush=True)


if __name__ == "__main__":
    main()
