"""``sweep`` and ``--multirun`` with real commands, and what they refuse."""

from __future__ import annotations

import csv
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from smartbkg_tf.config import command_named
from smartbkg_tf.errors import ConfigurationError
from smartbkg_tf.runtime.sweeps.jobs import JobList
from tests.conftest import ROOT
from tests.training.samples import TINY, small_dataset


def command(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-m", *words],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Give the overrides of the jobs that would run."""
    found: list[list[str]] = []
    monkeypatch.setattr(
        "smartbkg_tf.runtime.sweeps.runner.run_sweep", lambda *a, **_: found.extend(a[2])
    )
    return found


def test_choices_ranges_and_globs(planned: list[list[str]], tmp_path: Path) -> None:
    entry = command_named("train")
    entry.sweep(["model=glob(resnet*)", "training.seed=range(1,3)", "data.path=x"])
    files = sorted(p.stem for p in (ROOT / "conf" / "model").glob("resnet*.yaml"))
    assert len(files) > 2
    assert [job[0] for job in planned] == [f"model={name}" for name in files for _ in (1, 2)]
    assert [job[1:] for job in planned[:2]] == [
        [f"training.seed={i}", "data.path=x"] for i in (1, 2)
    ]
    planned.clear()
    (tmp_path / "model").mkdir()
    for name in ("mine_a", "mine_b"):
        (tmp_path / "model" / f"{name}.yaml").write_text("defaults: [resnet, _self_]\n")
    entry.sweep(["model=glob(mine*)"], (), str(tmp_path))
    assert planned == [["model=mine_a"], ["model=mine_b"]]
    with pytest.raises(ConfigurationError, match="matches nothing"):
        entry.sweep(["model=glob(nothing*)"])
    with pytest.raises(ConfigurationError, match="did you mean 'jobs'"):
        entry.sweep(["model=resnet", "sweep.jbs=2"])
    with pytest.raises(ConfigurationError, match="did you mean 'resnet'"):
        entry.sweep(["hparams_search=resnett"])
    with pytest.raises(ConfigurationError, match="wait=false needs"):
        entry.sweep(["sweep.wait=false"])


@pytest.mark.timeout(900)
def test_a_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """From the command line to the table; given again, nothing is trained twice."""
    small_dataset(tmp_path, 200)
    overrides = [text for text in TINY if "epochs" not in text]
    words = [*overrides, "training.epochs=1", "training.seed=7", "data.path=dataset"]
    done = command("smartbkg_tf.train", "--multirun", *words, "run_dir=mine", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / "mine"
    jobs = JobList.read(folder).jobs
    assert [job.state for job in jobs] == ["done"]
    (row,) = csv.DictReader((folder / "table.csv").read_text().splitlines())
    assert row["seed"] == "7"
    assert all(0 <= float(row[key]) <= 1 for key in ("auc", "val_auc"))
    assert (folder / "table.txt").read_text() in done.stdout
    config = yaml.safe_load(jobs[0].run.config.read_text())
    assert tmp_path / config["run_dir"] == jobs[0].folder
    assert "AUC of fei_hadronic_b0 on test events" in jobs[0].log.read_text()
    assert {p.name for p in tmp_path.iterdir()} >= {"mine"}
    monkeypatch.chdir(tmp_path)
    command_named("sweep")._run([*words, "sweep.dir=mine"], debug=False)
    printed = capfd.readouterr().out
    assert "1 are finished already" in printed
    assert "begins" not in printed


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_trainings_killed_at_20_moments_give_the_same_table(tmp_path: Path) -> None:
    """Runner and jobs by SIGKILL; then the table is that of a sweep that was never ended."""
    small_dataset(tmp_path, 400)
    words = [*TINY, "training.epochs=5", "training.seed=1,2", "data.path=dataset", "sweep.jobs=2"]

    def start(folder: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "smartbkg_tf.sweep", *words, f"sweep.dir={folder}"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
        )

    def epochs() -> list[Path]:
        return list((tmp_path / "killed").glob("*/checkpoints/*.npz"))

    assert start("unbroken").wait() == 0
    draw = random.Random(1)
    for number in range(20):
        process = start("killed")
        end = time.monotonic() + draw.uniform(2, 25)
        # The first behind an epoch, which random moments need not hit on a fast machine.
        while not epochs() if number == 0 else time.monotonic() < end:
            time.sleep(0.02)
        process.kill()
        process.wait()
        time.sleep(0.5)  # The kernel ends the jobs.
    assert start("killed").wait() == 0
    tables = []
    for folder in ("unbroken", "killed"):
        rows = csv.DictReader((tmp_path / folder / "table.csv").read_text().splitlines())
        tables.append([{k: v for k, v in row.items() if k != "seconds"} for row in rows])
    assert tables[0] == tables[1]
    assert [row["state"] for row in tables[0]] == ["done", "done"]
    logs = [path.read_text() for path in (tmp_path / "killed").glob("*.log")]
    assert any("continuing" in log for log in logs)


def test_another_command_and_a_failing_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["preprocess", "input=no_a.h5", "output='dataset_${input}'"]
    with pytest.raises(SystemExit) as ending:
        command_named("sweep")._run([*words, "sweep.dir=x"], debug=False)
    assert ending.value.code == 1
    assert "1 of 1 jobs failed" in capfd.readouterr().err
    (row,) = csv.DictReader((tmp_path / "x" / "table.csv").read_text().splitlines())
    assert "no_a.h5: input: nothing matches" in row["state"]
    assert row["run"].startswith("0_input=no_a.h5")
