"""Run sweeps of stand-ins for trainings: here, or as a program of its own that can be killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from smartbkg_tf.runtime.sweeps.runner import run_sweep
from smartbkg_tf.settings.base import validate
from smartbkg_tf.settings.sweeps import SweepCommandSettings

STAND_IN = [str(Path(__file__).with_name("stand_in.py"))]

#: Small, with a parameter of each kind; "fail" is a categorical choice that fails.
SEARCH: dict[str, Any] = {
    "trials": 6,
    "startup": 3,
    "space": {
        "rate": {"low": 0.01, "high": 1, "log": True},
        "size": {"type": "int", "low": 2, "high": 8, "step": 2},
        "kind": {"type": "categorical", "choices": ["a", "b"]},
    },
}


def sweep(
    folder: Path, *jobs: list[str], search: dict[str, Any] | None = None, **settings: Any
) -> int:
    """Run a sweep in this process; give its exit code."""
    values = {"dir": str(folder), "interval": 0.05, **settings}
    checked = validate(SweepCommandSettings, {"sweep": values, "hparams_search": search})
    try:
        run_sweep("train", checked, jobs or [["a=1"]], check=len, program=STAND_IN)
    except SystemExit as error:
        return int(error.code or 0)
    return 0


def sweep_process(
    folder: Path, *jobs: list[str], search: dict[str, Any] | None = None, **settings: Any
) -> subprocess.Popen[str]:
    """Start the same as a program, in a session of its own."""
    call = json.dumps([str(folder), jobs, search, settings])
    return subprocess.Popen(
        [sys.executable, "-m", "tests.runtime.sweeps.sweeping", call],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        # A test run in the background of a shell ignores it, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def living(folder: Path) -> list[int]:
    """Find the processes of jobs of a sweep."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if any(word.startswith(f"run_dir='{folder}".encode()) for word in words):
            found.append(int(path.parent.name))
    return found


def kill(process: subprocess.Popen[str], folder: Path) -> None:
    """Kill a sweep and then its jobs, none of which is warned."""
    process.kill()
    process.communicate()
    for number in living(folder):
        try:
            os.kill(number, signal.SIGKILL)
        except ProcessLookupError:
            continue


if __name__ == "__main__":
    from smartbkg_tf.runtime.command import _end_cleanly_when_terminated

    _end_cleanly_when_terminated()
    place, all_overrides, found, others = json.loads(sys.argv[1])
    sys.exit(sweep(Path(place), *all_overrides, search=found, **others))
