from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartbkg_tf.events.table import EventTable, concatenate
from tests.events.comparison import assert_same_events
from tests.samples import make_events

TABLE = make_events(30, seed=4, empty=(3, 29))


def same(left: EventTable, right: EventTable) -> None:
    np.testing.assert_array_equal(left.offsets, right.offsets)
    for name, column in left.particles.items():
        np.testing.assert_array_equal(column, right.particles[name])
    for name, key in left.keys.items():
        np.testing.assert_array_equal(key, right.keys[name])
    for name, label in left.labels.items():
        np.testing.assert_array_equal(label, right.labels[name])
    np.testing.assert_array_equal(left.event_type, right.event_type)
    np.testing.assert_array_equal(left.decay_strings, right.decay_strings)


@given(st.lists(st.integers(0, 29), max_size=20))
def test_take_is_what_a_loop_would_choose(events: list[int]) -> None:
    taken = TABLE.take(events)
    assert len(taken) == len(events)
    for position, event in enumerate(events):
        rows = slice(taken.offsets[position], taken.offsets[position + 1])
        source = slice(TABLE.offsets[event], TABLE.offsets[event + 1])
        np.testing.assert_array_equal(taken.particles["px"][rows], TABLE.particles["px"][source])
        assert taken.keys["event"][position] == TABLE.keys["event"][event]


def test_take_by_mask_and_of_nothing() -> None:
    mask = TABLE.labels["fei_hadronic_b0"] == 1
    assert len(TABLE.take(mask)) == mask.sum()
    assert len(TABLE.take([])) == 0
    assert len(TABLE.take(range(4, 4))) == 0


def test_concatenate_puts_together_what_was_taken_apart() -> None:
    same(concatenate([TABLE.take(range(12)), TABLE.take(range(12, 30))]), TABLE)


def test_concatenate_marks_labels_that_one_part_lacks() -> None:
    other = replace(make_events(5, seed=9), labels={"tau_thrust": np.ones(5, np.int8)})
    both = concatenate([TABLE, other])
    assert both.labels["fei_hadronic_b0"][-5:].tolist() == [-1] * 5
    assert both.labels["tau_thrust"][:30].tolist() == [-1] * 30
    with pytest.raises(ValueError, match="nothing"):
        concatenate([])


def test_event_of_particle() -> None:
    owners = TABLE.event_of_particle()
    assert np.bincount(owners, minlength=30).tolist() == np.diff(TABLE.offsets).tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"offsets": TABLE.offsets[:-1]}, "rows"),
        ({"offsets": TABLE.offsets[::-1].copy()}, "never decrease"),
        ({"keys": {"event": TABLE.keys["event"]}}, "keys must be"),
        ({"labels": {"a": np.zeros(3, np.int8)}}, "a: 3 rows for 30 events"),
        ({"particles": {"PDG": TABLE.particles["PDG"]}}, "missing"),
    ],
)
def test_lengths_that_do_not_fit_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(TABLE, **change)  # type: ignore[arg-type]


def test_a_slice_is_what_take_gives() -> None:
    table = make_events(12, empty=(3,))
    for start, stop in ((0, 12), (2, 5), (4, 4), (-3, 2), (10, 99), (8, 3)):
        expected = table.take(np.arange(max(start, 0), min(stop, 12)))
        assert_same_events(table.slice(start, stop), expected)
