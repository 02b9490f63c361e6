"""Show, validate or describe the configuration of a command.

::

    python -m smartbkg_tf.config show train model=resnet training.epochs=3
    python -m smartbkg_tf.config validate train model=resnet
    python -m smartbkg_tf.config schema preprocess

``show`` prints the whole configuration with all defaults as YAML, ``validate`` lists every
problem in it at once, ``schema`` prints the JSON Schema of its settings. The command is ``train``
unless the first word names another.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Sequence

from smartbkg_tf.runtime.command import Command, compose_settings, guarded
from smartbkg_tf.settings.base import CommandSettings, json_schema

#: The commands that have a configuration.
CONFIGURED = ("produce", "preprocess", "train", "apply", "evaluate", "export", "rerun", "sweep")


def command_named(name: str) -> Command[CommandSettings]:
    """Find the entry point of a command."""
    entry: Command[CommandSettings] = importlib.import_module(f"smartbkg_tf.{name}").main
    return entry


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m smartbkg_tf.config",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", choices=("show", "validate", "schema"))
    parser.add_argument(
        "words",
        nargs="*",
        metavar="COMMAND | OVERRIDE",
        help=f"a command ({', '.join(CONFIGURED)}; default train), then overrides",
    )
    parser.add_argument("--config-dir", help="a further folder of configuration files")
    return parser


def run(arguments: Sequence[str]) -> None:
    """Carry out one request."""
    options = _parser().parse_intermixed_args(list(arguments))
    words = list(options.words)
    name = words.pop(0) if words and words[0] in CONFIGURED else "train"
    entry = command_named(name)
    if options.action == "schema":
        print(json.dumps(json_schema(entry.settings_class), indent=2))
        return
    if options.action == "show":
        print(entry.show(words, options.config_dir), end="")
        return
    overrides = entry.overrides(words, options.config_dir)
    compose_settings(name, entry.settings_class, overrides, options.config_dir)
    print(f"the configuration of '{name}' is valid")


def main() -> None:
    """Run the command line; end with the exit codes of every command."""
    guarded(lambda: run(sys.argv[1:]), debug="debug=true" in sys.argv)


if __name__ == "__main__":
    main()
