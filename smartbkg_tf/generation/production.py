"""Produce training tables in chunks, in several processes, and continue stopped runs."""

from __future__ import annotations

import contextlib
import functools
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from smartbkg_tf.errors import InputError, UserError
from smartbkg_tf.generation.manifest import NAME, Manifest
from smartbkg_tf.generation.observables_file import FOLDER, JOINED, join_observables
from smartbkg_tf.generation.retention import retention, retention_table
from smartbkg_tf.generation.source import EventSource, Task
from smartbkg_tf.generation.table_records import make_table
from smartbkg_tf.runtime.cluster import require_packages, run_tasks
from smartbkg_tf.runtime.files import exclusive_lock
from smartbkg_tf.runtime.outputs import resolve_output
from smartbkg_tf.runtime.progress import Progress, say
from smartbkg_tf.settings.generation import ProduceSettings


def produce(settings: ProduceSettings) -> list[Path]:
    """Produce training tables; give all that were asked for, in the order of the source's plan."""
    source: EventSource = settings.source
    missing = [name for name in source.required_packages() if find_spec(name) is None]
    if missing:
        raise UserError(
            f"{type(source).__name__} needs {' and '.join(missing)}, not installed here",
            next_step="pip install 'smartbkg_tf[generate]', or these packages by name",
        )
    require_packages(settings.cluster)
    tasks, found = source.plan(settings)
    _refuse_equal_names(tasks)
    directory = resolve_output(settings.output)
    with exclusive_lock(
        directory,
        busy="another produce is writing into this folder",
        next_step="wait for it, or choose another output",
    ):
        return _produce_into(directory, settings, tasks, found)


def _refuse_equal_names(tasks: list[Task]) -> None:
    """Refuse input files whose tables would overwrite each other."""
    names: dict[str, Task] = {}
    for task in tasks:
        other = names.setdefault(task.name, task)
        if other is not task:
            raise InputError(
                f"its table {task.name} would overwrite one of {other.input}",
                where=task.input,
                next_step="produce them into two folders, or raise source.chunk_events",
            )


def _produce_into(
    directory: Path, settings: ProduceSettings, tasks: list[Task], found: dict[str, Any]
) -> list[Path]:
    manifest = Manifest(directory, settings, found)
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
                contextlib.closing(
                    run_tasks(
                        todo,
                        make,
                        settings.workers,
                        settings.cluster,
                        unit="tables",
                        name=lambda task: task.name,
                        where=directory,
                        next_step="use fewer workers or a smaller chunk_size; the same command "
                        "goes on where it stopped",
                    )
                ) as reports,
            ):
                for report in reports:
                    progress.add(report.n_events)
        finally:
            manifest.save()
    mine = [manifest.chunks[task.name] for task in tasks]
    seen = [file for chunk in mine if chunk["side_files"] for file in chunk["files"]]
    if seen and (todo or not (directory / FOLDER / JOINED).exists()):
        join_observables(directory, seen)
    say(retention_table(retention(mine)))
    unknown: Counter[str] = Counter()
    for chunk in mine:
        unknown.update(chunk["unknown_codes"])
    if unknown:
        say(f"PDG codes that the vocabulary does not hold (code: particles): {dict(unknown)}")
    further = len(manifest.chunks) - len(tasks)
    if further > 0:
        say(f"{further} further tables of earlier runs with the same settings stay in the folder")
    say(f"{len(tasks)} tables in {directory} (see {NAME})")
    return [directory / file for chunk in mine for file in chunk["files"]]
