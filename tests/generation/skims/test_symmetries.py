"""Images of events pass a skim as often as the events: what `data.symmetries` rests on."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from smartbkg_tf.events.table import EventTable
from smartbkg_tf.generation.beams import nominal_collision
from smartbkg_tf.generation.detector import reconstruct
from smartbkg_tf.generation.observables import EventView
from smartbkg_tf.generation.pythia_source import PythiaSource
from smartbkg_tf.runtime.command import compose_settings
from smartbkg_tf.settings.generation import ProduceSettings
from tests.images import image

N_EVENTS, N_RUNS = 1500, 12


def _share_that_passes(table: EventTable, seed: int) -> np.ndarray:
    """How often each event passes each skim [n_events, n_skims]."""
    settings = compose_settings("produce", ProduceSettings, ["skim=all"])
    assert isinstance(settings.source, PythiaSource)
    collision = nominal_collision(settings.source.beams)
    found = np.zeros((len(table), len(settings.skim)))
    for run in range(N_RUNS):
        random = np.random.default_rng([seed, run])
        view = EventView(reconstruct(table, settings.detector, random), collision)
        for column, skim in enumerate(settings.skim.values()):
            found[:, column] += np.asarray(skim.select(view).passes)
    return found / N_RUNS


@pytest.fixture(scope="module")
def events(mixed: EventTable) -> EventTable:
    return mixed.take(np.arange(N_EVENTS))


@pytest.fixture(scope="module")
def share(events: EventTable) -> np.ndarray:
    return _share_that_passes(events, 1)


@pytest.mark.parametrize("symmetry", ["charge_conjugation", "mirror"])
def test_images_pass_as_often(events: EventTable, share: np.ndarray, symmetry: str) -> None:
    """The difference of each skim vanishes within four of its errors (six skims, two symmetries).

    The error comes from the spread of the differences of single events; it is small enough
    to see a difference of a fifth in skims that keep a percent or more.
    """
    found = _share_that_passes(image(events, symmetry), 2)
    difference = found - share
    error = difference.std(axis=0, ddof=1) / np.sqrt(N_EVENTS)
    retention = share.mean(axis=0)
    frequent = retention > 0.01
    assert frequent.sum() >= 4
    assert (error[frequent] < 0.05 * retention[frequent]).all()
    assert (np.abs(difference.mean(axis=0)) <= 4.0 * error).all()


def test_a_broken_symmetry_is_seen(events: EventTable, share: np.ndarray) -> None:
    """Turned around along z, events miss a detector that is longer in front."""
    particles = dict(events.particles)
    particles |= {name: -np.asarray(particles[name]) for name in ("z", "pz")}
    turned = dataclasses.replace(events, particles=particles)
    difference = _share_that_passes(turned, 2) - share
    error = difference.std(axis=0, ddof=1) / np.sqrt(N_EVENTS)
    assert (np.abs(difference.mean(axis=0)) > 4.0 * error).any()
