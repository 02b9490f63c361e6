"""Make the datasets of the benchmark: one for each detector and event type, with every label.

Run: ``python -m benchmarks.any_skim.make --output DIRECTORY --detector belle2``
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from benchmarks.any_skim.plan import N_EVENTS, TASKS
from smartbkg_tf.runtime.command import guarded

_OWN = {
    "three_track_charm": "benchmarks.any_skim.skims.ThreeTrackCharm",
    "missing_energy": "benchmarks.any_skim.skims.MissingEnergy",
}


def skims_of(event_type: str) -> list[str]:
    """Name the skims that are looked at in events of a type."""
    return [task.skim for task in TASKS if task.event_type == event_type]


def call(module: str, *overrides: str) -> None:
    """Run a command of the package; finished outputs are left as they are by the command itself."""
    subprocess.run([sys.executable, "-m", f"smartbkg_tf.{module}", *overrides], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--detector", required=True)
    parser.add_argument("--event-types", nargs="+", default=list(N_EVENTS))
    parser.add_argument("--share", type=float, default=1.0, help="of the events")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    for event_type in options.event_types:
        folder = options.output / options.detector / event_type
        if (folder / "dataset").is_dir():
            continue
        names = skims_of(event_type)
        built_in = [name for name in names if name not in _OWN]
        call(
            "produce",
            f"event_type={event_type}",
            f"n_events={int(options.share * N_EVENTS[event_type])}",
            "seed=17",
            f"detector={options.detector}",
            f"skim=[{','.join(built_in)}]",
            *(f"+skim.{name}._target_={_OWN[name]}" for name in names if name in _OWN),
            f"workers={options.workers}",
            f"output={folder / 'tables'}",
        )
        call(
            "preprocess",
            f"input={folder / 'tables'}/*.h5",
            f"output={folder / 'dataset'}",
            f"workers={options.workers}",
        )


if __name__ == "__main__":
    guarded(main, debug=False)
