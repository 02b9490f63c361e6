"""Unusable events: all found, all told at once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from smartbkg_tf.encoding.checks import (
    REASONS,
    Finding,
    all_sound,
    find_unusable_encoded,
    find_unusable_events,
    finding_of,
    summed,
)
from smartbkg_tf.encoding.encode import check_and_encode, encode
from smartbkg_tf.events.vocabulary import default_vocabulary
from smartbkg_tf.settings.encoding import EncodingSettings
from tests.encoding.tables import particle, table_of
from tests.samples import make_events

GOOD = [particle(511), particle(211, 0)]


def test_sound_events_pass() -> None:
    usable, findings = find_unusable_events(make_events(50))
    assert usable.all()
    assert findings == []


@pytest.mark.parametrize(
    ("reason", "event"),
    [
        ("not_finite", [particle(511, x=float("nan"))]),
        ("not_finite", [particle(511, px=float("inf"))]),
        ("not_finite", [particle(511, t=-1e39)]),
        ("not_finite", [particle(511, charge=float("nan"))]),
        ("too_large", [particle(511), particle(22, 0, E=1e20)]),
        ("too_large", [particle(511, pz=-10001.0)]),
        ("negative_energy", [particle(511), particle(22, 0, E=-0.1)]),
        ("mother_index", [particle(511, 1)]),
        ("mother_index", [particle(511, -2)]),
        ("mother_index", [particle(511, 0)]),
        ("mother_index", [particle(511, 2), particle(22, 0), particle(23, 1)]),
        ("charge", [particle(511, charge=0.5)]),
        ("charge", [particle(511, charge=60.0)]),
        ("no_particles", []),
    ],
)
def test_each_fault_is_found_and_only_there(reason: str, event: list) -> None:
    table = table_of([GOOD, event, GOOD])
    usable, findings = find_unusable_events(table, file="a.h5")
    assert usable.tolist() == [True, False, True]
    assert [f.reason for f in findings] == [reason]
    assert findings[0].first == (("a.h5", 1003, 1, 2, 0),)
    assert all_sound(table_of([GOOD, GOOD]))
    assert not all_sound(table)


def test_mothers_behind_their_daughters_are_no_circle() -> None:
    usable, findings = find_unusable_events(
        table_of([[particle(22, 2), particle(211, 0), particle(511)]])
    )
    assert usable.all()
    assert findings == []


def test_charges_of_quarks_and_nuclei_are_legal() -> None:
    event = [particle(4, charge=2 / 3), particle(1, charge=-1 / 3), particle(1, charge=26.0)]
    assert find_unusable_events(table_of([event]))[0].all()


def test_an_event_with_several_faults_counts_in_each() -> None:
    bad = [particle(511, 9, E=-1.0, y=float("nan"), z=float("inf"))]
    usable, findings = find_unusable_events(table_of([bad]))
    assert not usable.any()
    assert {f.reason for f in findings} == {"not_finite", "negative_energy", "mother_index"}
    assert next(f for f in findings if f.reason == "not_finite").detail == ("y", "z")


def test_labels_that_are_none() -> None:
    table = table_of([GOOD] * 4, labels={"a": [0, 1, -1, 2], "b": [0, 5, 1, 1]})
    usable, findings = find_unusable_events(table)
    assert usable.tolist() == [True, False, True, False]
    assert [(f.reason, f.count) for f in findings] == [("label_value", 2)]


def test_very_long_events_are_refused() -> None:
    table = table_of([[particle(211)] * 32768, GOOD])
    usable, findings = find_unusable_events(table)
    assert usable.tolist() == [False, True]
    assert findings[0].reason == "too_many_particles"


def test_without_particles_an_event_is_legal_for_decay_strings_only() -> None:
    table = make_events(4, empty=(2,))
    alone = replace(table, particles={}, offsets=np.zeros(5, np.int64))
    usable, findings = find_unusable_events(alone)
    assert usable.all()
    assert findings == []
    vocabulary = default_vocabulary()
    encoded = encode(alone, EncodingSettings(), vocabulary)
    sound, found = find_unusable_encoded(encoded, alone)
    assert sound.tolist() == [True, True, False, True]
    assert [f.reason for f in found] == ["no_tokens"]
    # With particles the event was judged by them already.
    assert find_unusable_encoded(encode(table, EncodingSettings(), vocabulary), table)[0].all()


@pytest.mark.parametrize(
    ("text", "sound"),
    [
        (" 511 (--> 211 <--)", True),
        (" 15 (--> 16 <--) -15 (--> -16 <--)", True),
        (" 511 (--> 211", False),
        (" 511 211 <--)", False),
        (" 511 <--) (-->", False),
        (" (--> 211 <--)", False),
        (" 511 (--> (--> 211 <--) <--)", False),
        (" 511 (--> 22 <--) (--> 22 <--)", False),
    ],
)
def test_brackets(text: str, sound: bool) -> None:
    table = table_of([GOOD, GOOD], strings=[" 511 (--> 211 <--)", text])
    vocabulary = default_vocabulary()
    encoded = encode(table, EncodingSettings(), vocabulary)
    usable, findings = find_unusable_encoded(encoded, table, file="a.h5")
    assert usable.tolist() == [True, sound]
    assert [finding.reason for finding in findings] == ([] if sound else ["decay_string"])


def test_an_empty_decay_string_of_an_event_with_particles() -> None:
    table = table_of([GOOD, GOOD], strings=["", " 511"])
    kept, encoded, findings = check_and_encode(table, EncodingSettings(), default_vocabulary())
    assert kept.keys["event"].tolist() == [2]
    assert len(encoded) == 1
    assert [(finding.reason, finding.count) for finding in findings] == [("no_tokens", 1)]


def test_findings_add_up_and_keep_the_first_keys() -> None:
    keys = make_events(10).keys
    findings = summed(
        [
            finding_of("charge", np.array([1, 2]), keys, "a.h5"),
            finding_of("not_finite", np.array([0]), keys, "a.h5", ("z",)),
            finding_of("not_finite", np.arange(10) > 4, keys, "b.h5", ("x",)),
        ]
    )
    assert [(f.reason, f.count) for f in findings] == [("not_finite", 6), ("charge", 2)]
    first = findings[0]
    assert [key[0] for key in first.first] == ["a.h5", "b.h5", "b.h5"]
    assert first.first[1] == ("b.h5", 1003, 0, 6, 7)
    assert first.detail == ("x", "z")
    assert str(first) == (
        "6 events with NaN, infinite or too large values in x, z (a.h5: experiment 1003, run 0, "
        "event 1, production 7; b.h5: experiment 1003, run 0, event 6, production 7; b.h5: "
        "experiment 1003, run 0, event 7, production 7, ...)"
    )


def test_a_single_event_is_told_in_the_singular() -> None:
    finding = Finding("no_particles", 1, (("a.h5", 1, 2, 3, 4),))
    expected = "1 event with no particles (a.h5: experiment 1, run 2, event 3, production 4)"
    assert str(finding) == expected
    assert set(REASONS) >= {"duplicate", "conflict", "no_label", "no_tokens"}
