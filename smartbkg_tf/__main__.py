"""All commands under one name: ``smartbkg-tf train model=resnet``.

``python -m smartbkg_tf.train`` does the same; a container needs one entry point.
"""

from __future__ import annotations

import importlib
import sys

from smartbkg_tf.errors import did_you_mean

COMMANDS = {
    "produce": "training tables from Pythia 8 or from basf2 mDST files",
    "preprocess": "training tables -> a dataset directory of memory maps",
    "train": "a dataset directory -> a run directory (with no data: a demo sample first)",
    "rerun": "a run directory -> the same training again, and a comparison",
    "apply": "a run directory + events -> scores, pass flags, weights",
    "evaluate": "runs and predictions -> metrics, plots, report",
    "export": "a run directory -> ONNX",
    "sweep": "many trainings: all combinations, or a search for the best; table and report",
    "config": "show, validate or describe a configuration",
}


def main() -> None:
    """Run the command that the first argument names."""
    arguments = sys.argv[1:]
    if arguments and arguments[0] in ("-h", "--help"):
        print(_usage())
        raise SystemExit(0)
    if not arguments:
        print(_usage(), file=sys.stderr)
        raise SystemExit(2)
    name = arguments[0]
    if name not in COMMANDS:
        print(f"error: '{name}' is not a command; {did_you_mean(name, COMMANDS)}", file=sys.stderr)
        raise SystemExit(2)
    sys.argv = [f"smartbkg-tf {name}", *arguments[1:]]
    importlib.import_module(f"smartbkg_tf.{name}").main()


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {text}" for name, text in COMMANDS.items()]
    return (
        "usage: smartbkg-tf COMMAND [OVERRIDES ...]\n"
        "       python -m smartbkg_tf.COMMAND [OVERRIDES ...]\n\n"
        + "\n".join(lines)
        + "\n\nsmartbkg-tf COMMAND --help tells the settings of a command."
    )


if __name__ == "__main__":
    main()
