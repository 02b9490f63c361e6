"""Overrides whose key is also the name of a configuration group."""

from __future__ import annotations

from collections.abc import Sequence


def paths_as_values(arguments: Sequence[str], keys: Sequence[str]) -> list[str]:
    """Write ``KEY=PATH`` so that Hydra takes it as a value and not as a choice of a group.

    The folder ``conf/model`` makes Hydra read ``model=NAME`` as the choice of a network,
    which it is for `train` but not for `apply`. A mapping is never a choice:
    ``model={path: PATH}``; the settings class takes the path out again.

    Parameters
    ----------
    arguments : sequence of str
        As on the command line.
    keys : sequence of str
        The keys that hold paths.

    Returns
    -------
    list of str
        The same, with those keys rewritten; what cannot be parsed is left for Hydra to
        refuse.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    result = []
    for argument in arguments:
        key = argument.partition("=")[0]
        if key not in keys:
            result.append(argument)
            continue
        try:
            override = OverridesParser.create().parse_override(argument)
        except HydraException:
            result.append(argument)
            continue
        value = override.value()
        if override.is_choice_sweep():
            paths = [_mapping(path) for path in override.sweep_iterator()]
            result.append(f"{key}={','.join(paths)}")
        elif isinstance(value, dict) or value is None or override.is_sweep_override():
            result.append(argument)
        else:
            result.append(f"{key}={_mapping(value)}")
    return result


def _mapping(path: object) -> str:
    text = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'{{path:"{text}"}}'
