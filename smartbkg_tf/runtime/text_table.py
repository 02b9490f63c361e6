"""Tables for the terminal and for text files."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def text_table(
    head: Sequence[str], rows: Sequence[Sequence[str]], left: Collection[str] = ()
) -> str:
    """Lay out a table; the first column and those named in `left` are aligned to the left."""
    table = [head, *rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(head))]
    to_left = [i == 0 or title in left for i, title in enumerate(head)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if on_left else cell.rjust(width)
            for cell, width, on_left in zip(row, widths, to_left, strict=True)
        ).rstrip()
        for row in table
    )
