"""The runner: starts jobs, watches them, says how they end, and writes the table."""

from __future__ import annotations

import datetime
import sys
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Protocol

from smartbkg_tf.errors import ConfigurationError
from smartbkg_tf.runtime.files import exclusive_lock
from smartbkg_tf.runtime.outputs import resolve_output, try_lock
from smartbkg_tf.runtime.progress import say
from smartbkg_tf.runtime.sweeps.batch import BatchJobs
from smartbkg_tf.runtime.sweeps.jobs import Job, JobList
from smartbkg_tf.runtime.sweeps.local import LocalJobs
from smartbkg_tf.runtime.sweeps.search import Search, corners, storage_errors
from smartbkg_tf.runtime.sweeps.table import best_validation, write_table
from smartbkg_tf.settings.sweeps import SearchSettings, SweepCommandSettings, SweepSettings

#: A file that is locked while a sweep is driven.
LOCK = ".lock"

#: Jobs of a search on a farm at once, by default: each learns from those before.
_SEARCH_JOBS = 4


class Source(Protocol):
    """What decides which jobs run."""

    def following(self, room: int) -> list[Job]:
        """Give at most `room` jobs to start."""

    def hopeless(self, running: Collection[Job]) -> list[Job]:
        """Give the running jobs that need not go on."""

    def ended(self, job: Job) -> None:
        """Take note of a job that has ended."""


class Grid:
    """All jobs of a list, each once."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        self.waiting = list(jobs)

    def following(self, room: int) -> list[Job]:
        """Give the next ones."""
        jobs, self.waiting = self.waiting[:room], self.waiting[room:]
        return jobs

    def hopeless(self, running: Collection[Job]) -> list[Job]:
        """Let every job run to its end."""
        return []

    def ended(self, job: Job) -> None:
        """Learn nothing from it."""


def sweep_folder(settings: SweepSettings, overrides: Sequence[str]) -> Path:
    """Find the folder of a sweep: ``sweep.dir``, ``run_dir``, or one named after the time."""
    given = [t.partition("=")[2].strip("'\"") for t in overrides if _is_run_dir(t)]
    if settings.dir is not None and given:
        raise ConfigurationError("run_dir and sweep.dir both name the folder; give one of them")
    for name in (settings.dir, *given):
        if name is not None:
            return Path(name)
    return Path("sweeps") / datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")


def _is_run_dir(text: str) -> bool:
    return text.lstrip("+").startswith("run_dir=")


def run_sweep(
    command: str,
    settings: SweepCommandSettings,
    all_overrides: Sequence[Sequence[str]],
    options: Sequence[str] = (),
    *,
    check: Callable[[list[str]], object],
    program: Sequence[str] | None = None,
) -> None:
    """Run all jobs that are not finished yet; `SystemExit` in the end when some have failed.

    `all_overrides` are those of each job, or the common ones of a search; `check` raises for
    overrides that cannot be used. `program` runs instead of the command (for tests).
    """
    sweep, search = settings.sweep, settings.hparams_search
    folder = sweep_folder(sweep, all_overrides[0])
    resolve_output(folder)
    common = [[t for t in overrides if not _is_run_dir(t)] for overrides in all_overrides]
    words = ["-m", f"smartbkg_tf.{command}", *options] if program is None else list(program)
    if search is not None:
        _check_search(command, search, sweep, common, check)
    busy, wait = "another process runs this sweep", "wait for it, or end it"
    with exclusive_lock(folder, busy=busy, next_step=wait, file=LOCK), storage_errors(folder):
        jobs = JobList.open(folder, words, run_dir=command == "train", transfer=sweep.transfer)
        backend = _backend(sweep, jobs, gpus=command == "train", search=search is not None)
        source: Source
        if search is not None:
            source = Search(search, jobs, common[0])
            say(f"search in {folder}: {search.trials} trials")
        else:
            wanted = jobs.add(common)
            again = any(t.lstrip("+").lower() == "overwrite=true" for t in common[0])
            left = [job for job in wanted if again or job.state != "done"]
            for job in wanted if again else ():
                job.run.done.unlink(missing_ok=True)
            ready = f", {len(wanted) - len(left)} are finished already" if left != wanted else ""
            say(f"sweep of {len(wanted)} jobs in {folder}{ready}")
            source = Grid(left)
        if not sweep.wait:
            backend.start(source.following(sys.maxsize))
            say(f"{folder}: the same command, or 'sweep report', shows what is finished")
            return
        drive(source, backend, fail_fast=sweep.fail_fast, interval=_interval(sweep))
        code = write_table(jobs.jobs, folder)
    if code:
        raise SystemExit(code)


def _check_search(
    command: str,
    search: SearchSettings,
    sweep: SweepSettings,
    common: list[list[str]],
    check: Callable[[list[str]], object],
) -> None:
    if command != "train":
        raise ConfigurationError("hparams_search: only train can be searched")
    if len(common) > 1:
        raise ConfigurationError(
            "hparams_search cannot be combined with several values of an override",
            next_step="put these values into hparams_search.space",
        )
    if not sweep.wait:
        raise ConfigurationError("sweep.wait=false: a search needs the results of its jobs")
    fixed = {text.lstrip("+").partition("=")[0] for text in common[0]}
    if both := sorted(fixed & search.space.keys()):
        raise ConfigurationError(f"{', '.join(both)}: hparams_search.space varies what is given")
    for texts in corners(search.space):
        check([*common[0], *texts])


def _backend(
    sweep: SweepSettings, jobs: JobList, *, gpus: bool, search: bool
) -> LocalJobs | BatchJobs:
    if sweep.backend == "local":
        return LocalJobs(jobs, sweep.jobs or 1)
    at_once = (sweep.jobs or _SEARCH_JOBS) if search else None
    if sweep.backend == "htcondor":
        # Not its max_materialize, under which condor_q does not show the jobs to come.
        at_once = at_once or sweep.jobs
    n_gpus = int(gpus) if sweep.gpus is None else sweep.gpus
    return BatchJobs(jobs, sweep, at_once=at_once, gpus=n_gpus)


def _interval(sweep: SweepSettings) -> float:
    return sweep.interval or (1.0 if sweep.backend == "local" else 20.0)


def drive(
    source: Source, backend: LocalJobs | BatchJobs, *, fail_fast: bool, interval: float
) -> None:
    """Run jobs until there are no more; an error ends local jobs, too."""
    running: dict[int, Job] = {}
    try:
        while True:
            new = source.following(backend.room(len(running)))
            backend.start(new)
            running |= {job.number: job for job in new}
            if not running:
                return
            time.sleep(interval)
            hopeless = source.hopeless(running.values())
            backend.stop(hopeless)
            others = [job for job in running.values() if job not in hopeless]
            ended = [*((job, None) for job in hopeless), *backend.ended(others)]
            for job, code in ended:
                del running[job.number]
                source.ended(job)
                say(f"{job.name}: {_how(job, code)}")
            if fail_fast and any(job.state == "failed" for job, _ in ended):
                say("sweep.fail_fast=true: all other jobs are ended")
                backend.stop(running.values())
                return
    except BaseException:
        if backend.bound:
            backend.stop(running.values())
        elif running:
            say(f"{len(running)} jobs stay with the batch system; the same command waits for them")
        raise


def _how(job: Job, code: int | None) -> str:
    if job.state == "failed":
        return f"failed: {job.failure()[1]}"
    if job.state == "not finished":
        how = "it left the queue" if code is None else f"exit code {code}"
        return f"ended before it was done ({how}); the same command continues it"
    if job.state == "pruned":
        return "ended early, its validation AUC is below the median"
    auc = best_validation(job.run).get("val_auc")
    return "done" if auc is None else f"done, validation AUC {auc:.4f}"


def run_job(folder: Path, number: int, *, transferred: bool = False) -> int:
    """Run one job as a batch system does; give the exit code of its process."""
    jobs = JobList.read(folder)
    if not 0 <= number < len(jobs.jobs):
        raise ConfigurationError(f"there is no job {number}", where=folder)
    job = jobs.jobs[number]
    with job.log.open("ab") as log:
        # Submitted twice, or lost from sight and sent again by the batch system.
        if try_lock(log.fileno()) is False:
            say(f"{job.name} is being done by another process")
            return 0
        if job.state in ("done", "pruned"):
            say(f"{job.name} is finished already")
            return 0
        local = LocalJobs(jobs, transferred=transferred)
        try:
            local.start([job])
            while not (ended := local.ended([job])):
                time.sleep(0.2)
        finally:
            local.stop([job])
    code = ended[0][1] or 0
    say(f"{job.name}: {_how(job, code)}")
    return code if code >= 0 else 128 - code
