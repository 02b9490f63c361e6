"""The structure that CONTRIBUTING.md describes is that of the code."""

from __future__ import annotations

import ast
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
