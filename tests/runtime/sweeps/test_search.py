"""The search for hyper-parameters."""

from __future__ import annotations

import csv
import re
import warnings
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from smartbkg_tf.errors import ConfigurationError, InputError, OutputError
from smartbkg_tf.runtime.command import compose_settings, configuration_directory
from smartbkg_tf.runtime.sweeps.jobs import Job, JobList
from smartbkg_tf.runtime.sweeps.search import Search, corners
from smartbkg_tf.settings.base import validate
from smartbkg_tf.settings.sweeps import SearchSettings, SweepCommandSettings
from smartbkg_tf.settings.training import TrainSettings
from tests.runtime.sweeps.sweeping import SEARCH, sweep

optuna = pytest.importorskip("optuna")
sqlalchemy = pytest.importorskip("sqlalchemy")

SPACES = sorted(p.stem for p in (configuration_directory() / "hparams_search").glob("*.yaml"))


def rows(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "table.csv").read_text().splitlines()))


def test_a_search_learns_prunes_and_continues(tmp_path: Path) -> None:
    assert sweep(tmp_path, search={**SEARCH, "trials": 12}) == 0
    first = rows(tmp_path)
    assert len(first) == 12
    assert {row["state"].partition(" ")[0] for row in first} == {"done", "pruned"}
    done = [row for row in first if row["state"] == "done"]
    best = max(done, key=lambda row: float(row["val_auc"]))
    # The optimum is rate=0.3, which gives 0.9.
    assert float(best["val_auc"]) > 0.88
    assert re.fullmatch(r"\d+_rate=0\.\d+_size=[2468]_kind=[ab]", best["run"])
    values = [re.search("rate=([0-9.e-]+)", row["run"]) for row in first]
    assert all(found and 0.01 <= float(found[1]) <= 1 for found in values)
    assert sweep(tmp_path, search={**SEARCH, "trials": 14}) == 0
    second = rows(tmp_path)
    assert second[:12] == first
    assert len(second) == 14
    with pytest.raises(OutputError, match=r"another configuration \(seed\)"):
        sweep(tmp_path, search={**SEARCH, "seed": 7})
    (tmp_path / "search.db").write_bytes(b"no database" * 1000)
    with pytest.raises(InputError, match=r"search\.db: cannot be used"):
        sweep(tmp_path, search=SEARCH)


def test_speedup_and_failing_trials(tmp_path: Path) -> None:
    space = {"fail": {"type": "categorical", "choices": ["0", "1"]}}
    search = {"trials": 4, "space": space, "objective": "val_speedup", "pruning": False}
    assert sweep(tmp_path, search=search, jobs=2) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study = optuna.load_study(study_name="search", storage=f"sqlite:///{tmp_path}/search.db")
    values = {trial.params["fail"]: trial.value for trial in study.trials}
    assert values == {"0": pytest.approx(2 * 0.9), "1": None}
    assert sweep(tmp_path, search=search, jobs=2) == 1, "failed trials are not repeated"
    assert len(JobList.read(tmp_path).jobs) == 4


def test_a_trial_that_ended_when_nobody_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its result is told, and the search goes on."""

    def interrupted(self: Search, job: Job) -> None:
        raise KeyboardInterrupt

    search = {**SEARCH, "trials": 2}
    assert sweep(tmp_path / "watched", search=search) == 0
    with monkeypatch.context() as patch:
        patch.setattr(Search, "ended", interrupted)
        with pytest.raises(KeyboardInterrupt):
            sweep(tmp_path / "broken_off", search=search)
    (done,) = tmp_path.glob("broken_off/*/done.json")
    before = done.stat().st_mtime_ns
    assert sweep(tmp_path / "broken_off", search=search) == 0
    assert done.stat().st_mtime_ns == before
    assert rows(tmp_path / "broken_off") == rows(tmp_path / "watched")


def test_epochs_are_reported_and_judged_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also by the next command, which asks once about the last epoch that Optuna knows."""
    done: list[str] = []

    def report(self: Any, value: float, step: int) -> None:
        done.append(f"report {step}")
        original(self, value, step)

    original = optuna.trial.Trial.report
    monkeypatch.setattr(optuna.trial.Trial, "report", report)
    monkeypatch.setattr(optuna.trial.Trial, "should_prune", lambda _: bool(done.append("ask")))
    settings = validate(SearchSettings, SEARCH)

    def look(epochs: int) -> list[str]:
        lines = ["epoch,val_auc", *(f"{i},0.{50 + i}" for i in range(1, epochs + 1))]
        running.extend([] if running else search.following(1))
        running[0].folder.mkdir(exist_ok=True)
        running[0].run.history.write_text("\n".join(lines) + "\n")
        done.clear()
        assert search.hopeless(running) == []
        return list(done)

    for commands in (1, 2):
        running: list[Job] = []
        search = Search(settings, JobList.open(tmp_path, ["x"], run_dir=True), ["a=1"])
        if commands == 1:
            assert look(2) == ["report 1", "ask", "report 2", "ask"]
            assert look(2) == []
        else:
            assert look(2) == ["ask"]
            assert look(4) == ["report 3", "ask", "report 4", "ask"]
    disk_full = sqlalchemy.exc.OperationalError("INSERT", {}, OSError("disk is full"))
    monkeypatch.setattr(optuna.trial.Trial, "report", Mock(side_effect=disk_full))
    with pytest.raises(InputError, match=r"search\.db: cannot be used[\s\S]*disk is full"):
        sweep(tmp_path / "full", search=SEARCH)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"low": 1}, "low and high"),
        ({"low": 2, "high": 1}, "low <= high"),
        ({"low": 0, "high": 1, "log": True}, "low > 0"),
        ({"type": "int", "low": 0.5, "high": 1}, "whole numbers"),
        ({"type": "categorical"}, "needs choices"),
        ({"choices": [1]}, "type=categorical"),
        ({"type": "categorical", "choices": [1], "low": 1}, "cannot be combined with choices"),
    ],
)
def test_spaces_that_have_no_meaning(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        validate(SearchSettings, {"space": {"a": values}})


def test_what_a_search_refuses(tmp_path: Path) -> None:
    for jobs, options, words in (
        ([["a=1"], ["a=2"]], {}, "cannot be combined"),
        ([["rate=1"]], {}, "rate: hparams_search.space varies"),
        ([["a=1"]], {"wait": False, "backend": "slurm"}, "needs the results"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            sweep(tmp_path, *jobs, search=SEARCH, **options)
    assert sweep(tmp_path) == 0
    with pytest.raises(OutputError, match=r"no search\.db"):
        sweep(tmp_path, search=SEARCH)


@pytest.mark.parametrize("name", SPACES)
def test_every_space_can_be_searched(name: str) -> None:
    settings = compose_settings("sweep", SweepCommandSettings, [f"hparams_search={name}"])
    assert settings.hparams_search is not None
    tried = list(corners(settings.hparams_search.space))
    assert len(tried) > 1
    for overrides in tried:
        compose_settings("train", TrainSettings, overrides)
