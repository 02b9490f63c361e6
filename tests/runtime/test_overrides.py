from __future__ import annotations

from pathlib import Path

import pytest

from smartbkg_tf.errors import ConfigurationError
from smartbkg_tf.runtime.overrides import (
    Overrides,
    as_written,
    jobs_of,
    search_path,
    sweep_overrides,
)


@pytest.fixture
def reading(tmp_path: Path) -> Overrides:
    (tmp_path / "model" / "decay").mkdir(parents=True)
    return Overrides([tmp_path], lists=("input",), aliases={"source": "input", "model2": "run"})


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("training.epochs=3", ["++training.epochs=3"]),
        ("model=gcn", ["model=gcn"]),
        ("model@other=gcn", ["model@other=gcn"]),
        ("model={inputs: decay}", ["++model={inputs: decay}"]),
        ("model/decay=gru", ["model/decay=gru"]),
        ("model/decay=null", ["~model/decay", "++model.decay=null"]),
        ("model=null", ["~model"]),
        ("hydra.sweep.dir=x", ["hydra.sweep.dir=x"]),
        ("+a=1", ["+a=1"]),
        ("++a=1", ["++a=1"]),
        ("~a", ["~a"]),
        ("+experiment=mine", ["++experiment=mine"]),
        ("model2=a/b", ["++run=a/b"]),
        ("input=a,'b c'", ['++input="a,b c"']),
        ("source=a,b", ['++input="a,b"']),
        ("input=[a,b]", ["++input=[a,b]"]),
        ("seed=1,2", ["++seed=1,2"]),
    ],
)
def test_rewritten(reading: Overrides, written: str, expected: list[str]) -> None:
    assert reading.for_hydra([written]) == expected
    assert reading.for_hydra(expected) == expected


def test_commas_divide_the_jobs_of_a_sweep(reading: Overrides) -> None:
    assert reading.for_hydra(["input=a,b"], sweep=True) == ["++input=a,b"]
    assert reading.for_hydra(["model=a,b"], sweep=True) == ["model=a,b"]
    with pytest.raises(ConfigurationError, match="null among its choices"):
        reading.for_hydra(["model=a,null"], sweep=True)


def test_an_unknown_group_is_refused(reading: Overrides) -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'model/decay'"):
        reading.for_hydra(["model/decey=gru"])


def test_people_read_no_prefix() -> None:
    assert as_written("++a=1,++b.c=x+,model=y") == "a=1,b.c=x+,model=y"
    assert as_written("preprocess ++a=1 b++=2") == "preprocess a=1 b++=2"


def test_the_runner_has_overrides_of_its_own() -> None:
    texts = ["sweep.jobs=2", "model=a", "++hparams_search.trials=3", "hparams_search=resnet"]
    own, others = sweep_overrides([*texts, "hydra.sweep.dir=x", "sweeper=1"])
    assert own == ["sweep.jobs=2", *texts[2:], "sweep.dir=x"]
    assert others == ["model=a", "sweeper=1"]
    with pytest.raises(ConfigurationError, match=r"sweep\.backend"):
        sweep_overrides(["hydra/launcher=joblib"])


def test_jobs_of_choices_and_ranges() -> None:
    jobs = list(jobs_of(["++a=1,2", "++b=range(1,3)", "++c=x"], sweep=True))
    assert jobs == [[f"++a={a}", f"++b={b}", "++c=x"] for a in (1, 2) for b in (1, 2)]
    with pytest.raises(ConfigurationError, match="hparams_search"):
        list(jobs_of(["++a=interval(0,1)"], sweep=True))


def test_further_folders() -> None:
    assert search_path(["a=1", "hydra.searchpath=[file:///a/b,c]"]) == [Path("/a/b"), Path("c")]
    assert search_path(["hydra.searchpath=["]) == []


@pytest.mark.parametrize("value", ["1", "1.5", "true", "[null]", "[1]", "a,2"])
@pytest.mark.parametrize("prefix", ["", "+"])
def test_a_choice_is_a_name(reading: Overrides, prefix: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match="needs the name of a file in the folder model"):
        reading.for_hydra([f"{prefix}model={value}"])


@pytest.mark.parametrize("value", ["'1'", "[a,b]", "''", "{}", "a,b", "${x}", "[a", "glob(*)"])
def test_names_and_what_is_refused_later(reading: Overrides, value: str) -> None:
    assert len(reading.for_hydra([f"model={value}"], sweep=True)) == 1
