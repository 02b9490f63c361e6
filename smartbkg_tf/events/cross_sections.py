"""How often the event types come: production cross-sections and the natural mixture."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files

import yaml


def cross_sections() -> dict[str, float]:
    """Read the cross-sections of the event types, nb (``events/data/cross_sections.yaml``)."""
    text = (files("smartbkg_tf.events") / "data" / "cross_sections.yaml").read_text("utf-8")
    return {str(name): float(value) for name, value in yaml.safe_load(text).items()}


def natural_numbers(event_types: Sequence[str], n_events: int) -> dict[str, int]:
    """Share events out by cross-section; the largest remainders make up the total."""
    sections = cross_sections()
    total = sum(sections[name] for name in event_types)
    exact = {name: n_events * sections[name] / total for name in event_types}
    numbers = {name: int(value) for name, value in exact.items()}
    by_remainder = sorted(event_types, key=lambda name: numbers[name] - exact[name])
    for name in by_remainder[: n_events - sum(numbers.values())]:
        numbers[name] += 1
    return numbers
