"""One way to choose a class by configuration: ``_target_: module.Class`` and its arguments.

Networks, branches, schedules, losses, optimisers, feature sets, skims, readers and plots are all
chosen like this, the package's own ones and a user's.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any, TypeVar

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, TypeAdapter
from pydantic_core import core_schema

from smartbkg_tf.errors import ConfigurationError, did_you_mean, missing_package
from smartbkg_tf.settings.base import SettingsError, checked, fields_of, validate

T = TypeVar("T")

#: The key that names a class.
TARGET = "_target_"


_TEXT = {"type": "string"}

#: Base classes of which a JSON Schema is being made.
_described: list[str] = []


class Plugin:
    """Base of everything that a configuration chooses by ``_target_``.

    A subclass is declared with `smartbkg_tf.settings.base.settings`: its annotated fields are its
    arguments, their types, limits and defaults.

    Examples
    --------
    ::

        from smartbkg_tf.settings.base import Field, settings
        from smartbkg_tf.training.schedules import Schedule

        @settings
        class Halving(Schedule):
            every: int = Field(default=5, gt=0)
    """


def import_class(target: str, base: type[T] | None = None) -> type[T]:
    """Import ``module.Class``, also from the current folder; it must inherit `base`."""
    module_name, _, class_name = target.rpartition(".")
    where = f"{TARGET}={target}"
    if not module_name or not all(part.isidentifier() for part in target.split(".")):
        raise ConfigurationError(
            f"'{target}' is not an import path", next_step="write module.Class, e.g. mine.MyThing"
        )
    folder = os.getcwd()
    if folder not in sys.path and "" not in sys.path:
        # Last, so that nothing here hides an installed package. It stays: classes in the
        # module may import their neighbours later.
        sys.path.append(folder)
        importlib.invalidate_caches()
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or module_name
        if missing == module_name or module_name.startswith(f"{missing}."):
            raise ConfigurationError(
                f"there is no module '{missing}' in {folder} or among the installed packages",
                where=where,
                next_step="run the command in the folder of the file, or set PYTHONPATH",
            ) from error
        extra = missing_package(error)
        raise ConfigurationError(
            f"'{module_name}' needs the module '{missing}', which is not installed",
            where=where,
            next_step=None if extra is None else extra.next_step,
        ) from error
    except Exception as error:
        raise ConfigurationError(
            f"'{module_name}' cannot be imported ({type(error).__name__}: {error})", where=where
        ) from error
    found = getattr(module, class_name, None)
    if not isinstance(found, type):
        names = [
            name
            for name, value in vars(module).items()
            if isinstance(value, type) and (base is None or issubclass(value, base))
        ]
        kind = "has no class" if found is None else f"has a {type(found).__name__}, not a class,"
        raise ConfigurationError(
            f"'{module_name}' {kind} '{class_name}'; {did_you_mean(class_name, names)}", where=where
        )
    if base is not None and not issubclass(found, base):
        raise ConfigurationError(
            f"'{class_name}' does not inherit {base.__name__}",
            where=where,
            next_step=f"write: from {base.__module__} import {base.__name__}; "
            f"class {class_name}({base.__name__})",
        )
    return found


def plugin(base: str) -> Any:
    """Declare a settings field, as ``Annotated[Any, plugin("package.module.Base")]``.

    It takes an instance, or a mapping of ``_target_`` and the arguments of the class. The base
    class is imported only when a value is checked.
    """
    return _Chosen(base)


@dataclasses.dataclass(frozen=True)
class _Chosen:
    """How pydantic checks and describes a field of `plugin`."""

    base: str

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Make an instance of a mapping."""
        return core_schema.no_info_plain_validator_function(
            lambda value: make_plugin(self.base, value)
        )

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """List the classes that are known, and allow others."""
        any_class = {"type": "object", "required": [TARGET], "properties": {TARGET: _TEXT}}
        if self.base in _described:  # A class may have a field of the same kind.
            return any_class
        parent: type[Any] = import_class(self.base)
        choices = []
        _described.append(self.base)
        for cls in (parent, *_subclasses(parent)):
            if "__pydantic_fields__" in vars(cls):
                found = handler.resolve_ref_schema(handler(TypeAdapter(cls).core_schema))
                target = {"const": f"{cls.__module__}.{cls.__qualname__}"}
                properties = {TARGET: target, **found.get("properties", {})}
                choices.append({**found, "properties": properties})
        _described.pop()
        return {"anyOf": [*choices, any_class]}


def _subclasses(cls: type[Any]) -> Iterator[type[Any]]:
    for child in cls.__subclasses__():
        yield child
        yield from _subclasses(child)


def make_plugin(base: str, value: Any) -> Any:
    """Make an instance from plain values; problems carry the names of the arguments."""
    parent: type[Any] = import_class(base)
    if isinstance(value, parent):
        return value
    if not isinstance(value, Mapping) or not isinstance(value.get(TARGET), str):
        given = "null" if value is None else repr(value)
        raise ValueError(f"a mapping with {TARGET}: module.Class is needed, not {given}")
    arguments = {str(key): argument for key, argument in value.items() if key != TARGET}
    try:
        found = import_class(value[TARGET], parent)
    except ConfigurationError as error:
        raise ValueError(str(error)) from error
    if "__pydantic_fields__" not in vars(found):
        raise ValueError(
            f"'{found.__name__}' is not declared with @settings, so its arguments are unknown; "
            "write: from smartbkg_tf.settings.base import settings; @settings above the class"
        )
    try:
        return checked(found, arguments)
    except SettingsError as error:
        raise SettingsError([_with_owners(text, found, parent) for text in error.texts]) from error


def _with_owners(text: str, found: type[Any], parent: type[Any]) -> str:
    """Say of an unknown key which other classes of the same kind have it."""
    key, _, problem = text.partition(": ")
    owners = [cls.__name__ for cls in _subclasses(parent) if key in fields_of(cls)]
    if not owners or not problem.startswith("there is no such key"):
        return text
    return f"{key}: there is no such key of {found.__name__}, only of {', '.join(owners)}"


def plain(value: Any) -> Any:
    """Turn settings into the plain values that make them again, ``_target_`` included."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        values: dict[str, Any] = {}
        if isinstance(value, Plugin):
            values[TARGET] = f"{type(value).__module__}.{type(value).__qualname__}"
        for name, field in fields_of(type(value)).items():
            values[field.alias or name] = plain(getattr(value, name))
        return values
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, PurePath) else value


def with_defaults(cls: type[T], values: Mapping[str, Any]) -> tuple[T, list[str]]:
    """Check values; required ones that are missing are replaced by examples, and named."""
    fields = {field.alias or name: field for name, field in fields_of(cls).items()}
    needed = {
        key: (field.examples or ["???"])[0]
        for key, field in fields.items()
        if field.is_required() and key not in values
    }
    return validate(cls, {**values, **needed}), list(needed)


def filled(cls: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in all defaults, as plain values; a needed one that is not given is ``???``."""
    made, needed = with_defaults(cls, values)
    return {**plain(made), **dict.fromkeys(needed, "???")}
