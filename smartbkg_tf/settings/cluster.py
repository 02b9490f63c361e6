"""Settings of the machines on which ``produce`` and ``apply`` run."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from smartbkg_tf.settings.base import Field, settings

__all__ = ["FarmSettings"]


@settings
class FarmSettings:
    """Where the work is done: this machine's processes, or Dask workers.

    Parameters
    ----------
    name : {"none", "local", "htcondor", "slurm"}
        ``none``: processes of this command; ``local``: Dask workers on this machine; else one
        batch job for each of ``workers``. Jobs must see the input and output folders and this
        Python environment under the same paths.
    memory : str
        Memory of one worker, default "2GB".
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
    interface : str or None
        Network interface over which scheduler and workers talk, for example "ib0".
    log_directory : str or None
        Folder of the jobs' logs.
    """

    name: Literal["none", "local", "htcondor", "slurm"] = "none"
    memory: str = Field(default="2GB", pattern=r"^\d+(\.\d+)? ?[kMGT]i?B$")
    disk: str = Field(default="1GB", pattern=r"^\d+(\.\d+)? ?[kMGT]i?B$")
    walltime: str = Field(default="04:00:00", pattern=r"^(\d+-)?\d+(:\d{2}){1,2}$")
    queue: str | None = None
    account: str | None = None
    directives: list[str] = Field(default_factory=list)
    prologue: list[str] = Field(default_factory=list)
    interface: str | None = None
    log_directory: str | None = None

    @model_validator(mode="after")
    def _condor_directives(self) -> FarmSettings:
        wrong = [text for text in self.directives if "=" not in text]
        if self.name == "htcondor" and wrong:
            raise ValueError(f"directives: '{wrong[0]}' is not of the form 'key = value'")
        return self
