"""Trainings on the processor divided into logical devices, in a process of their own.

``python -m tests.training.several_devices DATASET FOLDER CASES``; their number is fixed when
TensorFlow starts. CASES is JSON: a list of (name of the run, devices, overrides). One
whose name ends in ``!`` is killed after its first epoch.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

Case = tuple[str, int, Sequence[str]]


def run_cases(dataset: Path, folder: Path, cases: Sequence[Case]) -> str:
    """Train all cases, one after the other, and give what was printed."""
    module = "tests.training.several_devices"
    command = [sys.executable, "-m", module, str(dataset), str(folder), json.dumps(cases)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1500, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def main() -> None:
    dataset, folder, cases = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
    from smartbkg_tf.runtime.quiet import load_tensorflow

    load_tensorflow()
    import tensorflow as tf

    from smartbkg_tf.dataset.dataset import open_dataset
    from smartbkg_tf.training.fit import fit
    from smartbkg_tf.training.resume import Resume
    from tests.training.samples import settings_of

    def killed(self: Resume, epoch: int, logs: object = None) -> None:
        if epoch:
            raise KeyboardInterrupt
        begin(self, epoch)

    begin = Resume.on_epoch_begin
    # Improving the graphs costs more than these few steps.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    logical = [tf.config.LogicalDeviceConfiguration()] * max(n for _, n, _ in cases)
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], logical)
    for name, devices, overrides in cases:
        options = [*overrides, "training.device=cpu", f"training.devices={devices}"]
        settings = settings_of(dataset, folder / name.rstrip("!"), *options)
        Resume.on_epoch_begin = killed if name.endswith("!") else begin  # type: ignore[method-assign]
        with contextlib.suppress(KeyboardInterrupt):
            fit(settings, open_dataset(dataset))


if __name__ == "__main__":
    main()
