r"""Score events with a trained model, and decide which of them are simulated.

python -m smartbkg_tf.apply model=RUN_DIR input='data/*.h5' output=predictions.parquet
python -m smartbkg_tf.apply model=model.onnx input=events.root output=p.parquet \
        method=threshold threshold=0.0 events_output=kept.csv
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from smartbkg_tf.runtime.command import Command
from smartbkg_tf.settings.filtering import ApplySettings


def run(settings: ApplySettings) -> None:
    """Apply a model.

    Parameters
    ----------
    settings : ApplySettings
        What to apply to what.
    """
    from smartbkg_tf.filtering.apply import apply

    apply(settings)


def with_model_as_value(arguments: Sequence[str]) -> list[str]:
    """Write ``model=PATH`` so that Hydra takes it as a value.

    The folder ``conf/model`` makes Hydra read ``model=NAME`` as the choice of a network,
    which it is for `train`. A mapping is never a choice: ``model={path: PATH}``.

    Parameters
    ----------
    arguments : sequence of str
        As on the command line.

    Returns
    -------
    list of str
        The same, with every ``model=`` rewritten; what cannot be parsed is left for
        Hydra to refuse.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    def mapping(path: object) -> str:
        text = str(path).replace("\\", "\\\\").replace('"', '\\"')
        return f'{{path:"{text}"}}'

    result = []
    for argument in arguments:
        if not argument.startswith("model="):
            result.append(argument)
            continue
        try:
            override = OverridesParser.create().parse_override(argument)
        except HydraException:
            result.append(argument)
            continue
        value = override.value()
        if override.is_choice_sweep():
            paths = [mapping(path) for path in override.sweep_iterator()]
            result.append(f"model={','.join(paths)}")
        elif isinstance(value, dict) or value is None or override.is_sweep_override():
            result.append(argument)
        else:
            result.append(f"model={mapping(value)}")
    return result


@dataclass(frozen=True)
class ApplyCommand(Command[ApplySettings]):
    """The entry point of `apply`, whose ``model=`` is a path and no choice of a network."""

    def __call__(self) -> None:
        """Run the command with the arguments of ``sys.argv``.

        Raises
        ------
        SystemExit
            With the exit codes of `smartbkg_tf.runtime.command`.
        """
        sys.argv[1:] = with_model_as_value(sys.argv[1:])
        super().__call__()


main = ApplyCommand("apply", ApplySettings, run)

if __name__ == "__main__":
    main()
