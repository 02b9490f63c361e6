from __future__ import annotations

import pickle
import tomllib

import pytest

from smartbkg_tf.errors import (
    _EXTRAS,
    InputError,
    OutputError,
    Problems,
    UserError,
    by_nearness,
    did_you_mean,
    missing_package,
)
from tests.conftest import ROOT


def test_message_says_what_where_and_next_step() -> None:
    error = InputError("holds no key 'train_events'", where="a.h5", next_step="run produce")
    assert str(error) == "a.h5: holds no key 'train_events'\n  -> run produce"


def test_message_without_place_or_next_step() -> None:
    assert str(UserError("wrong")) == "wrong"


def test_error_survives_a_process_pool() -> None:
    error = OutputError("is full", where="disk", next_step="free space")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is OutputError
    assert str(copy) == str(error)
    assert (copy.message, copy.where, copy.next_step) == ("is full", "disk", "free space")


def test_choices_are_sorted_by_likeness_then_alphabet() -> None:
    assert by_nearness("epochz", ["seed", "batch_size", "epochs"])[0] == "epochs"
    assert by_nearness("qqq", ["b", "a"]) == ["a", "b"]


def test_did_you_mean_names_only_a_likely_match() -> None:
    assert did_you_mean("sead", ["seed", "skim"]).startswith("did you mean 'seed'?")
    assert did_you_mean("xyz", ["seed", "skim"]) == "there are: seed, skim"
    assert did_you_mean("xyz", []) == "there are none to choose from"


def test_long_lists_are_cut() -> None:
    text = did_you_mean("zzz", [f"name{i:02d}" for i in range(30)], limit=3)
    assert text.count("name") == 3
    assert text.endswith("...")


def test_all_problems_are_reported_at_once() -> None:
    problems = Problems()
    problems.raise_if_any("nothing")
    problems.add("first")
    problems.add(UserError("second", where="file"))
    with pytest.raises(InputError) as caught:
        problems.raise_if_any("cannot be read", kind=InputError, next_step="look")
    text = str(caught.value)
    assert "2 problems" in text
    assert "1. first" in text
    assert "2. file: second" in text
    assert text.endswith("-> look")


def test_a_missing_package_is_named_with_its_extra() -> None:
    error = missing_package(ModuleNotFoundError("No module named 'keras.ops'", name="keras.ops"))
    assert "needs the package keras" in str(error)
    assert "pip install 'smartbkg_tf[train]'" in str(error)
    assert missing_package(ModuleNotFoundError(name="smartbkg_tf.nothing")) is None
    assert missing_package(ModuleNotFoundError()) is None


def test_extras_are_those_of_the_package() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for extra, modules in _EXTRAS.items():
        listed = " ".join(extras["optional-dependencies"][extra]).replace("-", "_")
        assert all(module in listed for module in modules)
