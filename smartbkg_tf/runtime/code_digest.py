"""Digests of source code, to recognise data that other code has made."""

from __future__ import annotations

import ast
import functools
import hashlib
import textwrap
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def code_digests(modules: Sequence[str], packages: Sequence[str]) -> dict[str, str]:
    """Digest the code of modules and of everything that they import from some packages.

    Imports are followed into `packages`, and into what lies beside a module of the user's own: its
    package, or the files in its folder. Gives 16 hexadecimal digits by name of the module, which do
    not depend on comments, docstrings, layout, place and version of Python.
    """
    inside = {*packages}
    folders = set()
    for name in modules:
        if not _within(name, inside):
            inside.add(name.partition(".")[0])
            folder = _folder(_spec(name))
            if folder is not None and "." not in name and "site-packages" not in folder.parts:
                folders.add(folder)

    def wanted(name: str) -> bool:
        top = name.partition(".")[0]
        return _within(name, inside) or (bool(folders) and _folder(_spec(top)) in folders)

    found: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        spec = _spec(name) if name not in found and wanted(name) else None
        if spec is None:
            continue
        source = _source(spec)
        if isinstance(source, bytes):
            found[name] = hashlib.sha256(source).hexdigest()[:16]
            continue
        found[name], imports = _parsed(source, spec.parent or "")
        for imported, names in imports:
            waiting.append(imported)
            # What is imported from a package may be a module; from a module it cannot be one.
            if names and wanted(imported) and _is_package(imported):
                waiting += [f"{imported}.{part}" for part in names]
    return dict(sorted(found.items()))


def source_digest(source: str) -> str:
    """Digest source text as `code_digests` digests a module."""
    return _parsed(textwrap.dedent(source), "")[0]


def _within(name: str, packages: set[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def _spec(name: str) -> ModuleSpec | None:
    """Find a module without running it (but the packages that it lies in)."""
    try:
        return find_spec(name)
    except (ImportError, ValueError):
        return None


def _folder(spec: ModuleSpec | None) -> Path | None:
    return Path(spec.origin).parent if spec is not None and spec.origin else None


def _source(spec: ModuleSpec) -> str | bytes:
    """Give the text of a module, or the bytes of one without text (an extension)."""
    read = getattr(spec.loader, "get_source", None)
    text = read(spec.name) if read is not None else None
    if isinstance(text, str):
        return text
    return Path(spec.origin).read_bytes() if spec.has_location and spec.origin else b""


@functools.lru_cache(maxsize=256)
def _parsed(source: str, parent: str) -> tuple[str, list[tuple[str, list[str]]]]:
    """Give digest and imports of a text; several commands of one process parse it once."""
    tree = ast.parse(source)
    digest = hashlib.sha256(ascii(_shape(tree)).encode()).hexdigest()[:16]
    return digest, list(_imports(tree, parent))


def _imports(tree: ast.Module, parent: str) -> Iterator[tuple[str, list[str]]]:
    """Give all modules that a module imports, inside functions too, and what it takes from them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            name = node.module or ""
            if node.level:
                package = parent.split(".")
                package = package[: len(package) - node.level + 1]
                name = ".".join([*package, *([name] if name else [])])
            yield name, [alias.name for alias in node.names]


def _is_package(name: str) -> bool:
    spec = _spec(name)
    return spec is not None and spec.submodule_search_locations is not None


#: What a syntax tree says about text, not about code.
_TEXT = ("ctx", "kind", "type_comment")


def _shape(node: Any) -> Any:
    """Turn a syntax tree into nested tuples that do not depend on the version of Python.

    Absent and empty fields are left out: new versions add some. A string that is a
    statement is a docstring.
    """
    if isinstance(node, ast.AST):
        fields = [
            (name, _shape(value))
            for name, value in ast.iter_fields(node)
            if name not in _TEXT and value is not None and value != []
        ]
        return (type(node).__name__, *fields)
    if isinstance(node, list):
        return tuple(_shape(part) for part in node if not _is_text(part))
    return node


def _is_text(node: Any) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
