"""The text of ``--help``: groups with their choices, and every setting with its default.

Values come from the configuration as it would be used, explanations from the docstrings of the
settings classes and the first comments of the files in ``conf/``.
"""

from __future__ import annotations

import inspect
import itertools
import re
import textwrap
from collections.abc import Collection, Iterator, Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml

from smartbkg_tf.settings.base import fields_of
from smartbkg_tf.settings.plugins import TARGET, Plugin, plain

#: Columns of the text, and of its first column.
_WIDTH, _FIRST = 118, 42


def help_text(
    name: str,
    description: str,
    settings: Any,
    *,
    needed: Collection[str],
    choices: Mapping[str, Any],
    directory: Path,
) -> str:
    """Compose the help of a command.

    `description` is the docstring of its module, `settings` hold all defaults, `needed` names keys
    without one, `choices` gives the chosen file or files of every group in the folder `directory`.
    """
    usage = f"usage: python -m smartbkg_tf.{name} [KEY=VALUE ...] [--multirun] [--cfg job]"
    parts = [description.strip(), f"{usage} [--config-dir DIR]"]
    groups = [
        line
        for group in sorted({*choices, *_groups_inside(choices, directory)})
        for line in _choices(group, choices.get(group), directory, name)
    ]
    if groups:
        parts.append("\n".join(["Groups of settings (* is chosen here):", *groups]))
    own: list[str] = []
    nested: list[str] = []
    for key, value, text in _rows(settings):
        value = "???" if key in needed else value
        (nested if "." in key else own).append(_line(f"{key}={value}", text))
    parts.append("\n".join(["Settings and their defaults (???: needed):", *own, *nested]))
    parts.append(
        f"python -m smartbkg_tf.config show {name} [KEY=VALUE ...] prints the whole configuration."
    )
    return "\n\n".join(parts)


def _groups_inside(groups: Collection[str], directory: Path) -> Iterator[str]:
    """List nested groups; Hydra does not name those without a choice."""
    for group in groups:
        if group != "experiment":
            for path in (directory / group).rglob("*.yaml"):
                yield path.parent.relative_to(directory).as_posix()


def _choices(group: str, chosen: Any, directory: Path, name: str) -> Iterator[str]:
    """List the files of a group, each with its first comment."""
    folder = directory / group
    rows = []
    for path in sorted(folder.rglob("*.yaml") if group == "experiment" else folder.glob("*.yaml")):
        comments = _comments(path)
        if group == "experiment":  # The first comment is the command line.
            if not comments or f"smartbkg_tf.{name} " not in comments[0]:
                continue
            comments = comments[1:]
        if not path.stem.startswith("_"):
            choice = path.relative_to(folder).with_suffix("").as_posix()
            text = comments[0].removeprefix(f"{choice}: ") if comments else ""
            rows.append((choice, text))
    if rows:
        yield f"  {group}=NAME"
    width = max((len(choice) for choice, _ in rows), default=0)
    for choice, text in rows:
        mark = "*" if choice in (chosen if isinstance(chosen, list) else [chosen]) else " "
        line = f"  {mark} {choice:<{width}}  {text}".rstrip()
        yield line if len(line) <= _WIDTH else line[: _WIDTH - 4].rpartition(" ")[0] + " ..."


def _comments(path: Path) -> list[str]:
    """Give the comments at the head of a file, except Hydra's."""
    lines = itertools.takewhile(lambda line: line.startswith("#"), path.read_text().splitlines())
    return [line.lstrip("# ") for line in lines if "@package" not in line]


def _rows(settings: Any, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Give key, value and explanation of every setting; groups inside follow their parent's own."""
    cls = type(settings)
    if isinstance(settings, Plugin):
        target = f"{cls.__module__}.{cls.__qualname__}"
        yield f"{prefix}{TARGET}", target, _first_sentence(inspect.getdoc(cls) or "")
    texts = explanations(cls)
    inside: list[tuple[str, Any]] = []
    for name, field in fields_of(cls).items():
        key, value = f"{prefix}{field.alias or name}", getattr(settings, name)
        if is_dataclass(value):
            inside.append((key, value))
        elif isinstance(value, Mapping) and any(isinstance(v, Plugin) for v in value.values()):
            inside += [(f"{key}.{entry}", part) for entry, part in value.items()]
        else:
            choices = _literals(field.annotation)
            text = f"[{' | '.join(choices)}] " if len(choices) > 1 else ""
            explanation = texts.get(name) or texts.get(field.alias or name, "")
            yield key, _as_yaml(plain(value)), text + _first_sentence(explanation)
    for key, value in inside:
        yield from _rows(value, f"{key}.")


def explanations(cls: type[Any]) -> dict[str, str]:
    """Read what a settings class and its bases say about each parameter."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        doc = inspect.cleandoc(base.__dict__.get("__doc__") or "")
        _, title, section = doc.partition("Parameters\n----------\n")
        section = re.split(r"\n\S.*\n---", section)[0]
        for entry in re.split(r"\n(?=\w)", section) if title else ():
            names, _, text = entry.partition("\n")
            for name in names.partition(" :")[0].split(","):
                found[name.strip()] = " ".join(text.split())
    return found


def _first_sentence(text: str) -> str:
    sentence = re.split(r"\.\s+(?=[A-Z\"`])|\.$", " ".join(text.split()), maxsplit=1)[0]
    return re.sub(r",? defaults? [^,;]*$", "", sentence)


def _literals(annotation: Any) -> list[str]:
    """List the choices of a ``Literal``, alone or in a union."""
    if get_origin(annotation) is Literal:
        return [str(choice) for choice in get_args(annotation)]
    return [choice for part in get_args(annotation) for choice in _literals(part)]


def _as_yaml(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6, sort_keys=False)
    return textwrap.shorten(text.removesuffix("\n").removesuffix("\n..."), 70, placeholder=" ...")


def _line(setting: str, text: str) -> str:
    room = _WIDTH - _FIRST
    text = textwrap.shorten(text, room, placeholder=" ...") if text else ""
    if len(setting) > _FIRST - 4:
        return f"  {setting}\n{'':<{_FIRST}}{text}".rstrip()
    return f"  {setting:<{_FIRST - 2}}{text}".rstrip()
