from __future__ import annotations

import numpy as np
import pytest

from smartbkg_tf.events.table import EVENT_TYPES, PARTICLE_COLUMNS
from smartbkg_tf.events.vocabulary import default_vocabulary
from smartbkg_tf.generation.extract import (
    charges_of,
    extract,
    is_parton_or_string,
    without_radiation,
)
from smartbkg_tf.generation.record import Record, join_records


def record(rows, vertices=None):
    """Rows of (code, status, mother, event); momenta count the rows."""
    columns = np.array(rows, dtype=np.int64).T
    n = len(rows)
    momentum = np.arange(4 * n, dtype=float).reshape(n, 4)
    vertex = np.zeros((n, 4)) if vertices is None else np.array(vertices, dtype=float)
    return Record(*columns, momentum, np.ones(n), vertex)


def table_of(rows, vertices=None, n_events=1, **limits):
    keys = {
        k: np.zeros(n_events, dtype=np.int64) for k in ("experiment", "run", "event", "production")
    }
    return extract(
        record(rows, vertices),
        limits.pop("place", np.zeros((n_events, 3))),
        limits.pop("radius", 125.0),
        limits.pop("z_range", (-100.0, 190.0)),
        keys,
        0,
    )


def test_links_climb_through_partons_and_strings():
    table = table_of(
        [
            (90, -11, -1, -1),
            (553, -22, -1, 0),
            (1, -91, 1, 0),  # quark
            (2101, -91, 1, 0),  # diquark
            (92, -91, 2, 0),  # string
            (213, -84, 4, 0),
            (211, 91, 5, 0),
            (111, -91, 5, 0),
            (22, 91, 7, 0),
            (22, 91, 7, 0),
        ]
    )
    np.testing.assert_array_equal(table.particles["PDG"], [553, 213, 211, 111, 22, 22])
    np.testing.assert_array_equal(table.particles["motherIndex"], [-1, 0, 1, 1, 3, 3])
    np.testing.assert_array_equal(table.particles["motherPDG"], [0, 553, 213, 213, 111, 111])
    np.testing.assert_array_equal(table.particles["nDaughters"], [1, 2, 0, 2, 0, 0])


def test_copies_and_beams_vanish_and_the_last_z_is_the_virtual_photon():
    table = table_of(
        [
            (90, -11, -1, -1),
            (11, -12, -1, 0),
            (-11, -12, -1, 0),
            (23, -22, 1, 0),
            (22, 43, 1, 0),  # from the beam
            (23, -44, 3, 0),  # shifted by it
            (15, -23, 5, 0),
            (15, -52, 6, 0),  # recoils against ...
            (22, 51, 6, 0),  # ... a radiated photon
            (16, 91, 7, 0),
        ]
    )
    np.testing.assert_array_equal(table.particles["PDG"], [22, 10022, 15, 22, 16])
    np.testing.assert_array_equal(table.particles["motherIndex"], [-1, -1, 1, 1, 2])
    np.testing.assert_array_equal(table.particles["status"], [65, 1, 1, 129, 1])
    plain = without_radiation(table)
    np.testing.assert_array_equal(plain.particles["PDG"], [10022, 15, 16])
    np.testing.assert_array_equal(plain.particles["motherIndex"], [-1, 0, 1])
    np.testing.assert_array_equal(plain.particles["nDaughters"], [1, 1, 0])
    np.testing.assert_array_equal(plain.offsets, [0, 3])


def test_a_decay_into_its_own_kind_is_no_copy():
    table = table_of([(553, -22, -1, 0), (113, -91, 0, 0), (113, 91, 1, 0)])
    np.testing.assert_array_equal(table.particles["PDG"], [553, 113, 113])


def test_interleaved_events_are_parted_in_generator_order():
    rows = [
        (300553, -22, -1, 0),
        (511, -91, 0, 0),
        (300553, -22, -1, 1),
        (-511, -91, 2, 1),
        (22, 91, 1, 0),
        (211, 91, 3, 1),
        (111, 91, 1, 0),
    ]
    table = table_of(rows, n_events=3)
    np.testing.assert_array_equal(table.offsets, [0, 4, 7, 7])
    np.testing.assert_array_equal(table.particles["PDG"], [300553, 511, 22, 111, 300553, -511, 211])
    np.testing.assert_array_equal(table.particles["motherIndex"], [-1, 0, 1, 1, -1, 0, 1])
    np.testing.assert_array_equal(table.particles["px"], [0, 4, 16, 24, 8, 12, 20])


def test_units_and_the_interaction_point():
    table = table_of(
        [(300553, -22, -1, 0), (22, 91, 0, 0)],
        [(0, 0, 0, 0), (10.0, 20.0, -30.0, 299.792458)],
        place=np.array([[0.1, 0.2, 0.3]]),
    )
    for name, expected in {"x": 1.1, "y": 2.2, "z": -2.7, "prodTime": 1.0}.items():
        assert table.particles[name][1] == pytest.approx(expected)
    assert table.particles["x"][0] == pytest.approx(0.1)


@pytest.mark.parametrize("vertex", [(1300.0, 0, 0, 1), (0, 0, 2000.0, 1), (0, 0, -1100.0, 1)])
def test_what_is_born_outside_the_detector_is_cut_off_with_all_that_follows(vertex):
    rows = [
        (300553, -22, -1, 0),
        (130, -91, 0, 0),
        (111, -91, 1, 0),
        (22, 91, 2, 0),
        (22, 91, 0, 0),
    ]
    # The photon of the pi0 looks inside, but its mother is not.
    table = table_of(rows, [(0,) * 4, (0,) * 4, vertex, (0,) * 4, (0,) * 4])
    np.testing.assert_array_equal(table.particles["PDG"], [300553, 130, 22])
    np.testing.assert_array_equal(table.particles["nDaughters"], [2, 0, 0])


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (1, True),
        (-5, True),
        (21, True),
        (2101, True),
        (-3303, True),
        (92, True),
        (211, False),
        (22, False),
        (2212, False),
        (3122, False),
        (11, False),
        (16, False),
        (10022, False),
    ],
)
def test_partons_are_told_from_particles(code, expected):
    assert is_parton_or_string(np.array([code]))[0] == expected


def test_charges():
    codes = np.array([211, -211, 22, 10022, 300553, 413, -3112, 2224, 10221, 211])
    np.testing.assert_array_equal(charges_of(codes), [1, -1, 0, 0, 0, 1, 1, 2, 0, 1])
    with pytest.raises(ValueError, match="999999999"):
        charges_of(np.array([999999999]))


def test_joining_moves_links():
    one = record([(300553, -22, -1, 0), (22, 91, 0, 0)])
    joined = join_records([one, one])
    np.testing.assert_array_equal(joined.mother, [-1, 0, -1, 2])
    assert len(joined) == 4


@pytest.mark.parametrize("kind", EVENT_TYPES)
def test_tables_are_sound(samples, kind):
    table = samples[kind]
    assert {n: c.dtype for n, c in table.particles.items()} == {
        n: np.dtype(d) for n, d in PARTICLE_COLUMNS.items()
    }
    for name, column in table.particles.items():
        assert np.all(np.isfinite(column)), name
    mother = table.particles["motherIndex"]
    place = np.arange(table.n_particles) - table.offsets[:-1][table.event_of_particle()]
    # A mother stands before her daughters: links are valid and have no cycles.
    assert np.all((mother >= -1) & (mother < place))
    parent = mother + table.offsets[:-1][table.event_of_particle()]
    has = mother >= 0
    pdg = table.particles["PDG"]
    np.testing.assert_array_equal(table.particles["motherPDG"][has], pdg[parent[has]])
    assert np.all(table.particles["motherPDG"][~has] == 0)
    np.testing.assert_array_equal(
        table.particles["nDaughters"], np.bincount(parent[has], minlength=len(pdg))
    )
    time = table.particles["prodTime"]
    assert np.all(time[has] >= time[parent[has]] - 1e-9)
    assert not np.any(is_parton_or_string(pdg))
    assert default_vocabulary().unknown(pdg) == {}
    np.testing.assert_array_equal(np.diff(table.offsets) > 0, True)
