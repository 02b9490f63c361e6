"""Jobs of a sweep on Slurm and HTCondor: submit files, and questions to the queue.

Results are read from the folders of the jobs alone. The queue is asked only which jobs are still
in it, so that none is submitted twice: they carry a name that is made of the folder of the sweep.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import TypeVar

from smartbkg_tf.errors import ConfigurationError, UserError
from smartbkg_tf.runtime.files import atomic_file, hash_of_values
from smartbkg_tf.runtime.progress import say
from smartbkg_tf.runtime.sweeps.jobs import JOBS, Job, JobList
from smartbkg_tf.settings.cluster import megabytes
from smartbkg_tf.settings.sweeps import SweepSettings

T = TypeVar("T")

#: Names that need no quotes in scripts and submit files.
_PLAIN = re.compile(r"[\w./+=@-]+")

#: Seconds for which a batch system that gives no answer is asked again.
_PATIENCE = 6 * 3600.0
#: Seconds before it is asked again: at first, and at most.
_PAUSE, _LONGEST_PAUSE = 10.0, 600.0
#: Seconds after which a tool that does not come back is ended.
_TIMEOUT = 300.0

#: Errors of sbatch and condor_submit that time mends; all others are about what is submitted.
_BUSY = re.compile(
    r"time(d |-)?out|temporar|contact|connect|communicat|unavailable|try again|standby|zero bytes"
    r"|find address|fail\w* to (commit|fetch)",
    re.IGNORECASE,
)

#: Jobs in one array: by default Slurm allows the indices 0 to 1000.
_ARRAY = 1000

#: Codes of HTCondor for jobs that their owner holds, or whose input is still being spooled.
_HELD_ON_PURPOSE = ("1", "15", "16")

_SLURM = Template("""\
#!/bin/bash
#SBATCH --array=$array
#SBATCH --output=$batch/%A_%a.txt
#SBATCH --cpus-per-task=$cpus
#SBATCH --mem=${memory}M
#SBATCH --time=$walltime
#SBATCH --requeue
#SBATCH --signal=B:TERM@60
$directives
#SBATCH --job-name=$name.$block
cd $here || exit 1
$prologue
exec $python -m smartbkg_tf.sweep run-job $folder "$$(($block * $size + SLURM_ARRAY_TASK_ID))"
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
batch_name = $name
My.SweepJob = $$(index)
queue index, name from (
$items
)
""")


class BusyError(UserError):
    """A batch system gives no answer now."""


@dataclass(frozen=True)
class Queued:
    """One entry of the queue: the number of the job, and what the batch system calls it."""

    number: int
    name: str
    #: Why it does not run (no reason: it runs or waits for its turn) ...
    held: str = ""
    #: ... and whether it will not do so by itself.
    stuck: bool = False


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
        self.name = f"smartbkg_tf-{hash_of_values(os.path.realpath(self.folder))}"
        self._slurm = settings.backend == "slurm"
        self._missed: set[int] = set()
        self._told: set[int] = set()
        if not _PLAIN.fullmatch(str(self.folder)):
            raise ConfigurationError(
                "contains characters that batch systems treat specially",
                where=self.folder,
                next_step="choose a sweep.dir of letters, digits and . _ + = @ - /",
            )

    def room(self, running: int) -> int:
        """Say how many more jobs may be submitted."""
        return sys.maxsize if self.at_once is None else self.at_once - running

    def start(self, jobs: Sequence[Job]) -> None:
        """Submit jobs, but for those that are in the queue already."""
        if jobs:
            # Asked before each attempt: an error need not mean that nothing was submitted.
            _patiently(lambda: self._start(jobs))

    def _start(self, jobs: Sequence[Job]) -> None:
        numbers = {job.number for job in jobs}
        queue = [entry for entry in self._queue() if entry.number in numbers]
        stuck = [entry for entry in queue if entry.stuck]
        self._remove(stuck)
        for entry in stuck:
            say(f"job {entry.number} was held ({entry.held}); it is submitted again")
        queued = {entry.number for entry in queue} - {entry.number for entry in stuck}
        if queued:
            say(f"already in the queue: {len(queued)} of {len(jobs)} jobs")
        blocks: dict[int, list[Job]] = {}
        for job in jobs:
            if job.number not in queued:
                job.begin()
                blocks.setdefault(job.number // _ARRAY if self._slurm else 0, []).append(job)
        for block, new in blocks.items():
            name = self._submit_slurm(new, block) if self._slurm else self._submit_htcondor(new)
            say(f"submitted to {self.settings.backend} as {name}: {len(new)} of {len(jobs)} jobs")

    def _values(self) -> dict[str, object]:
        """Give what the templates have in common."""
        settings = self.settings
        carried = settings.transfer is not None
        return {
            "name": self.name,
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

    def _submit_slurm(self, jobs: Sequence[Job], block: int) -> str:
        settings = self.settings
        options = [f"--gres=gpu:{self.gpus}"] if self.gpus else []
        options += [f"--partition={settings.queue}"] if settings.queue else []
        options += [f"--account={settings.account}"] if settings.account else []
        limit = f"%{settings.jobs}" if settings.jobs and self.at_once is None else ""
        text = _SLURM.substitute(
            self._values(),
            array=",".join(str(job.number % _ARRAY) for job in jobs) + limit,
            block=block,
            size=_ARRAY,
            directives="\n".join(f"#SBATCH {text}" for text in (*options, *settings.directives)),
        )
        script = self._write("job.slurm", text)
        return _submit("sbatch", "--parsable", str(script)).partition(";")[0].strip()

    def _submit_htcondor(self, jobs: Sequence[Job]) -> str:
        settings = self.settings
        values = self._values()
        lines = [f"request_gpus = {self.gpus}"] if self.gpus else []
        if settings.transfer is None:
            job, transfer = _SHARED_JOB, "should_transfer_files = NO"
        else:
            carried = [os.path.abspath(path) for path in settings.transfer]
            if missing := [path for path in carried if not os.path.exists(path)]:
                raise ConfigurationError("sweep.transfer: there is no such file", where=missing[0])
            names = [JOBS, *(os.path.basename(path) for path in carried)]
            if len(set(names)) < len(names) or any(re.search(r"[,\s]", path) for path in carried):
                raise ConfigurationError(
                    "sweep.transfer: the last parts of the paths must differ from each other and "
                    f"from {JOBS}, and no path may contain a comma or a space",
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
        answer = _submit("condor_submit", "-terse", str(self._write("job.sub", text)))
        return answer.partition(".")[0].strip()

    def _write(self, name: str, text: str) -> Path:
        self.batch.mkdir(parents=True, exist_ok=True)
        path = self.batch / name
        with atomic_file(path) as partial:
            partial.write_text(re.sub(r"\n{2,}", "\n", text), encoding="utf-8")
        return path

    def _queue(self) -> list[Queued]:
        """List the jobs of this sweep that are in the queue, whichever process submitted them."""
        if self._slurm:
            user, form = str(os.getuid()), "%F_%K %j %r"
            answer = _ask("squeue", "--all", "--noheader", "--array", "-u", user, "-o", form)
            lines = re.findall(rf"(?m)^(\d+_(\d+)) {self.name}\.(\d+) (.*)$", answer)
            return [
                Queued(
                    int(index) + int(block) * _ARRAY,
                    name,
                    reason if re.search("[Hh]eld", reason) else "",
                    bool(re.search("requeued.held", reason)),
                )
                for name, index, block, reason in lines
            ]
        constraint = f'JobBatchName == "{self.name}"'
        wanted = ("ClusterId", "ProcId", "SweepJob", "JobStatus", "HoldReasonCode", "HoldReason")
        answer = _ask("condor_q", "-constraint", constraint, "-af", *wanted)
        # Those that are removed (3) or completed (4) leave in a moment; 5 is held.
        jobs = re.findall(r"(?m)^(\d+) (\d+) (\d+) ([^34\s]) (\S+) (.*)$", answer)
        return [
            Queued(
                int(number),
                f"{cluster}.{process}",
                reason if status == "5" else "",
                status == "5" and code not in _HELD_ON_PURPOSE,
            )
            for cluster, process, number, status, code, reason in jobs
        ]

    def ended(self, running: Iterable[Job]) -> list[tuple[Job, int | None]]:
        """Give the jobs whose folders say so, those held, and those twice not in the queue."""
        ended: list[Job] = []
        waiting: list[Job] = []
        for job in running:
            (waiting if job.state == "not finished" else ended).append(job)
        queue = _patiently(self._queue) if waiting else []
        missed = {job.number for job in waiting} - {entry.number for entry in queue}
        held = {entry.number: entry for entry in queue if entry.held}
        for job in waiting:
            # A shared file system may show the result later than the queue the end.
            if job.number in missed & self._missed:
                ended.append(job)
            if job.number not in held:
                continue
            if held[job.number].stuck:
                job.fail(1, f"held by {self.settings.backend}: {held[job.number].held}")
                ended.append(job)
            elif job.number not in self._told:
                self._told.add(job.number)
                say(f"{job.name}: held ({held[job.number].held}); it runs when it is released")
        self._missed = missed
        self.stop(job for job in ended if job.number in held)
        return [(job, None) for job in ended]

    def stop(self, jobs: Iterable[Job]) -> None:
        """Take jobs out of the queue."""
        numbers = {job.number for job in jobs}
        if numbers:
            _patiently(lambda: self._remove([e for e in self._queue() if e.number in numbers]))

    def _remove(self, entries: Sequence[Queued]) -> None:
        """Take entries out of the queue; that one has just left it is no error."""
        names = [entry.name for entry in entries]
        try:
            if names:
                _ask("scancel" if self._slurm else "condor_rm", *names)
        except BusyError:
            if not {entry.name for entry in self._queue()}.isdisjoint(names):
                raise


def _patiently(attempt: Callable[[], T]) -> T:
    """Repeat an attempt while the batch system gives no answer, with growing pauses."""
    limit = time.monotonic() + _PATIENCE
    pause = _PAUSE
    while True:
        try:
            return attempt()
        except BusyError as error:
            if time.monotonic() + pause > limit:
                raise UserError(
                    f"{error.message} (asked again for {_PATIENCE / 3600:.3g} hours)",
                    next_step="what is in the queue stays there: give the same command again later",
                ) from error
            say(f"warning: {error.message}; next attempt in {pause:.3g} s")
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _submit(*words: str) -> str:
    """Run a tool that submits; an error that time does not mend is the user's."""
    try:
        return _ask(*words)
    except BusyError as error:
        if _BUSY.search(error.message):
            raise
        raise UserError(error.message, next_step="correct the settings of sweep") from error


def _ask(*words: str) -> str:
    """Run a tool of a batch system; `BusyError` when it fails."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_TIMEOUT)
    except subprocess.TimeoutExpired as error:
        raise BusyError(f"{words[0]} timed out after {_TIMEOUT:.0f} s") from error
    except OSError as error:
        raise UserError(
            f"{words[0]} cannot be run ({error.strerror})",
            next_step="give the command on a machine from which jobs are submitted",
        ) from error
    # Some versions of condor_q have no exit code for it.
    if done.returncode == 0 and "Failed to fetch" not in done.stderr:
        return done.stdout
    reason = (done.stderr or done.stdout).strip() or f"exit code {done.returncode}"
    raise BusyError(f"{words[0]} failed: {reason}")
