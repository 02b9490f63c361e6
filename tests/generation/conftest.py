"""Events that several tests look at, made once."""

from __future__ import annotations

from collections import Counter

import pytest

from smartbkg_tf.events.table import EventTable
from smartbkg_tf.generation.pythia_source import PythiaSource, generate_events
from smartbkg_tf.runtime.command import compose_settings
from smartbkg_tf.settings.detector import DetectorSettings
from smartbkg_tf.settings.generation import ProduceSettings

N_MIXED = 6000


@pytest.fixture(scope="session")
def source() -> PythiaSource:
    return PythiaSource(tau_spin_correlations=False)


@pytest.fixture(scope="session")
def defaults() -> ProduceSettings:
    return compose_settings("produce", ProduceSettings, [])


@pytest.fixture(scope="session")
def detector(defaults: ProduceSettings) -> DetectorSettings:
    return defaults.detector


@pytest.fixture(scope="session")
def mixed_failures() -> Counter[str]:
    return Counter()


@pytest.fixture(scope="session")
def mixed(source: PythiaSource, mixed_failures: Counter[str]) -> EventTable:
    return generate_events("mixed", source, N_MIXED, 12, 0, mixed_failures)


@pytest.fixture(scope="session")
def samples(source: PythiaSource, mixed: EventTable) -> dict[str, EventTable]:
    """One table for each event type; ssbar and taupair with radiation by the beams."""
    silent = PythiaSource(tau_spin_correlations=False, initial_state_radiation=False)
    tables = {
        "mixed": mixed,
        "charged": generate_events("charged", source, 1500, 11, 0, Counter()),
    }
    for kind in ("uubar", "ddbar", "ssbar", "ccbar", "taupair"):
        chosen = source if kind in ("ssbar", "taupair") else silent
        tables[kind] = generate_events(kind, chosen, 400, 11, 0, Counter())
    return tables
