"""`NNFilterModule` against a stand-in of basf2's DataStore, filled from an mDST file."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot

from smartbkg_tf.errors import ConfigurationError
from smartbkg_tf.events.mdst import iterate_mdst
from smartbkg_tf.events.table import concatenate
from smartbkg_tf.filtering.event_filter import EventFilter
from smartbkg_tf.filtering.export import export
from smartbkg_tf.settings.filtering import ExportSettings
from tests.filtering.conftest import SKIMS, Trained

MODULE = "smartbkg_tf.filtering.basf2_module"


class Vector:
    """ROOT's XYZVector."""

    def __init__(self, *values: float) -> None:
        self.values = values

    def X(self) -> float:
        return self.values[0]

    def Y(self) -> float:
        return self.values[1]

    def Z(self) -> float:
        return self.values[2]


class Particle:
    """basf2's MCParticle."""

    def __init__(self, values: dict[str, Any], index: int, others: list[Particle]) -> None:
        self._values, self._index, self._others = values, index, others

    def getArrayIndex(self) -> int:
        return self._index

    def getMother(self) -> Particle | None:
        above = int(self._values["mother"])
        return self._others[above - 1] if above else None

    def getPDG(self) -> int:
        return int(self._values["pdg"])

    def getStatus(self) -> int:
        return int(self._values["status"])

    def getMass(self) -> float:
        return float(self._values["mass"])

    def getEnergy(self) -> float:
        return float(self._values["energy"])

    def getProductionTime(self) -> float:
        return float(self._values["productionTime"])

    def getProductionVertex(self) -> Vector:
        return Vector(*(float(self._values[f"productionVertex_{c}"]) for c in "xyz"))

    def getMomentum(self) -> Vector:
        return Vector(*(float(self._values[f"momentum_{c}"]) for c in "xyz"))


class MetaData:
    """basf2's EventMetaData."""

    def __init__(self, experiment: int, run: int, event: int, production: int) -> None:
        self._numbers = (experiment, run, event, production)

    def getExperiment(self) -> int:
        return self._numbers[0]

    def getRun(self) -> int:
        return self._numbers[1]

    def getEvent(self) -> int:
        return self._numbers[2]

    def getProduction(self) -> int:
        return self._numbers[3]


class ExtraInfo:
    """basf2's EventExtraInfo."""

    def __init__(self, event_type: str) -> None:
        self.values: dict[str, float] = {}
        self._event_type = event_type

    def addExtraInfo(self, name: str, value: float) -> None:
        assert name not in self.values
        self.values[name] = value

    def getEventType(self) -> str:
        return self._event_type


class DataStore:
    """What PyStoreArray and PyStoreObj show of the event."""

    content: dict[str, Any] = {}
    event_type = "mixed"

    def __init__(self, name: str) -> None:
        self._name = name

    def isRequired(self) -> bool:
        return True

    def registerInDataStore(self) -> bool:
        return True

    def isValid(self) -> bool:
        return self._name in self.content

    def create(self) -> None:
        self.content[self._name] = ExtraInfo(self.event_type)

    def obj(self) -> Any:
        return self.content[self._name]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.content[self._name])


class Module:
    """basf2's base class of modules."""

    returned: int | None = None

    def set_name(self, name: str) -> None:
        self.name = name

    def return_value(self, value: int) -> None:
        self.returned = value


@pytest.fixture
def basf2(monkeypatch: pytest.MonkeyPatch) -> type[Any]:
    """Put stand-ins for basf2 and ROOT in place, and give the module class."""
    root: Any = types.ModuleType("ROOT")
    root.Belle2 = types.SimpleNamespace(PyStoreArray=DataStore, PyStoreObj=DataStore)
    software: Any = types.ModuleType("basf2")
    software.Module = Module
    monkeypatch.setitem(sys.modules, "ROOT", root)
    monkeypatch.setitem(sys.modules, "basf2", software)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    from smartbkg_tf.filtering.basf2_module import NNFilterModule

    found: type[Any] = NNFilterModule
    return found


def events_of(path: Path) -> Iterator[tuple[list[Particle], MetaData]]:
    """Give the content of the DataStore for every event of a file."""
    tree = uproot.open(path)["tree"]
    branches = {name.split("/")[-1]: name for name in tree.keys()}  # noqa: SIM118 (uproot)
    members = (
        *("pdg", "status", "mother", "mass", "energy", "productionTime"),
        *(f"productionVertex_{c}" for c in "xyz"),
        *(f"momentum_{c}" for c in "xyz"),
    )
    lists = {m: tree[branches[f"MCParticles.m_{m}"]].array(library="np") for m in members}
    keys = [
        next(tree[full] for last, full in branches.items() if last.endswith(f"m_{name}")).array(
            library="np"
        )
        for name in ("experiment", "run", "event", "production")
    ]
    for i in range(len(lists["pdg"])):
        particles: list[Particle] = []
        for j in range(len(lists["pdg"][i])):
            particles.append(Particle({m: lists[m][i][j] for m in members}, j, particles))
        yield particles, MetaData(*(int(column[i]) for column in keys))


@pytest.fixture(scope="module")
def model(fitted: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("basf2_module") / "onnx"
    return export(ExportSettings(run=str(fitted.run.path), output=str(output)))


@pytest.mark.parametrize("mode", ["sampling", "threshold", "debug"])
def test_it_decides_as_the_filter_does_on_the_file(
    mode: str, basf2: type[Any], model: Path, mdst_file: Path
) -> None:
    options = {"threshold": 0.0} if mode == "threshold" else {}
    module = basf2(str(model), mode, seed=2, event_type="mixed", **options)
    assert isinstance(module, Module)
    module.initialize()
    table = concatenate(list(iterate_mdst(mdst_file, event_type="mixed")))
    decide = EventFilter(
        model,
        method="score" if mode == "debug" else mode,  # type: ignore[arg-type]
        seed=2,
        **options,
    )
    n = 0
    for n, (particles, meta_data) in enumerate(events_of(mdst_file), 1):
        DataStore.content = {"MCParticles": particles, "EventMetaData": meta_data}
        module.event()
        expected = decide(table.take([n - 1]))
        stored = DataStore.content["EventExtraInfo"].values
        assert module.returned == int(expected.kept)
        assert set(stored) == {
            "NNFilter_weight",
            *(f"NNFilter_{s}{what}" for s in SKIMS for what in ("", "_probability", "_weight")),
        }
        assert stored["NNFilter_weight"] == pytest.approx(expected.weight, rel=1e-4)
        for skim in SKIMS:
            # Decay strings of the file's reader and trees of particles are the same tokens.
            assert stored[f"NNFilter_{skim}"] == pytest.approx(expected.scores[skim], abs=1e-5)
            assert stored[f"NNFilter_{skim}_weight"] == pytest.approx(
                expected.weights[skim], rel=1e-4
            )
        if mode == "debug":
            assert module.returned == 1
    assert n == len(table) > 5


def test_names_skims_and_the_event_type_of_the_generator(
    basf2: type[Any], model: Path, mdst_file: Path
) -> None:
    module = basf2(str(model), skims=[SKIMS[1]], extra_info="Mine")
    module.initialize()
    particles, meta_data = next(events_of(mdst_file))
    DataStore.content = {"MCParticles": particles, "EventMetaData": meta_data}
    DataStore.content["EventExtraInfo"] = ExtraInfo("charged")
    module.event()
    stored = DataStore.content["EventExtraInfo"].values
    assert set(stored) == {
        "Mine_weight", f"Mine_{SKIMS[1]}", f"Mine_{SKIMS[1]}_probability",
        f"Mine_{SKIMS[1]}_weight",
    }  # fmt: skip
    assert np.isfinite(list(stored.values())).all()
    for options, words in (
        ({"mode": "thresold"}, "there are: sampling, threshold, debug"),
        ({"event_type": "charm"}, "no event type 'charm'"),
        ({"mode": "threshold"}, "threshold"),
    ):
        wrong = basf2(str(model), **options)
        with pytest.raises(Exception, match=words):
            wrong.initialize()


def test_without_basf2_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    with pytest.raises(ConfigurationError, match="runs inside basf2 only"):
        from smartbkg_tf.filtering.basf2_module import NNFilterModule  # noqa: F401
