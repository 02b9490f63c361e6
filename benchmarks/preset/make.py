"""Train a network on generic questions: events, labels, training. On trial for a preset.

Run: ``python -m benchmarks.preset.make --folder preset`` (some CPU-hours). Everything that is
finished stays in the folder; a killed run goes on where it was. Then:
``python -m smartbkg_tf.train model=trees model.head.answers=preset/run ...``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from benchmarks.preset.labels import LABELS
from smartbkg_tf.runtime.command import guarded

#: Events of each type and detector. The third detector, and other skims, judge the result
#: (``benchmarks/any_skim``).
EVENTS = {"mixed": 70_000, "charged": 70_000, "ccbar": 25_000, "ssbar": 15_000, "taupair": 10_000}
DETECTORS = ("belle2", "crowded")

#: Beside the generic questions: skims of which the benchmark makes its choices.
SKIMS = ("fei_hadronic_b0", "fei_semileptonic", "btox_gamma", "tau_thrust")
THREE_TRACKS = "benchmarks.any_skim.skims.ThreeTrackCharm"

#: How the backbone is trained.
TRAINING = (
    *("model=treenet", "model/head/inputs=[summaries,quantities]"),
    *("model.particles.dropout=0.05", "model.head.dropout=0.1"),
    *(
        "training.epochs=1",
        "training.sub_epochs=6",
        "training/schedule=cosine",
        "training.batch_size=256",
    ),
    *("training.class_weights=balanced", "training.monitor=val_auc", "training.seed=1"),
    *("data.balance=null", "data.symmetries=[charge_conjugation,mirror]"),
    *("data.fractions.train=0.94", "data.fractions.validation=0.03", "data.fractions.test=0.03"),
)


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
    run = options.folder / "run"
    if not (run / "done.json").is_file():
        call("train", *TRAINING, f"data.path={dataset}", f"run_dir={run}")


if __name__ == "__main__":
    guarded(main, debug=False)
