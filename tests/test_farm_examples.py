"""The submit files in ``examples/``: each is read by its system's rules, and its jobs run."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.farm import (
    htcondor_jobs,
    run_htcondor_job,
    run_slurm_task,
    slurm_options,
)
from tests.training.samples import TINY, small_dataset

HTCONDOR = ROOT / "examples" / "htcondor"
SLURM = ROOT / "examples" / "slurm"

SUBMITS = sorted(path.name for path in HTCONDOR.glob("*.sub"))
SCRIPTS = sorted(path.name for path in SLURM.glob("*.slurm"))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Copy the examples where jobs are submitted, with two tables' names."""
    for path in (*HTCONDOR.iterdir(), *SLURM.iterdir()):
        shutil.copy(path, tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", SUBMITS)
def test_submit_files_are_read(name: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("htcondor2", reason="HTCondor's parser has no wheel for this machine")
    (place / "tables").mkdir()
    for table in ("mixed_00000.h5", "mixed_00001.h5"):
        (place / "tables" / table).touch()
    monkeypatch.chdir(place)
    jobs = htcondor_jobs((place / name).read_text())
    assert len(jobs) == {"produce.sub": 100, "train.sub": 1, "apply.sub": 2}[name]
    for key in ("arguments", "transfer_output_files", "output"):
        assert len({job[key] for job in jobs}) == len(jobs), f"jobs share {key}"
    for job in jobs:
        assert not any("$" in value for value in job.values()), job
        assert Path(place, job["executable"]).is_file()
        words = job["arguments"].strip('"').split()
        assert words[0] == name.removesuffix(".sub")
        # What comes back is what the command writes.
        key = {"produce": "output", "train": "run_dir", "apply": "output"}[words[0]]
        given = dict(word.split("=", 1) for word in words[1:])
        assert given[key] == job["transfer_output_files"]
        if words[0] == "apply":
            assert Path(job["transfer_input_files"].split(", ")[1]).name == given["input"]
    assert (int(jobs[0].get("request_gpus", 0)) > 0) == (name == "train.sub")


@pytest.mark.parametrize("name", SCRIPTS)
def test_slurm_scripts_are_read(name: str) -> None:
    subprocess.run(["bash", "-n", str(SLURM / name)], check=True)
    options = slurm_options((SLURM / name).read_text())
    assert {"mem", "time", "cpus-per-task", "output"} <= options.keys()
    assert ("gres" in options) == (name == "train.slurm")


def edited(path: Path, old: str, new: str) -> str:
    text = path.read_text()
    assert old in text
    return text.replace(old, new)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_produce_train_and_apply_as_jobs(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same chain on both systems: on HTCondor with files carried, on Slurm with shared ones."""
    pytest.importorskip("htcondor2", reason="HTCondor's parser has no wheel for this machine")
    monkeypatch.chdir(place)
    text = edited(place / "produce.sub", "n_events=10000", "n_events=60")
    for job in htcondor_jobs(text)[:2]:
        assert run_htcondor_job(job, place, place / "scratch") == 0, said(place)
    assert run_slurm_task(place / "produce.slurm", 1, place, EVENTS="60") == 0, said(place)
    carried, shared = (sorted(place.glob(f"tables_1/*{end}")) for end in (".h5", ".json"))
    assert carried
    assert shared
    assert len(list(place.glob("tables_0/*.h5"))) == len(carried)
    small_dataset(place, 300)
    (place / "run").mkdir()
    tiny = " ".join(text for text in TINY if "'" not in text)
    (job,) = htcondor_jobs(edited(place / "train.sub", "model=resnet", f"model=resnet {tiny}"))
    assert run_htcondor_job(job, place, place / "scratch") == 0, said(place)
    first = json.loads((place / "run" / "done.json").read_text())
    script = place / "train.slurm"
    script.write_text(edited(script, "model=resnet", f"model=resnet {tiny}"))
    assert run_slurm_task(script, 0, place, RUN="other") == 0, said(place)
    # Both end with the same network.
    assert json.loads((place / "other" / "done.json").read_text()) == first
    shutil.rmtree(place / "tables")  # Those of the small dataset.
    shutil.copytree(place / "tables_0", place / "tables")
    for job in htcondor_jobs((place / "apply.sub").read_text()):
        assert run_htcondor_job(job, place, place / "scratch") == 0, said(place)
    (scores,) = place.glob("scores_*.parquet")
    before = scores.read_bytes()
    scores.unlink()
    assert run_slurm_task(place / "apply.slurm", 0, place) == 0, said(place)
    assert scores.read_bytes() == before


def said(place: Path) -> str:
    return "\n".join(p.read_text() for p in place.glob("*.*") if p.suffix in (".err", ".out"))
