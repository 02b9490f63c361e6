"""The text of ``--help``: what a command does, and its settings with their comments.

The files in ``conf/`` explain every key beside its default; they are shown as they are, so
that help and behaviour cannot differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

#: Hydra's own groups; they say nothing about this package.
_NOT_OURS = ("hydra", "experiment")


def help_text(name: str, description: str, overrides: Sequence[str], directory: Path) -> str:
    """Compose the help of a command.

    Parameters
    ----------
    name : str
        The command.
    description : str
        What it does: the docstring of its module.
    overrides : sequence of str
        As on the command line; a chosen group (``model=custom``) is shown instead of the
        default one.
    directory : pathlib.Path
        The folder ``conf``.

    Returns
    -------
    str
        The whole text.
    """
    chosen = _choices(directory / f"{name}.yaml", overrides)
    parts = [
        description.strip(),
        f"usage: python -m smartbkg_tf.{name} [KEY=VALUE ...] [--multirun] [--cfg job] "
        "[--config-dir DIR]",
    ]
    groups = []
    for group in chosen:
        groups.append(f"  {group}=NAME")
        for path in sorted((directory / group).glob("*.yaml")):
            groups.append(f"    {path.stem:<16} {_first_comment(path)}")
    folder = directory / "experiment"
    experiments = [path for path in sorted(folder.rglob("*.yaml")) if _fits(path, name)]
    if experiments:
        groups.append("  +experiment=NAME")
        for path in experiments:
            choice = path.relative_to(folder).with_suffix("").as_posix()
            groups.append(f"    {choice:<16} {_first_comment(path)}")
    if groups:
        parts.append("Groups of settings:\n" + "\n".join(groups))
    parts.append(
        "Settings and their defaults:\n\n" + _indented(_own_part(directory / f"{name}.yaml"))
    )
    for group, choice in chosen.items():
        path = directory / group / f"{choice}.yaml"
        if path.is_file():
            parts.append(
                f"{group}={choice}  (keys begin with '{group}.'):\n\n" + _indented(path.read_text())
            )
    parts.append(
        f"python -m smartbkg_tf.config show {name} [KEY=VALUE ...] prints the composed values."
    )
    return "\n\n".join(parts)


def _choices(path: Path, overrides: Sequence[str]) -> dict[str, str]:
    """Give a command's groups and the choice of each: the default, or what was asked for."""
    groups: dict[str, str] = {}
    for entry in yaml.safe_load(path.read_text()).get("defaults", []):
        if isinstance(entry, dict):
            ((group, choice),) = entry.items()
            if not group.startswith("override ") and group not in _NOT_OURS:
                groups[group.removeprefix("optional ").strip("/")] = str(choice)
    for text in overrides:
        key, separator, value = text.lstrip("+").partition("=")
        if separator and key in groups:
            groups[key] = value
    return groups


def _fits(experiment: Path, name: str) -> bool:
    """Tell whether an experiment's first comment, its command line, is for this command."""
    return f"smartbkg_tf.{name}" in _first_comment(experiment)


def _first_comment(path: Path) -> str:
    for line in path.read_text().splitlines():
        text = line.lstrip("# ").strip()
        if line.startswith("#") and text and not text.startswith("@package"):
            return text.removeprefix(f"{path.stem}: ")
    return ""


def _own_part(path: Path) -> str:
    """Give the file without its defaults list and Hydra's own node."""
    kept: list[str] = []
    skipping = False
    for line in path.read_text().splitlines():
        if line.startswith(("defaults:", "hydra:")):
            skipping = True
        elif line and not line[0].isspace() and not line.startswith("-"):
            skipping = False
        if not skipping:
            kept.append(line)
    return "\n".join(kept).strip() + "\n"


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" if line else "" for line in text.strip().splitlines())
