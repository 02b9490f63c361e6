"""Train models on skims at several sizes; finished runs are left as they are.

Run: ``python -m benchmarks.any_skim.run --data DIRECTORY --runs RUNS --models trees treenet_trees``
(choices), and once with ``--judge``.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

from benchmarks.any_skim.plan import (
    CHOICE_DETECTORS,
    JUDGEMENT_DETECTORS,
    MODELS,
    MOST_TRAINING,
    SIZES,
    TASKS,
    TEST,
    VALIDATION,
    overrides_of,
)
from smartbkg_tf.runtime.command import guarded
from smartbkg_tf.runtime.files import read_json, write_json


def training_share(dataset: Path, skim: str, size: int) -> float:
    """Choose the share of events of which half of `size` pass; the whole where there are fewer."""
    counts = read_json(dataset / "dataset.json")["counts"]["labels"][skim]
    return min(MOST_TRAINING, size / 2 / max(int(counts["passing"]), 1))


def cpu_seconds() -> float:
    """User and system time of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", type=Path, required=True, help="folder of benchmarks.any_skim.make"
    )
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--skims", nargs="+", default=[task.skim for task in TASKS])
    parser.add_argument("--preset", help="a run directory in place of the preset")
    parser.add_argument("--judge", action="store_true", help="the skims that choices never saw")
    options = parser.parse_args()
    detectors = JUDGEMENT_DETECTORS if options.judge else CHOICE_DETECTORS
    for detector in detectors:
        for task in TASKS:
            dataset = options.data / detector / task.event_type / "dataset"
            if task.chosen_on is options.judge or task.skim not in options.skims:
                continue
            if not dataset.is_dir():
                print(f"{dataset} is not there: left out", flush=True)
                continue
            for size in options.sizes:
                share = training_share(dataset, task.skim, size)
                for model in options.models:
                    for seed in options.seeds:
                        name = f"{detector}/{task.skim}/{size}/{model}/seed_{seed}"
                        overrides = overrides_of(model, size, options.preset)
                        train(options.runs / name, dataset, task.skim, share, overrides, seed)


def train(
    folder: Path, dataset: Path, skim: str, share: float, overrides: list[str], seed: int
) -> None:
    """Train one model in a process of its own and note its CPU time."""
    if (folder / "done.json").is_file():
        return
    begin = cpu_seconds()
    command = [
        *(sys.executable, "-m", "smartbkg_tf.train", *overrides),
        *(f"data.path={dataset}", f"data.skims=[{skim}]", f"data.fractions.train={share:.6f}"),
        *(f"data.fractions.validation={VALIDATION * share:.6f}", f"data.fractions.test={TEST}"),
        *(f"training.seed={seed}", f"run_dir={folder}"),
    ]
    folder.parent.mkdir(parents=True, exist_ok=True)
    log = folder.parent / f"{folder.name}.log"
    with log.open("w", encoding="utf-8") as stream:
        done = subprocess.run(
            command, stdout=stream, stderr=subprocess.STDOUT, env=os.environ, check=False
        )
    if done.returncode:
        print(f"{folder}: failed, see {log}", flush=True)
        return
    minutes = (cpu_seconds() - begin) / 60
    write_json(folder / "cost.json", {"cpu_minutes": minutes})
    metrics = json.loads((folder / "metrics.json").read_text())
    events = metrics["skims"][skim]["n_events"]
    print(f"{folder}: {minutes:.1f} CPU-minutes, {events} test events", flush=True)


if __name__ == "__main__":
    guarded(main, debug=False)
