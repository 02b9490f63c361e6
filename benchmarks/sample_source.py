"""Events of a table as a source of `produce`: tables without a generator (for `scaling`)."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from smartbkg_tf.generation.source import EventSource, Report, Task
from smartbkg_tf.settings.base import settings

if TYPE_CHECKING:
    from smartbkg_tf.events.table import EventTable
    from smartbkg_tf.settings.generation import ProduceSettings


@settings
class SampleSource(EventSource):
    """Some events of a table for each task, under new keys: tables without a generator."""

    sample: str

    def plan(self, settings: ProduceSettings) -> tuple[list[Task], dict[str, object]]:
        """Divide the events by `chunk_size`."""
        size = settings.chunk_size
        numbers = range(settings.n_events // size)
        return [Task(f"mixed_{i:05d}.h5", settings, "mixed", size, chunk=i) for i in numbers], {}

    def make(self, task: Task, directory: Path) -> Report:
        """Write the next events of the table."""
        import numpy as np

        from smartbkg_tf.generation.chunks import write_part

        events, rows = _events_of(self.sample), np.arange(task.n_events)
        table = events.take((task.chunk * task.n_events + rows) % len(events))
        keys = {**table.keys, "run": np.full(len(rows), task.chunk + 1), "event": rows}
        return write_part(task, directory, task.name, replace(table, keys=keys))


@functools.lru_cache(maxsize=1)
def _events_of(path: str) -> EventTable:
    from smartbkg_tf.events.readers import iterate_events

    ((_, events),) = iterate_events(path)
    return events
