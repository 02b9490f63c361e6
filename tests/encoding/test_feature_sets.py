"""Feature sets of one's own: the example outside of the package, and what users get wrong."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import linecache
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from smartbkg_tf.dataset.dataset import open_dataset
from smartbkg_tf.dataset.information import encoding_of, with_checksum
from smartbkg_tf.encoding.encode import check_and_encode, encode
from smartbkg_tf.encoding.feature_sets import _made, complete, import_feature_set
from smartbkg_tf.errors import ConfigurationError, InputError
from smartbkg_tf.events.table import EventTable
from smartbkg_tf.events.vocabulary import default_vocabulary
from smartbkg_tf.runtime.files import write_json
from smartbkg_tf.settings.encoding import EncodingSettings
from tests.datasets import write_dataset
from tests.encoding.tables import features_of, particle, table_of
from tests.samples import make_events

EXAMPLES = Path(__file__).resolve().parents[2] / "examples/features"
NAME = "transverse_features.Transverse"
LENGTHS = {"max_particles": 100, "max_tokens": 150}


@pytest.fixture(autouse=True)
def examples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    _made.cache_clear()


def encoding(name: str = NAME) -> EncodingSettings:
    return complete(name, **LENGTHS)


def test_the_example_by_hand() -> None:
    """Three particles of which the middle one, a neutrino, goes; its daughter has no mother."""
    table = table_of(
        [
            [
                particle(511, E=5.28, px=3.0, py=4.0, pz=-1.0, x=1.0, y=2.0, z=2.0),
                particle(-16, 0, E=1.0),
                particle(211, 1, E=0.5, charge=1.0, x=0.0, y=3.0, z=4.0),
                particle(-211, 0, E=0.6, charge=-1.0),
            ],
            [particle(12), particle(22, 0)],
            [particle(14)],
        ]
    )
    encoded = encode(table, encoding(), default_vocabulary())
    assert encoded.offsets["particles"].tolist() == [0, 3, 4, 4]
    np.testing.assert_allclose(
        features_of(encoded)[:3],
        [[5, -1, 5.28, 3, 0], [0, 0, 0.5, 5, 1], [0, 0, 0.6, 0, -1]],
        rtol=1e-6,
    )
    assert encoded["charge"].tolist() == [0, 3, -3, 0]
    assert encoded["mother_index_input"].tolist() == [-1, -1, 0, -1]
    tokens = default_vocabulary().tokens
    assert encoded["pdg_input"].tolist() == tokens([511, 211, -211, 22]).tolist()
    assert encoded["mother_pdg_input"].tolist() == [0, *tokens([-16, 511, 12]).tolist()]


def test_mothers_against_plain_python() -> None:
    table = make_events(60, seed=3)
    encoded = encode(table, encoding(), default_vocabulary())
    keep = import_feature_set(NAME).keep(table)
    assert keep is not None
    assert not keep.all()
    expected: list[int] = []
    for begin, end in zip(table.offsets[:-1], table.offsets[1:], strict=True):
        kept = [i for i in range(end - begin) if keep[begin + i]]
        new = {old: i for i, old in enumerate(kept)}
        mothers = table.particles["motherIndex"][begin:end].tolist()
        expected.extend(new.get(mothers[i], -1) for i in kept)
    assert encoded["mother_index_input"].tolist() == expected


def test_from_the_command_line_to_a_model(tmp_path: Path) -> None:
    """Preprocess in the folder of the module; the data set opens anywhere and trains."""
    from smartbkg_tf.events.hdf5 import write_hdf5
    from smartbkg_tf.models.registry import build
    from smartbkg_tf.runtime.command import compose_settings
    from smartbkg_tf.settings.training import TrainSettings

    write_hdf5(tmp_path / "a.h5", make_events(80, seed=1))
    subprocess.run(
        [
            sys.executable, "-m", "smartbkg_tf.preprocess", f"features._target_={NAME}",
            f"input='{tmp_path / 'a.h5'}'", f"output='{tmp_path / 'dataset'}'",
        ],
        cwd=EXAMPLES, check=True, capture_output=True,
    )  # fmt: skip
    dataset = open_dataset(tmp_path / "dataset")
    assert dataset.feature_names == ("pt", "pz", "energy", "distance", "charge")
    recorded = dataset.information["encoding"]
    assert recorded["units"] == ["GeV", "GeV", "GeV", "cm", "e"]
    assert len(recorded["definition"]) == 16
    statistics = dataset.information["statistics"]
    constants = dataset.information["normalisation"]["features"]
    assert constants["pt"]["centre"] == statistics["pt"]["mean"]
    assert constants["pt"]["spread"] == statistics["pt"]["spread"]
    assert constants["energy"]["transform"] == "asinh"  # as configured
    network = build(compose_settings("train", TrainSettings).model, dataset.information)
    batch = dataset.batch(np.arange(5), network.input_names)
    assert batch["particle_input"].shape == (5, 100, 5)
    assert np.isfinite(np.asarray(network.model(batch))).all()
    again = encode(make_events(80, seed=1), dataset.encoding, default_vocabulary())
    assert sorted(again.lengths("particles")) == sorted(dataset.n_particles)


def test_a_dataset_opens_without_the_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_dataset(tmp_path, make_events(40, seed=2), features=NAME)
    text = (path / "dataset.json").read_text().replace("transverse_features", "gone_features")
    write_json(path / "dataset.json", with_checksum(json.loads(text)))
    dataset = open_dataset(path)
    assert dataset.batch([0])["particle_input"].shape == (1, 100, 5)
    with pytest.raises(ConfigurationError, match=r"no module 'gone_features'[\s\S]*PYTHON"):
        encode(make_events(3), dataset.encoding, default_vocabulary())


MODULE = """
from smartbkg_tf.encoding.feature_sets import FeatureSet
from smartbkg_tf.settings.base import Field, settings
import numpy as np
class Base(FeatureSet):
    names, units = ("pt", "pz"), ("GeV", "GeV")
    def compute(self, table):
        return np.zeros((table.n_particles, 2))
class Wide(Base):
    def compute(self, table):
        return np.zeros((table.n_particles, 3))
class Numbers(Base):
    def keep(self, table):
        return np.zeros(table.n_particles)
class Slope(Base):
    def compute(self, table):
        pz = table.particles["pz"]
        with np.errstate(divide="ignore"):
            return np.stack([pz, 1 / pz], axis=1)
class Fast(Slope):
    def keep(self, table):
        return table.particles["pz"] > 0
class Abstract(FeatureSet):
    names, units = ("pt",), ("GeV",)
class NoUnits(Base):
    units = ("GeV",)
class Charge(Base):
    names = ("charge", "pt")
@settings
class Near(Base):
    radius: float = Field(gt=0)
    def keep(self, table):
        return np.abs(table.particles["x"]) < self.radius
"""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("own_sets.Bse", "has no class 'Bse'; did you mean 'Base'"),
        ("own_sets.np", "has a module, not a class, 'np'"),
        ("own_sets.Abstract", "does not write compute"),
        ("own_sets.NoUnits", "one unit for each"),
        ("own_sets.Charge", "'charge' stands last"),
        ("own_sets.Wide", r"compute returned \(\d+, 3\) for \d+ particles and 2 names"),
        ("own_sets.Numbers", "keep returned float64"),
        ("no_such_module.Set", "there is no module 'no_such_module'"),
    ],
)
def test_what_users_get_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    (tmp_path / "own_sets.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    table: EventTable = make_events(3)
    with pytest.raises(ConfigurationError, match=message):
        encode(table, encoding(name), default_vocabulary())
    sys.modules.pop("own_sets", None)


def test_arguments_are_checked_and_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_sets.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    table = table_of([[particle(x=1.0), particle(x=3.0)], [particle(x=0.5)]])
    for radius, expected in ((2, [0, 1, 2]), (4, [0, 2, 3])):
        chosen = complete({"_target_": "own_sets.Near", "radius": radius}, **LENGTHS)
        recorded = json.loads(json.dumps({"encoding": chosen.plain()}))
        assert recorded["encoding"]["features"] == "own_sets.Near"
        assert recorded["encoding"]["arguments"] == {"radius": radius}
        encoded = encode(table, encoding_of(recorded), default_vocabulary())
        assert encoded.offsets["particles"].tolist() == expected
    for arguments, message in (
        ({}, "radius"),
        ({"radius": -1}, "radius"),
        ({"radius": 1, "size": 2}, "size: there is no such key"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            complete({"_target_": "own_sets.Near", **arguments}, **LENGTHS)
    with pytest.raises(ConfigurationError, match="not declared with @settings"):
        complete({"_target_": "own_sets.Base", "radius": 1}, **LENGTHS)
    sys.modules.pop("own_sets", None)


def test_features_that_are_not_finite_name_file_and_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_sets.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    table = table_of([[particle(pz=1.0)], [particle(pz=1.0), particle(pz=0.0)], [particle()]])
    with pytest.raises(
        InputError, match=r"a\.h5: features=own_sets\.Slope .* in pz for 2"
    ) as error:
        check_and_encode(table, encoding("own_sets.Slope"), default_vocabulary(), file="a.h5")
    assert "particle 1 of experiment 1003, run 1, event 2, production 0" in str(error.value)
    # What keep leaves out may be anything; an event without kept particles is told.
    kept, encoded, findings = check_and_encode(
        table, encoding("own_sets.Fast"), default_vocabulary(), file="a.h5"
    )
    assert kept.keys["event"].tolist() == [1, 2]
    assert len(encoded) == 2
    assert [(finding.reason, finding.count) for finding in findings] == [("none_kept", 1)]
    sys.modules.pop("own_sets", None)


def test_columns_that_changed_are_told() -> None:
    old = EncodingSettings(features=NAME, **LENGTHS, columns=["pt"], column_units=["GeV"])
    with pytest.raises(ConfigurationError, match=r"has the columns .* now, and had \['pt'\]"):
        encode(make_events(3), old, default_vocabulary())


def test_an_edited_class_encodes_nothing_for_an_old_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    file = tmp_path / "edited_sets.py"

    def as_written(text: str) -> EncodingSettings:
        file.write_text(text)
        linecache.clearcache()
        importlib.invalidate_caches()
        sys.modules.pop("edited_sets", None)
        _made.cache_clear()
        return encoding("edited_sets.Fast")

    old = as_written(MODULE)
    recorded = {"encoding": old.plain()}
    old = encoding_of(json.loads(json.dumps(recorded)))
    assert old.plain() == recorded["encoding"]
    encode(make_events(3), old, default_vocabulary())
    as_written(MODULE.replace("    def keep", "    # fast ones\n\n    def keep"))
    encode(make_events(3), old, default_vocabulary())
    # Data sets of before hold a digest of the text.
    text = hashlib.sha256(inspect.getsource(type(import_feature_set(old.features))).encode())
    earlier = replace(old, definition=text.hexdigest()[:16])
    encode(make_events(3), earlier, default_vocabulary())
    as_written(MODULE.replace('["pz"] > 0', '["pz"] > 1'))
    for one in (old, earlier):
        with pytest.raises(ConfigurationError, match="the class was edited after"):
            encode(make_events(3), one, default_vocabulary())
    sys.modules.pop("edited_sets", None)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"features": "orignal"}, "did you mean 'original'"),
        ({"features": "a.b c"}, "is not a feature set"),
        ({"features": "my.Set"}, "columns of the feature set 'my.Set' are missing"),
        ({"features": "my.Set", "columns": ["a"], "column_units": []}, "one unit for each"),
        ({"features": "original", "columns": ["a"]}, "in this smartbkg_tf"),
    ],
)
def test_settings_that_cannot_be(values: dict[str, object], message: str) -> None:
    from smartbkg_tf.settings.base import validate

    with pytest.raises(ConfigurationError, match=message):
        validate(EncodingSettings, values)


def test_settings_survive_dataset_json() -> None:
    from smartbkg_tf.dataset.information import encoding_of

    for one in (encoding(), encoding("original"), encoding("smartbackground")):
        recorded = json.loads(json.dumps({"encoding": one.plain()}))
        again = encoding_of(recorded)
        assert again.plain() == one.plain()
