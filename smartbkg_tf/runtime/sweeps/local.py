"""Jobs as processes of this machine, which share its cores and GPUs."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence

from smartbkg_tf.runtime.progress import say
from smartbkg_tf.runtime.sweeps.jobs import Job, JobList

#: Seconds that a process has to end by itself.
_GRACE = 20.0

#: What libraries read about the number of their threads.
_THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)

#: Lets the kernel end this process when its parent is killed (Linux: PR_SET_PDEATHSIG, SIGKILL),
#: and becomes the job.
_BOUND = """\
import ctypes, os, sys
try:
    ctypes.CDLL(None).prctl(1, 9)
except (AttributeError, OSError):
    pass
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


class LocalJobs:
    """Run at most `at_once` jobs of a list, each in a process group of its own."""

    #: Whether the jobs end with this process.
    bound = True

    def __init__(self, jobs: JobList, at_once: int = 1, *, transferred: bool = False) -> None:
        self.jobs = jobs
        self.at_once = at_once
        self.transferred = transferred
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._slots: dict[int, int] = {}

    def room(self, running: int) -> int:
        """Say how many more jobs may start."""
        return self.at_once - running

    def start(self, jobs: Sequence[Job]) -> None:
        """Start processes; what they say goes into their logs."""
        for job in jobs:
            job.begin()
            slot = min(set(range(self.at_once)) - set(self._slots.values()), default=0)
            cores, changes = _share(slot, self.at_once)
            words = self.jobs.command(job, transferred=self.transferred)
            with job.log.open("ab") as log:
                process = subprocess.Popen(
                    [sys.executable, "-IS", "-c", _BOUND, str(os.getpid()), *words],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **changes, "PYTHONUNBUFFERED": "1"},
                    start_new_session=True,
                )
            if cores:
                with contextlib.suppress(OSError):
                    os.sched_setaffinity(process.pid, cores)
            self._processes[job.number], self._slots[job.number] = process, slot
            say(f"{job.name}: begins ({job.log})")

    def ended(self, running: Iterable[Job]) -> list[tuple[Job, int | None]]:
        """Give the jobs whose processes have ended, with their exit codes."""
        found: list[tuple[Job, int | None]] = []
        for job in running:
            process = self._processes.get(job.number)
            if process is not None and process.poll() is not None:
                job.end(process.returncode)
                found.append((job, process.returncode))
                self._forget(job)
        return found

    def stop(self, jobs: Iterable[Job]) -> None:
        """Ask processes to end; those that do not within some seconds are killed."""
        jobs = [job for job in jobs if job.number in self._processes]
        for job in jobs:
            self._signal(job, signal.SIGTERM)
        limit = time.monotonic() + _GRACE
        try:
            for job in jobs:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._processes[job.number].wait(max(0.0, limit - time.monotonic()))
        finally:  # Also when the user presses Ctrl-C once more.
            for job in jobs:
                self._signal(job, signal.SIGKILL)
                self._processes[job.number].wait()
                self._forget(job)

    def _signal(self, job: Job, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._processes[job.number].pid, number)

    def _forget(self, job: Job) -> None:
        del self._processes[job.number], self._slots[job.number]


def _share(slot: int, n: int) -> tuple[set[int], dict[str, str]]:
    """Give the cores of one of `n` places, and what its libraries are told about them."""
    if n == 1:
        return set(), {}
    cores = sorted(os.sched_getaffinity(0))
    size = max(1, len(cores) // n)
    first = slot * size % len(cores)
    changes = dict.fromkeys(_THREADS, str(size))
    gpus = _gpus()
    if gpus:
        mine = gpus[slot::n] or [gpus[slot % len(gpus)]]
        changes["CUDA_VISIBLE_DEVICES"] = ",".join(mine)
        if n > len(gpus):  # Several processes on one GPU: none may take all of its memory.
            changes["TF_FORCE_GPU_ALLOW_GROWTH"] = "true"
    return set(cores[first : first + size]), changes


def _gpus() -> list[str]:
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name for name in given.split(",") if name not in ("", "-1")]
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        answer = subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=60)
        lines = [line for line in answer.stdout.splitlines() if line.startswith("GPU ")]
        return [str(number) for number in range(len(lines))]
    return []
