"""Make the preset of the package: events, labels, a training in two parts, and its place.

Run: ``python -m benchmarks.preset.make --folder preset --install`` (some CPU-hours). What is
finished stays in the folder; a killed run goes on where it was. Without ``--install`` the package
stays as it is: ``model.head.forest.answers=preset/run_2`` and ``training.init_from=preset/run_2``
take the network from there.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import keras

from benchmarks.preset.labels import LABELS
from smartbkg_tf.models.loading import load_model, target_of
from smartbkg_tf.runtime.command import guarded
from smartbkg_tf.runtime.run_directory import PRESETS, RunDirectory, open_run
from smartbkg_tf.training.run_folder import write_yaml

#: Events of each type and detector. The third detector, and other skims, judge the result
#: (``benchmarks/any_skim``).
EVENTS = {"mixed": 70_000, "charged": 70_000, "ccbar": 25_000, "ssbar": 15_000, "taupair": 10_000}
DETECTORS = ("belle2", "crowded")

#: Beside the generic questions: skims of which the benchmark makes its choices.
SKIMS = ("fei_hadronic_b0", "fei_semileptonic", "btox_gamma", "tau_thrust")
THREE_TRACKS = "benchmarks.any_skim.skims.ThreeTrackCharm"

#: How the network is trained: one pass, then four from a high learning rate again.
TRAINING = (
    *("model=treenet", "model/head/inputs=[summaries,quantities]"),
    *("model.particles.dropout=0.05", "model.head.dropout=0.1"),
    *("training/schedule=cosine", "training.batch_size=256"),
    *("training.class_weights=balanced", "training.monitor=val_auc"),
    *("data.balance=null", "data.symmetries=[charge_conjugation,mirror]"),
    *("data.fractions.train=0.94", "data.fractions.validation=0.03", "data.fractions.test=0.03"),
)
FIRST = ("training.epochs=1", "training.sub_epochs=6", "training.seed=1")
SECOND = (
    *("training.epochs=4", "training.sub_epochs=3", "training.seed=2"),
    "training.fine_tuning.backbone=free",
)

#: Where ``--install`` puts it.
PLACE = PRESETS / "belle2"


def call(module: str, *overrides: str) -> None:
    """Run a command of the package; finished outputs are left as they are by the command itself."""
    subprocess.run([sys.executable, "-m", f"smartbkg_tf.{module}", *overrides], check=True)


def questions() -> list[str]:
    """Give all labels as overrides of ``produce``."""
    overrides = [
        f"skim=[{','.join(SKIMS)}]",
        f"+skim.three_track_charm._target_={THREE_TRACKS}",
    ]
    for name, settings in LABELS.items():
        overrides += [f"+skim.{name}.{key}={value}" for key, value in settings.items()]
    return overrides


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--share", type=float, default=1.0, help="of the events")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--install", action="store_true", help=f"into {PLACE}")
    options = parser.parse_args()
    for number, detector in enumerate(DETECTORS):
        for event_type, n in EVENTS.items():
            tables = options.folder / "tables" / detector / event_type
            if not (tables / "done").is_file():
                call(
                    "produce",
                    f"event_type={event_type}",
                    f"n_events={int(options.share * n)}",
                    # Other events than those of benchmarks/any_skim.
                    f"seed={1017 + number}",
                    f"detector={detector}",
                    *questions(),
                    f"workers={options.workers}",
                    f"output={tables}",
                )
                (tables / "done").touch()
    dataset = options.folder / "dataset"
    if not dataset.is_dir():
        call(
            "preprocess",
            f"input={options.folder / 'tables'}/*/*/*.h5",
            f"output={dataset}",
            f"workers={options.workers}",
        )
    first, second = options.folder / "run", options.folder / "run_2"
    more: tuple[str, ...] = FIRST
    for run in (first, second):
        if not (run / "done.json").is_file():
            call("train", *TRAINING, *more, f"data.path={dataset}", f"run_dir={run}")
        more = (*SECOND, f"training.init_from={first}")
    if options.install:
        install(open_run(second), PLACE)


def install(run: RunDirectory, place: Path) -> None:
    """Put a network where the package looks for presets: no state of its optimiser, no paths."""
    place.mkdir(parents=True, exist_ok=True)
    config = run.read_config()
    keras.Model.save(load_model(run.model, target_of(config)), place / run.model.name)
    config["run_dir"] = config["data"]["path"] = config["training"]["init_from"] = None
    metadata = run.read_metadata()
    metadata["dataset"].pop("path")
    for name in ("hardware", "init_from"):
        metadata.pop(name)
    for name, values in ((run.config.name, config), (run.metadata.name, metadata)):
        write_yaml(place / name, values)
    shutil.copyfile(run.dataset, place / run.dataset.name)


if __name__ == "__main__":
    guarded(main, debug=False)
