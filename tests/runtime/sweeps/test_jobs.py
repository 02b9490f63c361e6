"""The list of jobs, their names, and how they end."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from smartbkg_tf.errors import InputError, OutputError
from smartbkg_tf.runtime.overrides import parsed
from smartbkg_tf.runtime.sweeps.jobs import Job, JobList, folder_name


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        (["model.inputs=decay", "training.seed=1"], "model.inputs=decay_training.seed=1"),
        (["data.path=/a/b", "overwrite=true", "model=gcn"], "model=gcn"),
        (["a=x/y/z", "b=[1,'2 3']"], "a=x_y_z_b=_1_2_3"),
        (["k=" + "v" * 400], "k=" + "v" * 115 + "..."),
        (["k=\u00e9"], "k="),
    ],
)
def test_names_need_no_quotes(overrides: list[str], name: str) -> None:
    assert folder_name(overrides) == name
    assert re.fullmatch(r"[\w.=+-]*", name)


def test_known_jobs_keep_their_folders(tmp_path: Path) -> None:
    jobs = JobList.open(tmp_path, ["program"])
    first = jobs.add([["a=1"], ["a=3"]])
    assert [j.name for j in JobList(tmp_path, ()).add([["b=1", "c=2"], ["b=1", "c=3"]])] == [
        "0_c=2",
        "1_c=3",
    ]
    jobs.write()
    again = JobList.open(tmp_path, ["program"])
    second = again.add([["a=1", "overwrite=true"], ["a=2"], ["a=3"]])
    assert [job.name for job in second] == ["0_a=1", "2_a=2", "1_a=3"]
    assert second[2] == first[1]
    assert second[0].overrides == ("a=1", "overwrite=true")
    assert [job.name for job in JobList.read(tmp_path).jobs] == ["0_a=1", "1_a=3", "2_a=2"]
    with pytest.raises(OutputError, match="a sweep of another command"):
        JobList.open(tmp_path, ["other"])


@pytest.mark.parametrize("text", ["{", "[]", '{"program": [], "jobs": [1]}'])
def test_a_damaged_list(text: str, tmp_path: Path) -> None:
    (tmp_path / "jobs.json").write_text(text)
    with pytest.raises(InputError, match=r"jobs\.json"):
        JobList.read(tmp_path)


@pytest.mark.parametrize(
    ("code", "log", "state", "reason"),
    [
        (0, "", "done", ""),
        (1, "error: first\nerror: is broken\n  -> x\nbye", "failed", "is broken"),
        (3, "internal error: E", "failed", "internal error: E"),
        (2, "usage\nno such flag", "failed", "no such flag"),
        (5, "", "failed", "exit code 5"),
        (-9, "x", "failed", "killed by SIGKILL (out of memory?)"),
        (143, "terminated", "not finished", ""),
        (-15, "", "not finished", ""),
    ],
)
def test_how_jobs_end(code: int, log: str, state: str, reason: str, tmp_path: Path) -> None:
    job = Job(0, tmp_path / "0_a", ())
    job.begin()
    job.log.write_text(log)
    job.end(code)
    assert job.state == state
    if reason:
        assert job.failure() == (code, reason)
        job.begin()
        assert job.state == "not finished"


def test_carried_files_have_other_paths(tmp_path: Path) -> None:
    jobs = JobList(tmp_path, ("-m", "x", "--config-dir", "my/conf"), run_dir=True)
    jobs.transfer = ("/data/set/", "my/conf", "a/b.h5")
    (job,) = jobs.add([["data.path='/data/set'", "input=a/b.h5", "c=/data/set2", "d=x"]])
    words = jobs.command(job, transferred=True)
    assert words[2:6] == ["--config-dir", "conf", "data.path='set'", "input=b.h5"]
    assert words[6:8] == ["c=/data/set2", "d=x"]
    assert jobs.command(job)[4] == "data.path='/data/set'"
    assert words[-1] == f"run_dir='{job.folder}'"


def test_a_folder_with_a_quote(tmp_path: Path) -> None:
    jobs = JobList(tmp_path / "it's mine, a=b", ("x",), run_dir=True)
    (job,) = jobs.add([["a=1,2"]])
    assert job.name == "0_a=1_2"
    override = parsed(jobs.command(job)[-1])
    assert override is not None
    assert override.value() == str(job.folder)


@pytest.mark.parametrize(
    "changed", [{"folder": "../../etc"}, {"folder": "/etc"}, {"folder": ".."}, {"overrides": "abc"}]
)
def test_a_list_of_jobs_that_leads_elsewhere_is_refused(
    changed: dict[str, str], tmp_path: Path
) -> None:
    job = {"folder": "0_a=1", "overrides": ["a=1"], **changed}
    values = {"jobs": [job], "program": ["true"], "transfer": [], "run_dir": True}
    (tmp_path / "jobs.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match="is damaged"):
        JobList.read(tmp_path)
