"""Inclusive B decays that the decay table lists: made anew, with all fractions kept."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from smartbkg_tf.generation import pythia as module
from smartbkg_tf.generation.decay_table import Channel
from smartbkg_tf.generation.pythia import LISTED, PythiaEngine
from smartbkg_tf.generation.pythia_source import PythiaSource

#: What "u anti-d anti-c d" often becomes.
AVOIDED = [
    (-413, 211), (-411, 213), (-413, 213), (-411, 111, 211), (-413, 111, 211), (-411, 211, 223),
    (-413, 211, 223), (-411, 113, 211), (-413, 113, 211), (-411, 111, 213), (-413, 111, 213),
    (-423, -211, 211), (-423, 113), (-423, 223), (-421, 113), (-421, 223), (-423, -213, 211),
    (-423, -211, 213), (-413, -211, 211, 211), (-411, -211, 211, 211),
]  # fmt: skip
TABLE = {
    511: [
        Channel(0.2, "PHSP", (), ("D-", "pi+"), (-411, 211)),
        Channel(0.3, "PHSP", (), ("D-", "K+"), (-411, 321)),
        *(Channel(0.0, "PHSP", (), tuple("products"), codes) for codes in AVOIDED),
        Channel(0.1, "PYTHIA", (23.0,), ("u", "anti-s", "anti-c", "d"), (2, -3, -4, 1)),
        Channel(0.4, "PYTHIA", (43.0,), ("u", "anti-d", "anti-c", "d"), (2, -1, -4, 1)),
    ]
}
N = 2000


def engine(monkeypatch, inclusive="avoid_listed"):
    monkeypatch.setattr(module, "read_decay_table", lambda: TABLE)
    # Without oscillation, so that the first meson of a pair is a B0.
    return PythiaEngine("mixed", PythiaSource(mixing_frequency=0.0, inclusive=inclusive))


def decays(record):
    """Products of each B, as in a decay of the B0, sorted."""
    mesons = np.flatnonzero(np.abs(record.code) == 511)
    products = {int(row): [] for row in mesons}
    neutral = {111, 22, 113, 221, 223, 331, 333, 130, 310, 443}
    for row in np.flatnonzero(np.isin(record.mother, mesons) & (record.event >= 0)):
        mother, code = int(record.mother[row]), int(record.code[row])
        sign = 1 if abs(code) in neutral else int(np.sign(record.code[mother]))
        products[mother].append(sign * code)
    return [tuple(sorted(codes)) for row, codes in products.items() if record.event[row] >= 0]


@pytest.mark.parametrize("kept", [True, False])
def test_listed_channels_come_with_the_fraction_of_the_table(monkeypatch, kept):
    failures = Counter()
    chosen = engine(monkeypatch, inclusive="as_pythia" if kept else "avoid_listed")
    record = chosen.generate(N, 3, np.random.default_rng(5), failures)
    found = decays(record)
    assert len(found) == 2 * N
    assert np.abs(record.code).max() < 9_511_000
    share = {codes: found.count(codes) / len(found) for codes in set(found)}
    error = 4 * np.sqrt(0.25 / len(found))
    assert share[(-411, 321)] == pytest.approx(0.3, abs=error)
    avoided = sum(share.get(tuple(sorted(codes)), 0.0) for codes in AVOIDED)
    if kept:
        assert failures[LISTED] == 0
        assert avoided > 0.02
    else:
        assert failures[LISTED] > 0.04 * N
        assert avoided == 0
        assert share[(-411, 211)] == pytest.approx(0.2, abs=error)


def test_fractions_of_inclusive_channels_are_kept(monkeypatch):
    chosen = engine(monkeypatch)
    kinds = chosen._inclusive.draw(100_000, np.random.default_rng(2))
    shares = np.bincount(kinds.ravel(), minlength=3) / kinds.size
    np.testing.assert_allclose(shares, [0.5, 0.1, 0.4], atol=0.006)
    # What is made anew keeps its kinds.
    drawn = []
    monkeypatch.setattr(
        chosen._inclusive, "draw", lambda n, random: drawn.append(n) or np.tile([0, 2], (n, 1))
    )
    failures = Counter()
    chosen.generate(300, 3, np.random.default_rng(5), failures)
    assert failures[LISTED] > 10
    assert sum(drawn) == 300


def test_the_same_seed_gives_the_same_events(monkeypatch):
    chosen = engine(monkeypatch)
    first, second = (
        replace(chosen.generate(300, 3, np.random.default_rng(5), Counter())) for _ in range(2)
    )
    np.testing.assert_array_equal(first.code, second.code)
    np.testing.assert_array_equal(first.momentum, second.momentum)
