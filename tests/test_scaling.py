"""Openings of files grow with the number of tables, no faster, and a restart reads no table."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.scaling import Opens
from smartbkg_tf.dataset.build import build_dataset
from smartbkg_tf.events.hdf5 import write_hdf5
from smartbkg_tf.events.table import EventTable
from smartbkg_tf.generation.production import produce
from smartbkg_tf.runtime.command import compose_settings
from smartbkg_tf.settings.generation import ProduceSettings
from tests.datasets import preprocess_settings
from tests.samples import make_events

_SOURCE = """
from dataclasses import replace

import numpy as np

from smartbkg_tf.generation.chunks import write_part
from smartbkg_tf.generation.source import EventSource, Task
from smartbkg_tf.settings.base import settings
from tests.samples import make_events


@settings
class Tiny(EventSource):
    def plan(self, settings):
        names = [f"t_{i:03d}.h5" for i in range(settings.n_events)]
        return [Task(name, settings, "mixed", 1, chunk=i) for i, name in enumerate(names)], {}

    def make(self, task, directory):
        table = replace(make_events(1, seed=task.chunk), observables={"mbc": np.array([5.0])})
        return write_part(task, directory, task.name, table)
"""


def write_tables(folder: Path, events: EventTable, n_tables: int) -> None:
    """Write tables of two events each, with different keys."""
    folder.mkdir()
    for i in range(n_tables):
        table = events.take(np.arange(2 * i, 2 * i + 2) % len(events))
        keys = {**table.keys, "run": np.full(2, i)}
        write_hdf5(folder / f"t_{i:03d}.h5", replace(table, keys=keys))


def test_openings_are_seen(tmp_path: Path) -> None:
    with Opens(tmp_path / "new") as opens:
        for name in ("a.h5", "b.txt", "a.h5"):
            (tmp_path / "new" / name).open("a").close()
        (tmp_path / "new" / "b.txt").stat()
    assert opens.by_file == {"a.h5": 2, "b.txt": 1}
    assert (opens.total(), opens.total(".h5")) == (3, 2)


def test_preprocess_opens_every_table_equally_often(tmp_path: Path) -> None:
    found = {}
    for n in (10, 40):
        tables = tmp_path / f"tables_{n}"
        write_tables(tables, make_events(80), n)
        with Opens(tables) as opens:
            settings = preprocess_settings(f"{tables}/*.h5", tmp_path / f"d_{n}", mode="lenient")
            build_dataset(settings)
        found[n] = opens.total()
        assert len(opens.by_file) == n
    assert found[40] == pytest.approx(4 * found[10], rel=0.05)
    assert found[40] <= 12 * 40, "one more opening of each table is one more question to a server"


def test_produce_and_its_restart_open_every_table_equally_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny_source.py").write_text(_SOURCE)
    monkeypatch.syspath_prepend(tmp_path)

    def run(n: int) -> int:
        words = ["source._target_=tiny_source.Tiny", f"n_events={n}", f"output={tmp_path / str(n)}"]
        settings: Any = compose_settings("produce", ProduceSettings, words)
        with Opens(*(tmp_path / str(n) / name for name in (".", "observables", "records"))) as seen:
            produce(settings)
        # The few that stand for all of them, and their locks and temporary names, apart.
        tables = [count for name, count in seen.by_file.items() if "t_" in name]
        return sum(tables)

    first = {n: run(n) for n in (10, 40)}
    sys.modules.pop("tiny_source", None)
    assert first[40] == pytest.approx(4 * first[10], rel=0.05)
    assert run(40) == 0, "a restart looks at sizes and times, and reads production.json"
    sys.modules.pop("tiny_source", None)
