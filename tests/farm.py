"""Batch systems in small: run what is submitted to HTCondor or Slurm as their machines would.

Submit files are read by HTCondor's own parser. Jobs get an empty scratch folder, the files that are
carried, a home that cannot be written, and no variable of the test's environment but the search
paths. As programs (``python -m tests.farm TOOL``) these are the tools of both systems: jobs run
while they are submitted, or stay in the queue when a file ``hold`` lies in the folder `FARM` (and
vanish with a file ``lost``).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

#: Not taken from `tests.conftest`, which imports much.
ROOT = Path(__file__).resolve().parent.parent

#: No folder of this name can be made, not even by root.
NO_HOME = "/dev/null/home"

#: Every command of the submit files of this package.
KNOWN = {
    *("universe", "executable", "arguments", "initialdir", "log", "output", "error", "my.sweepjob"),
    *("request_cpus", "request_memory", "request_disk", "request_gpus", "max_materialize"),
    *("should_transfer_files", "transfer_input_files", "transfer_output_files"),
    *("when_to_transfer_output", "accounting_group"),
}


def environment(**more: str) -> dict[str, str]:
    """Give the variables of a job."""
    kept = {k: v for k, v in os.environ.items() if k.startswith(("TF_", "XLA_", "CUDA_", "LANG"))}
    path = os.pathsep.join([str(Path(sys.executable).parent), "/usr/bin", "/bin"])
    return kept | {"PATH": path, "PYTHONPATH": str(ROOT), "HOME": NO_HOME} | more


def htcondor_jobs(text: str, cluster: str = "1") -> list[dict[str, str]]:
    """Read a submit file; give the commands of each job with all macros replaced."""
    import htcondor2

    submit = htcondor2.Submit(text)
    values = {key.lower(): str(value) for key, value in submit.items()}
    macros = {k: v for k, v in values.items() if k not in KNOWN}
    assert all(f"$({name.upper()})" in text for name in macros), macros
    count, _, _ = (submit.getQArgs() or "").strip().partition(" ")
    if count.isdigit() or not count:
        items: list[Mapping[str, str]] = [{} for _ in range(int(count or 1))]
    else:
        items = [dict(item) for item in submit.itemdata() or ()]
    jobs = []
    for number, item in enumerate(items):
        own = {k.lower(): v.strip() for k, v in item.items()}
        known = {**macros, "process": str(number), "cluster": cluster, **own}
        jobs.append({key: _expanded(value, known) for key, value in values.items()})
    return jobs


def _expanded(text: str, known: Mapping[str, str]) -> str:
    def part(match: re.Match[str]) -> str:
        path = Path(known[match[2].lower()])
        return path.name if "x" in match[1] else path.stem

    text = re.sub(r"\$F([nx]+)\((\w+)\)", part, text)
    while found := re.search(r"\$\((\w+)\)", text):
        text = text.replace(found[0], known[found[1].lower()])
    return text


def run_htcondor_job(job: Mapping[str, str], submitted_in: Path, scratch: Path, **more: str) -> int:
    """Run one job, carry files in and out; give its exit code."""
    home = Path(submitted_in, job.get("initialdir", "."))
    executable = submitted_in / job["executable"]
    carried = job["should_transfer_files"].upper() == "YES"
    scratch.mkdir(parents=True)
    cwd = scratch if carried else home
    if carried:
        executable = Path(shutil.copy(executable, scratch / "condor_exec.exe"))
        for name in _names(job.get("transfer_input_files", "")):
            source = home / name
            if source.is_dir():
                shutil.copytree(source, scratch / source.name)
            else:
                shutil.copy(source, scratch / source.name)
    with (
        (home / job["output"]).open("wb") as out,
        (home / job["error"]).open("wb") as err,
    ):
        done = subprocess.run(
            [executable, *job["arguments"].strip('"').split()],
            cwd=cwd,
            env=environment(_CONDOR_SCRATCH_DIR=str(scratch), **more),
            stdout=out,
            stderr=err,
        )
    if carried:
        for name in _names(job["transfer_output_files"]):
            result = scratch / name  # HTCondor holds a job whose output is missing.
            assert result.exists(), f"{name} is missing: {os.listdir(scratch)}"
            if result.is_dir():
                shutil.copytree(result, home / name, dirs_exist_ok=True)
            else:
                shutil.copy(result, home / result.name)
    shutil.rmtree(scratch)
    return done.returncode


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def slurm_options(text: str) -> dict[str, str]:
    """Read the options of a script."""
    found = re.findall(r"^#SBATCH --([\w-]+)(?:=(\S+))?$", text, re.MULTILINE)
    assert len(found) == text.count("\n#SBATCH"), text
    return dict(found)


def run_slurm_task(script: Path, task: int, cwd: Path, **more: str) -> int:
    """Run one task of an array; give its exit code."""
    subprocess.run(["bash", "-n", str(script)], check=True)
    options = slurm_options(script.read_text())
    name = options["output"].replace("%A", "1").replace("%a", str(task))
    with (cwd / name).open("wb") as out:
        done = subprocess.run(
            ["bash", str(script)],
            cwd=cwd,
            env=environment(SLURM_ARRAY_TASK_ID=str(task), **more),
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    return done.returncode


def install_tools(folder: Path) -> Path:
    """Write the tools of both systems; give the folder for ``PATH``."""
    tools = folder / "bin"
    tools.mkdir(parents=True)
    for name in ("sbatch", "squeue", "scancel", "condor_submit", "condor_q", "condor_rm"):
        call = f'exec {sys.executable} -m tests.farm {name} "$@"'
        path = f'export FARM="{folder}" PYTHONPATH="{ROOT}"'
        (tools / name).write_text(f"#!/bin/sh\n{path}\n{call}\n")
        (tools / name).chmod(0o755)
    return tools


def _tool(name: str, arguments: list[str]) -> None:
    farm = Path(os.environ["FARM"])
    queue = farm / "queue.json"
    waiting: list[int] = json.loads(queue.read_text()) if queue.exists() else []
    with (farm / "calls.txt").open("a") as stream:
        stream.write(" ".join([name, *arguments]) + "\n")
    if name in ("squeue", "condor_q"):
        if name == "squeue" and not (farm / "hold").exists():
            sys.exit("slurm_load_jobs error: Invalid job id specified")
        print(*waiting, sep="\n")
    elif name in ("scancel", "condor_rm"):
        number = int(re.findall(r"\d+", arguments[-1])[-1])
        queue.write_text(json.dumps([n for n in waiting if n != number]))
    else:
        script = Path(arguments[-1])
        hold = (farm / "hold").exists()
        if name == "sbatch":
            array = slurm_options(script.read_text())["array"].partition("%")[0]
            numbers = [int(number) for number in array.split(",")]
            for number in numbers if not hold else ():
                run_slurm_task(script, number, Path.cwd())
            print("17;cluster")
        else:
            jobs = htcondor_jobs(script.read_text())
            numbers = [int(job.get("my.sweepjob", "-1")) for job in jobs]
            for number, job in enumerate(jobs) if not hold else ():
                run_htcondor_job(job, Path.cwd(), farm / "scratch" / str(number))
            print(f"17.0 - 17.{len(jobs) - 1}")
        if hold and not (farm / "lost").exists():
            queue.write_text(json.dumps([*waiting, *numbers]))


if __name__ == "__main__":
    _tool(sys.argv[1], sys.argv[2:])
