from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartbkg_tf.errors import InputError
from smartbkg_tf.events.decay_strings import (
    build_decay_strings,
    decay_tokens,
    tokenise,
)
from smartbkg_tf.events.table import PARTICLE_COLUMNS, EventTable
from smartbkg_tf.events.vocabulary import Vocabulary, default_vocabulary
from tests.samples import make_events

SMALL = Vocabulary([300553, 511, -511, 211, -211, 22, 0])


def table_of(trees: list[tuple[list[int], list[int]]]) -> EventTable:
    """Make a table of (codes, mothers) per event."""
    counts = [len(codes) for codes, _ in trees]
    n = sum(counts)
    particles: dict[str, Any] = {k: np.zeros(n, dtype=d) for k, d in PARTICLE_COLUMNS.items()}
    particles["PDG"] = np.array([c for codes, _ in trees for c in codes], dtype=np.int32)
    particles["motherIndex"] = np.array([m for _, links in trees for m in links], dtype=np.int32)
    keys = {k: np.arange(len(trees)) for k in ("experiment", "run", "event", "production")}
    return EventTable(
        particles=particles,
        offsets=np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64),
        keys=keys,
        event_type=np.full(len(trees), -1, dtype=np.int8),
    )


def trees_of(table: EventTable, vocabulary: Vocabulary = SMALL) -> tuple[np.ndarray, np.ndarray]:
    columns = table.particles
    tokens = vocabulary.tokens(columns["PDG"])
    return decay_tokens(tokens, columns["motherIndex"], table.offsets, vocabulary)


@st.composite
def tree(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    """Any forest, the mother before or behind its daughters."""
    n = draw(st.integers(0, 12))
    codes = draw(st.lists(st.integers(-(2**31) + 1, 2**31 - 1), min_size=n, max_size=n))
    codes = [draw(st.sampled_from([code, 211, -511, 0, 22])) for code in codes]
    links = [draw(st.integers(-1, i - 1)) for i in range(n)]
    order = draw(st.permutations(range(n)))
    place = {old: new for new, old in enumerate(order)}
    return (
        [codes[old] for old in order],
        [place[links[old]] if links[old] >= 0 else -1 for old in order],
    )


def reference_string(codes: list[int], links: list[int], mother: int = -1) -> str:
    """Write the tree by recursion, straight from its definition."""
    text = ""
    for i, link in enumerate(links):
        if link == mother:
            below = reference_string(codes, links, i)
            text += f" {codes[i]}" + (f" (-->{below} <--)" if below else "")
    return text


def test_golden_string_and_tokens() -> None:
    table = table_of([([300553, 511, -511, 211, -211, 22], [-1, 0, 0, 1, 1, 2])])
    text = " 300553 (--> 511 (--> 211 -211 <--) -511 (--> 22 <--) <--)"
    assert build_decay_strings(table).tolist() == [text]
    expected = [2, 9, 3, 9, 5, 6, 10, 4, 9, 7, 10, 10]
    for tokens, offsets in (trees_of(table), tokenise([text], SMALL)[:2]):
        assert tokens.dtype == np.int16
        assert offsets.dtype == np.int64
        assert tokens.tolist() == expected
        assert offsets.tolist() == [0, 12]


def test_several_roots_and_empty_events() -> None:
    table = table_of([([], []), ([211, 22, -211], [-1, -1, 0]), ([], [])])
    strings = build_decay_strings(table)
    assert strings.dtype == object
    assert strings.tolist() == ["", " 211 (--> -211 <--) 22", ""]
    assert trees_of(table)[1].tolist() == [0, 0, 5, 5]
    assert tokenise(strings, SMALL)[1].tolist() == [0, 0, 5, 5]


def test_no_events() -> None:
    assert build_decay_strings(table_of([])).tolist() == []
    tokens, offsets, unknown, broken = tokenise([], SMALL)
    assert (tokens.tolist(), offsets.tolist(), unknown, len(broken)) == ([], [0], {}, 0)
    assert trees_of(table_of([]))[1].tolist() == [0]


def test_sample_strings_are_rebuilt() -> None:
    # tests.samples writes its strings by recursion, independently.
    table = make_events(200, seed=5, empty=(0, 17))
    assert table.decay_strings is not None
    assert build_decay_strings(table).tolist() == table.decay_strings.tolist()


@settings(max_examples=150, deadline=None)
@given(st.lists(tree(), max_size=5))
def test_both_routes_give_equal_tokens(trees: list[tuple[list[int], list[int]]]) -> None:
    table = table_of(trees)
    strings = build_decay_strings(table)
    assert strings.tolist() == [reference_string(codes, links) for codes, links in trees]
    words = {str(code): 2 + i for i, code in enumerate(SMALL.codes.tolist())}
    words |= {"(-->": SMALL.opener, "<--)": SMALL.closer}
    expected = [words.get(word, 1) for string in strings for word in string.split()]
    tokens, offsets = trees_of(table)
    from_text, text_offsets, unknown, broken = tokenise(strings, SMALL)
    assert not broken.any()
    assert tokens.tolist() == expected
    assert from_text.tolist() == expected
    assert offsets.tolist() == text_offsets.tolist()
    strange = SMALL.unknown(table.particles["PDG"])
    assert unknown == {str(code): count for code, count in strange.items()}


def test_very_deep_tree_needs_no_recursion() -> None:
    n = 20000
    table = table_of([([211] * n, list(range(-1, n - 1)))])
    tokens, _ = trees_of(table)
    assert len(tokens) == n + 2 * (n - 1)
    assert (tokenise(build_decay_strings(table), SMALL)[0] == tokens).all()


@pytest.mark.parametrize(
    ("links", "message"),
    [
        ([-1, 5], "particle 1 of 2 has the mother 5, which does not exist"),
        ([-1, -3], "has the mother -3, which does not exist"),
        ([1, 0], "descends from it"),
        ([2, 2, 1], "particle [12] of 3 has the mother [12], which descends from it"),
        ([-1, 1], "particle 1 of 2 has the mother 1, which descends from it"),
    ],
)
def test_broken_links_are_named(links: list[int], message: str) -> None:
    table = table_of([([211], [-1]), ([211] * len(links), links)])
    with pytest.raises(InputError, match=message) as error:
        build_decay_strings(table)
    assert "event 1" in str(error.value)
    with pytest.raises(InputError, match=message):
        trees_of(table)


@pytest.mark.parametrize(
    "text",
    [
        " 511 (--> 211",
        " 511 <--)",
        " 511 <--) (--> 211",
        " (--> 211 <--)",
        " 511 (--> (--> 22 <--) <--)",
    ],
)
def test_broken_brackets(text: str) -> None:
    good = " 511 (--> 22 <--)"
    tokens, offsets, _, broken = tokenise([good, text, good, text, ""], SMALL)
    assert broken.tolist() == [False, True, False, True, False]
    assert len(tokens) == offsets[-1] == 2 * len(good.split() + text.split())


def test_unknown_words_are_counted_and_never_lost() -> None:
    # Known trap 7: unseen codes vanished from decay strings.
    text = " 511 (--> 5122 xyz 5122 -211 <--) 99999999999999999999 + - 21x1 211.5 (-->x"
    tokens, _, unknown, _ = tokenise([text], SMALL)
    assert tokens.tolist() == [3, 9, 1, 1, 1, 6, 10, 1, 1, 1, 1, 1, 1]
    assert unknown == {
        "5122": 2, "xyz": 1, "99999999999999999999": 1, "+": 1, "-": 1, "21x1": 1,
        "211.5": 1, "(-->x": 1,
    }  # fmt: skip
    assert next(iter(unknown)) == "5122"


def test_codes_written_as_floats_and_any_white_space() -> None:
    text = "511.0\t(-->\n 211. +22.00  -0 <--)  "
    assert tokenise([text], SMALL)[0].tolist() == [3, 9, 5, 7, 8, 10]


def test_every_kind_of_array_of_texts() -> None:
    texts = ["", " 511 (--> 22 <--)", " 211", ""]
    expected = tokenise(texts, SMALL)
    for kind in (object, "U", "S"):
        found = tokenise(np.array(texts, dtype=kind), SMALL)
        assert found[0].tolist() == expected[0].tolist()
        assert found[1].tolist() == expected[1].tolist() == [0, 0, 4, 5, 5]
    assert tokenise(np.array(["", ""], dtype="S"), SMALL)[1].tolist() == [0, 0, 0]
    # Letters of several bytes must not shift what follows.
    tokens, offsets, unknown, _ = tokenise(["π 211", "22"], SMALL)
    assert (tokens.tolist(), offsets.tolist(), unknown) == ([1, 5, 7], [0, 2, 3], {"π": 1})


@pytest.mark.parametrize("value", [None, float("nan"), 5])
def test_missing_texts_are_refused(value: Any) -> None:
    with pytest.raises(InputError, match="decay string 1 is not a text"):
        tokenise([" 211", value], SMALL)


def test_default_vocabulary_knows_all_words_of_the_sample() -> None:
    table = make_events(100)
    tokens, offsets, unknown, broken = tokenise(table.decay_strings, default_vocabulary())
    assert not broken.any()
    assert unknown == {}
    assert tokens.min() > 1
    assert offsets[-1] == len(tokens)


WORDS = st.one_of(
    st.sampled_from(
        ["(-->", "<--)", "511", "-511", "211", "(-->x", "<-", "+22", "22.0", "-", "--"]
    ),
    st.integers(-(10**20), 10**20).map(str),
    st.text("0123456789-+.(<>)ax", min_size=1, max_size=12),
)
GAPS = st.sampled_from([" ", "  ", "\t", " \n", "\x00", "\x00" * 9])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.lists(st.tuples(GAPS, WORDS), max_size=8), GAPS), max_size=4))
def test_any_words_in_any_layout(strings: list[tuple[list[tuple[str, str]], str]]) -> None:
    """Against Python's own splitting; texts alone, and in rows beside other columns."""
    expected, texts = [], []
    for parts, end in strings:
        texts.append("".join(gap + word for gap, word in parts) + end)
        for word in texts[-1].replace("\x00", " ").split():
            number = re.fullmatch(r"([+-]?)(\d{1,18})(\.0*)?", word)
            brackets = {"(-->": SMALL.opener, "<--)": SMALL.closer}
            code = int(number[1] + number[2]) if number else None
            known = 1 if code is None else SMALL.tokens(code)
            expected.append(brackets.get(word, int(known)))
    width = max([len(t) for t in texts], default=0) or 1
    table = np.zeros(len(texts), dtype=[("before", "S3"), ("text", f"S{width}"), ("after", "S9")])
    table["before"], table["text"], table["after"] = b"511", texts, b"511 (-->5"
    for column in (texts, table["text"], np.array(texts, dtype=f"S{width}")):
        assert tokenise(column, SMALL)[0].tolist() == expected


def test_unknown_words_end_where_they_end() -> None:
    column = np.array(["99999 abc", "211 xyz", "12345678901234567890123"], dtype="S40")
    assert tokenise(column, SMALL)[2] == {
        "99999": 1, "abc": 1, "xyz": 1, "12345678901234567890123": 1,
    }  # fmt: skip
