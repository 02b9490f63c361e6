"""Train one network of ``experiments/fei_b0_benchmark`` and measure what it costs.

Writes the run directory ``RUNS/NAME/seed_N``, the scores of the validation events, and ``row.json``
with the CPU-minutes of the training (user and system time of the process, its threads and
children). More than `BUDGET` CPU-minutes are marked in the table. A run that was stopped goes on;
its CPU-minutes add up.

Run: ``python -m benchmarks.fei_b0.run NAME [KEY=VALUE ...] --dataset DIR --runs RUNS --seeds 1``
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from benchmarks.fei_b0.rows import VALIDATION, Row, folder_of, read_scores, write_row
from benchmarks.fei_b0.sample import SKIM
from smartbkg_tf.errors import UserError
from smartbkg_tf.evaluation.metrics import auc
from smartbkg_tf.runtime.command import compose_settings, guarded
from smartbkg_tf.runtime.files import read_json, write_json
from smartbkg_tf.runtime.run_directory import RunDirectory
from smartbkg_tf.settings.plugins import plain
from smartbkg_tf.settings.training import TrainSettings
from smartbkg_tf.training.run_folder import changed_keys

#: CPU-minutes of a training.
BUDGET = 40.0
CANDIDATES = "benchmarks.fei_b0.candidate_set.SkimCandidates"
#: Feature sets whose columns know the skim, and what they add: upper bounds.
SKIM_FEATURES = {
    "benchmarks.fei_b0.skim_features.SkimReplay": "replay of the skim for each of them",
    CANDIDATES: "the skim's candidates",
}


def measured(command: list[str]) -> tuple[int, float]:
    """Run a command and measure it.

    Parameters
    ----------
    command : list of str
        Program and arguments.

    Returns
    -------
    code : int
        Exit code; negative for a signal.
    minutes : float
        User and system time of the process and of its children, in minutes.
    """
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, (usage.ru_utime + usage.ru_stime) / 60.0


def _settings_of(
    name: str, dataset: Path, folder: Path, seed: int, overrides: list[str]
) -> list[str]:
    """Give the overrides of a training, for the command line."""
    own = [f"data.path={dataset}", f"training.seed={seed}", f"run_dir={folder}"]
    return [f"+experiment=fei_b0_benchmark/{name}", *own, *overrides]


def _must_be_same(folder: Path, wanted: list[str]) -> None:
    """Refuse a finished run of other settings."""
    settings = compose_settings("train", TrainSettings, wanted)
    old = yaml.safe_load(RunDirectory(folder).config.read_text(encoding="utf-8"))
    changed = changed_keys(old, plain(settings))
    if changed:
        raise UserError(
            f"holds a finished run of other settings ({'; '.join(changed)})",
            where=folder,
            next_step="choose another --runs, or remove the folder",
        )


def must_be_whole(dataset: Path) -> None:
    """Refuse candidates of events that were cut: one that loses a member looks likelier to survive.

    Parameters
    ----------
    dataset : pathlib.Path
        The dataset directory.

    Raises
    ------
    UserError
        When the dataset has candidates, and an event lost particles.
    """
    file = dataset / "dataset.json"
    information = read_json(file) if file.is_file() else {}
    encoding = information.get("encoding", {})
    longest = information.get("max_lengths", {}).get("particles", 0)
    if encoding.get("features") == CANDIDATES and longest > encoding["max_particles"]:
        raise UserError(
            f"the longest event has {longest} particles and is cut to {encoding['max_particles']}",
            where=dataset,
            next_step=f"preprocess again with max_particles={longest}",
        )


def train(name: str, dataset: Path, folder: Path, seed: int, overrides: list[str]) -> float:
    """Train, or go on.

    Parameters
    ----------
    name : str
        The experiment.
    dataset : pathlib.Path
        The dataset directory.
    folder : pathlib.Path
        The run directory.
    seed : int
        Of the training.
    overrides : list of str
        Further settings.

    Returns
    -------
    float
        CPU-minutes, earlier parts of a stopped run included.

    Raises
    ------
    UserError
        When the training fails, or is finished with other settings.
    """
    wanted = _settings_of(name, dataset, folder, seed, overrides)
    cost = folder.parent / f"{folder.name}.cpu.json"
    earlier = float(read_json(cost)["cpu_minutes"]) if cost.is_file() else 0.0
    if cost.is_file() and RunDirectory(folder).done.is_file():
        # Trained, but not described: the scoring was stopped.
        _must_be_same(folder, wanted)
        return earlier
    must_be_whole(dataset)
    folder.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "smartbkg_tf.train", *wanted]
    code, minutes = measured(command)
    write_json(cost, {"cpu_minutes": earlier + minutes})
    if code:
        raise UserError(
            f"the training of {name} ended with code {code}",
            where=folder,
            next_step="see its message above; the same command goes on",
        )
    return earlier + minutes


def score_validation(folder: Path, dataset: Path) -> None:
    """Write the scores of the validation events.

    Parameters
    ----------
    folder : pathlib.Path
        The run directory.
    dataset : pathlib.Path
        The dataset directory.

    Raises
    ------
    UserError
        When `apply` fails.
    """
    command = [
        *(sys.executable, "-m", "smartbkg_tf.apply", f"run={folder}", f"input={dataset}"),
        *("split=validation", "method=score", f"output={folder / VALIDATION}", "overwrite=true"),
    ]
    if subprocess.run(command, check=False).returncode:
        raise UserError("the validation events could not be scored", where=folder)


def describe(
    name: str, folder: Path, seed: int, minutes: float | None, overrides: list[str]
) -> Row:
    """Describe a finished run.

    Parameters
    ----------
    name : str
        The experiment.
    folder : pathlib.Path
        The run directory.
    seed : int
        Of the training.
    minutes : float or None
        CPU-minutes.
    overrides : list of str
        Settings beyond the experiment's.

    Returns
    -------
    Row
        The description.
    """
    metadata = yaml.safe_load((folder / "metadata.yaml").read_text(encoding="utf-8"))
    history = pd.read_csv(folder / "history.csv")
    validation = read_scores(folder / VALIDATION)
    inputs = {"combined": "particles, decay string", "decay": "decay string"}
    experiment = [f"experiment=fei_b0_benchmark/{name}", *overrides]
    composed = compose_settings("train", TrainSettings, experiment)
    model: Any = composed.model
    summaries = "summaries" in model.head.inputs or getattr(
        model.particles, "side_summaries", False
    )
    is_trees = model.particles is None and model.decay is None
    read = "the event" if is_trees else inputs.get(model.inputs, "particles")
    features = read_json(folder / "dataset.json")["encoding"]["features"]
    knows_skim = features in SKIM_FEATURES
    if knows_skim:
        read += ", " + SKIM_FEATURES[features]
    if summaries:
        read += ", sums over them"
    if model.head.forest is not None:
        read += ", generic quantities"
    others = len(composed.data.skims or [SKIM]) - 1
    if others:
        read += f"; learns {others} other skims, too"
    return Row(
        name=name,
        seed=seed,
        kind="trees" if is_trees else "network",
        inputs=read,
        knows_skim=knows_skim,
        parameters=int(metadata["model"]["weights"]),
        events_per_second=float(history["events_per_second"].median()),
        cpu_minutes=minutes,
        passes=len(history),
        validation_auc=auc(validation.score, validation.label),
        details={
            "experiment": f"fei_b0_benchmark/{name}",
            "overrides": overrides,
            "best_epoch": metadata["result"]["best_epoch"],
            # Nobody knows the commit of an unpacked archive.
            "commit": (metadata["code"] or {}).get("commit"),
            "dataset": metadata["dataset"]["digest"],
        },
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="a file of experiments/fei_b0_benchmark")
    parser.add_argument("overrides", nargs="*", help="further settings, KEY=VALUE")
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument(
        "--cpu-minutes",
        type=float,
        help="the run is finished and took so many: describe it",
    )
    options = parser.parse_intermixed_args()
    for seed in options.seeds:
        folder = folder_of(options.runs, options.name, seed)
        minutes = options.cpu_minutes
        if minutes is None:
            minutes = train(options.name, options.dataset, folder, seed, options.overrides)
        if not (folder / VALIDATION).is_file():
            score_validation(folder, options.dataset)
        row = describe(options.name, folder, seed, minutes, options.overrides)
        write_row(folder, row)
        over = "" if minutes <= BUDGET else f", MORE than the {BUDGET:g} that there are"
        print(
            f"{options.name}, seed {seed}: {minutes:.1f} CPU-minutes{over}; {row.passes} epochs, "
            f"validation AUC {row.validation_auc:.4f}"
        )


if __name__ == "__main__":
    guarded(main, debug=False)
