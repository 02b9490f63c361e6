"""Settings of jobs on batch farms, and of the machines on which ``produce`` and ``apply`` run."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from smartbkg_tf.settings.base import Field, settings

__all__ = ["BatchSettings", "FarmSettings", "megabytes"]

_SIZE = r"^\d+(\.\d+)? ?[kMGT]i?B$"


def megabytes(size: str) -> int:
    """Turn a size such as "2GB" or "500 MiB" into whole megabytes (of 1024 kB), rounded up."""
    number = float(size.rstrip("iB").rstrip("kMGT "))
    power = "kMGT".index(size.replace("i", "")[-2]) - 1
    return max(1, -int(-number * 1024**power // 1))


@settings
class BatchSettings:
    """What one job on a batch farm is given.

    Parameters
    ----------
    memory : str
        Memory of one job, default "2GB".
    disk : str
        Scratch space of one job (HTCondor), default "1GB".
    walltime : str
        Time limit of one job (Slurm), default "04:00:00". Work of a job that ends is redone by
        another one.
    queue : str or None
        Partition (Slurm).
    account : str or None
        Account (Slurm).
    directives : list of str
        Further lines of the job description: ``"accounting_group = belle"`` (HTCondor) or options
        such as ``"--constraint=fast"`` (Slurm).
    prologue : list of str
        Shell commands that a job runs first, for example to set up the environment.
    """

    memory: str = Field(default="2GB", pattern=_SIZE)
    disk: str = Field(default="1GB", pattern=_SIZE)
    walltime: str = Field(default="04:00:00", pattern=r"^(\d+-)?\d+(:\d{2}){1,2}$")
    queue: str | None = None
    account: str | None = None
    directives: list[str] = Field(default_factory=list)
    prologue: list[str] = Field(default_factory=list)

    @property
    def system(self) -> str:
        """Name of the batch system."""
        raise NotImplementedError

    @model_validator(mode="after")
    def _condor_directives(self) -> BatchSettings:
        wrong = [text for text in self.directives if "=" not in text]
        if self.system == "htcondor" and wrong:
            raise ValueError(f"directives: '{wrong[0]}' is not of the form 'key = value'")
        return self


@settings
class FarmSettings(BatchSettings):
    """Where the work is done: this machine's processes, or Dask workers.

    Parameters
    ----------
    name : {"none", "local", "htcondor", "slurm"}
        ``none``: processes of this command; ``local``: Dask workers on this machine; else one
        batch job for each of ``workers``. Jobs must see the input and output folders and this
        Python environment under the same paths.
    interface : str or None
        Network interface over which scheduler and workers talk, for example "ib0".
    log_directory : str or None
        Folder of the jobs' logs.
    """

    name: Literal["none", "local", "htcondor", "slurm"] = "none"
    interface: str | None = None
    log_directory: str | None = None

    @property
    def system(self) -> str:
        """Name of the batch system."""
        return self.name
