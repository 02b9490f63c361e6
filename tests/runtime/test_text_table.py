"""Tables of text: columns line up, words to the left and numbers to the right."""

from __future__ import annotations

from smartbkg_tf.runtime.text_table import text_table


def test_columns_line_up() -> None:
    table = text_table(
        ("run", "AUC", "state"), [("a", "0.9", "done"), ("longer", "0.85", "")], left=("state",)
    )
    assert table.splitlines() == [
        "run      AUC  state",
        "a        0.9  done",
        "longer  0.85",
    ]


def test_a_table_without_rows_is_its_head() -> None:
    assert text_table(("a", "b"), []) == "a  b"
