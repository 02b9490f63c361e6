"""The picture of the rooms in docs/reference.md, drawn from the imports of the package.

``python -m tests.architecture`` draws it anew.
"""

from __future__ import annotations

import re
from collections import defaultdict
from graphlib import TopologicalSorter

import grimp

from tests.conftest import ROOT

PAGE = ROOT / "docs" / "reference.md"
_PICTURE = re.compile(r"(?<=```mermaid\n).*?(?=```)", re.DOTALL)


def imports_between_rooms() -> dict[str, set[str]]:
    """Give the rooms and commands that each of them imports, in functions too."""
    graph = grimp.build_graph("smartbkg_tf", cache_dir=None)
    found: dict[str, set[str]] = defaultdict(set)
    for module in graph.modules - {"smartbkg_tf"}:
        room = module.split(".")[1]
        found[room] |= {
            imported.split(".")[1]
            for imported in graph.find_modules_directly_imported_by(module)
            if imported != "smartbkg_tf"
        } - {room}
    return found


def picture() -> str:
    """Draw an arrow from each room to those that it imports, but for those below them."""
    imports = imports_between_rooms()
    below: dict[str, set[str]] = {}
    for room in TopologicalSorter(imports).static_order():  # Raises for a circle of rooms.
        below[room] = set().union(imports[room], *(below[other] for other in imports[room]))
    arrows = [
        f"  {room} --> {other}\n"
        for room in sorted(imports)
        for other in sorted(imports[room])
        if not any(other in below[between] for between in imports[room])
    ]
    return "graph TD\n" + "".join(arrows)


def drawn() -> str:
    """Give the picture that stands in the documentation."""
    found = _PICTURE.search(PAGE.read_text())
    return found[0] if found else ""


if __name__ == "__main__":
    PAGE.write_text(_PICTURE.sub(picture().replace("\\", r"\\"), PAGE.read_text()))
