"""Draw a functional model as SVG, without Graphviz.

Layers stand in rows by their distance from the inputs; within a row they are ordered so
that few lines cross (barycentre heuristic of Sugiyama, Tagawa and Toda, 1981). Lines that
carry a mask are left out: nearly every layer has one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from smartbkg_tf.runtime.files import atomic_file

_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _MARGIN, _TITLE = 190, 46, 24, 30, 24, 30
_SWEEPS = 8
_PLACEMENTS = 100

#: Fill colours by what a layer does.
_COLOURS = (
    (("InputLayer",), "#e8eef7"),
    (("Embedding", "ParticleNormalisation", "PaddingMask"), "#fdf0d5"),
    (("Conv", "Residual"), "#dcefdc"),
    (("Pooling",), "#e9e0f3"),
    (("Dense",), "#fbe0dd"),
)


@dataclass
class _Node:
    """A box, or a bend of a line that passes a row (`layer` is None)."""

    layer: Any
    row: int
    above: list[_Node] = field(default_factory=list)
    below: list[_Node] = field(default_factory=list)
    x: float = 0.0

    @property
    def width(self) -> float:
        return _WIDTH if self.layer is not None else 10.0


def draw_model(model: Any, path: str | Path, title: str = "") -> None:
    """Write a drawing of a model, whole or not at all.

    Parameters
    ----------
    model : keras.Model
        Functional.
    path : str or pathlib.Path
        The SVG file.
    title : str, optional
        Written above the drawing.

    Raises
    ------
    OutputError
        When the file cannot be written.
    """
    with atomic_file(path) as partial:
        partial.write_text(model_svg(model, title), encoding="utf-8")


def model_svg(model: Any, title: str = "") -> str:
    """Draw a model.

    Parameters
    ----------
    model : keras.Model
        Functional.
    title : str, optional
        Written above the drawing.

    Returns
    -------
    str
        An SVG document; the same for the same model.
    """
    rows = _order(_rows(model))
    _place(rows)
    return _write(rows, model, title)


def _parents(model: Any) -> dict[Any, list[Any]]:
    """Layers that feed each layer of the model, in the order of its inputs."""
    operations = list(model.operations)
    inside = set(map(id, operations))
    used = {id(node) for nodes in model._nodes_by_depth.values() for node in nodes}
    result: dict[Any, list[Any]] = {}
    for operation in operations:
        found: dict[int, Any] = {}
        for node in operation._inbound_nodes:
            if id(node) not in used:
                continue
            for tensor in node.input_tensors:
                parent = tensor._keras_history.operation
                if id(parent) in inside and type(parent).__name__ != "PaddingMask":
                    found[id(parent)] = parent
        result[operation] = list(found.values())
    return result


def _rows(model: Any) -> list[list[_Node]]:
    """Sort layers into rows and put bends where a line passes a row."""
    parents = _parents(model)
    shown = [op for op in model.operations if type(op).__name__ != "PaddingMask"]
    depth: dict[int, int] = {}
    for operation in shown:  # Keras lists operations in an order that respects the graph.
        depth[id(operation)] = 1 + max((depth[id(p)] for p in parents[operation]), default=-1)
    # An input stands directly above the first layer that reads it.
    children: dict[int, list[int]] = {}
    for operation in shown:
        for parent in parents[operation]:
            children.setdefault(id(parent), []).append(depth[id(operation)])
    for operation in shown:
        if not parents[operation] and children.get(id(operation)):
            depth[id(operation)] = min(children[id(operation)]) - 1
    rows: list[list[_Node]] = [[] for _ in range(max(depth.values()) + 1)]
    nodes = {id(operation): _Node(operation, depth[id(operation)]) for operation in shown}
    for operation in shown:
        node = nodes[id(operation)]
        rows[node.row].append(node)
    for operation in shown:
        node = nodes[id(operation)]
        for parent in parents[operation]:
            upper = nodes[id(parent)]
            for row in range(upper.row + 1, node.row):
                bend = _Node(None, row)
                rows[row].append(bend)
                _link(upper, bend)
                upper = bend
            _link(upper, node)
    return rows


def _link(upper: _Node, lower: _Node) -> None:
    upper.below.append(lower)
    lower.above.append(upper)


def _order(rows: list[list[_Node]]) -> list[list[_Node]]:
    """Order each row by the mean position of its neighbours, downwards and upwards."""
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        for row in rows if down else reversed(rows):
            position = {id(node): i for one in rows for i, node in enumerate(one)}

            def mean(
                node: _Node, position: Mapping[int, int] = position, down: bool = down
            ) -> float:
                near = node.above if down else node.below
                if not near:
                    return position[id(node)]
                return sum(position[id(other)] for other in near) / len(near)

            row.sort(key=mean)
    return rows


def _place(rows: Sequence[Sequence[_Node]]) -> None:
    """Give every node its x: near its neighbours, without overlap, order kept."""
    for row in rows:
        x = 0.0
        for node in row:
            node.x = x + node.width / 2
            x += node.width + _GAP_X
        shift = -(x - _GAP_X) / 2
        for node in row:
            node.x += shift
    for sweep in range(_PLACEMENTS):
        for row in rows if sweep % 2 == 0 else list(reversed(rows)):
            wanted = []
            for node in row:
                near = [*node.above, *node.below]
                wanted.append(sum(n.x for n in near) / len(near) if near else node.x)
            _settle(row, wanted)


def _settle(row: Sequence[_Node], wanted: Sequence[float]) -> None:
    """Move nodes towards wanted places, blocks of touching nodes as one."""
    blocks: list[tuple[float, int, list[_Node], list[float]]] = []
    for node, x in zip(row, wanted, strict=True):
        members, offsets = [node], [0.0]
        centre, weight = x, 1
        while blocks:
            last_centre, last_weight, last_members, last_offsets = blocks[-1]
            right = last_centre + last_offsets[-1] + last_members[-1].width / 2 + _GAP_X
            if right <= centre + offsets[0] - members[0].width / 2:
                break
            blocks.pop()
            gap = last_members[-1].width / 2 + _GAP_X + members[0].width / 2
            shift = last_offsets[-1] + gap - offsets[0]
            centre = (last_centre * last_weight + (centre - shift) * weight) / (
                last_weight + weight
            )
            weight += last_weight
            offsets = last_offsets + [offset + shift for offset in offsets]
            members = last_members + members
        blocks.append((centre, weight, members, offsets))
    for centre, _, members, offsets in blocks:
        for node, offset in zip(members, offsets, strict=True):
            node.x = centre + offset


def _write(rows: Sequence[Sequence[_Node]], model: Any, title: str) -> str:
    nodes = [node for row in rows for node in row]
    left = min(node.x - node.width / 2 for node in nodes) - _MARGIN
    right = max(node.x + node.width / 2 for node in nodes) + _MARGIN
    width = right - left
    height = 2 * _MARGIN + _TITLE + len(rows) * _HEIGHT + (len(rows) - 1) * _GAP_Y

    def top(node: _Node) -> float:
        return _MARGIN + _TITLE + node.row * (_HEIGHT + _GAP_Y)

    heading = f"{title or model.name}: {model.count_params():,} weights"
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="Helvetica, Arial, sans-serif">',
        f"<title>{escape(heading)}</title>",
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="#ffffff"/>',
        f'<text x="{_MARGIN}" y="{_MARGIN + 8}" font-size="15" fill="#222222">'
        f"{escape(heading)}</text>",
        '<g fill="none" stroke="#777777" stroke-width="1.3">',
    ]
    for node in nodes:
        for other in node.below:
            x1, x2 = node.x - left, other.x - left
            y1 = top(node) + _HEIGHT
            y2 = top(other)
            middle = (y1 + y2) / 2
            line = (
                f"M{x1:.1f},{y1:.1f} C{x1:.1f},{middle:.1f} {x2:.1f},{middle:.1f} {x2:.1f},{y2:.1f}"
            )
            if other.layer is None:
                line += f" V{y2 + _HEIGHT:.1f}"
            out.append(f'<path d="{line}"/>')
    out.append("</g>")
    for node in nodes:
        if node.layer is not None:
            out += _box(node.layer, node.x - left, top(node))
    out.append("</svg>")
    return "\n".join(out) + "\n"


def _box(layer: Any, x: float, y: float) -> list[str]:
    kind = type(layer).__name__
    colour = next((c for parts, c in _COLOURS if any(part in kind for part in parts)), "#f2f2f2")
    output = getattr(layer, "output", None)
    shape = ""
    if output is not None and not isinstance(output, (list, tuple, dict)):
        shape = " \u00d7 ".join("n" if size is None else str(size) for size in output.shape[1:])
    detail = _detail(layer)
    second = kind + (f" {detail}" if detail else "")
    return [
        f'<rect x="{x - _WIDTH / 2:.1f}" y="{y:.1f}" width="{_WIDTH}" height="{_HEIGHT}" rx="5" '
        f'fill="{colour}" stroke="#555555"/>',
        f'<text x="{x:.1f}" y="{y + 19:.1f}" font-size="12" text-anchor="middle" '
        f'fill="#222222">{escape(str(layer.name))}{escape(f"  [{shape}]" if shape else "")}</text>',
        f'<text x="{x:.1f}" y="{y + 36:.1f}" font-size="10.5" text-anchor="middle" '
        f'fill="#555555">{escape(second)}</text>',
    ]


def _detail(layer: Any) -> str:
    """Give the number that matters most about a layer."""
    for attribute, text in (("kernel_size", "kernel {}"), ("rate", "{}"), ("units", "{}")):
        value = getattr(layer, attribute, None)
        if value is not None:
            return text.format(value[0] if isinstance(value, tuple) else value)
    return ""
