"""Repeat a training from its run directory, and compare the results.

python -m smartbkg_tf.rerun RUN_DIR
python -m smartbkg_tf.rerun RUN_DIR output=again tolerance=0.01

Configuration, seeds and data are those of the run; what else differs (software, code, processor)
is listed. The exit code is 1 if a number of ``metrics.json`` or ``history.csv`` differs by more
than the tolerance.
"""

from __future__ import annotations

from pathlib import Path

from smartbkg_tf.runtime.command import Command
from smartbkg_tf.settings.rerun import RerunSettings


def run(settings: RerunSettings) -> None:
    """Train again, and compare."""
    from smartbkg_tf.train import run as train
    from smartbkg_tf.training.rerun import check_same, prepare

    run, again = prepare(settings)
    train(again)
    check_same(run, again, settings.tolerance)


class RerunCommand(Command[RerunSettings]):
    """A command whose first word may be the run."""

    def _run(self, argv: list[str], *, debug: bool) -> None:
        # Folders of sweeps have "=" in their names.
        if argv and not argv[0].startswith("-") and ("=" not in argv[0] or Path(argv[0]).is_dir()):
            quoted = argv[0].replace("\\", "\\\\").replace("'", "\\'")
            argv = [f"run='{quoted}'", *argv[1:]]
        super()._run(argv, debug=debug)


main = RerunCommand("rerun", RerunSettings, run)

if __name__ == "__main__":
    main()
