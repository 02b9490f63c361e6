"""The files in ``conf/``: each can be used, and repeats no default of the settings classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from smartbkg_tf.config import CONFIGURED, command_named
from smartbkg_tf.runtime.command import compose, composed_values, configuration_directory
from smartbkg_tf.settings.base import fields_of
from smartbkg_tf.settings.plugins import TARGET, plain, with_defaults

CONF = configuration_directory()
#: Keys that choose a settings class; they are written even where they are the default.
_CHOICES = (TARGET, "name")
#: What a file needs beside its own choice.
_NEEDED = {
    "data=belle_public": ["data.path=x.npz"],
    "model=custom": ["model._target_=tests.models.samples.Tiny"],
    "model/head/inputs=event_columns": ["model.head.inputs.event_columns.names=[energy]"],
}


def groups_of(name: str) -> list[str]:
    """Give the groups of a command, from its defaults list."""
    entries = yaml.safe_load((CONF / f"{name}.yaml").read_text())["defaults"]
    groups = [str(group) for entry in entries if isinstance(entry, dict) for group in entry]
    return [group for group in groups if group != "experiment"]


CHOICES = [
    (name, path.relative_to(CONF).with_suffix("").as_posix())
    for name in CONFIGURED
    for group in groups_of(name)
    for path in sorted((CONF / group).rglob("*.yaml"))
    if not path.name.startswith("_")
]


def chosen(name: str, file: str) -> Any:
    """Give the settings of a command with one file of a group."""
    group, _, choice = file.rpartition("/")
    text = f"{group}={choice}"
    config = compose(name, [text, *_NEEDED.get(text, [])])
    return with_defaults(command_named(name).settings_class, composed_values(config))[0]


def leaves(values: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*path, key))
        elif key != "defaults":
            yield (*path, key)


def own_values(file: str) -> dict[str, Any]:
    return yaml.safe_load((CONF / f"{file}.yaml").read_text()) or {}


def inherited(file: str) -> set[tuple[str, ...]]:
    """Give the keys that the defaults list of a file brings, which it may set back."""
    folder = Path(file).parent
    found: set[tuple[str, ...]] = set()
    for entry in own_values(file).get("defaults", []):
        if isinstance(entry, str) and entry != "_self_":
            other = (folder / entry).as_posix()
            found |= {*leaves(own_values(other)), *inherited(other)}
    return found


@pytest.mark.parametrize(("name", "file"), CHOICES)
def test_every_file_can_be_used_and_repeats_no_default(name: str, file: str) -> None:
    settings = chosen(name, file)
    group = tuple(file.split("/")[:-1])
    repeated = []
    for path in {*leaves(own_values(file))} - inherited(file):
        node, last = settings, path[-1]
        for key in (*group, *path[:-1]):
            node = None if isinstance(node, Mapping) else getattr(node, key, None)
        if not is_dataclass(node) or last in _CHOICES:  # Entries of a table are written in full.
            continue
        field = {f.alias or n: f for n, f in fields_of(type(node)).items()}[last]
        default = field.get_default(call_default_factory=True)
        if not field.is_required() and plain(default) == plain(getattr(node, last)):
            repeated.append(".".join(path))
    assert not repeated, f"{file}.yaml repeats defaults of the settings class"


@pytest.mark.parametrize("name", CONFIGURED)
def test_the_file_of_a_command_holds_its_defaults_list_only(name: str) -> None:
    assert set(own_values(name)) == {"defaults"}
