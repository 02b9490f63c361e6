"""The structure that CONTRIBUTING.md describes is that of the code."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import defaultdict

from tests.architecture import drawn, picture
from tests.conftest import ROOT

#: Names that still stand for two classes; the list may only become shorter.
TWICE: set[str] = set()


def test_imports_follow_the_contracts() -> None:
    """Layers downwards; no import of tests by the package or by benchmarks (pyproject.toml)."""
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run(
        [sys.executable, "-c", code, "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 kept, 0 broken" in done.stdout


def test_no_class_name_stands_twice() -> None:
    places = defaultdict(list)
    for path in sorted((ROOT / "smartbkg_tf").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(str(path.relative_to(ROOT)))
    twice = {name: found for name, found in places.items() if len(found) > 1}
    assert twice.keys() - TWICE == set(), twice
    assert TWICE - twice.keys() == set(), "solved: take it out of the list"


def test_the_picture_shows_the_imports() -> None:
    assert drawn() == picture(), "python -m tests.architecture draws it anew"


def test_the_files_that_documents_name_exist() -> None:
    """Paths in CONTRIBUTING.md, README.md and docs; at most two files of the package for a wish."""
    pages = [ROOT / "CONTRIBUTING.md", ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    named = re.compile(
        r"`((?:smartbkg_tf|conf|docs|tests|benchmarks|examples|experiments)/[\w./-]*)`"
    )
    found = [(page.name, path) for page in pages for path in named.findall(page.read_text())]
    assert len(found) > 20
    missing = [
        (page, path) for page, path in found if not ("NAME" in path or (ROOT / path).exists())
    ]
    assert not missing
    wishes = pages[0].read_text().partition("## I want to change")[2].splitlines()
    rows = [row for row in wishes if row.startswith("| ")][2:]
    assert len(rows) == 15
    for row in rows:
        modules = [path for path in named.findall(row.split("|")[2]) if path.endswith(".py")]
        assert len(modules) <= 2, row


def test_benchmarks_and_examples_import_what_exists() -> None:
    """No test runs most of them; a module that moved would be found by a user."""
    files = [p for d in ("benchmarks", "examples", "experiments") for p in (ROOT / d).rglob("*.py")]
    checked = 0
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith(
                "smartbkg_tf"
            ):
                continue
            path = ROOT / (node.module or "").replace(".", "/")
            source = path.with_suffix(".py") if not path.is_dir() else path / "__init__.py"
            assert source.is_file(), f"{file} imports {node.module}"
            text = source.read_text()
            for alias in node.names:
                there = (
                    re.search(rf"\b{alias.name}\b", text) or (path / f"{alias.name}.py").is_file()
                )
                assert there, f"{file} imports {alias.name} from {node.module}"
                checked += 1
    assert checked > 50
