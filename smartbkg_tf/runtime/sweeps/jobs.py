"""The jobs of a sweep: a list in ``jobs.json``, and a folder for each that says how it ended."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smartbkg_tf.errors import InputError, OutputError
from smartbkg_tf.runtime.files import read_json, write_json
from smartbkg_tf.runtime.run_directory import RunDirectory

#: Name of the list.
JOBS = "jobs.json"

#: Longest name of a job's folder behind its number; batch systems keep paths short.
_LONGEST = 120

#: Overrides that do not change what a job computes.
_WITHOUT_EFFECT = ("overwrite", "debug", "training.progress")
#: Overrides left out of the name of a job: where the data are.
_UNNAMED = ("data.path", "data.demo.cache", "data.demo.workers")

#: Exit codes of a process that was asked to end: it is unfinished, not failed.
_STOPPED = (129, 130, 143, -signal.SIGHUP, -signal.SIGINT, -signal.SIGTERM)

#: Bytes at the end of a log in which the reason of a failure is looked for.
_TAIL = 20_000


@dataclass(frozen=True)
class Job:
    """One command of a sweep; its folder is the run directory of a training."""

    number: int
    folder: Path
    overrides: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.name

    @property
    def run(self) -> RunDirectory:
        """The files of the folder."""
        return RunDirectory(self.folder)

    @property
    def log(self) -> Path:
        """What the process said."""
        return self.folder.with_name(f"{self.name}.log")

    @property
    def state(self) -> str:
        """``done``, ``failed``, ``pruned`` or ``not finished``."""
        try:
            # Unlike a look at each file, a list is never an old one on a network file system.
            names = set(os.listdir(self.folder))
        except (FileNotFoundError, NotADirectoryError):
            return "not finished"
        for state, file in (
            ("pruned", self.run.pruned),
            ("done", self.run.done),
            ("failed", self.run.failure),
        ):
            if file.name in names:
                return state
        return "not finished"

    def failure(self) -> tuple[int, str]:
        """Exit code and reason of a failed job."""
        try:
            values = read_json(self.run.failure)
            return int(values["exit_code"]), str(values["message"])
        except (InputError, KeyError, TypeError, ValueError):
            return 3, "failed.json cannot be read"

    def begin(self) -> None:
        """Make the folder and forget an earlier failure."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.run.failure.unlink(missing_ok=True)

    def end(self, code: int) -> None:
        """Note how the process ended; a training that is done has said so itself."""
        if code == 0:
            if not self.run.done.is_file():
                write_json(self.run.done, {"exit_code": 0})
        elif code not in _STOPPED:
            self.fail(code, self._reason(code))

    def fail(self, code: int, message: str) -> None:
        """Note why the job has failed."""
        write_json(self.run.failure, {"exit_code": code, "message": message})

    def _reason(self, code: int) -> str:
        if code < 0:
            name = signal.Signals(-code).name
            hint = " (out of memory?)" if -code == signal.SIGKILL else ""
            return f"killed by {name}{hint}"
        try:
            with self.log.open("rb") as stream:
                stream.seek(max(0, self.log.stat().st_size - _TAIL))
                lines = stream.read().decode(errors="replace").splitlines()
        except OSError:
            lines = []
        lines = [line.strip() for line in lines if line.strip()]
        errors = [line for line in lines if re.match(r"(internal )?error: ", line)]
        last = (errors or lines)[-1:]
        return last[0].removeprefix("error: ") if last else f"exit code {code}"


def _inside(name: Any) -> str:
    """Refuse the name of a folder that lies elsewhere."""
    if not isinstance(name, str) or Path(name).name != name or name == "..":
        raise TypeError(name)
    return name


def _texts(values: Any) -> tuple[str, ...]:
    """Refuse what is not a list of texts."""
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise TypeError(values)
    return tuple(values)


@dataclass
class JobList:
    """All jobs of the sweep in a folder.

    `program` are the words behind ``python`` that start a job, before its overrides; with
    `run_dir`, a job is told its folder by that override.
    """

    folder: Path
    program: tuple[str, ...]
    run_dir: bool = False
    jobs: list[Job] = field(default_factory=list)
    #: Paths that are carried to the machine of a job, into its working folder.
    transfer: tuple[str, ...] = ()

    @classmethod
    def read(cls, folder: Path) -> JobList:
        """Read ``jobs.json``; `InputError` when it is missing or damaged."""
        path = folder / JOBS
        values = read_json(path, made_by="python -m smartbkg_tf.sweep, or --multirun")
        try:
            jobs = [
                Job(number, folder / _inside(job["folder"]), _texts(job["overrides"]))
                for number, job in enumerate(values["jobs"])
            ]
            program, transfer = _texts(values["program"]), _texts(values["transfer"])
            return cls(folder, program, bool(values["run_dir"]), jobs, transfer)
        except (KeyError, TypeError) as error:
            raise InputError("is damaged", where=path, next_step="remove it") from error

    @classmethod
    def open(
        cls, folder: Path, program: Sequence[str], *, run_dir: bool = False, transfer: Any = None
    ) -> JobList:
        """Open the list of a folder, or begin one; `OutputError` when it is another command's."""
        if not (folder / JOBS).is_file():
            return cls(folder, tuple(program), run_dir, [], tuple(transfer or ()))
        known = cls.read(folder)
        if known.program != tuple(program):
            raise OutputError(
                f"holds a sweep of another command ({' '.join(known.program)})",
                where=folder,
                next_step="choose another sweep.dir",
            )
        known.transfer = tuple(transfer or ())
        return known

    def add(self, all_overrides: Sequence[Sequence[str]]) -> list[Job]:
        """Give a job for each list of overrides: one that is known, or else a new one.

        Folders are named after the overrides in which the jobs differ.
        """
        alone = len(all_overrides) < 2
        common = set() if alone else set.intersection(*map(set, all_overrides))
        known = {_identity(job.overrides): job for job in self.jobs}
        found = []
        for overrides in all_overrides:
            job = known.get(_identity(overrides))
            if job is None:
                number = len(self.jobs)
                name = folder_name([text for text in overrides if text not in common])
                name = f"{number}_{name}".rstrip("_")
                job = Job(number, self.folder / name, tuple(overrides))
                self.jobs.append(job)
                known[_identity(overrides)] = job
            else:
                job = Job(job.number, job.folder, tuple(overrides))
                self.jobs[job.number] = job
            found.append(job)
        self.write()
        return found

    def write(self) -> None:
        """Write ``jobs.json``."""
        self.folder.mkdir(parents=True, exist_ok=True)
        jobs = [{"folder": job.name, "overrides": list(job.overrides)} for job in self.jobs]
        values = {"program": list(self.program), "run_dir": self.run_dir}
        write_json(self.folder / JOBS, values | {"transfer": list(self.transfer), "jobs": jobs})

    def command(self, job: Job, *, transferred: bool = False) -> list[str]:
        """Give the words behind ``python`` that run a job, here or where its files were carried."""
        words = [*self.program, *job.overrides]
        if transferred:
            words = [self._carried(word) for word in words]
        folder = str(job.folder).replace("'", r"\'")
        return words + ([f"run_dir='{folder}'"] if self.run_dir else [])

    def _carried(self, word: str) -> str:
        """Replace a path by its last part, where HTCondor puts what it carries."""
        key, equals, value = word.rpartition("=")
        inner = value.strip("'\"")
        if not inner or inner.rstrip("/") not in (path.rstrip("/") for path in self.transfer):
            return word
        return f"{key}{equals}{value.replace(inner, Path(inner).name)}"


def _identity(overrides: Sequence[str]) -> tuple[str, ...]:
    return tuple(t for t in overrides if t.lstrip("+").partition("=")[0] not in _WITHOUT_EFFECT)


def folder_name(overrides: Sequence[str]) -> str:
    """Make a name of overrides, of characters that need no quotes in shells and submit files."""
    named = [t for t in _identity(overrides) if t.partition("=")[0] not in _UNNAMED]
    text = re.sub(r"[^A-Za-z0-9.=+-]+", "_", ",".join(named)).strip("_")
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
