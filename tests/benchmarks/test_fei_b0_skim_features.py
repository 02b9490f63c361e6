"""Columns that know the skim, against the combiner run by hand."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.fei_b0.reading import Reading
from benchmarks.fei_b0.replay import VARIATIONS, Replay, replay
from benchmarks.fei_b0.skim_features import NOTHING, SkimReplay, without_each
from smartbkg_tf.dataset.symmetries import Symmetries
from smartbkg_tf.events.table import EventTable
from tests.benchmarks.test_fei_b0_features import by_hand


def _columns(table: EventTable) -> dict[str, np.ndarray]:
    return dict(zip(SkimReplay.names, SkimReplay().compute(table).T, strict=True))


def test_copies_lack_one_bit_each() -> None:
    """Two events; in the first, bit 3 stands in two rows (a kaon and a pion hypothesis)."""
    base = (
        np.arange(20.0).reshape(5, 4),
        np.array([0, 2, 4, 0, 4]),
        np.array([3, 3, 32, 1, 40]),
        np.array([0, 3, 5]),
    )
    (vectors, species, bits, offsets), event, bit = without_each(base)
    assert event.tolist() == [0, 0, 1, 1]
    assert bit.tolist() == [3, 32, 1, 40]
    assert offsets.tolist() == [0, 1, 3, 4, 5]
    assert bits.tolist() == [32, 3, 3, 40, 1]
    assert species.tolist() == [4, 0, 2, 4, 0]
    assert vectors[:, 0].tolist() == [8.0, 0.0, 4.0, 16.0, 12.0]


def test_a_candidate_depends_on_its_particles() -> None:
    """B0 -> D*- pi+ of the event by hand: found or not, as the combiner says."""
    table = by_hand()
    columns = _columns(table)
    weight = replay(Reading(table), VARIATIONS["loose"])["weight"]
    expected = np.where(np.isnan(weight), NOTHING, weight)
    assert columns["best"].tolist() == [expected[0]] * len(columns["best"])


def test_without_a_particle_is_without_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaving a track out of the copies is like the table without its being seen."""
    table = by_hand()
    columns = _columns(table)
    reading = Reading(table)
    rows = np.flatnonzero(reading.seen_track | reading.seen_photon)
    assert len(rows) > 5
    full = Replay(reading, VARIATIONS["loose"]).combine()
    for row in rows:
        less = Reading(table)
        tracks, photons = less.seen_track.copy(), less.seen_photon.copy()
        tracks[row] = photons[row] = False
        less.__dict__["seen_track"], less.__dict__["seen_photon"] = tracks, photons
        weight, _, _, _, number = Replay(less, VARIATIONS["loose"]).combine()
        lost = max(full[0][0], NOTHING) - max(weight[0], NOTHING)
        assert columns["lost_best"][row] == pytest.approx(lost)
        fewer = np.log1p(full[4][0]) - np.log1p(number[0])
        assert columns["lost_candidates"][row] == pytest.approx(fewer)
    unseen = np.setdiff1d(np.arange(len(reading.code)), rows)
    assert not columns["lost_best"][unseen].any()


def test_the_columns_do_not_change_under_the_symmetries() -> None:
    """Charge conjugation and mirror image of the event itself give those of the columns."""
    table = by_hand()
    columns = _columns(table)
    names = list(SkimReplay.names)
    for name in SkimReplay.symmetries:
        particles = dict(table.particles)
        if name == "mirror":
            particles |= {key: -np.asarray(particles[key]) for key in ("y", "py")}
        else:
            own = np.isin(np.abs(particles["PDG"]), (22, 111, 310, 300553))
            particles["PDG"] = np.where(own, particles["PDG"], -np.asarray(particles["PDG"]))
            particles["charge"] = -np.asarray(particles["charge"])
        changed = EventTable(
            particles=particles,
            offsets=table.offsets,
            keys=table.keys,
            event_type=table.event_type,
            labels=table.labels,
        )
        features = "benchmarks.fei_b0.skim_features.SkimReplay"
        arrays = {"particle_input": np.stack(list(columns.values()), axis=1)[None]}
        images = Symmetries([name], features, names).image(arrays, np.array([[True]]))
        expected = np.stack(list(_columns(changed).values()), axis=1)
        np.testing.assert_allclose(images["particle_input"][0], expected, rtol=1e-5, atol=1e-6)
