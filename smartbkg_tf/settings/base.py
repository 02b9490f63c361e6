"""How settings classes are declared and how values are checked against them.

Every configuration group is one frozen dataclass (validated by pydantic). An unknown
key is an error that names the nearest known one; all problems are reported at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, cast, dataclass_transform

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass
from pydantic.fields import FieldInfo

from smartbkg_tf.errors import ConfigurationError, Problems, did_you_mean

T = TypeVar("T")

#: Settings are nested no deeper; some branches hold branches, so a limit is needed.
_DEEPEST = 6

__all__ = ["CommandSettings", "Field", "fields_of", "json_schema", "settings", "validate"]


class SettingsError(ValueError):
    """All problems of some values, each as ``key.path: what is wrong``."""

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts
        super().__init__("; ".join(texts))


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(Field,))
def settings(cls: type[T]) -> type[T]:
    """Make an annotated class a settings group: typed, frozen, keyword-only, without extra keys.

    Defaults and limits are given through ``Field``.
    """
    decorated: Any = pydantic_dataclass(
        cls,
        frozen=True,
        kw_only=True,
        config=ConfigDict(
            extra="forbid", validate_default=True, populate_by_name=True, allow_inf_nan=False
        ),
    )
    return cast("type[T]", decorated)


@settings
class CommandSettings:
    """What every command understands.

    Parameters
    ----------
    debug : bool, default False
        Show tracebacks.
    overwrite : bool, default False
        Replace an output that exists already.
    """

    debug: bool = False
    overwrite: bool = False


_ADAPTERS: dict[type[Any], TypeAdapter[Any]] = {}


def _adapter(cls: type[Any]) -> TypeAdapter[Any]:
    if cls not in _ADAPTERS:
        _ADAPTERS[cls] = TypeAdapter(cls)
    return _ADAPTERS[cls]


def fields_of(cls: type[Any]) -> dict[str, FieldInfo]:
    """Give the fields of a settings class by name."""
    fields: dict[str, FieldInfo] = getattr(cls, "__pydantic_fields__", {})
    return fields


def json_schema(cls: type[Any]) -> dict[str, Any]:
    """Describe a settings class as JSON Schema (draft 2020-12)."""
    return _adapter(cls).json_schema()


def validate(cls: type[T], values: Mapping[str, Any], where: str | None = None) -> T:
    """Turn plain nested values into settings, or report every problem at once.

    `ConfigurationError` names each unknown key (with the nearest known one), missing key, wrong
    type and value out of range; `where` says what is being checked.
    """
    try:
        return checked(cls, values)
    except SettingsError as error:
        problems = Problems()
        for text in error.texts:
            problems.add(text)
        problems.raise_if_any(
            "the configuration cannot be used", kind=ConfigurationError, where=where
        )
        raise AssertionError("settings without problems were refused") from error


def checked(cls: type[T], values: Mapping[str, Any]) -> T:
    """Turn plain values into settings; raises `SettingsError` with all problems."""
    try:
        result: T = _adapter(cls).validate_python(dict(values))
    except ValidationError as error:
        texts = []
        for item in error.errors(include_url=False):
            inner = item.get("ctx", {}).get("error")
            if isinstance(inner, SettingsError):  # of a plug-in's arguments
                place = ".".join(_path(values, item))
                texts += [f"{place}.{text}" if place else text for text in inner.texts]
            else:
                texts.append(_in_words(cls, values, item))
        raise SettingsError(texts) from error
    booleans = list(_booleans_as_numbers(result, values, ""))
    if booleans:
        raise SettingsError(booleans)
    return result


def _booleans_as_numbers(result: Any, values: Any, place: str) -> Iterator[str]:
    """Name the fields where true or false was taken for 1 or 0, as pydantic does."""
    if isinstance(values, bool):
        if isinstance(result, (int, float)) and not isinstance(result, bool):
            yield f"{place}: a number is needed, not {str(values).lower()}"
    elif isinstance(values, Mapping):
        for key, value in values.items():
            made = result.get(key) if isinstance(result, Mapping) else getattr(result, key, None)
            yield from _booleans_as_numbers(made, value, f"{place}.{key}" if place else str(key))
    elif isinstance(values, (list, tuple)) and isinstance(result, (list, tuple)):
        for i, (made, value) in enumerate(zip(result, values, strict=False)):
            yield from _booleans_as_numbers(made, value, f"{place}.{i}")


def _path(values: Any, item: Mapping[str, Any]) -> list[str]:
    """Give the keys that lead to a problem."""
    path: list[str] = []
    node: Any = values
    location = list(item["loc"])
    for position, part in enumerate(location):
        last = position == len(location) - 1
        if isinstance(node, Mapping) and part in node:
            path.append(str(part))
            node = node[part]
        elif isinstance(node, (list, tuple)) and isinstance(part, int):
            path.append(str(part))
            node = node[part] if part < len(node) else None
        elif last and isinstance(node, Mapping) and item["type"] in ("missing", "missing_argument"):
            path.append(str(part))
        # Anything else is the tag of a union, which is in no configuration file.
    return path


def _in_words(cls: type[Any], values: Any, item: Mapping[str, Any]) -> str:
    """Say one validation problem as 'key.path: what is wrong'."""
    path = _path(values, item)
    name = ".".join(path) or "(top level)"
    if item["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"{name}: there is no such key; {_nearest(cls, path)}"
    if item["type"] in ("missing", "missing_argument"):
        return f"{name}: a value is needed; give {name}=VALUE"
    message = str(item["msg"]).removeprefix("Value error, ")
    if item["type"] == "literal_error":
        expected = str(item["ctx"]["expected"]).replace(" or ", ", ").split(", ")
        choices = [choice.strip("'") for choice in expected]
        given = str(item["input"])
        return f"{name}: '{given}' is not a choice; {did_you_mean(given, choices)}"
    if item["type"] in ("value_error", "assertion_error"):
        return f"{name}: {message}"
    return f"{name}: {message[0].lower()}{message[1:]}, not {item['input']!r}"


def _nearest(cls: type[Any], path: list[str]) -> str:
    """Name the nearest key at this place, or else the key of the same name at another place."""
    keys = list(_all_keys(json_schema(cls)))
    hint = did_you_mean(path[-1], [key[-1] for key in keys if _same(key[:-1], path[:-1])])
    if not hint.startswith("did you mean"):
        for other in keys:
            if other[-1] == path[-1] and "*" not in other:
                return f"did you mean '{'.'.join(other)}'?"
    return hint


def _same(pattern: tuple[str, ...], path: list[str]) -> bool:
    return len(pattern) == len(path) and all(
        a in (b, "*") for a, b in zip(pattern, path, strict=True)
    )


def _all_keys(schema: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """List every key by its path, those of all choices of a group; ``*`` is an entry of a list."""

    def walk(node: dict[str, Any], path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        if "$ref" in node:
            node = schema["$defs"][node["$ref"].rpartition("/")[2]]
        for option in (*node.get("anyOf", ()), *node.get("oneOf", ()), *node.get("allOf", ())):
            yield from walk(option, path)
        inside = [(key, item, True) for key, item in node.get("properties", {}).items()]
        inside += [("*", node.get(name), False) for name in ("items", "additionalProperties")]
        for key, item, named in inside:
            if named:
                yield (*path, key)
            if isinstance(item, dict) and len(path) < _DEEPEST:
                yield from walk(item, (*path, key))

    return walk(schema, ())
