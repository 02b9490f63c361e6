from __future__ import annotations

import numpy as np
import pytest

from smartbkg_tf.errors import ConfigurationError
from smartbkg_tf.generation import seeds
from smartbkg_tf.generation.beams import nominal_collision
from smartbkg_tf.generation.chunks import label_events
from smartbkg_tf.generation.detector import reconstruct
from smartbkg_tf.generation.observables import Cleaning, EventView
from smartbkg_tf.generation.skims.base import Skim, SkimResult
from smartbkg_tf.generation.skims.fei_hadronic import FeiHadronic
from smartbkg_tf.runtime.command import compose_settings
from smartbkg_tf.settings.base import Field, settings
from smartbkg_tf.settings.generation import ProduceSettings

NAMES = ("fei_hadronic_b0", "fei_hadronic_bplus")


@settings
class ManyTracks(Skim):
    """A skim of a user's own module."""

    minimum_tracks: int = Field(default=5, ge=0)

    def select(self, events: EventView) -> SkimResult:
        return SkimResult(events.summary(Cleaning()).n_tracks >= self.minimum_tracks)


@pytest.fixture(scope="module")
def everything():
    return compose_settings("produce", ProduceSettings, ["skim=all"])


def labelled(table, everything, seed, kind=0):
    random = seeds.generator(seed, kind, 0, "detector")
    return label_events(
        table, everything.source.beams, everything.detector, everything.skim, random
    )


@pytest.fixture(scope="module")
def first(mixed, everything):
    return labelled(mixed, everything, 1)


@pytest.fixture(scope="module")
def second(mixed, everything):
    return labelled(mixed, everything, 2)


def test_labels_are_random_but_repeat_with_the_seed(mixed, everything, first, second):
    """The label is no function of the generated event."""
    again, other = labelled(mixed, everything, 1), second
    for name in NAMES:
        np.testing.assert_array_equal(first.labels[name], again.labels[name])
        a, b = first.labels[name] == 1, other.labels[name] == 1
        repeated = np.mean(b[a])
        # Neither certain nor independent: chance would be the retention.
        assert 3 * b.mean() < repeated < 0.75
    for name, values in first.observables.items():
        np.testing.assert_array_equal(values, again.observables[name])
    for name, column in first.particles.items():
        np.testing.assert_array_equal(column, other.particles[name])


@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [
        ("mixed", 0.03, 0.06),
        ("charged", 0.025, 0.06),
        ("uubar", 0, 0.03),
        ("ccbar", 0, 0.05),
        ("taupair", 0, 0.01),
    ],
)
def test_retention_of_the_neutral_tag(samples, everything, first, kind, low, high):
    labels = (first if kind == "mixed" else labelled(samples[kind], everything, 1)).labels
    n, share = len(labels[NAMES[0]]), np.mean(labels[NAMES[0]])
    error = np.sqrt(max(share, 1 / n) / n)
    assert low - 3 * error <= share <= high + 3 * error


def test_the_charged_tag_prefers_charged_b(samples, everything, first):
    charged = np.mean(labelled(samples["charged"], everything, 1, 1).labels[NAMES[1]])
    assert charged > np.mean(first.labels[NAMES[1]])


def test_observables_of_the_best_candidate(first):
    for name in NAMES:
        passes = first.labels[name] == 1
        mbc, delta_e = first.observables[f"Mbc_{name}"], first.observables[f"deltaE_{name}"]
        assert np.all(mbc[passes] > 5.24)
        assert np.all(mbc[passes] < 5.2901)
        assert np.all(np.abs(delta_e[passes]) <= 0.2)
        assert np.all(first.observables[f"sigProb_{name}"][passes] >= 3e-5)
    summary = {n: first.observables[n] for n in ("nTracks", "nClusters", "visibleEnergyCMS", "R2")}
    passes = first.labels[NAMES[0]] == 1
    assert summary["nTracks"][passes].min() >= 4
    assert summary["nClusters"][passes].min() >= 3
    assert summary["visibleEnergyCMS"][passes].min() > 4
    assert summary["R2"][passes].max() < 0.4


def test_the_b_peaks_among_the_purest_candidates(first, second):
    """Within 6 MeV of its mass lie 0.676 +- 0.025 of 120 000 events' pure candidates.

    A flat distribution has 12 of 50 MeV there. The two draws of the detector see the same events:
    each event counts once, so that the binomial error is an upper bound.
    """
    near = np.full((2, len(first.labels[NAMES[0]])), np.nan)
    for row, draw in zip(near, (first, second), strict=True):
        mbc, delta_e, purity = (
            draw.observables[f"{name}_{NAMES[0]}"] for name in ("Mbc", "deltaE", "sigProb")
        )
        pure = (draw.labels[NAMES[0]] == 1) & (purity > 3e-3) & (np.abs(delta_e) < 0.05)
        row[pure] = np.abs(mbc[pure] - 5.2796) < 0.006
    by_event = np.nanmean(near[:, np.isfinite(near).any(axis=0)], axis=0)
    n = len(by_event)
    assert n >= 10
    assert np.mean(by_event) > 0.65 - 3 * np.sqrt(0.65 * 0.35 / n)


@pytest.mark.parametrize(
    ("cut", "value", "quantity", "keeps"),
    [
        ("minimum_tracks", 9, "nTracks", lambda x: x >= 9),
        ("minimum_clusters", 8, "nClusters", lambda x: x >= 8),
        ("minimum_visible_energy", 7.0, "visibleEnergyCMS", lambda x: x > 7.0),
        ("minimum_ecl_energy", 4.0, "clusterEnergy", lambda x: x > 4.0),
        ("maximum_ecl_energy", 4.0, "clusterEnergy", lambda x: x < 4.0),
        ("maximum_r2", 0.1, "R2", lambda x: x < 0.1),
    ],
)
def test_each_event_cut_cuts(mixed, everything, cut, value, quantity, keeps):
    loose = {
        "minimum_tracks": 0,
        "minimum_clusters": 0,
        "minimum_visible_energy": 0.0,
        "minimum_ecl_energy": 0.0,
        "maximum_ecl_energy": 1e3,
        "maximum_r2": 1.0,
    }
    view = EventView(
        reconstruct(mixed, everything.detector, np.random.default_rng(8)),
        nominal_collision(everything.source.beams),
    )
    summary = view.summary(Cleaning())
    open_skim, cutting = FeiHadronic(**loose), FeiHadronic(**{**loose, cut: value})
    assert open_skim.preselection(summary).mean() > 0.99
    chosen = keeps(summary.observables()[quantity]) & open_skim.preselection(summary)
    np.testing.assert_array_equal(cutting.preselection(summary), chosen)


def test_a_users_own_skim_is_found_by_its_target(mixed, everything):
    target = f"{ManyTracks.__module__}.ManyTracks"
    overrides = [f"skim.busy._target_={target}", "skim.busy.minimum_tracks=9"]
    skim = compose_settings("produce", ProduceSettings, overrides).skim["busy"]
    view = EventView(
        reconstruct(mixed, everything.detector, np.random.default_rng(8)),
        nominal_collision(everything.source.beams),
    )
    share = skim.select(view).passes.mean()
    assert share == np.mean(view.summary(Cleaning()).n_tracks >= 9)


def test_mistakes_in_a_skim_are_named(everything):
    target = f"{ManyTracks.__module__}.ManyTracks"
    base = [f"+skim.busy._target_={target}"]
    composed = compose_settings("produce", ProduceSettings, base)
    assert list(composed.skim) == [NAMES[0], "busy"]
    for overrides, text in (
        ([*base, "+skim.busy.minimum_track=3"], "did you mean 'minimum_tracks'"),
        (["skim.fei_hadronic_b0.maximum_r=3"], "did you mean 'maximum_r2'"),
        (["skim.fei_hadronic_b0.maximum_r2=3"], "maximum_r2.*less than or equal to 1"),
        (["+skim.busy.x=1"], r"skim\.busy: a mapping with _target_"),
        (["+skim.busy._target_=NoModule"], "'NoModule' is not an import path"),
        (["+skim.busy._target_=no_such_module_x.Y"], "no module 'no_such_module_x'"),
        ([f"+skim.busy._target_={ManyTracks.__module__}.ManyTrack"], "did you mean 'ManyTracks'"),
        (["+skim.busy._target_=pathlib.Path"], "does not inherit"),
        (["skim=fei_hadronic_b"], "did you mean 'fei_hadronic_b0'"),
    ):
        with pytest.raises(ConfigurationError, match=text):
            compose_settings("produce", ProduceSettings, overrides)


def test_the_two_tags(everything):
    assert [everything.skim[name] for name in NAMES] == [FeiHadronic(), FeiHadronic(tag="B+")]
