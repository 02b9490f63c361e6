"""Overrides that Hydra would read in another sense: paths named like a group, comma lists."""

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
    return f"{{path:{_quoted(_text(path))}}}"


def _text(value: object) -> str:
    """Give a value without the quotes of the command line."""
    return str(getattr(value, "text", value))


def commas_as_text(arguments: Sequence[str], keys: Sequence[str]) -> list[str]:
    """Write ``KEY=A,B`` as the text ``KEY="A,B"`` outside a sweep, where Hydra would refuse it.

    Parameters
    ----------
    arguments : sequence of str
        As on the command line.
    keys : sequence of str
        The keys whose settings read such a text as a list.

    Returns
    -------
    list of str
        The same, with those keys rewritten; with ``--multirun`` unchanged: there a comma
        divides jobs.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    if {"--multirun", "-m"} & set(arguments):
        return list(arguments)
    result = []
    for argument in arguments:
        key = argument.partition("=")[0]
        if key in keys and "," in argument:
            try:
                override = OverridesParser.create().parse_override(argument)
            except HydraException:
                override = None
            if override is not None and override.is_choice_sweep():
                values = [_text(value) for value in override.sweep_iterator()]
                argument = f"{key}={_quoted(','.join(values))}"
        result.append(argument)
    return result


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
