"""Sweeps on Slurm and HTCondor, whose tools and machines are stood in for (`tests/farm.py`)."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path

import pytest

from smartbkg_tf.errors import ConfigurationError, UserError
from smartbkg_tf.settings.base import validate
from smartbkg_tf.settings.cluster import megabytes
from smartbkg_tf.settings.sweeps import SweepSettings
from tests.farm import htcondor_jobs, install_tools, slurm_options
from tests.runtime.sweeps.sweeping import SEARCH, STAND_IN, sweep

JOBS = [["rate=0.1"], ["fail=1"]]


@pytest.fixture
def farm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put the tools in place; give their folder."""
    folder = tmp_path / "farm"
    monkeypatch.setenv("PATH", str(install_tools(folder)), prepend=os.pathsep)
    monkeypatch.chdir(tmp_path)
    return folder


def states(folder: Path) -> list[str]:
    rows = csv.DictReader((folder / "table.csv").read_text().splitlines())
    return [row["state"] for row in rows]


def calls(farm: Path) -> list[str]:
    return [line.split()[0] for line in (farm / "calls.txt").read_text().splitlines()]


def test_slurm(farm: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    settings = {"backend": "slurm", "queue": "gpu", "account": "me", "jobs": 3, "memory": "1.5GB"}
    directives = {"directives": ["--constraint=fast"], "prologue": ["export RATE=1"]}
    assert sweep(folder, *JOBS, **settings, **directives) == 1
    assert states(folder) == ["done", "failed: x: is broken"]
    options = slurm_options((folder / "batch" / "job.slurm").read_text())
    expected = {"array": "0,1%3", "gres": "gpu:1", "partition": "gpu", "account": "me"}
    expected |= {"mem": "1536M", "constraint": "fast", "time": "04:00:00", "requeue": ""}
    assert expected.items() <= options.items()
    # Submitted again: only what failed.
    assert sweep(folder, *JOBS, backend="slurm") == 1
    assert slurm_options((folder / "batch" / "job.slurm").read_text())["array"] == "1"
    assert calls(farm).count("sbatch") == 2


@pytest.mark.parametrize("carried", [False, True])
def test_htcondor(farm: Path, tmp_path: Path, carried: bool) -> None:
    pytest.importorskip("htcondor2", reason="HTCondor's parser has no wheel for this machine")
    folder = tmp_path / "sweep"
    program = tmp_path / "data" / "stand_in.py"
    program.parent.mkdir()
    shutil.copy(STAND_IN[0], program)
    transfer = {"transfer": ["data/stand_in.py"]} if carried else {}
    words = ["data/stand_in.py"] if carried else STAND_IN
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.runtime.sweeps.sweeping.STAND_IN", words)
        directives = ["accounting_group = belle"]
        options = {"backend": "htcondor", "directives": directives, "gpus": 2, "jobs": 5}
        assert sweep(Path("sweep"), *JOBS, **options, **transfer) == 1
        text = (folder / "batch" / "job.sub").read_text()
        first, second = htcondor_jobs(text)
        assert sweep(Path("sweep"), *JOBS, **options, **transfer) == 1
    assert states(folder) == ["done", "failed: x: is broken"]
    assert first["request_gpus"] == "2"
    assert first["request_memory"] == "2048MB"
    assert first["accounting_group"] == "belle"
    assert first["max_materialize"] == "5"
    assert second["arguments"] == "1"
    assert second["my.sweepjob"] == "1"
    if carried:
        names = first["transfer_input_files"].split(", ")
        assert names == ["jobs.json", "0_rate=0.1", str(program)]
        assert first["transfer_output_files"] == "0_rate=0.1, 0_rate=0.1.log"
    (again,) = htcondor_jobs((folder / "batch" / "job.sub").read_text())
    assert again["arguments"] == "1"
    assert "epoch 1 of 3 is the first" in (folder / "0_rate=0.1.log").read_text()


def test_a_job_that_was_evicted_goes_on(farm: Path, tmp_path: Path) -> None:
    pytest.importorskip("htcondor2", reason="HTCondor's parser has no wheel for this machine")
    folder = tmp_path / "sweep" / "0_rate=0.1"
    folder.mkdir(parents=True)
    (folder / "history.csv").write_text("epoch,val_auc\n1,0.5\n")
    assert sweep(tmp_path / "sweep", ["rate=0.1"], backend="htcondor", transfer=[]) == 0
    assert "epoch 2 of 3 is the first" in (folder.parent / "0_rate=0.1.log").read_text()


def test_jobs_in_the_queue_are_not_submitted_twice(farm: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    farm.joinpath("hold").touch()
    assert sweep(folder, *JOBS, backend="slurm", wait=False) == 0
    assert sweep(folder, *JOBS, ["rate=0.2"], backend="slurm", wait=False) == 0
    assert calls(farm).count("sbatch") == 2
    assert slurm_options((folder / "batch" / "job.slurm").read_text())["array"] == "2"
    # Lost by the batch system: said in the end, and done by the next command.
    (farm / "queue.json").write_text("[]")
    (farm / "lost").touch()
    assert sweep(folder, *JOBS[:1], backend="slurm") == 1
    assert states(folder) == ["not finished"] * 3
    assert json.loads((folder / "batch" / "submissions.json").read_text()) == [["slurm", "17"]] * 3


def test_a_search_and_fail_fast(farm: Path, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    search = {**SEARCH, "trials": 2}
    assert sweep(tmp_path / "search", search=search, backend="slurm") == 0
    assert states(tmp_path / "search") == ["done", "done"]
    farm.joinpath("hold").touch()
    folder = tmp_path / "sweep"
    for number in (0, 1):
        (folder / f"{number}_a={number}").mkdir(parents=True)
    assert sweep(folder, ["a=0"], ["a=1"], backend="slurm", wait=False) == 0
    (folder / "1_a=1" / "failed.json").write_text('{"exit_code": 1, "message": "x"}')
    # The queue still has both, so that nothing is submitted and the failure stands.
    assert sweep(folder, ["a=0"], ["a=1"], backend="slurm", fail_fast=True) == 1
    assert [c for c in calls(farm) if c == "scancel"] == ["scancel"]
    assert json.loads((farm / "queue.json").read_text()) == [1]


def test_what_is_refused(farm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="batch systems interpret"):
        sweep(tmp_path / "a b", *JOBS, backend="slurm")
    with pytest.raises(ConfigurationError, match="there is no such file"):
        sweep(tmp_path / "x", *JOBS, backend="htcondor", transfer=["nothing"])
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match="sbatch cannot be run"):
        sweep(tmp_path / "y", *JOBS, backend="slurm")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"transfer": ["x"]}, "backend=htcondor only"),
        ({"wait": False}, "no meaning with backend=local"),
        ({"backend": "htcondor", "directives": ["x"]}, "not of the form"),
        ({"memory": "2 apples"}, "memory"),
    ],
)
def test_settings_without_a_meaning(values: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        validate(SweepSettings, values)


@pytest.mark.parametrize(
    ("size", "expected"),
    [("2GB", 2048), ("500 MiB", 500), ("1.5GB", 1536), ("3kB", 1), ("1TB", 2**20)],
)
def test_sizes(size: str, expected: int) -> None:
    assert megabytes(size) == expected
