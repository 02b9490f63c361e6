"""Run tasks in processes of this machine, or on Dask workers: here, or as jobs of a batch farm."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from smartbkg_tf.errors import UserError
from smartbkg_tf.runtime.pool import run_in_processes
from smartbkg_tf.runtime.progress import say
from smartbkg_tf.settings.cluster import FarmSettings

T = TypeVar("T")
R = TypeVar("R")


def require_packages(settings: FarmSettings) -> None:
    """Refuse a cluster whose packages are not installed."""
    wanted = ["distributed"] + (["dask_jobqueue"] if settings.name != "local" else [])
    missing = [name for name in wanted if find_spec(name) is None]
    if missing and settings.name != "none":
        raise UserError(
            f"cluster={settings.name} needs {' and '.join(missing)}, not installed here",
            next_step="pip install 'smartbkg_tf[distributed]'",
        )


def make_cluster(settings: FarmSettings, workers: int) -> Any:
    """Start a scheduler, with `workers` processes for ``local`` and none for a batch farm."""
    if settings.name == "local":
        from distributed import LocalCluster

        return LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            memory_limit=settings.memory,
            dashboard_address=None,
        )
    common: dict[str, Any] = {
        "cores": 1,
        "processes": 1,
        "memory": settings.memory,
        "interface": settings.interface,
        "log_directory": settings.log_directory,
        "job_script_prologue": list(settings.prologue),
        "python": sys.executable,
        "scheduler_options": {"dashboard": False},
    }
    if settings.name == "htcondor":
        from dask_jobqueue import HTCondorCluster

        pairs = (text.split("=", 1) for text in settings.directives)
        return HTCondorCluster(
            disk=settings.disk,
            job_extra_directives={key.strip(): value.strip() for key, value in pairs},
            **common,
        )
    from dask_jobqueue import SLURMCluster

    return SLURMCluster(
        walltime=settings.walltime,
        queue=settings.queue,
        account=settings.account,
        job_extra_directives=list(settings.directives),
        **common,
    )


def run_tasks(
    tasks: Sequence[T],
    work: Callable[[T], R],
    workers: int,
    cluster: FarmSettings,
    *,
    unit: str,
    name: Callable[[T], str],
    where: Path | None,
    next_step: str,
    in_order: bool = False,
) -> Generator[R, None, None]:
    """Give the results of all tasks, as they come or in the order of the tasks.

    `unit` is what tasks are called, `name` names one in an error; `where` and `next_step` are the
    rest of that error. What tasks read and write must have the same path for all workers.
    """
    if cluster.name != "none":
        return _run_on_cluster(tasks, work, workers, cluster, name, where, next_step, in_order)
    return run_in_processes(
        tasks,
        work,
        workers,
        in_order=in_order,
        unit=unit,
        name=name,
        where=where,
        next_step=next_step,
    )


def _run_on_cluster(
    tasks: Sequence[T],
    work: Callable[[T], R],
    workers: int,
    settings: FarmSettings,
    name: Callable[[T], str],
    where: Path | None,
    next_step: str,
    in_order: bool,
) -> Generator[R, None, None]:
    """Run tasks on Dask workers.

    A task whose worker dies goes to another worker, and a local worker is replaced.
    """
    from distributed import Client, KilledWorker, as_completed

    workers = min(workers, len(tasks))
    with make_cluster(settings, workers) as cluster, Client(cluster) as client:
        if settings.name != "local":
            cluster.scale(jobs=workers)
            say(f"{workers} jobs are submitted to {settings.name}; work begins with the first")
        futures = {client.submit(work, task, pure=False): task for task in tasks}
        try:
            for future in list(futures) if in_order else as_completed(list(futures)):
                try:
                    result: R = future.result()
                except KilledWorker as error:
                    raise UserError(
                        f"several workers died at {name(futures[future])}",
                        where=where,
                        next_step=f"is memory short? raise cluster.memory; {next_step}",
                    ) from error
                yield result
        finally:
            client.cancel(list(futures))
