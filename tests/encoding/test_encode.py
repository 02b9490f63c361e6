"""Encoding of whole tables: order, lengths, tokens, and the traps of the field."""

from __future__ import annotations

from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from smartbkg_tf.encoding.encode import FEATURES, encode, pad
from smartbkg_tf.encoding.events import Events
from smartbkg_tf.encoding.pad import INPUTS_OF
from smartbkg_tf.events.table import EventTable
from smartbkg_tf.events.vocabulary import default_vocabulary
from smartbkg_tf.settings.encoding import FEATURE_SETS, FEATURE_UNITS, EncodingSettings
from tests.encoding.tables import features_of, particle, table_of
from tests.samples import make_events

VOCABULARY = default_vocabulary()
ALL = (
    "particle_input",
    "pdg_input",
    "mother_pdg_input",
    "mother_index_input",
    "decay_input",
    "event_type_input",
)


def padded(table: EventTable, encoding: EncodingSettings | None = None) -> dict[str, np.ndarray]:
    encoding = encoding or EncodingSettings()
    encoded = encode(table, encoding, VOCABULARY)
    return pad(encoded, None, ALL, encoding.max_particles, encoding.max_tokens)


@pytest.mark.parametrize("features", ["original", "smartbackground"])
def test_one_event_alone_is_encoded_as_in_a_crowd(features: str) -> None:
    """Trap 1: the filter meets events one at a time, the training met them by thousands."""
    encoding = EncodingSettings(features=features)  # type: ignore[arg-type]
    table = make_events(40, seed=1, empty=(3, 39))
    offline = padded(table, encoding)
    for i in range(len(table)):
        online = padded(table.take([i]), encoding)
        for name in ALL:
            assert online[name].dtype == offline[name].dtype
            np.testing.assert_array_equal(online[name][0], offline[name][i], err_msg=name)
    # A feature that became an integer somewhere would be 0 nearly everywhere.
    for k, name in enumerate(encoding.feature_names):
        column = offline["particle_input"][..., k][offline["pdg_input"] != 0]
        if name != "charge":
            assert np.unique(column).size > 100, name


def test_features_are_the_columns_of_the_table() -> None:
    table = make_events(30, seed=2)
    batch = padded(table)
    assert FEATURES == ("energy", "prodTime", "x", "y", "z", "px", "py", "pz", "charge")
    for i in range(30):
        rows = slice(table.offsets[i], table.offsets[i + 1])
        n = rows.stop - rows.start
        for k, name in enumerate(FEATURES):
            expected = np.asarray(table.particles[name][rows]).astype(np.float32)
            np.testing.assert_array_equal(batch["particle_input"][i, :n, k], expected)
        assert not batch["particle_input"][i, n:].any()
        assert (batch["pdg_input"][i, :n] > 1).all()
        assert not batch["pdg_input"][i, n:].any()


def test_order_of_events_is_kept_when_numbers_are_unsorted_and_interleaved() -> None:
    """Trap 2: features sorted by event number, labels in file order."""
    table = make_events(12, seed=3)
    numbers = np.array([9, 2, 9, 5, 1, 5, 2, 12, 3, 3, 8, 0])
    shuffled = replace(table, keys={**table.keys, "event": numbers})
    for name, values in padded(shuffled).items():
        np.testing.assert_array_equal(values, padded(table)[name])


def test_the_end_is_cut_never_the_beginning() -> None:
    """Trap 4, for particles and for tokens alike."""
    table = make_events(30, seed=4)
    whole = padded(table)
    short = padded(table, EncodingSettings(max_particles=7, max_tokens=11))
    for name in ("particle_input", "pdg_input", "mother_pdg_input"):
        np.testing.assert_array_equal(short[name], whole[name][:, :7])
    np.testing.assert_array_equal(short["decay_input"], whole["decay_input"][:, :11])


def test_mothers_beyond_the_cut_are_none() -> None:
    event = [particle(511), particle(211, 2), particle(421, 0), particle(-211, 0)]
    encoded = encode(table_of([event]), EncodingSettings(), VOCABULARY)
    assert pad(encoded, None, ALL, 4, 9)["mother_index_input"].tolist() == [[-1, 2, 0, 0]]
    assert pad(encoded, None, ALL, 2, 9)["mother_index_input"].tolist() == [[-1, -1]]
    assert pad(encoded, None, ALL, 6, 9)["mother_index_input"].tolist() == [[-1, 2, 0, 0, -1, -1]]


def test_truncation_is_counted() -> None:
    table = make_events(50, seed=5)
    lengths = np.diff(table.offsets)
    report = encode(table, EncodingSettings(max_particles=18, max_tokens=40), VOCABULARY).report
    assert report.truncated_particles == np.count_nonzero(lengths > 18) > 0
    words = np.array([len(text.split()) for text in table.decay_strings])  # type: ignore[union-attr]
    assert report.truncated_tokens == np.count_nonzero(words > 40) > 0


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.float32, np.float64])
def test_charge_of_any_number_type_is_the_same(dtype: type) -> None:
    """Trap 5: an integer charge column gave all-zero one-hots."""
    table = make_events(10, seed=6)
    changed = replace(
        table, particles={**table.particles, "charge": table.particles["charge"].astype(dtype)}
    )
    charge = padded(changed)["particle_input"][..., 8]
    np.testing.assert_array_equal(charge, padded(table)["particle_input"][..., 8])
    assert set(np.unique(charge)) == {-1.0, 0.0, 1.0}


def test_charge_of_quarks_is_exact() -> None:
    event = [particle(4, charge=2 / 3), particle(3, charge=-1 / 3), particle(2224, charge=2.0)]
    charge = padded(table_of([event]))["particle_input"][0, :3, 8]
    np.testing.assert_array_equal(charge, np.array([2 / 3, -1 / 3, 2.0], dtype=np.float32))


def test_first_and_last_code_of_the_vocabulary_have_tokens_and_unseen_ones_are_counted() -> None:
    """Trap 7: off by one at the end; an unknown code failed the file, or vanished."""
    first, last = int(VOCABULARY.codes[0]), int(VOCABULARY.codes[-1])
    table = table_of([[particle(first), particle(last, 0), particle(99999999, 1)]])
    encoded = encode(table, EncodingSettings(), VOCABULARY)
    assert encoded["pdg_input"].tolist() == [2, VOCABULARY.opener - 1, 1]
    assert encoded.report.unknown_codes == {"99999999": 1}
    # In the decay tokens too: unknown, not left out.
    assert encoded["decay_input"].tolist() == [
        2,
        VOCABULARY.opener,
        VOCABULARY.opener - 1,
        VOCABULARY.opener,
        1,
        VOCABULARY.closer,
        VOCABULARY.closer,
    ]


def test_unknown_codes_of_strings_are_counted_once_and_words_too() -> None:
    table = table_of([[particle(77777777)]], strings=[" 77777777 rubbish"])
    encoded = encode(table, EncodingSettings(), VOCABULARY)
    assert encoded.report.unknown_codes == {"77777777": 1, "rubbish": 1}
    # Codes that stand in the text only are counted too.
    other = replace(table, decay_strings=np.array([" 77777777 88888888"], dtype=object))
    report = encode(other, EncodingSettings(), VOCABULARY).report
    assert report.unknown_codes == {"77777777": 1, "88888888": 1}
    alone = replace(table, particles={}, offsets=np.zeros(2, np.int64))
    report = encode(alone, EncodingSettings(), VOCABULARY).report
    assert report.unknown_codes == {"77777777": 1, "rubbish": 1}


@pytest.mark.parametrize("features", ["original", "smartbackground"])
def test_pdg_codes_as_floats(features: str) -> None:
    """Trap 8: '211.0' worked by accident."""
    table = make_events(10, seed=7)
    names = ("PDG", "motherPDG")
    changed = {name: table.particles[name].astype(np.float64) for name in names}
    floats = replace(table, particles={**table.particles, **changed})
    encoding = EncodingSettings(features=features)  # type: ignore[arg-type]
    for name, values in padded(floats, encoding).items():
        np.testing.assert_array_equal(values, padded(table, encoding)[name])


@pytest.mark.parametrize("features", ["original", "smartbackground"])
@pytest.mark.parametrize("empty", [(0,), (2, 3), (0, 1, 2, 3, 4)])
def test_events_without_particles(features: str, empty: tuple[int, ...]) -> None:
    """Trap 9: a KeyError in one path, an array of wrong rank in the other."""
    encoding = EncodingSettings(features=features)  # type: ignore[arg-type]
    table = make_events(5, seed=8, empty=empty)
    batch = padded(table, encoding)
    width = len(encoding.feature_names)
    assert batch["particle_input"].shape == (5, 100, width)
    assert not batch["particle_input"][list(empty)].any()
    assert not batch["pdg_input"][list(empty)].any()
    assert not batch["decay_input"][list(empty)].any()
    assert (batch["mother_index_input"][list(empty)] == -1).all()


def test_no_events_at_all() -> None:
    batch = padded(make_events(3).take(np.zeros(3, dtype=bool)))
    assert batch["particle_input"].shape == (0, 100, 9)
    assert batch["decay_input"].shape == (0, 150)


def test_the_callers_table_stays_as_it_is() -> None:
    """Trap 10: a second call failed."""
    table = make_events(10, seed=9)
    copies = {name: values.copy() for name, values in table.particles.items()}
    labels = {name: values.copy() for name, values in table.labels.items()}
    for values in table.particles.values():
        values.flags.writeable = False
    first, second = padded(table), padded(table)
    for name in ALL:
        np.testing.assert_array_equal(first[name], second[name])
    for name, values in copies.items():
        np.testing.assert_array_equal(table.particles[name], values)
    for name, label in labels.items():
        np.testing.assert_array_equal(table.labels[name], label)


@pytest.mark.parametrize("bad", [-7, 5, 99, 1])
def test_mothers_that_cannot_be_are_none_online(bad: int) -> None:
    """The checks refuse them in preprocessing; the filter must not fall over them."""
    table = table_of([[particle(511), particle(211, bad, motherPDG=511)], [particle(22)]])
    encoded = encode(table, EncodingSettings(), VOCABULARY)
    assert encoded["mother_index_input"].tolist() == [-1, -1, -1]


def test_decay_tokens_from_strings_equal_those_from_trees() -> None:
    with_strings = make_events(50, seed=10)
    without = replace(with_strings, decay_strings=None)
    first, second = (encode(t, EncodingSettings(), VOCABULARY) for t in (with_strings, without))
    np.testing.assert_array_equal(first["decay_input"], second["decay_input"])
    np.testing.assert_array_equal(first.offsets["tokens"], second.offsets["tokens"])


def test_decay_strings_alone() -> None:
    table = make_events(6, seed=11)
    alone = replace(table, particles={}, offsets=np.zeros(7, dtype=np.int64))
    batch = padded(alone)
    np.testing.assert_array_equal(batch["decay_input"], padded(table)["decay_input"])
    assert not batch["particle_input"].any()


def test_mother_tokens_are_zero_without_a_mother() -> None:
    event = [particle(300553), particle(511, 0), particle(211, None, motherPDG=15)]
    encoded = encode(table_of([event]), EncodingSettings(), VOCABULARY)
    assert encoded["mother_pdg_input"].tolist() == [0, *VOCABULARY.tokens([300553, 15]).tolist()]


def test_take_gives_the_chosen_events() -> None:
    encoded = encode(make_events(20, seed=12, empty=(4,)), EncodingSettings(), VOCABULARY)
    chosen = np.array([7, 4, 0, 7])
    taken = pad(encoded.take(chosen), None, ALL, 60, 60)
    for name, values in pad(encoded, chosen, ALL, 60, 60).items():
        np.testing.assert_array_equal(taken[name], values)


def test_every_feature_has_a_unit() -> None:
    assert {name for names in FEATURE_SETS.values() for name in names} == set(FEATURE_UNITS)
    assert EncodingSettings(features="smartbackground").units[:2] == ("ns", "cm")
    assert all(set(names) < set(ALL) for names in INPUTS_OF.values())


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(0, 12),
    seed=st.integers(0, 1000),
    max_particles=st.integers(1, 60),
    max_tokens=st.integers(1, 120),
    data=st.data(),
)
def test_padding_loses_nothing_that_fits(
    n: int, seed: int, max_particles: int, max_tokens: int, data: st.DataObject
) -> None:
    empty = data.draw(st.sets(st.integers(0, 11)))
    encoded = encode(make_events(n, seed, empty=tuple(empty)), EncodingSettings(), VOCABULARY)
    rows = data.draw(st.lists(st.integers(0, n - 1), max_size=8) if n else st.just([]))
    batch = pad(encoded, rows, ALL, max_particles, max_tokens)
    assert_plain_padding(encoded, rows, batch, max_particles, max_tokens)


def assert_plain_padding(
    encoded: Events,
    rows: list[int],
    batch: dict[str, np.ndarray],
    max_particles: int,
    max_tokens: int,
) -> None:
    for b, row in enumerate(rows):
        start, stop = encoded.offsets["particles"][row : row + 2]
        n = min(stop - start, max_particles)
        particles = slice(start, start + n)
        np.testing.assert_array_equal(
            batch["particle_input"][b, :n], features_of(encoded)[particles]
        )
        np.testing.assert_array_equal(batch["pdg_input"][b, :n], encoded["pdg_input"][particles])
        assert not batch["pdg_input"][b, n:].any()
        mothers = encoded["mother_index_input"][particles].astype(int)
        expected = np.where(mothers < max_particles, mothers, -1)
        np.testing.assert_array_equal(batch["mother_index_input"][b, :n], expected)
        assert (batch["mother_index_input"][b, n:] == -1).all()
        start, stop = encoded.offsets["tokens"][row : row + 2]
        n = min(stop - start, max_tokens)
        np.testing.assert_array_equal(
            batch["decay_input"][b, :n], encoded["decay_input"][start : start + n]
        )
        assert not batch["decay_input"][b, n:].any()
    assert batch["decay_input"].shape == (len(rows), max_tokens)
    assert batch["particle_input"].dtype == np.float32
    assert all(batch[name].dtype == np.int32 for name in ALL[1:])
