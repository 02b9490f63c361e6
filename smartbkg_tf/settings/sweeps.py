"""Settings of sweeps and of the search for hyper-parameters."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from smartbkg_tf.settings.base import CommandSettings, Field, settings
from smartbkg_tf.settings.cluster import BatchSettings

__all__ = ["ParameterSettings", "SearchSettings", "SweepCommandSettings", "SweepSettings"]


@settings
class SweepSettings(BatchSettings):
    """How the jobs of a sweep run.

    Parameters
    ----------
    dir : str, optional
        Folder of the sweep; null takes ``run_dir`` of train, or else ``sweeps/<date>_<time>``. The
        same command with the same folder does what is left.
    backend : {"local", "slurm", "htcondor"}
        Processes of this machine, or jobs of a batch farm.
    jobs : int, optional
        Number of jobs at once; on one machine they share cores and GPUs. null is 1 with
        ``backend=local``, no limit on a farm, and 4 for a search there.
    fail_fast : bool, default False
        End all jobs when one has failed.
    wait : bool, default True
        Wait for the jobs on a farm and write the table; else only submit them.
    gpus : int, optional
        GPUs that each job on a farm asks for; null is 1 for train and 0 for other commands.
    cpus : int, default 2
        Cores that each job on a farm asks for.
    transfer : list of str, optional
        With HTCondor: files and folders that a job needs (the dataset), which are carried to its
        machine and its results back. null: all machines share the file system.
    python : str, optional
        The interpreter on a farm's machine; null is this one, and ``python`` with `transfer`.
    interval : float, optional
        Seconds between looks at the jobs; null is 1, and 20 on a farm.
    """

    dir: str | None = Field(default=None, min_length=1)
    backend: Literal["local", "slurm", "htcondor"] = "local"
    jobs: int | None = Field(default=None, gt=0, le=10_000)
    fail_fast: bool = False
    wait: bool = True
    gpus: int | None = Field(default=None, ge=0, le=64)
    cpus: int = Field(default=2, gt=0, le=1024)
    transfer: list[str] | None = None
    python: str | None = Field(default=None, min_length=1)
    interval: float | None = Field(default=None, gt=0)

    @property
    def system(self) -> str:
        """Name of the batch system."""
        return self.backend

    @model_validator(mode="after")
    def _every_key_has_a_meaning(self) -> SweepSettings:
        if self.transfer is not None and self.backend != "htcondor":
            raise ValueError("transfer needs backend=htcondor")
        if not self.wait and self.backend == "local":
            raise ValueError("wait=false needs backend=slurm or htcondor")
        if not self.wait and self.jobs is not None and self.backend == "htcondor":
            raise ValueError(
                "jobs with backend=htcondor needs wait=true: one ends, one is submitted"
            )
        return self


@settings
class ParameterSettings:
    """The values of one setting that a search may try.

    Parameters
    ----------
    type : {"float", "int", "categorical"}
        Default "float".
    low, high : float, optional
        Limits, both included (float and int).
    log : bool, default False
        Uniform in the logarithm.
    step : float, optional
        Distance of the values.
    choices : list, optional
        The values (categorical).
    """

    type: Literal["float", "int", "categorical"] = "float"
    low: float | None = None
    high: float | None = None
    log: bool = False
    step: float | None = Field(default=None, gt=0)
    choices: list[bool | int | float | str] | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _complete(self) -> ParameterSettings:
        if self.type == "categorical":
            if self.choices is None:
                raise ValueError("type=categorical needs choices")
            if (self.low, self.high, self.step, self.log) != (None, None, None, False):
                raise ValueError("low, high, step and log cannot be combined with choices")
            return self
        if self.choices is not None:
            raise ValueError("choices need type=categorical")
        if self.low is None or self.high is None or not self.low <= self.high:
            raise ValueError(f"type={self.type} needs low and high, low <= high")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("log needs low > 0 and no step")
        whole = all(x is None or float(x).is_integer() for x in (self.low, self.high, self.step))
        if self.type == "int" and not whole:
            raise ValueError("type=int needs whole numbers")
        return self


@settings
class SearchSettings:
    """A search for hyper-parameters with Optuna.

    Parameters
    ----------
    space : dict of str to ParameterSettings
        The settings of train that vary, by their full names.
    objective : {"val_auc", "val_speedup"}
        What is maximised: AUC or speedup on validation events (the mean over skims).
    trials : int, default 30
        Number of trainings in all; more with the same folder continue the search.
    seed : int, default 1
        Seed of the values that are tried.
    pruning : bool, default True
        End a training whose validation AUC is below the median of the others at the same epoch.
    startup : int, default 5
        Number of first trials, which draw at random and are not ended early.
    """

    space: dict[str, ParameterSettings] = Field(min_length=1)
    objective: Literal["val_auc", "val_speedup"] = "val_auc"
    trials: int = Field(default=30, gt=0, le=100_000)
    seed: int = Field(default=1, ge=0, lt=2**31)
    pruning: bool = True
    startup: int = Field(default=5, ge=1)


@settings
class SweepCommandSettings(CommandSettings):
    """Settings of the command `sweep`, and of ``--multirun`` of the others.

    Parameters
    ----------
    sweep : SweepSettings
        How the jobs run.
    hparams_search : SearchSettings, optional
        Search for the best values instead of running all combinations.
    """

    sweep: SweepSettings = Field(default_factory=SweepSettings)
    hparams_search: SearchSettings | None = None
