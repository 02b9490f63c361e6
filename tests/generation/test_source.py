"""A source from a file outside the package, and what a source is not given."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from smartbkg_tf.errors import ConfigurationError, OutputError, UserError
from smartbkg_tf.events.readers import iterate_events
from smartbkg_tf.generation.production import produce
from smartbkg_tf.runtime.command import compose_settings
from smartbkg_tf.settings.generation import ProduceSettings
from smartbkg_tf.settings.plugins import plain

OWN = """
from dataclasses import replace
from typing import ClassVar

from smartbkg_tf.generation.chunks import detector_generator, label_events, write_part
from smartbkg_tf.generation.source import EventSource, Task
from smartbkg_tf.settings.base import Field, settings
from smartbkg_tf.settings.sources import BeamSettings

@settings
class Shouting(EventSource):
    '''Events whose particles have too much energy.'''

    uses: ClassVar = ("mixture",)
    factor: float = Field(default=1.0, gt=0)
    needs: str = "numpy"

    def required_packages(self):
        return [self.needs]

    def plan(self, settings):
        kinds = settings.event_types
        tasks = [Task(f"{kind}.h5", settings, kind, settings.n_events) for kind in kinds]
        return tasks, {"files": 0}

    def make(self, task, directory):
        from tests.samples import make_events

        events = make_events(task.n_events, seed=task.settings.seed, skims=())
        louder = events.particles["energy"] * self.factor
        events = replace(events, particles={**events.particles, "energy": louder})
        table = label_events(
            events,
            BeamSettings(),
            task.settings.detector,
            task.settings.skim,
            detector_generator(task.settings, 0, 0),
            self.particles,
        )
        return write_part(task, directory, task.name, table)
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "shouting.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield lambda *overrides: compose_settings(
        "produce",
        ProduceSettings,
        ["source._target_=shouting.Shouting", "output=out", "n_events=20", *overrides],
    )
    sys.modules.pop("shouting", None)


def energies(files):
    return np.concatenate([t.particles["energy"] for _, t in iterate_events(files)])


def test_a_source_from_outside_the_package(own, tmp_path):
    settings = own("source.factor=2", "event_type=[mixed,charged]", "skim=low_multiplicity")
    assert plain(settings)["source"] == {
        "_target_": "shouting.Shouting",
        "particles": "tables",
        "factor": 2.0,
        "needs": "numpy",
    }
    files = produce(settings)
    assert [file.name for file in files] == ["mixed.h5", "charged.h5"]
    ((_, table),) = iterate_events(files[:1])
    assert set(table.labels) == {"low_multiplicity"}
    record = json.loads((tmp_path / "out" / "production.json").read_text())
    assert record["input"] == {"files": 0}
    assert "shouting" in record["made_by"]["code"]
    single = energies(produce(own("output=single", "event_type=mixed")))
    np.testing.assert_allclose(energies(files[:1]), 2 * single, rtol=1e-6)
    with pytest.raises(OutputError, match=r"source\.factor: 2\.0 then, 1\.0 now"):
        produce(own("skim=low_multiplicity"))


def test_edited_code_of_a_source_is_noticed(own, tmp_path):
    produce(own())
    (tmp_path / "shouting.py").write_text(OWN.replace("* self.factor", "* self.factor + 1"))
    sys.modules.pop("shouting")
    with pytest.raises(OutputError, match="made by other code; changed since: shouting"):
        produce(own())


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("source.factr=2", "source.factr: .*did you mean 'factor'"),
        ("source.factor=0", "source.factor: .*greater than 0"),
        ("source._target_=shouting.Shout", "did you mean 'Shouting'"),
        ("source._target_=pathlib.Path", "does not inherit EventSource"),
        ("input=x.root", "input is for source=mdst and source=hepmc: Shouting does not use it"),
        ("skim_files=x.npy", "skim_files is for source=mdst: Shouting does not use it"),
        ("~skim.fei_hadronic_b0", "at least one skim"),
    ],
)
def test_mistakes_are_named(own, override, text):
    with pytest.raises(ConfigurationError, match=text):
        own(override)


def test_a_missing_package(own):
    with pytest.raises(UserError, match="Shouting needs no_such_package_x, not installed here"):
        produce(own("source.needs=no_such_package_x"))


def test_the_schema_knows_the_sources_and_skims():
    """In a process of its own: nothing else has imported them."""
    code = (
        "from smartbkg_tf.settings.base import json_schema\n"
        "from smartbkg_tf.settings.generation import ProduceSettings\n"
        "print(json_schema(ProduceSettings))\n"
    )
    command = [sys.executable, "-c", code]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    root = Path(__file__).resolve().parents[2] / "smartbkg_tf" / "generation"
    classes = {
        f"smartbkg_tf.generation.{'.'.join(path.relative_to(root).with_suffix('').parts)}.{name}"
        for path in root.rglob("*.py")
        if path.name != "hepmc_reader.py"  # of `preprocess` and `apply`
        for name in re.findall(r"^@settings\nclass (\w+)", path.read_text(), re.M)
    }
    assert len(classes) == 14
    assert {name for name in classes if f"'{name}'" not in shown} == set()
