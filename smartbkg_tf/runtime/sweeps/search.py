"""Search for hyper-parameters: Optuna's ask and tell, its storage in the folder of the sweep.

What is drawn for a trial depends on the seed, its number and the trials finished before, not on the
process: with one job at a time a search that was killed and started again is the same search.
"""

from __future__ import annotations

import contextlib
import csv
import json
import math
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from smartbkg_tf.errors import InputError, OutputError, UserError
from smartbkg_tf.runtime.files import read_json, write_json
from smartbkg_tf.runtime.sweeps.jobs import Job, JobList, folder_name
from smartbkg_tf.runtime.sweeps.table import best_validation
from smartbkg_tf.settings.plugins import plain
from smartbkg_tf.settings.sweeps import ParameterSettings, SearchSettings

#: Name of the file of the storage.
STORAGE = "search.db"

_DEFINITION = "definition"


def import_optuna() -> Any:
    """Import Optuna, or say how it is installed."""
    try:
        import optuna
    except ImportError as error:
        raise UserError(
            "a search needs optuna, not installed here",
            next_step="pip install 'smartbkg_tf[search]'",
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


@contextlib.contextmanager
def storage_errors(folder: Path) -> Iterator[None]:
    """Say which file is concerned when a storage fails: damaged, locked, on a full disk."""
    try:
        yield
    except Exception as error:
        libraries = ("optuna", "sqlalchemy", "alembic", "sqlite3")
        # RuntimeError: made by another version of Optuna.
        if not (type(error) is RuntimeError or type(error).__module__.startswith(libraries)):
            raise
        raise InputError(
            f"cannot be used ({str(error).splitlines()[0]})",
            where=folder / STORAGE,
            next_step="free space if the disk is full; if the file is damaged, choose another "
            "sweep.dir",
        ) from error


def _open_study(folder: Path, **new: Any) -> Any:
    """Open the study of a search; with options for a new one, make it if need be."""
    optuna = import_optuna()
    path = folder / STORAGE
    options = {"study_name": "search", "storage": f"sqlite:///{path.resolve()}"}
    if new:
        return optuna.create_study(**options, **new, direction="maximize", load_if_exists=True)
    return optuna.load_study(**options)


def objective_of(folder: Path) -> str:
    """Say what the search in a folder maximises; other sweeps are judged by AUC."""
    path = folder / STORAGE
    if not path.is_file():
        return "val_auc"
    try:
        with storage_errors(folder):
            definition = _open_study(folder).user_attrs[_DEFINITION]
        return str(json.loads(definition)["objective"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError("holds no search", where=path) from error


def override(key: str, value: Any) -> str:
    """Write one value as an override."""
    if isinstance(value, bool):
        return f"{key}={str(value).lower()}"
    return f"{key}={value:.6g}" if isinstance(value, float) else f"{key}={value}"


def corners(space: Mapping[str, ParameterSettings]) -> Iterator[list[str]]:
    """Give overrides in which every limit and every choice stands at least once."""
    values = {key: _limits(parameter) for key, parameter in space.items()}
    for i in range(max(map(len, values.values()))):
        yield [override(key, v[min(i, len(v) - 1)]) for key, v in values.items()]


def _limits(parameter: ParameterSettings) -> list[Any]:
    if parameter.choices is not None:
        return parameter.choices
    whole = int if parameter.type == "int" else float
    return [whole(limit) for limit in (parameter.low, parameter.high) if limit is not None]


class Search:
    """Ask Optuna for trials, report their epochs, tell their results."""

    def __init__(self, settings: SearchSettings, jobs: JobList, overrides: Sequence[str]) -> None:
        self._optuna = optuna = import_optuna()
        self.settings = settings
        self.jobs = jobs
        self.overrides = list(overrides)
        path = jobs.folder / STORAGE
        if not path.is_file() and jobs.jobs:
            raise OutputError(
                f"holds a sweep that is no search (there is no {STORAGE})",
                where=jobs.folder,
                next_step="choose another sweep.dir",
            )
        pruner = optuna.pruners.MedianPruner(n_startup_trials=settings.startup)
        self._trials: dict[int, Any] = {}
        #: Last epoch of each trial that Optuna knows, and last one that it was asked about.
        self._epochs: dict[int, tuple[int, int]] = {}
        self._unfinished = []
        self.study = _open_study(
            jobs.folder, pruner=pruner if settings.pruning else optuna.pruners.NopPruner()
        )
        self._check_definition()
        for frozen in self.study.get_trials(deepcopy=False):
            if frozen.state.is_finished():
                self._add(frozen.number, frozen.params)
            else:
                self._unfinished.append(frozen)
        jobs.write()

    def _check_definition(self) -> None:
        """Refuse a folder that holds another search."""
        values = {**plain(self.settings), "overrides": sorted(self.overrides)}
        del values["trials"]
        now = json.dumps(values, sort_keys=True)
        before = self.study.user_attrs.get(_DEFINITION)
        if before is None:
            self.study.set_user_attr(_DEFINITION, now)
        elif before != now:
            old = json.loads(before)
            changed = [key for key in values if values[key] != old.get(key)]
            raise OutputError(
                f"holds a search of another configuration ({', '.join(changed)})",
                where=self.jobs.folder,
                next_step="choose another sweep.dir",
            )

    def following(self, room: int) -> list[Job]:
        """Continue trials that were broken off, then ask for new ones."""
        jobs: list[Job] = []
        while len(jobs) < room:
            if self._unfinished:
                frozen = self._unfinished.pop(0)
                trial = self._optuna.trial.Trial(self.study, frozen._trial_id)
                known = max(frozen.intermediate_values, default=0)
                # Killed after the report, it may not have asked.
                self._epochs[trial.number] = (known, known - 1)
            elif len(self.study.get_trials(deepcopy=False)) < self.settings.trials:
                self._seed("")
                trial = self.study.ask()
            else:
                break
            values = {key: self._value(trial, key) for key in self.settings.space}
            self._trials[trial.number] = trial
            job = self._add(trial.number, values)
            self.jobs.write()
            if not self._settled(job):
                jobs.append(job)
        return jobs

    def _settled(self, job: Job) -> bool:
        """Tell the result of a job that ended while no runner was watching."""
        if job.state == "not finished":
            return False
        self.ended(job)
        return True

    def _add(self, number: int, values: Mapping[str, Any]) -> Job:
        varied = [override(key, value) for key, value in values.items()]
        folder = self.jobs.folder / f"{number}_{folder_name(varied)}"
        job = Job(number, folder, (*self.overrides, *varied))
        self.jobs.jobs[number : number + 1] = [job]
        return job

    def _seed(self, name: str, number: int = 0) -> None:
        text = f"{self.settings.seed} {number} {name}"
        self.study.sampler = self._optuna.samplers.TPESampler(
            seed=zlib.crc32(text.encode()),
            n_startup_trials=self.settings.startup,
            multivariate=False,
        )

    def _value(self, trial: Any, key: str) -> Any:
        self._seed(key, trial.number)
        parameter = self.settings.space[key]
        if parameter.choices is not None:
            return trial.suggest_categorical(key, parameter.choices)
        low, high = _limits(parameter)
        if parameter.type == "int":
            step = int(parameter.step or 1)
            return trial.suggest_int(key, low, high, step=step, log=parameter.log)
        return trial.suggest_float(key, low, high, step=parameter.step, log=parameter.log)

    def hopeless(self, running: Collection[Job]) -> list[Job]:
        """Report new epochs; give the jobs that the pruner ends."""
        return [job for job in running if self._pruned(job)]

    def _pruned(self, job: Job) -> bool:
        trial = self._trials[job.number]
        known, asked = self._epochs.get(job.number, (0, 0))
        for epoch, value in _epochs(job):
            if epoch <= asked:
                continue
            if epoch > known:
                trial.report(value, epoch)
                known = epoch
            self._epochs[job.number] = (known, epoch)
            if self.settings.pruning and trial.should_prune():
                write_json(job.run.pruned, {"epoch": epoch, "val_auc": value})
                return True
        return False

    def ended(self, job: Job) -> None:
        """Tell how a trial ended; one that was only stopped goes on with the next command."""
        # A result or an error that is there counts, whatever its curve was.
        pruned = job.state == "pruned" or (job.state == "not finished" and self._pruned(job))
        states = self._optuna.trial.TrialState
        if pruned:
            self.study.tell(job.number, state=states.PRUNED)
        elif job.state in ("done", "failed"):
            done = job.state == "done"
            value = objective(job, self.settings.objective) if done else None
            self.study.tell(job.number, value, state=states.FAIL if value is None else None)
        else:
            return
        del self._trials[job.number]


def _epochs(job: Job) -> Iterator[tuple[int, float]]:
    """Give epoch and validation AUC of each epoch so far; the file is replaced as a whole."""
    try:
        with job.run.history.open(encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                epoch, value = int(row["epoch"]), float(row["val_auc"])
                if math.isfinite(value):
                    yield epoch, value
    except (OSError, KeyError, TypeError, ValueError):
        return


def objective(job: Job, name: str) -> float | None:
    """Give what a finished training reached; None when that is no number."""
    try:
        if name == "val_auc":
            value = best_validation(job.run)["val_auc"]
        else:
            rules = read_json(job.run.filter).values()
            speedups = [float(rule["speedup_validation"]) for rule in rules]
            value = sum(speedups) / len(speedups)
    except (InputError, AttributeError, KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    return value if math.isfinite(value) else None
