"""Jobs of a sweep on Slurm and HTCondor: submit files, and questions to the queue.

Results are read from the folders of the jobs alone; the queue is asked only which jobs are still
in it, so that none is submitted twice.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from string import Template

from smartbkg_tf.errors import ConfigurationError, UserError
from smartbkg_tf.runtime.files import atomic_file, read_json, write_json
from smartbkg_tf.runtime.progress import say
from smartbkg_tf.runtime.sweeps.jobs import JOBS, Job, JobList
from smartbkg_tf.settings.cluster import megabytes
from smartbkg_tf.settings.sweeps import SweepSettings

#: Names that need no quotes in scripts and submit files.
_PLAIN = re.compile(r"[\w./+=@-]+")

_SLURM = Template("""\
#!/bin/bash
#SBATCH --job-name=smartbkg_tf
#SBATCH --array=$array
#SBATCH --output=$batch/%A_%a.txt
#SBATCH --cpus-per-task=$cpus
#SBATCH --mem=${memory}M
#SBATCH --time=$walltime
#SBATCH --requeue
#SBATCH --signal=B:TERM@60
$directives
cd $here || exit 1
$prologue
exec $python -m smartbkg_tf.sweep run-job $folder "$$SLURM_ARRAY_TASK_ID"
""")

_SHARED_JOB = Template("""\
#!/bin/bash
# $submit; the argument is the number of the job.
cd $here || exit 1
$prologue
exec $python -m smartbkg_tf.sweep run-job $folder "$$1"
""")

_CARRIED_JOB = Template("""\
#!/bin/bash
# $submit; the argument is the number of the job. The home of a job need not be writable.
scratch="$${_CONDOR_SCRATCH_DIR:-$$PWD}"
export XDG_CACHE_HOME="$$scratch/.cache" NUMBA_CACHE_DIR="$$scratch/.cache/numba"
export MPLCONFIGDIR="$$scratch/.cache/matplotlib"
$prologue
exec $python -m smartbkg_tf.sweep run-job . "$$1" --transferred
""")

_HTCONDOR = Template("""\
executable = $batch/job.sh
arguments = $$(index)
initialdir = $folder
log = $batch/htcondor.log
output = $batch/$$(Cluster)_$$(index).out
error = $batch/$$(Cluster)_$$(index).err
request_cpus = $cpus
request_memory = ${memory}MB
request_disk = ${disk}MB
$transfer
$directives
My.SweepJob = $$(index)
queue index, name from (
$items
)
""")


class BatchJobs:
    """Submit jobs of a list and ask for them; at most `at_once` are in the queue if given."""

    bound = False

    def __init__(
        self, jobs: JobList, settings: SweepSettings, *, at_once: int | None, gpus: int
    ) -> None:
        self.jobs = jobs
        self.settings = settings
        self.at_once = at_once
        self.gpus = gpus
        self.folder = Path(os.path.abspath(jobs.folder))
        self.batch = self.folder / "batch"
        self._submissions = self.batch / "submissions.json"
        self._missed: set[int] = set()
        if not _PLAIN.fullmatch(str(self.folder)):
            raise ConfigurationError(
                "has letters in its path that batch systems interpret",
                where=self.folder,
                next_step="choose a sweep.dir of letters, digits and . _ + = @ - /",
            )

    def room(self, running: int) -> int:
        """Say how many more jobs may be submitted."""
        return sys.maxsize if self.at_once is None else self.at_once - running

    def start(self, jobs: Sequence[Job]) -> None:
        """Submit jobs, as one array, but for those that are in the queue already."""
        queued = self.alive() if jobs else {}
        if waiting := [job.name for job in jobs if job.number in queued]:
            say(f"{len(waiting)} jobs are in the queue already")
        jobs = [job for job in jobs if job.number not in queued]
        if not jobs:
            return
        for job in jobs:
            job.begin()
        submit = self._slurm if self.settings.backend == "slurm" else self._htcondor
        number = submit(jobs)
        known = read_json(self._submissions) if self._submissions.is_file() else []
        write_json(self._submissions, [*known, [self.settings.backend, number]])
        say(f"{len(jobs)} jobs are submitted to {self.settings.backend} ({number})")

    def _values(self) -> dict[str, object]:
        """Give what the templates have in common."""
        settings = self.settings
        carried = settings.transfer is not None
        return {
            "batch": self.batch,
            "folder": self.folder,
            "here": shlex.quote(os.getcwd()),
            "python": shlex.quote(settings.python or ("python" if carried else sys.executable)),
            "cpus": settings.cpus,
            "memory": megabytes(settings.memory),
            "disk": megabytes(settings.disk),
            "walltime": settings.walltime,
            "prologue": "\n".join(settings.prologue),
        }

    def _slurm(self, jobs: Sequence[Job]) -> str:
        settings = self.settings
        options = [f"--gres=gpu:{self.gpus}"] if self.gpus else []
        options += [f"--partition={settings.queue}"] if settings.queue else []
        options += [f"--account={settings.account}"] if settings.account else []
        limit = f"%{settings.jobs}" if settings.jobs and self.at_once is None else ""
        text = _SLURM.substitute(
            self._values(),
            array=",".join(str(job.number) for job in jobs) + limit,
            directives="\n".join(f"#SBATCH {text}" for text in (*options, *settings.directives)),
        )
        script = self._write("job.slurm", text)
        return _ask("sbatch", "--parsable", str(script)).partition(";")[0].strip()

    def _htcondor(self, jobs: Sequence[Job]) -> str:
        settings = self.settings
        values = self._values()
        lines = [f"request_gpus = {self.gpus}"] if self.gpus else []
        lines += [f"max_materialize = {settings.jobs}"] if settings.jobs else []
        if settings.transfer is None:
            job, transfer = _SHARED_JOB, "should_transfer_files = NO"
        else:
            carried = [os.path.abspath(path) for path in settings.transfer]
            if missing := [path for path in carried if not os.path.exists(path)]:
                raise ConfigurationError("sweep.transfer: there is no such file", where=missing[0])
            names = [JOBS, *(os.path.basename(path) for path in carried)]
            if len(set(names)) < len(names) or any(re.search(r"[,\s]", path) for path in carried):
                raise ConfigurationError(
                    "sweep.transfer: paths are carried under their last part, which must differ "
                    f"and not be {JOBS}, and have no comma or space",
                    next_step=f"rename one of {', '.join(carried)}",
                )
            job = _CARRIED_JOB
            transfer = (
                "should_transfer_files = YES\n"
                f"transfer_input_files = {', '.join((JOBS, '$(name)', *carried))}\n"
                "transfer_output_files = $(name), $(name).log\n"
                "when_to_transfer_output = ON_EXIT_OR_EVICT"
            )
        submit = "a job of batch/job.sub"
        self._write("job.sh", job.substitute(values, submit=submit)).chmod(0o755)
        text = _HTCONDOR.substitute(
            values,
            transfer=transfer,
            directives="\n".join([*lines, *settings.directives]),
            items="\n".join(f"{job.number}, {job.name}" for job in jobs),
        )
        answer = _ask("condor_submit", "-terse", str(self._write("job.sub", text)))
        return answer.partition(".")[0].strip()

    def _write(self, name: str, text: str) -> Path:
        self.batch.mkdir(parents=True, exist_ok=True)
        path = self.batch / name
        with atomic_file(path) as partial:
            partial.write_text(re.sub(r"\n{2,}", "\n", text), encoding="utf-8")
        return path

    def alive(self) -> dict[int, tuple[str, str]]:
        """Give backend and number of the submission of each job that is in a queue."""
        found: dict[int, tuple[str, str]] = {}
        known = read_json(self._submissions) if self._submissions.is_file() else []
        for backend, number in known:
            if backend == "slurm":
                answer = _ask("squeue", "-h", "-r", "-j", number, "-o", "%K", gone="Invalid job id")
            else:
                answer = _ask("condor_q", number, "-af", "SweepJob")
            found |= {int(word): (backend, number) for word in answer.split() if word.isdigit()}
        return found

    def ended(self, running: Iterable[Job]) -> list[tuple[Job, int | None]]:
        """Give the jobs whose folders say so, and those that are twice not in the queue."""
        ended: list[tuple[Job, int | None]] = []
        open_jobs = []
        for job in running:
            if job.state in ("done", "failed"):
                ended.append((job, 0 if job.state == "done" else job.failure()[0]))
            else:
                open_jobs.append(job)
        if open_jobs:
            try:
                queued = self.alive()
            except UserError as error:  # A busy scheduler; ask again later.
                say(f"warning: {error}")
                return ended
            missed = {job.number for job in open_jobs} - queued.keys()
            # A shared file system may show the result later than the queue the end.
            ended += [(job, None) for job in open_jobs if job.number in missed & self._missed]
            self._missed = missed
        return ended

    def stop(self, jobs: Iterable[Job]) -> None:
        """Take jobs out of the queue."""
        jobs = list(jobs)
        queued = self.alive() if jobs else {}
        for job in jobs:
            backend, number = queued.get(job.number, ("", ""))
            if backend == "slurm":
                _ask("scancel", f"{number}_{job.number}")
            elif backend == "htcondor":
                constraint = f"ClusterId == {number} && SweepJob == {job.number}"
                _ask("condor_rm", "-constraint", constraint)


def _ask(*words: str, gone: str | None = None) -> str:
    """Run a tool of a batch system; an error that says `gone` is an empty answer."""
    try:
        done = subprocess.run(words, capture_output=True, text=True)
    except OSError as error:
        raise UserError(
            f"{words[0]} cannot be run ({error.strerror})",
            next_step="give the command on a machine from which jobs are submitted",
        ) from error
    if done.returncode == 0:
        return done.stdout
    if gone is not None and gone in done.stderr:
        return ""
    reason = (done.stderr or done.stdout).strip() or f"exit code {done.returncode}"
    raise UserError(f"{words[0]} failed: {reason}")
