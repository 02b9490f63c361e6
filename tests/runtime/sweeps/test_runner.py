"""The runner on stand-ins for trainings: failures, signals, kills, and starting again."""

from __future__ import annotations

import csv
import json
import random
import signal
import sys
import time
from pathlib import Path

import pytest

from smartbkg_tf.errors import ConfigurationError, OutputError
from smartbkg_tf.runtime.sweeps import local
from tests.runtime.sweeps.sweeping import SEARCH, kill, living, sweep, sweep_process

GRID = [[f"rate={rate}", "slow=0.05"] for rate in ("0.1", "0.2", "0.4")]


def states(folder: Path) -> list[str]:
    rows = csv.DictReader((folder / "table.csv").read_text().splitlines())
    return [row["state"] for row in rows]


def test_failures_are_told_and_the_same_command_does_what_is_left(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    jobs = [["rate=0.1"], ["fail=1"], ["fail=9"], ["rate=0.2"]]
    assert sweep(tmp_path, *jobs, jobs=2) == 3
    killed_job = "failed: killed by SIGKILL (out of memory?)"
    assert states(tmp_path) == ["done", "failed: x: is broken", killed_job, "done"]
    printed = capfd.readouterr()
    assert "1_fail=1: failed: x: is broken" in printed.out
    assert "0_rate=0.1: done, validation AUC 0.8400" in printed.out
    assert (tmp_path / "table.txt").read_text() in printed.out
    assert "2 of 4 jobs failed" in printed.err
    before = [(tmp_path / name).stat().st_mtime_ns for name in ("0_rate=0.1", "1_fail=1")]
    table = (tmp_path / "table.csv").read_text()
    assert sweep(tmp_path, *jobs) == 3
    printed = capfd.readouterr()
    assert "sweep of 4 jobs in" in printed.out
    assert "2 are finished already" in printed.out
    assert "0_rate=0.1: begins" not in printed.out
    after = [(tmp_path / name).stat().st_mtime_ns for name in ("0_rate=0.1", "1_fail=1")]
    assert after[0] == before[0]
    assert after[1] > before[1]
    assert (tmp_path / "table.csv").read_text() == table
    assert sweep(tmp_path, ["rate=0.2", "overwrite=true"]) == 3
    assert "3_rate=0.2: begins" in capfd.readouterr().out


def test_fail_fast(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert sweep(tmp_path, ["slow=9"], ["fail=1"], ["rate=0.2"], jobs=2, fail_fast=True) == 1
    assert states(tmp_path) == ["not finished", "failed: x: is broken", "not finished"]
    assert not living(tmp_path)
    assert "2 of 3 jobs are not finished" in capfd.readouterr().err


def test_jobs_at_once_share_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cores = {0, 1, 2, 3, 4}
    monkeypatch.setattr(local.os, "sched_getaffinity", lambda _: cores)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    shares = [local._share(slot, 2) for slot in (0, 1)]
    assert [share[0] for share in shares] == [{0, 1}, {2, 3}]
    assert {share[1]["TF_NUM_INTRAOP_THREADS"] for share in shares} == {"2"}
    assert [share[1]["CUDA_VISIBLE_DEVICES"] for share in shares] == ["0,2", "1"]
    assert "TF_FORCE_GPU_ALLOW_GROWTH" not in shares[0][1]
    crowded = local._share(6, 7)
    assert crowded[0] == {1}
    assert crowded[1]["CUDA_VISIBLE_DEVICES"] == "0"
    assert crowded[1]["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"
    assert local._share(0, 1) == (set(), {})
    monkeypatch.undo()
    assert sweep(tmp_path, ["rate=0.1"], ["rate=0.2"], jobs=2) == 0
    size = max(1, len(local.os.sched_getaffinity(0)) // 2)
    for log in tmp_path.glob("*.log"):
        assert f"cores {size} threads {size}" in log.read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_jobs_and_the_same_command_continues_them(
    number: signal.Signals, tmp_path: Path
) -> None:
    jobs = [["slow=0.2", f"a={i}"] for i in range(3)]
    process = sweep_process(tmp_path, *jobs, jobs=2)
    history = tmp_path / "0_a=0" / "history.csv"
    while not history.exists():
        time.sleep(0.02)
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode in (128 + number, 1, -number)
    assert not living(tmp_path)
    assert not list(tmp_path.glob("*/failed.json"))
    assert not (history.parent / "done.json").exists()
    assert sweep(tmp_path, *jobs, jobs=2) == 0
    assert states(tmp_path) == ["done"] * 3
    assert "epoch 1 of" in (log := (tmp_path / "0_a=0.log").read_text())
    assert any(f"epoch {begun} of" in log for begun in (2, 3, 4))


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux ends the jobs")
def test_jobs_end_when_the_runner_is_killed(tmp_path: Path) -> None:
    process = sweep_process(tmp_path, ["slow=60"])
    while not (tmp_path / "0_slow=60").exists() or not living(tmp_path):
        time.sleep(0.02)
    time.sleep(0.3)
    process.kill()
    process.communicate()
    limit = time.monotonic() + 10
    while living(tmp_path) and time.monotonic() < limit:
        time.sleep(0.05)
    assert not living(tmp_path)


def killed(folder: Path, kills: int, longest: float, *jobs: list[str], **options: object) -> str:
    """Kill a sweep at random moments, let it finish then, and give its table."""
    draw = random.Random(kills)
    for _ in range(kills):
        process = sweep_process(folder, *jobs, **options)  # type: ignore[arg-type]
        time.sleep(draw.uniform(0.3, longest))
        kill(process, folder)
    process = sweep_process(folder, *jobs, **options)  # type: ignore[arg-type]
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert not list(folder.glob("**/*.partial-*"))
    return (folder / "table.csv").read_text()


@pytest.mark.parametrize("kind", ["grid", "search"])
@pytest.mark.parametrize("kills", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_and_started_again_it_is_the_same_table(
    kind: str, kills: int, tmp_path: Path
) -> None:
    options = {"search": SEARCH} if kind == "search" else {"jobs": 2}
    jobs = [["slow=0.05"]] if kind == "search" else GRID
    assert sweep(tmp_path / "unbroken", *jobs, **options) == 0  # type: ignore[arg-type]
    expected = (tmp_path / "unbroken" / "table.csv").read_text()
    longest = 4.0 if kind == "search" else 1.5  # Optuna is imported, too.
    assert killed(tmp_path / "killed", kills, longest, *jobs, **options) == expected
    if kind == "search":
        assert "pruned after epoch" in expected


def test_one_runner_at_a_time_and_one_folder(tmp_path: Path) -> None:
    process = sweep_process(tmp_path, ["slow=1"])
    while not (tmp_path / "0_slow=1").exists():
        time.sleep(0.02)
    with pytest.raises(OutputError, match="another process runs this sweep"):
        sweep(tmp_path, ["slow=1"])
    kill(process, tmp_path)
    with pytest.raises(ConfigurationError, match="both name the folder"):
        sweep(tmp_path, ["run_dir=x"])


def test_failures_do_not_stay(tmp_path: Path) -> None:
    folder = tmp_path / "0_a=1"
    folder.mkdir()
    (folder / "failed.json").write_text(json.dumps({"exit_code": 1, "message": "x"}))
    assert sweep(tmp_path, ["a=1"]) == 0
    assert states(tmp_path) == ["done"]
