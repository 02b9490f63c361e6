"""Generated events for tests of what the quality benchmark reads."""

from __future__ import annotations

from collections import Counter

import pytest

from smartbkg_tf.events.table import EventTable
from smartbkg_tf.generation.pythia_source import PythiaSource, generate_events


@pytest.fixture(scope="session")
def mixed_events() -> EventTable:
    """Give 200 mixed events."""
    source = PythiaSource(tau_spin_correlations=False)
    return generate_events("mixed", source, 200, 11, 0, Counter())
