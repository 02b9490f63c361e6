"""Columns that know the skim, against the combiner run by hand."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.fei_b0.reading import Reading
from benchmarks.fei_b0.replay import VARIATIONS, Replay, replay
from benchmarks.fei_b0.skim_features import NOTHING, SkimReplay, without_each
from smartbkg_tf.dataset.symmetries import Symmetries
from smartbkg_tf.events.table import EventTable
from smartbkg_tf.generation.skims.combiner import Base
from tests.images import image


def _columns(table: EventTable) -> dict[str, np.ndarray]:
    return dict(zip(SkimReplay.names, SkimReplay().compute(table).T, strict=True))


def test_copies_lack_one_bit_each() -> None:
    """Two events; in the first, bit 3 stands in two rows (a kaon and a pion hypothesis)."""
    base = Base(
        np.arange(20.0).reshape(5, 4),
        np.array([0, 2, 4, 0, 4]),
        np.array([3, 3, 32, 1, 40]),
        np.array([0, 3, 5]),
        np.array([0, 1, 0, 0, 0]),
    )
    (vectors, species, bits, offsets, marks), event, bit = without_each(base)
    assert event.tolist() == [0, 0, 1, 1]
    assert bit.tolist() == [3, 32, 1, 40]
    assert offsets.tolist() == [0, 1, 3, 4, 5]
    assert bits.tolist() == [32, 3, 3, 40, 1]
    assert species.tolist() == [4, 0, 2, 4, 0]
    assert marks.tolist() == [0, 0, 1, 0, 0]
    assert vectors[:, 0].tolist() == [8.0, 0.0, 4.0, 16.0, 12.0]


@pytest.fixture(scope="module")
def candidates(mixed_events: EventTable) -> EventTable:
    """Give generated events in which the combiner finds something."""
    table = mixed_events
    number = Replay(Reading(table), VARIATIONS["loose"]).combine()[4]
    found = table.take(np.flatnonzero(number)[:6])
    assert len(found) == 6
    return found


def test_columns_of_the_event_are_those_of_the_replay(candidates: EventTable) -> None:
    columns = _columns(candidates)
    event = candidates.event_of_particle()
    found = replay(Reading(candidates), VARIATIONS["loose"])
    assert np.isfinite(found["weight"]).all()
    assert (found["weight"] > NOTHING).all()
    np.testing.assert_allclose(columns["best"], found["weight"][event])
    np.testing.assert_allclose(columns["candidates"], np.log1p(found["candidates"])[event])
    np.testing.assert_allclose(columns["energy_difference"], found["delta_e"][event])


def test_without_a_particle_is_without_its_row(candidates: EventTable) -> None:
    """Leaving a particle out of the copies is like its not being seen."""
    columns = _columns(candidates)
    reading = Reading(candidates)
    rows = np.flatnonzero(reading.seen_track | reading.seen_photon)
    full = Replay(reading, VARIATIONS["loose"]).combine()
    for row in rows:
        event = reading.event[row]
        less = Reading(candidates)
        tracks, photons = less.seen_track.copy(), less.seen_photon.copy()
        tracks[row] = photons[row] = False
        less.__dict__["seen_track"], less.__dict__["seen_photon"] = tracks, photons
        weight, _, _, _, number = Replay(less, VARIATIONS["loose"]).combine()
        lost = max(full[0][event], NOTHING) - max(weight[event], NOTHING)
        assert columns["lost_best"][row] == pytest.approx(lost)
        fewer = np.log1p(full[4][event]) - np.log1p(number[event])
        assert columns["lost_candidates"][row] == pytest.approx(fewer)
    # Every candidate is made of something.
    for event in range(len(candidates)):
        assert columns["lost_candidates"][reading.event == event].max() > 0
    unseen = np.setdiff1d(np.arange(len(reading.code)), rows)
    assert not columns["lost_best"][unseen].any()


def test_the_columns_do_not_change_under_the_symmetries(candidates: EventTable) -> None:
    """Charge conjugation and mirror image of the event itself give those of the columns."""
    table = candidates
    columns = _columns(table)
    names = list(SkimReplay.names)
    for name in SkimReplay.symmetries:
        features = "benchmarks.fei_b0.skim_features.SkimReplay"
        arrays = {"particle_input": np.stack(list(columns.values()), axis=1)[None]}
        images = Symmetries([name], features, names).image(arrays, np.array([[True]]))
        expected = np.stack(list(_columns(image(table, name)).values()), axis=1)
        np.testing.assert_allclose(images["particle_input"][0], expected, rtol=1e-5, atol=1e-5)
