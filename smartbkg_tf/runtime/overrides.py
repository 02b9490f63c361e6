"""Translate a user's ``KEY=VALUE`` overrides into the syntax of Hydra.

Hydra refuses a key that no file lists, and reads a comma as a sweep. Here the settings classes hold
the defaults and refuse what they do not know, so a value is handed on as ``++KEY=VALUE``.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, QuotedString, ValueType
from hydra.errors import HydraException, OverrideParseException

from smartbkg_tf.errors import ConfigurationError, did_you_mean


@dataclass(frozen=True)
class Overrides:
    """How one command reads overrides.

    A folder in one of `folders`, which hold configuration files, is a group. The text of keys in
    `lists` may hold several values with commas between; `aliases` are other names of keys.
    """

    folders: Sequence[Path]
    lists: Sequence[str] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)

    def for_hydra(self, texts: Sequence[str], *, sweep: bool = False) -> list[str]:
        """Rewrite overrides; in a sweep a comma still separates jobs."""
        return [new for text in texts for new in self.rewritten(text, sweep=sweep)]

    def rewritten(self, text: str, *, sweep: bool = False) -> list[str]:
        """Rewrite one override, which may become two."""
        key, equals, value = text.partition("=")
        if key == "+experiment":  # Every command has a slot for it.
            key = "experiment"
        key = self.aliases.get(key, key)
        if not equals or not key[:1].isalpha() or key.startswith(("hydra.", "hydra/")):
            added = key.lstrip("+")
            if equals and key[:1] == "+" and any((f / added).is_dir() for f in self.folders):
                _check_choice(added, value)
            return [text]
        if self._is_group(key) and not value.strip().startswith("{"):
            return self._choice(key, value, sweep=sweep)
        if key in self.lists and "," in value and not sweep:
            value = _as_text(key, value)
        return [f"++{key}={value}"]

    def _is_group(self, key: str) -> bool:
        name = key.partition("@")[0]
        if any((folder / name).is_dir() for folder in self.folders):
            return True
        if "/" in name:
            known = {
                path.relative_to(folder).as_posix()
                for folder in self.folders
                for path in folder.rglob("*")
                if path.is_dir()
            }
            raise ConfigurationError(f"there is no group '{name}'; {did_you_mean(name, known)}")
        return False

    def _choice(self, group: str, value: str, *, sweep: bool) -> list[str]:
        names = [name.strip().lower() for name in value.split(",")]
        if "null" not in names:
            _check_choice(group, value)
            return [f"{group}={value}"]
        if len(names) > 1:
            raise ConfigurationError(
                f"'{group}={value}' has null among its choices",
                next_step="run the job without a choice separately" if sweep else None,
            )
        # No file: the settings class has its default. Inside a group null is a value, too.
        nested = [f"++{group.replace('/', '.')}=null"] if "/" in group else []
        return [f"~{group}", *nested]


def _check_choice(group: str, value: str) -> None:
    """Refuse what cannot be a file name: Hydra would fail on a number, true or null."""
    override = parsed(f"{group}={value}")
    if override is None or value.strip().startswith("{") or _is_glob(override):
        return  # Refused later, the group's values themselves, or a choice among its files.
    found = override.value()
    if override.is_choice_sweep():
        found = list(override.sweep_iterator())
    names = found if isinstance(found, list) else [found]
    if not all(isinstance(name, (str, QuotedString)) for name in names):
        raise ConfigurationError(
            f"{group}={value}: '{group}' is a group of settings and needs the name of a file in "
            f"the folder {group}, not {value.strip()}"
        )


def _is_glob(override: Override) -> bool:
    return bool(override.value_type == ValueType.GLOB_CHOICE_SWEEP)


def as_written(overrides: str) -> str:
    """Remove the ``++`` from overrides separated by commas or spaces, for messages."""
    return re.sub(r"(^|[, ])\+\+", r"\1", overrides)


def parsed(text: str) -> Override | None:
    """Parse one override; None if Hydra will refuse it."""
    try:
        return OverridesParser.create().parse_override(text)
    except HydraException:
        return None


def search_path(texts: Sequence[str]) -> list[Path]:
    """Find further folders of configuration files in ``hydra.searchpath=[file://FOLDER]``."""
    for text in texts:
        if text.startswith("hydra.searchpath="):
            override = parsed(text)
            value = override.value() if override is not None else None
            if isinstance(value, list):
                return [Path(str(place).removeprefix("file://")) for place in value]
    return []


def _as_text(key: str, value: str) -> str:
    """Write ``A,B`` as the text ``"A,B"``, which is not a sweep."""
    override = parsed(f"{key}={value}")
    if override is None or not override.is_choice_sweep():
        return value
    # Quoted parts of the command line come as objects that hold their text.
    parts = [str(getattr(part, "text", part)) for part in override.sweep_iterator()]
    escaped = ",".join(parts).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def sweep_overrides(texts: Sequence[str]) -> tuple[list[str], list[str]]:
    """Part the overrides of the runner of sweeps from those of the jobs."""
    own, others = [], []
    for text in texts:
        key, _, value = text.lstrip("+").partition("=")
        if key in ("hydra/launcher", "hydra/sweeper") or key.startswith("hydra.launcher."):
            raise ConfigurationError(
                f"{text}: Hydra's launchers and sweepers are not used",
                next_step="choose sweep.jobs=N, sweep.backend=slurm|htcondor or "
                "hparams_search=NAME",
            )
        if key == "hydra.sweep.dir":
            own.append(f"sweep.dir={value}")
        elif key.startswith(("sweep.", "hparams_search.")) or key == "hparams_search":
            own.append(text)
        else:
            others.append(text)
    return own, others


def jobs_of(texts: Sequence[str], *, sweep: bool, loader: Any = None) -> Iterator[list[str]]:
    """Give the overrides of every job of a sweep, or those of the one job.

    `loader` is Hydra's loader of configuration files, which knows what ``glob`` matches.
    """
    try:
        overrides = OverridesParser.create(loader).parse_overrides(list(texts))
    except OverrideParseException as error:
        written, reason = as_written(str(error.override)), str(error).splitlines()[0]
        raise ConfigurationError(
            f"the override '{written}' cannot be read ({reason})",
            next_step="put values with spaces, = or commas into quotes: 'key=\"a value\"'",
        ) from error
    # Hydra's own settings need its full composition; it checks them itself.
    choices: list[list[str]] = []
    for text, override in zip(texts, overrides, strict=True):
        key = override.key_or_group
        if key.startswith(("hydra/", "hydra.")) and key != "hydra.searchpath":
            continue
        if not override.is_sweep_override():
            choices.append([text])
            continue
        if not sweep:
            raise ConfigurationError(
                f"'{as_written(text)}' gives several values to '{key}'",
                next_step=f"add --multirun to run one job for each, or write a list: '{key}=[...]'",
            )
        if override.is_discrete_sweep():
            element = override.get_key_element()
            found = [f"{element}={value}" for value in override.sweep_string_iterator()]
            if not found:
                raise ConfigurationError(f"'{as_written(text)}' matches nothing")
            choices.append(found)
        else:
            raise ConfigurationError(
                f"'{as_written(text)}' is no list of values",
                next_step="an interval is searched with hparams_search=NAME",
            )
    yield from map(list, itertools.product(*choices))
