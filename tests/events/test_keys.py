"""The hash of an event key: fixed for ever, and as random as it must be; keys found by it."""

from __future__ import annotations

import hashlib

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from scipy import stats

from smartbkg_tf.events import keys as keys_module
from smartbkg_tf.events.keys import KeyIndex, hash_keys, key_columns, key_rows, mix, uniform
from smartbkg_tf.events.table import KEY_COLUMNS


def columns(keys: list[tuple[int, int, int, int]]) -> dict[str, np.ndarray]:
    values = np.array(keys, dtype=np.int64).reshape(-1, 4)
    return {name: values[:, i] for i, name in enumerate(KEY_COLUMNS)}


def plain_mix(h: int) -> int:
    h = (h + 0x9E3779B97F4A7C15) % 2**64
    h = (h ^ h >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    h = (h ^ h >> 27) * 0x94D049BB133111EB % 2**64
    return h ^ h >> 31


def plain_hash(key: tuple[int, ...], salt: int | str) -> int:
    if isinstance(salt, str):
        salt = int.from_bytes(hashlib.sha256(salt.encode()).digest()[:8], "little")
    h = plain_mix(salt % 2**64)
    for part in key:
        h = plain_mix(h ^ part % 2**64)
    return h


def test_mix_is_splitmix64() -> None:
    # First outputs of the reference implementation (Vigna, splitmix64.c) for these seeds.
    assert mix(np.array([0, 1234567], dtype=np.uint64)).tolist() == [
        0xE220A8397B1DCDAF,
        6457827717110365317,
    ]


def test_golden_numbers() -> None:
    """Must never change: the split of every dataset and every filter decision rest on them."""
    keys = columns([(1003, 1, 1, 10), (1003, 1, 2, 10), (-1, 0, 5, 2**47 + 3), (0, 0, 0, 0)])
    assert hash_keys(keys, "smartbkg_tf split").tolist() == [
        3328569240998491485,
        8477143637617300534,
        9495573756591018289,
        5550274307500463179,
    ]
    assert hash_keys(keys, 7).tolist() == [
        13336369194938297010,
        262055420186961675,
        16617597783079703668,
        835850368526756922,
    ]
    assert uniform(keys, "smartbkg_tf split").tolist() == [
        0.18044210011794948,
        0.4595468774188174,
        0.5147560847946162,
        0.300880973104124,
    ]


part = st.integers(-(2**63), 2**63 - 1)


@given(st.lists(st.tuples(part, part, part, part), max_size=5), st.integers() | st.text())
def test_hash_equals_the_definition(keys: list[tuple[int, int, int, int]], salt: int | str) -> None:
    try:
        expected = [plain_hash(key, salt) for key in keys]
    except UnicodeEncodeError:
        return
    assert hash_keys(columns(keys), salt).tolist() == expected


def test_structured_arrays_and_strided_columns_work() -> None:
    keys = [(1, 2, 3, 4), (5, 6, 7, 8)]
    structured = np.array(keys, dtype=[(name, np.int32) for name in KEY_COLUMNS])
    np.testing.assert_array_equal(hash_keys(structured, 0), hash_keys(columns(keys), 0))


def test_a_missing_part_of_the_key_is_an_error() -> None:
    with pytest.raises(KeyError):
        hash_keys({"experiment": np.array([1]), "run": np.array([1])}, 0)


def test_every_part_of_the_key_and_the_salt_matter() -> None:
    base = (1003, 5, 77, 3)
    others = [tuple(v + (i == k) for i, v in enumerate(base)) for k in range(4)]
    swapped = (5, 1003, 77, 3)
    numbers = hash_keys(columns([base, *others, swapped]), 1).tolist()  # type: ignore[list-item]
    numbers.append(int(hash_keys(columns([base]), 2)[0]))
    assert len(set(numbers)) == 7


def test_neighbouring_events_get_uniform_independent_numbers() -> None:
    n = 20000
    keys = {name: np.full(n, 1, np.int64) for name in KEY_COLUMNS} | {"event": np.arange(n)}
    first, second = uniform(keys, "a"), uniform(keys, "b")
    assert ((first >= 0) & (first < 1)).all()
    assert stats.kstest(first, "uniform").pvalue > 1e-4
    for other in (second, np.roll(first, 1)):
        assert abs(np.corrcoef(first, other)[0, 1]) < 5 / n**0.5


few = st.lists(st.tuples(*[st.sampled_from([-(2**63), -1, 0, 1, 2**63 - 1])] * 4), max_size=12)


@given(few, few)
def test_keys_are_found_where_they_stand_first(
    listed: list[tuple[int, int, int, int]], wanted: list[tuple[int, int, int, int]]
) -> None:
    index = KeyIndex(columns(listed))
    expected = [listed.index(key) if key in listed else -1 for key in wanted]
    assert index.find(columns(wanted)).tolist() == expected
    assert index.n_repeated == len(listed) - len(set(listed))
    assert sorted(index.rows.tolist()) == sorted({listed.index(key) for key in listed})


def test_equal_hashes_are_parted(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = keys_module.hash_keys

    def poor(keys: dict[str, np.ndarray], salt: int) -> np.ndarray:
        return honest(keys, salt) if salt > 1 else np.zeros(len(keys["run"]), dtype=np.uint64)

    monkeypatch.setattr(keys_module, "hash_keys", poor)
    index = KeyIndex(columns([(0, 0, 3, 0), (0, 0, 1, 0), (0, 0, 3, 0)]))
    assert index.n_repeated == 1
    assert index.find(columns([(0, 0, 1, 0), (0, 0, 2, 0), (0, 0, 3, 0)])).tolist() == [1, -1, 0]


def test_rows_and_columns_of_keys() -> None:
    rows = np.array([[1, 2, 3, 4], [5, 6, 7, 8]])
    assert key_columns(rows)["event"].tolist() == [3, 7]
    np.testing.assert_array_equal(key_rows(key_columns(rows)), rows)
    assert key_rows(key_columns([])).shape == (0, 4)
