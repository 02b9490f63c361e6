"""The split by event key."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from smartbkg_tf.dataset.split import PARTS, split_events
from smartbkg_tf.errors import ConfigurationError
from smartbkg_tf.events.table import KEY_COLUMNS
from smartbkg_tf.settings.preprocessing import SplitFractions


def random_keys(n: int, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {name: random.integers(0, 1000, n) for name in KEY_COLUMNS}


def keys_in(keys: dict[str, np.ndarray], rows: np.ndarray) -> set[tuple[int, ...]]:
    return set(zip(*(keys[name][rows].tolist() for name in KEY_COLUMNS), strict=True))


def test_no_event_is_in_two_parts_and_none_is_lost() -> None:
    keys = random_keys(5000)
    parts = split_events(keys)
    assert tuple(parts) == PARTS
    together = np.concatenate(list(parts.values()))
    assert np.array_equal(np.sort(together), np.arange(5000))
    for part, fraction in zip(PARTS, (0.7, 0.15, 0.15), strict=True):
        assert abs(len(parts[part]) / 5000 - fraction) < 5 * (fraction / 5000) ** 0.5
        assert (np.diff(parts[part]) > 0).all()


def test_more_data_and_another_order_move_no_event() -> None:
    keys = random_keys(2000)
    before = {part: keys_in(keys, rows) for part, rows in split_events(keys).items()}
    more = random_keys(3000, seed=1)
    order = np.random.default_rng(2).permutation(5000)
    joined = {name: np.concatenate([more[name], keys[name]])[order] for name in KEY_COLUMNS}
    after = {part: keys_in(joined, rows) for part, rows in split_events(joined).items()}
    for part in PARTS:
        assert before[part] <= after[part]


def test_a_smaller_training_part_is_a_subset_and_leaves_the_others_alone() -> None:
    keys = random_keys(3000)
    whole = split_events(keys)
    small = split_events(keys, {"train": 0.2})
    assert set(small["train"]) < set(whole["train"])
    assert abs(len(small["train"]) / 3000 - 0.2) < 0.04
    for part in ("validation", "test"):
        np.testing.assert_array_equal(small[part], whole[part])


def test_the_parts_of_two_events_are_fixed_for_ever() -> None:
    # From the golden numbers of the hash: u = 0.1804 and 0.5148.
    keys = dict(
        zip(KEY_COLUMNS, np.array([[1003, 1, 1, 10], [-1, 0, 5, 2**47 + 3]]).T, strict=True)
    )
    parts = split_events(keys, SplitFractions(train=0.5, validation=0.1, test=0.4))
    assert {part: rows.tolist() for part, rows in parts.items()} == {
        "train": [0],
        "validation": [1],
        "test": [],
    }


@given(st.floats(0, 1), st.floats(0, 1))
def test_any_fractions_that_add_up_to_one_cover_all_events(a: float, b: float) -> None:
    train, validation = min(a, b), abs(a - b)
    keys = random_keys(300)
    parts = split_events(
        keys, SplitFractions(train=train, validation=validation, test=max(0.0, 1 - max(a, b)))
    )
    assert sorted(np.concatenate(list(parts.values()))) == list(range(300))


def test_fractions_of_zero_and_one() -> None:
    parts = split_events(random_keys(100), {"train": 0, "validation": 0, "test": 1})
    assert [len(parts[part]) for part in PARTS] == [0, 0, 100]
    parts = split_events(random_keys(100), {"train": 1, "validation": 0, "test": 0})
    assert [len(parts[part]) for part in PARTS] == [100, 0, 0]


@pytest.mark.parametrize(
    ("fractions", "message"),
    [
        ({"train": 0.8, "validation": 0.2, "test": 0.1}, "exceeds 1"),
        ({"train": -0.1}, "train"),
        ({"training": 0.5}, "did you mean 'train'"),
    ],
)
def test_fractions_that_cannot_be(fractions: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        split_events(random_keys(3), fractions)
