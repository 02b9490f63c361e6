"""A reader of event files as a user writes it, outside the package."""

from __future__ import annotations

from pathlib import Path

MY_READER = """
import numpy as np

from smartbkg_tf.errors import InputError
from smartbkg_tf.events.readers import Reader
from smartbkg_tf.events.table import PARTICLE_COLUMNS, EventTable
from smartbkg_tf.settings.base import Field, settings


@settings
class Lines(Reader):
    # One event per line: its number, its label, and the PDG codes of its particles.

    production: int = Field(default=0, ge=0)

    def recognises(self, path):
        return path.suffix == ".lines"

    def count(self, path):
        return len(path.read_text().splitlines())

    def iterate(self, path, *, chunk_events, key):
        lines = [[int(word) for word in line.split()] for line in path.read_text().splitlines()]
        for start in range(0, len(lines), chunk_events):
            yield self.table(lines[start : start + chunk_events])

    def table(self, lines):
        codes = np.array([code for line in lines for code in line[2:]], dtype=np.int32)
        counts = np.array([len(line) - 2 for line in lines])
        n_events, n_particles = len(lines), len(codes)
        zeros = np.zeros(n_events, dtype=np.int64)
        particles = {n: np.zeros(n_particles, dtype=d) for n, d in PARTICLE_COLUMNS.items()}
        particles["PDG"], particles["energy"] = codes, np.ones(n_particles)
        # The first particle is the mother of all others.
        first = np.repeat(np.cumsum(counts) - counts, counts)
        is_first = first == np.arange(n_particles)
        particles["motherIndex"] = np.where(is_first, -1, 0).astype(np.int32)
        particles["motherPDG"] = np.where(is_first, 0, codes[first]).astype(np.int32)
        return EventTable(
            particles=particles,
            offsets=np.concatenate([[0], np.cumsum(counts)]),
            keys={
                "experiment": zeros,
                "run": zeros,
                "event": np.array([line[0] for line in lines]),
                "production": zeros + self.production,
            },
            event_type=np.full(n_events, -1, dtype=np.int8),
            labels={"skim": np.array([line[1] for line in lines], dtype=np.int8)},
        )
"""


def write_my_reader(folder: Path) -> Path:
    """Write the reader `my_lines.Lines`, and a file that only it knows."""
    (folder / "my_lines.py").write_text(MY_READER)
    (folder / "a.lines").write_text("7 1 511 211 -211\n8 0 22\n9 0 -511 321 -211 22\n")
    return folder / "a.lines"
