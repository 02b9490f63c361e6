"""Sweeps on Slurm and HTCondor, whose tools and machines are stood in for (`tests/farm.py`)."""

from __future__ import annotations

import csv
import json
import os
import shutil
import time
from pathlib import Path

import pytest

from smartbkg_tf.errors import ConfigurationError, UserError
from smartbkg_tf.runtime.outputs import try_lock
from smartbkg_tf.runtime.sweeps import batch
from smartbkg_tf.runtime.sweeps.batch import BatchJobs
from smartbkg_tf.runtime.sweeps.jobs import JobList
from smartbkg_tf.runtime.sweeps.runner import run_job
from smartbkg_tf.settings.base import validate
from smartbkg_tf.settings.cluster import megabytes
from smartbkg_tf.settings.sweeps import SweepSettings
from tests.farm import htcondor_jobs, install_tools, set_faults, slurm_options
from tests.runtime.sweeps.sweeping import SEARCH, STAND_IN, sweep, sweep_process

JOBS = [["rate=0.1"], ["fail=1"]]


@pytest.fixture
def farm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put the tools in place; give their folder."""
    folder = tmp_path / "farm"
    monkeypatch.setenv("PATH", str(install_tools(folder)), prepend=os.pathsep)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(batch, "_PAUSE", 0.01)
    return folder


def queue(farm: Path) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads((farm / "queue.json").read_text())
    return found


def change_queue(farm: Path, *changes: dict[str, str]) -> None:
    """Change entries of the queue, and drop those for which there is no change."""
    values = [entry | change for entry, change in zip(queue(farm), changes, strict=False)]
    (farm / "queue.json").write_text(json.dumps(values))


def states(folder: Path) -> list[str]:
    rows = csv.DictReader((folder / "table.csv").read_text().splitlines())
    return [row["state"] for row in rows]


def calls(farm: Path) -> list[str]:
    return [line.split()[0] for line in (farm / "calls.txt").read_text().splitlines()]


def test_slurm(farm: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    settings = {"backend": "slurm", "queue": "gpu", "account": "me", "jobs": 3, "memory": "1.5GB"}
    directives = {
        "directives": ["--constraint=fast", "--job-name=x"],
        "prologue": ["export RATE=1"],
    }
    assert sweep(folder, *JOBS, **settings, **directives) == 1
    assert states(folder) == ["done", "failed: x: is broken"]
    options = slurm_options((folder / "batch" / "job.slurm").read_text())
    expected = {"array": "0,1%3", "gres": "gpu:1", "partition": "gpu", "account": "me"}
    expected |= {"mem": "1536M", "constraint": "fast", "time": "04:00:00", "requeue": ""}
    assert expected.items() <= options.items()
    assert options["job-name"].startswith("smartbkg_tf-")  # By which the jobs are found.
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
        if carried:
            assert sweep(Path("sweep"), *JOBS, **options, **transfer) == 1
            (again,) = htcondor_jobs((folder / "batch" / "job.sub").read_text())
            assert again["arguments"] == "1"
    assert states(folder) == ["done", "failed: x: is broken"]
    assert first["request_gpus"] == "2"
    assert first["request_memory"] == "2048MB"
    assert first["accounting_group"] == "belle"
    assert second["arguments"] == "1"
    assert second["my.sweepjob"] == "1"
    if carried:
        names = first["transfer_input_files"].split(", ")
        assert names == ["jobs.json", "0_rate=0.1", str(program)]
        assert first["transfer_output_files"] == "0_rate=0.1, 0_rate=0.1.log"
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
    change_queue(farm)
    (farm / "lost").touch()
    assert sweep(folder, *JOBS[:1], backend="slurm") == 1
    assert states(folder) == ["not finished"] * 3
    assert calls(farm).count("sbatch") == 3
    # Another sweep has the same numbers, and does not see the jobs of this one.
    (farm / "lost").unlink()
    for name in ("x", "y"):
        assert sweep(tmp_path / name, *JOBS, backend="slurm", wait=False) == 0
    assert calls(farm).count("sbatch") == 5


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
    assert calls(farm).count("scancel") == 1
    assert [entry["name"] for entry in queue(farm)] == ["17_1"]


@pytest.mark.parametrize("faults", [["after: Invalid job id specified"], ["Socket timed out"]])
def test_what_has_just_ended_can_be_cancelled(
    farm: Path, tmp_path: Path, faults: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    """And a scheduler that is busy is asked again."""
    farm.joinpath("hold").touch()
    jobs = [["a=0"], ["a=1"], ["a=2"]]
    assert sweep(tmp_path / "sweep", *jobs, backend="slurm", wait=False) == 0
    (tmp_path / "sweep" / "1_a=1" / "failed.json").write_text('{"exit_code": 1, "message": "x"}')
    set_faults(farm, scancel=faults)
    assert sweep(tmp_path / "sweep", *jobs, backend="slurm", fail_fast=True) == 1
    assert [entry["name"] for entry in queue(farm)] == ["17_1"]
    assert ("warning: scancel" in capfd.readouterr().out) == (faults == ["Socket timed out"])


@pytest.mark.parametrize(
    ("backend", "held", "paused"),
    [
        (
            "htcondor",
            {"JobStatus": "5", "HoldReasonCode": "12", "HoldReason": "Cannot write: disk full"},
            {"JobStatus": "5", "HoldReasonCode": "1", "HoldReason": "via condor_hold"},
        ),
        ("slurm", {"r": "launch_failed_requeued_held"}, {"r": "JobHeldUser"}),
    ],
)
def test_a_held_job_has_failed(
    farm: Path,
    tmp_path: Path,
    backend: str,
    held: dict[str, str],
    paused: dict[str, str],
    capfd: pytest.CaptureFixture[str],
) -> None:
    """One that its owner holds is waited for."""
    if backend == "htcondor":
        pytest.importorskip("htcondor2", reason="HTCondor's parser has no wheel for this machine")
    folder = tmp_path / "sweep"
    farm.joinpath("hold").touch()
    assert sweep(folder, *JOBS, backend=backend, wait=False) == 0
    change_queue(farm, held, paused)
    jobs = BatchJobs(
        JobList.read(folder), validate(SweepSettings, {"backend": backend}), at_once=None, gpus=0
    )
    for expected in (jobs.jobs.jobs[:1], [], []):
        running = [job for job in jobs.jobs.jobs if job.state == "not finished"]
        assert [job for job, _ in jobs.ended(running)] == expected
    assert len(queue(farm)) == 1
    reason = held.get("HoldReason", "launch_failed_requeued_held")
    assert jobs.jobs.jobs[0].failure() == (1, f"held by {backend}: {reason}")
    printed = capfd.readouterr().out
    assert printed.count("it runs when it is released") == 1
    # Held while nobody watched: it is removed and submitted again.
    change_queue(farm, held)
    assert sweep(folder, *JOBS, backend=backend, wait=False) == 0
    assert "job 1 was held" in capfd.readouterr().out
    assert len(queue(farm)) == 2
    assert all(job.state == "not finished" for job in jobs.jobs.jobs)


def test_a_busy_scheduler(
    farm: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """It is asked again; what it has taken in spite of an error is not submitted again."""
    folder = tmp_path / "sweep"
    farm.joinpath("hold").touch()
    late = "after: Batch job submission failed: Socket timed out on send/recv operation"
    set_faults(farm, squeue=["Unable to contact slurm controller"] * 2, sbatch=[late])
    assert sweep(folder, *JOBS, backend="slurm", wait=False) == 0
    assert calls(farm).count("sbatch") == 1
    assert len(queue(farm)) == 2
    printed = capfd.readouterr().out
    pauses = [line.split()[-2] for line in printed.splitlines() if "next attempt" in line]
    assert pauses == ["0.01", "0.02", "0.04"]
    assert "sbatch failed: Batch job submission failed: Socket timed out" in printed
    assert "already in the queue: 2 of 2 jobs" in printed
    # What is wrong with the jobs is said at once.
    set_faults(farm, sbatch=["Batch job submission failed: Invalid partition name specified"])
    with pytest.raises(UserError, match="Invalid partition"):
        sweep(tmp_path / "x", *JOBS, backend="slurm")
    # There is a limit; jobs stay where they are.
    monkeypatch.setattr(batch, "_PATIENCE", 0.05)
    set_faults(farm, squeue=["", *["Unable to contact slurm controller"] * 9])
    with pytest.raises(UserError, match=r"Unable to contact[\s\S]*give the same command again"):
        sweep(folder, *JOBS, backend="slurm")
    assert "2 jobs stay with the batch system" in capfd.readouterr().out
    assert len(queue(farm)) == 2


def test_a_tool_that_does_not_come_back(farm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "_TIMEOUT", 0.1)
    with pytest.raises(batch.BusyError, match=r"sleep timed out"):
        batch._ask("sleep", "60")


def test_killed_right_behind_the_submission(farm: Path, tmp_path: Path) -> None:
    """The next command finds the jobs in the queue."""
    farm.joinpath("hold").touch()
    set_faults(farm, sbatch=["after: kill"])
    settings = {"backend": "slurm", "wait": False}
    process = sweep_process(tmp_path / "sweep", *JOBS, **settings)
    process.communicate()
    assert process.returncode == -9
    assert sweep(tmp_path / "sweep", *JOBS, **settings) == 0
    assert calls(farm).count("sbatch") == 1


def test_a_job_that_runs_twice(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The second one ends, and leaves the folder alone."""
    jobs = JobList.open(tmp_path, STAND_IN, run_dir=True)
    (job,) = jobs.add([["rate=0.1"]])
    with job.log.open("ab") as log:
        assert try_lock(log.fileno())
        assert run_job(tmp_path, 0) == 0
    assert "is being done by another process" in capfd.readouterr().out
    assert not job.folder.exists()
    assert run_job(tmp_path, 0) == 0
    assert job.state == "done"


def test_a_thousand_jobs(farm: Path, tmp_path: Path) -> None:
    """Slurm numbers the jobs of an array from 0 to 1000; a look is one question."""
    farm.joinpath("hold").touch()
    folder = tmp_path / "sweep"
    assert sweep(folder, *([f"a={i}"] for i in range(1002)), backend="slurm", wait=False) == 0
    assert len(queue(farm)) == 1002
    assert slurm_options((folder / "batch" / "job.slurm").read_text())["array"] == "0,1"
    jobs = JobList.read(folder)
    farm_jobs = BatchJobs(jobs, validate(SweepSettings, {"backend": "slurm"}), at_once=None, gpus=0)
    before = len(calls(farm))
    begin = time.process_time()
    assert farm_jobs.ended(jobs.jobs) == []
    assert time.process_time() - begin < 1
    assert calls(farm)[before:] == ["squeue"]
    farm_jobs.stop(jobs.jobs[1:])
    assert [entry["K"] for entry in queue(farm)] == ["0"]


def test_jobs_at_once_on_htcondor(farm: Path, tmp_path: Path) -> None:
    """The command itself keeps so many in the queue: HTCondor would hide those to come."""
    pytest.importorskip("htcondor2", reason="HTCondor's parser has no wheel for this machine")
    farm.joinpath("hold").touch()
    (farm / "lost").touch()
    jobs = [[f"a={i}"] for i in range(3)]
    assert sweep(tmp_path / "sweep", *jobs, backend="htcondor", jobs=2) == 1
    assert calls(farm).count("condor_submit") == 2
    assert len(htcondor_jobs((tmp_path / "sweep" / "batch" / "job.sub").read_text())) == 1


def test_what_is_refused(farm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="characters that batch systems treat specially"):
        sweep(tmp_path / "a b", *JOBS, backend="slurm")
    with pytest.raises(ConfigurationError, match="there is no such file"):
        sweep(tmp_path / "x", *JOBS, backend="htcondor", transfer=["nothing"])
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match="squeue cannot be run"):
        sweep(tmp_path / "y", *JOBS, backend="slurm")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"transfer": ["x"]}, "transfer needs backend=htcondor"),
        ({"wait": False}, "wait=false needs backend=slurm or htcondor"),
        ({"wait": False, "backend": "htcondor", "jobs": 2}, "needs wait=true"),
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
