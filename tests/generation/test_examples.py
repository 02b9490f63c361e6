"""The examples of docs/production.md: a skim from outside the package, and the basf2 steering."""

from __future__ import annotations

import ast
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from smartbkg_tf.events.passing_keys import read_passing_keys
from smartbkg_tf.events.readers import iterate_events
from smartbkg_tf.generation.production import produce
from smartbkg_tf.runtime.command import compose_settings
from smartbkg_tf.settings.generation import ProduceSettings

ROOT = Path(__file__).resolve().parents[2]
OWN = ROOT / "examples" / "own_skim"
STEERING = ROOT / "examples" / "basf2" / "passing_events.py"


def test_a_skim_from_outside_the_package(tmp_path, monkeypatch):
    """As ``PYTHONPATH=examples/own_skim produce --config-dir examples/own_skim``."""
    monkeypatch.syspath_prepend(str(OWN))
    overrides = ["skim=many_tracks", "skim.many_tracks.minimum_tracks=9", "n_events=150"]
    settings = compose_settings(
        "produce", ProduceSettings, [*overrides, f"output={tmp_path}"], directory=str(OWN)
    )
    (file,) = produce(settings)
    sys.modules.pop("many_tracks")
    ((_, table),) = iterate_events([file])
    passes = table.labels["many_tracks"] == 1
    assert 5 < passes.sum() < 145
    assert table.observables["fastest_many_tracks"][passes].min() > 1.5
    assert table.observables["nTracks"][passes].min() >= 9


class Event:
    """What basf2 hands to a module, one event after the other."""

    def __init__(self, flags, keys):
        self.flags, self.keys, self.now = flags, keys, 0

    def obj(self):
        return self

    def getExtraInfo(self, name):
        assert name == "passes_feiHadronicB0"
        return self.flags[self.now]

    def __getattr__(self, name):
        if not name.startswith("get"):
            raise AttributeError(name)
        place = ("getExperiment", "getRun", "getEvent", "getProduction").index(name)
        return lambda: self.keys[self.now][place]


def test_the_basf2_steering_writes_a_list_that_produce_reads(tmp_path, monkeypatch):
    """basf2 is not here: its few names are stood in for; the module itself runs."""
    tree = ast.parse(STEERING.read_text())
    imported = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    assert {"basf2", "modularAnalysis"} <= imported
    assert not any("smartbkg" in name for name in imported)
    keys = [(1003, 0, 7, 3), (1003, 0, 8, 3), (1003, 1, 7, 3)]
    event = Event([1, 0, 1], keys)
    stand_ins = {
        "basf2": types.SimpleNamespace(Module=object),
        "modularAnalysis": types.SimpleNamespace(),
        "ROOT": types.SimpleNamespace(Belle2=types.SimpleNamespace(PyStoreObj=lambda name: event)),
    }
    for name, module in stand_ins.items():
        monkeypatch.setitem(sys.modules, name, module)
    names = {"__name__": "steering"}
    exec(compile(tree, str(STEERING), "exec"), names)
    module = names["WritePassingEvents"]("passes_feiHadronicB0", str(tmp_path / "passing.csv"))
    module.initialize()
    for event.now in range(3):
        module.event()
    module.terminate()
    found = read_passing_keys(tmp_path / "passing.csv")
    np.testing.assert_array_equal(found, [keys[0], keys[2]])
    assert [p.name for p in tmp_path.iterdir()] == ["passing.csv"]
    with pytest.raises(SystemExit, match="Run a skim inside basf2"):
        names["main"]([])
