r"""Many jobs: all combinations of values, or a search for hyper-parameters.

Examples
--------
::

    python -m smartbkg_tf.sweep model=resnet,transformer training.seed=1,2 sweep.jobs=2
    python -m smartbkg_tf.sweep hparams_search=resnet data.path=dataset sweep.dir=searches/resnet
    python -m smartbkg_tf.sweep 'model=glob(res*)' data.path=dataset sweep.backend=slurm
    python -m smartbkg_tf.sweep preprocess input=a.h5,b.h5 'output=dataset_${input}'
    python -m smartbkg_tf.sweep report searches/resnet

The first word may name another command than train. ``sweep.`` and ``hparams_search`` are settings
of the sweep, all other overrides those of the command; ``COMMAND --multirun`` does the same. Given
again with the same folder, the command does what is left. ``report`` writes one HTML page.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from smartbkg_tf.config import CONFIGURED, command_named
from smartbkg_tf.runtime.command import Command
from smartbkg_tf.settings.sweeps import SweepCommandSettings

_ASKS = ("-h", "--help", "-c", "--cfg", "--hydra-help", "--info", "-i")


def run(settings: SweepCommandSettings) -> None:
    """Do nothing: the jobs are those of another command."""


class SweepCommand(Command[SweepCommandSettings]):
    """A command that hands its overrides to another one, many times."""

    def _run(self, argv: list[str], *, debug: bool) -> None:
        if argv[:1] == ["report"]:
            _report(argv[1:])
        elif argv[:1] == ["run-job"]:
            _run_job(argv[1:])
        elif any(text.partition("=")[0] in _ASKS for text in argv):
            super()._run(argv, debug=debug)
        else:
            name = argv[0] if argv and argv[0] in CONFIGURED and argv[0] != self.name else None
            entry = command_named(name or "train")
            entry._run(["--multirun", *argv[name is not None :]], debug=debug)


def _report(arguments: Sequence[str]) -> None:
    from smartbkg_tf.runtime.progress import say
    from smartbkg_tf.runtime.sweeps.report import write_report

    parser = argparse.ArgumentParser("python -m smartbkg_tf.sweep report")
    parser.add_argument("folder", type=Path, help="the folder of a sweep")
    say(str(write_report(parser.parse_args(arguments).folder)))


def _run_job(arguments: Sequence[str]) -> None:
    """Run one job, as the scripts of batch systems do."""
    from smartbkg_tf.runtime.sweeps.runner import run_job

    parser = argparse.ArgumentParser("python -m smartbkg_tf.sweep run-job")
    parser.add_argument("folder", type=Path)
    parser.add_argument("number", type=int)
    parser.add_argument("--transferred", action="store_true")
    options = parser.parse_args(arguments)
    code = run_job(options.folder, options.number, transferred=options.transferred)
    if code:
        sys.exit(code)


main = SweepCommand("sweep", SweepCommandSettings, run)

if __name__ == "__main__":
    main()
