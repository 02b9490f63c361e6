"""Run tasks on Dask workers: on this machine, or as jobs of HTCondor or Slurm."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from smartbkg_tf.errors import UserError
from smartbkg_tf.generation.source import Report, Task
from smartbkg_tf.runtime.progress import say
from smartbkg_tf.settings.cluster import FarmSettings


def require_packages(settings: FarmSettings) -> None:
    """Refuse a cluster whose packages are not installed."""
    wanted = ["distributed"] + (["dask_jobqueue"] if settings.name != "local" else [])
    missing = [name for name in wanted if find_spec(name) is None]
    if missing:
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


def run_on_cluster(
    tasks: list[Task],
    make: Callable[[Task], Report],
    directory: Path,
    workers: int,
    settings: FarmSettings,
) -> Generator[Report, None, None]:
    """Run tasks on workers; give reports as they come.

    The workers must see `directory` under the same path. A task whose worker dies goes to another
    worker, and a local worker is replaced.
    """
    from distributed import Client, KilledWorker, as_completed

    workers = min(workers, len(tasks))
    with make_cluster(settings, workers) as cluster, Client(cluster) as client:
        if settings.name != "local":
            cluster.scale(jobs=workers)
            say(f"{workers} jobs are submitted to {settings.name}; work begins with the first")
        futures = [client.submit(make, task, pure=False) for task in tasks]
        try:
            for future in as_completed(futures):
                report: Report = future.result()
                yield report
        except KilledWorker as error:
            raise UserError(
                "several workers died at the same table",
                where=directory,
                next_step="is memory short? raise cluster.memory or use a smaller chunk_size; the "
                "same command goes on where it stopped",
            ) from error
        finally:
            client.cancel(futures)
