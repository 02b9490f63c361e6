"""Batch systems in small: run what is submitted to HTCondor or Slurm as their machines would.

Submit files are read by HTCondor's own parser. Jobs get an empty scratch folder, the files that are
carried, a home that cannot be written, and no variable of the test's environment but the search
paths. As programs (``python -m tests.farm TOOL``) these are the tools of both systems: jobs run
while they are submitted, or stay in the queue when a file ``hold`` lies in the folder `FARM` (and
vanish with a file ``lost``). ``faults.json`` says how the next calls of a tool go wrong.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
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
    *("request_cpus", "request_memory", "request_disk", "request_gpus"),
    *("should_transfer_files", "transfer_input_files", "transfer_output_files"),
    *("when_to_transfer_output", "accounting_group", "batch_name"),
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


def set_faults(farm: Path, **faults: list[str]) -> None:
    """Let the next calls of tools fail with these errors, instead of or ``after:`` their work.

    The error ``after: kill`` kills who has called; "" stands for a call that succeeds.
    """
    (farm / "faults.json").write_text(json.dumps(faults))


def _tool(name: str, arguments: list[str]) -> None:
    farm = Path(os.environ["FARM"])
    with (farm / "calls.txt").open("a") as stream:
        stream.write(" ".join([name, *arguments]) + "\n")
    faults = (
        json.loads((farm / "faults.json").read_text()) if (farm / "faults.json").exists() else {}
    )
    fault = faults[name].pop(0) if faults.get(name) else ""
    set_faults(farm, **faults)
    late = fault.startswith("after: ")
    if fault and not late:
        sys.exit(fault)
    _work(name, arguments, farm)
    if fault == "after: kill":
        os.kill(os.getppid(), signal.SIGKILL)
    if late:
        sys.exit(fault.removeprefix("after: "))


def _work(name: str, arguments: list[str], farm: Path) -> None:
    """Do what a tool does; an entry of the queue has what squeue and condor_q tell of it."""
    path = farm / "queue.json"
    queue: list[dict[str, str]] = json.loads(path.read_text()) if path.exists() else []
    hold, lost = ((farm / file).exists() for file in ("hold", "lost"))
    if name == "squeue":
        form = arguments[-1]
        for entry in queue:
            print(re.sub(r"%(.)", lambda match, entry=entry: entry[match[1]], form))
    elif name == "condor_q":
        (batch,) = re.findall('"(.*)"', arguments[arguments.index("-constraint") + 1])
        for entry in queue:
            if entry["JobBatchName"] == batch:
                print(*(entry[key] for key in arguments[arguments.index("-af") + 1 :]))
    elif name in ("scancel", "condor_rm"):
        known = {entry["name"] for entry in queue}
        path.write_text(json.dumps([e for e in queue if e["name"] not in arguments]))
        if missing := set(arguments) - known:
            sys.exit(f"{name}: error: {missing}: Invalid job id specified")
    else:
        script = Path(arguments[-1])
        new: list[dict[str, str]] = []
        cluster = str(17 + len({entry["name"][:2] for entry in queue}))
        if name == "sbatch":
            options = slurm_options(script.read_text())
            for task in options["array"].partition("%")[0].split(","):
                values = {"F": cluster, "K": task, "j": options["job-name"], "r": "Priority"}
                new.append(values | {"name": f"{cluster}_{task}"})
                if not hold:
                    run_slurm_task(script, int(task), Path.cwd())
            print(f"{cluster};cluster")
        else:
            for number, job in enumerate(htcondor_jobs(script.read_text())):
                values = {"ClusterId": cluster, "ProcId": str(number), "JobStatus": "1"}
                values |= {"SweepJob": job.get("my.sweepjob", "-1"), "HoldReasonCode": "undefined"}
                values |= {"JobBatchName": job.get("batch_name", ""), "HoldReason": "undefined"}
                new.append(values | {"name": f"{cluster}.{number}"})
                if not hold:
                    run_htcondor_job(job, Path.cwd(), farm / "scratch" / str(number))
            print(f"{cluster}.0 - {cluster}.{len(new) - 1}")
        if hold and not lost:
            path.write_text(json.dumps([*queue, *new]))


if __name__ == "__main__":
    _tool(sys.argv[1], sys.argv[2:])
