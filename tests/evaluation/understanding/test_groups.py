"""Groups of events, and what is kept of them."""

from __future__ import annotations

import numpy as np
import pytest

from smartbkg_tf.evaluation.understanding.groups import (
    DecayModes,
    by_event_type,
    by_number,
    kept_of_groups,
)
from smartbkg_tf.evaluation.understanding.trees import DecayTrees, tree_of_tokens
from smartbkg_tf.events.decay_strings import tokenise
from smartbkg_tf.events.vocabulary import default_vocabulary


def modes_of(*strings: str) -> DecayModes:
    tokens, offsets, _, _ = tokenise(list(strings), default_vocabulary())
    token, mother, ends = tree_of_tokens(tokens, offsets)
    first = np.repeat(ends[:-1], np.diff(ends))
    return DecayModes(DecayTrees(token, np.where(mother >= 0, first + mother, -1), ends))


def test_conjugate_modes_are_one_and_order_does_not_matter() -> None:
    modes = modes_of(
        "300553 (--> 511 (--> -411 211 <--) -511 (--> 411 -211 <--) <--)",
        "300553 (--> 511 (--> 211 -411 (--> 321 -211 -211 <--) <--) -511 (--> 413 11 -12 <--) <--)",
        "300553 (--> 511 (--> 411 -211 <--) -511 (--> 22 310 <--) <--)",
    )
    found = {text: rows.tolist() for text, _, rows in modes.most_frequent(np.ones(3, bool))}
    assert found == {
        # Both B mesons of the first event: it counts once.
        "B0 -> D- pi+": [0, 1],
        "B0 -> D*- e+ nu_e": [1],
        # Doubly Cabibbo suppressed: another mode than that of the conjugate.
        "B0 -> D+ pi-": [2],
        "B0 -> K_S0 gamma": [2],
    }


def test_modes_are_sorted_by_passing_events() -> None:
    strings = ["521 (--> 22 211 <--)"] * 3 + ["521 (--> -421 211 <--)"] * 2
    modes = modes_of(*strings)
    passing = np.array([False, False, True, True, True])
    names = [text for text, _, _ in modes.most_frequent(passing)]
    assert names == ["B+ -> anti-D0 pi+", "B+ -> pi+ gamma"]
    assert [text for text, _, _ in modes.most_frequent(passing, 1)] == names[:1]
    assert modes.most_frequent(passing)[0][1] == r"$B^{+} \to \overline{D}^{0}\ \pi^{+}$"


def test_mixing_and_tau_leptons() -> None:
    modes = modes_of(
        "511 (--> -511 (--> 411 -211 <--) <--)",  # oscillated: what decays is the second
        "15 (--> 16 -211 <--) -15 (--> -16 -11 12 <--)",
        "511 (--> -15 (--> -16 211 <--) 15 (--> 16 -211 <--) <--)",  # taus of a B are not asked
        "1 (--> 211 -211 <--)",
        "",
    )
    found = {text: rows.tolist() for text, _, rows in modes.most_frequent(np.zeros(5, bool))}
    assert found == {
        "B0 -> D- pi+": [0],
        "tau- -> pi- nu_tau": [1],
        "tau- -> e- anti-nu_e nu_tau": [1],
        "B0 -> tau+ tau-": [2],
    }
    assert modes_of("", "211").most_frequent(np.ones(2, bool)) == []


def test_kept_fractions_of_groups() -> None:
    passing = np.array([1, 1, 0, 0, 0, 0], bool)
    known = np.array([1, 1, 1, 1, 1, 0], bool)
    kept = np.array([1, 0, 1, 0, 0, 1], bool)
    everything, none = kept_of_groups(
        [("all", np.arange(6)), ("failing", np.array([2, 3]))], passing, known, kept
    )
    assert (everything["n_passing"], everything["n_failing"]) == (2, 3)
    assert everything["efficiency"] == 0.5
    assert everything["false_rate"] == pytest.approx(1 / 3)
    assert everything["efficiency_low"] < 0.5 < everything["efficiency_high"]
    assert (none["efficiency"], none["efficiency_low"], none["false_rate"]) == (None, None, 0.5)


def test_bins_of_numbers_hold_every_event_once() -> None:
    random = np.random.default_rng(0)
    for values in (random.integers(10, 90, 500), np.full(7, 3), random.integers(0, 3, 100)):
        groups = by_number(values)
        rows = np.concatenate([rows for _, rows in groups])
        np.testing.assert_array_equal(np.sort(rows), np.arange(len(values)))
        for name, mine in groups:
            first, _, last = name.partition("-")
            assert values[mine].min() >= int(first)
            assert values[mine].max() <= int(last or first)
    assert len(by_number(random.integers(10, 90, 500))) == 8
    assert [name for name, _ in by_number([4, 4, 6])] == ["4-5", "6"]


def test_event_types_have_their_names() -> None:
    groups = by_event_type(np.array([0, -1, 6, 0], np.int8))
    assert [(name, rows.tolist()) for name, rows in groups] == [
        ("unknown", [1]),
        ("mixed", [0, 3]),
        ("taupair", [2]),
    ]
