"""Produce training tables in chunks, over several processes, and go on where a run was stopped."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from importlib.util import find_spec
from multiprocessing import connection
from pathlib import Path
from typing import Any

from smartbkg_tf.errors import UserError
from smartbkg_tf.events.cross_sections import natural_numbers
from smartbkg_tf.generation.chunks import Report, Task
from smartbkg_tf.generation.input_files import SUFFIXES
from smartbkg_tf.generation.manifest import NAME, Manifest, retention, retention_table
from smartbkg_tf.generation.observables_file import FOLDER, JOINED, join_observables
from smartbkg_tf.generation.table_records import make_table
from smartbkg_tf.runtime.files import exclusive_lock
from smartbkg_tf.runtime.outputs import resolve_output
from smartbkg_tf.runtime.progress import Progress, say
from smartbkg_tf.settings.generation import ProduceSettings, PythiaSource

#: So often a dead process is replaced before the run gives up.
_MOST_REVIVALS = 3


def produce(settings: ProduceSettings) -> list[Path]:
    """Produce training tables.

    Parameters
    ----------
    settings : ProduceSettings
        What to produce and where.

    Returns
    -------
    list of pathlib.Path
        All tables asked for, those found finished included, by event type and chunk.

    Raises
    ------
    UserError
        When a package is missing, input or output cannot be used, or processes keep dying.
    """
    _require_packages(settings)
    found = None
    if settings.source.name == "pythia":
        tasks = plan_chunks(settings)
    elif settings.source.name == "mdst":
        from smartbkg_tf.generation.mdst_source import plan_mdst

        tasks, found = plan_mdst(settings)
    else:
        from smartbkg_tf.generation.hepmc_source import plan_hepmc

        tasks, found = plan_hepmc(settings)
    directory = resolve_output(settings.output)
    with exclusive_lock(
        directory,
        busy="another produce is writing into this folder",
        next_step="wait for it, or choose another output",
    ):
        return _produce_into(directory, settings, tasks, found)


def _produce_into(
    directory: Path, settings: ProduceSettings, tasks: list[Task], found: dict[str, Any] | None
) -> list[Path]:
    manifest = Manifest(directory, settings)
    manifest.input = found
    manifest.refuse_foreign(tasks, overwrite=settings.overwrite)
    todo = [task for task in tasks if not manifest.finished(task)]
    if len(todo) < len(tasks):
        say(f"{directory}: {len(tasks) - len(todo)} of {len(tasks)} tables already exist")
    manifest.begin()
    if todo:
        make = functools.partial(make_table, directory=directory, settings_hash=manifest.hash)
        total = sum(task.n_events for task in todo)
        try:
            with (
                Progress(f"produce {','.join(settings.event_types)}", total=total) as progress,
                contextlib.closing(_run(todo, make, directory, settings)) as reports,
            ):
                for report in reports:
                    progress.add(report.n_events)
        finally:
            manifest.save()
    mine = [manifest.chunks[task.name] for task in tasks]
    seen = [file for chunk in mine if chunk["side_files"] for file in chunk["files"]]
    if seen and (todo or not (directory / FOLDER / JOINED).exists()):
        join_observables(directory, seen)
    _tell(mine, manifest, tasks)
    return manifest.files(tasks)


def _tell(mine: list[dict[str, object]], manifest: Manifest, tasks: list[Task]) -> None:
    """Say what was produced."""
    say(retention_table(retention(mine)))
    unknown: dict[str, int] = {}
    for chunk in mine:
        counts = chunk["unknown_codes"]
        assert isinstance(counts, dict)
        for code, n in counts.items():
            unknown[code] = unknown.get(code, 0) + n
    if unknown:
        say(f"PDG codes that the vocabulary does not hold (code: particles): {unknown}")
    further = len(manifest.chunks) - len(tasks)
    if further > 0:
        say(f"{further} further tables of earlier runs with the same settings stay in the folder")
    say(f"{len(tasks)} tables in {manifest.directory} (see {NAME})")


def _require_packages(settings: ProduceSettings) -> None:
    source = settings.source
    wanted = []
    if isinstance(source, PythiaSource):
        wanted = ["pythia8mc"] + (["decaylanguage"] if source.decay_table == "belle2" else [])
    elif source.name == "hepmc":
        wanted = ["pyhepmc"]
    missing = [name for name in wanted if find_spec(name) is None]
    if missing:
        raise UserError(
            f"source={source.name} needs {' and '.join(missing)}, not installed here",
            next_step="pip install 'smartbkg_tf[generate]'",
        )
    if settings.cluster.name != "none":
        from smartbkg_tf.generation.cluster import require_packages

        require_packages(settings.cluster)


def plan_chunks(settings: ProduceSettings) -> list[Task]:
    """Divide the events asked for into chunks.

    Parameters
    ----------
    settings : ProduceSettings
        With ``source=pythia``.

    Returns
    -------
    list of Task
        By event type and chunk; the last chunk of a type may be smaller.
    """
    suffix = SUFFIXES[settings.format]
    numbers = dict.fromkeys(settings.event_types, settings.n_events)
    if settings.mixture == "natural":
        numbers = natural_numbers(settings.event_types, settings.n_events)
    return [
        Task(
            name=f"{event_type}_{chunk:05d}{suffix}",
            settings=settings,
            event_type=event_type,
            chunk=chunk,
            n_events=min(settings.chunk_size, n_events - chunk * settings.chunk_size),
        )
        for event_type, n_events in numbers.items()
        for chunk in range(-(-n_events // settings.chunk_size))
    ]


def _run(
    tasks: list[Task], make: Callable[[Task], Report], directory: Path, settings: ProduceSettings
) -> Generator[Report, None, None]:
    """Run tasks here, in processes or on a cluster; give reports as they come."""
    if settings.cluster.name != "none":
        from smartbkg_tf.generation.cluster import run_on_cluster

        yield from run_on_cluster(tasks, make, directory, settings.workers, settings.cluster)
        return
    workers = min(settings.workers, len(tasks))
    if workers == 1:
        for task in tasks:
            yield make(task)
        return
    waiting = {task.name: task for task in tasks}
    revivals = 0
    while waiting:
        try:
            for report in run_pool(list(waiting.values()), make, workers):
                del waiting[report.name]
                yield report
        except BrokenProcessPool as error:
            revivals += 1
            if revivals > _MOST_REVIVALS:
                raise UserError(
                    f"processes died {revivals} times; {len(waiting)} tables are missing",
                    where=directory,
                    next_step="is memory short? use fewer workers or a smaller chunk_size; the "
                    "same command goes on where it stopped",
                ) from error
            say(f"a process died; {len(waiting)} tables are begun again")


def _end_with_parent() -> None:
    """End this process as soon as the one that started it is gone.

    The queue of tasks stays open as long as any worker lives, so that workers of a killed run
    would wait for ever.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def run_pool(tasks: list[Task], make: Callable[[Task], Report], workers: int) -> Iterator[Report]:
    """Run tasks in processes; give reports as they come."""
    # "spawn": a fork would copy threads' locks, and Pythia's and numba's state.
    pool = ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_end_with_parent,
    )
    try:
        broken: BrokenProcessPool | None = None
        for future in as_completed([pool.submit(make, task) for task in tasks]):
            try:
                report = future.result()
            except BrokenProcessPool as error:
                broken = error  # Others may have ended well before.
                continue
            yield report
        if broken is not None:
            raise broken
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
