"""HepMC3 files as the source: the door for every other generator."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from smartbkg_tf.errors import InputError
from smartbkg_tf.events.decay_strings import build_decay_strings
from smartbkg_tf.events.table import EVENT_TYPES, UNKNOWN_EVENT_TYPE, EventTable
from smartbkg_tf.generation.beams import boost, nominal_collision, rotation_to
from smartbkg_tf.generation.chunks import (
    HEPMC_EXPERIMENT,
    Report,
    Task,
    detector_generator,
    label_events,
    write_part,
)
from smartbkg_tf.generation.extract import extract, stored_particles
from smartbkg_tf.generation.hepmc import iterate_hepmc, scan_hepmc
from smartbkg_tf.generation.input_files import part_name, usable_files
from smartbkg_tf.generation.record import Record
from smartbkg_tf.runtime.progress import say
from smartbkg_tf.settings.generation import HepmcSource, ProduceSettings


def plan_hepmc(settings: ProduceSettings) -> tuple[list[Task], dict[str, Any]]:
    """Check all input before any work; make one task for each good file.

    Parameters
    ----------
    settings : ProduceSettings
        With ``source=hepmc``.

    Returns
    -------
    tuple of list of Task and dict
        Tasks in the order of the input, and a report: files, left_out, events.

    Raises
    ------
    InputError
        Naming every file that is truncated or of another format (``on_bad_file=fail``), or files of
        equal name or content.
    """
    source = settings.source
    assert isinstance(source, HepmcSource)
    names: dict[int, Path] = {}

    def check(path: Path) -> tuple[int, int]:
        n_events, run = scan_hepmc(path)
        if names.setdefault(run, path) != path:
            raise InputError(
                f"holds the same events as {names[run]}",
                where=path,
                next_step="leave one of them out; was a seed of the generator used twice?",
            )
        return n_events, run

    good, left_out = usable_files(settings.input, source.on_bad_file, check)
    tasks = [
        Task(
            name=part_name(path, 0, settings.format),
            settings=settings,
            event_type=settings.event_types[0],
            chunk=run,
            n_events=n_events,
            input=str(path.absolute()),
        )
        for path, (n_events, run) in good
    ]
    report = {
        "files": len(good),
        "left_out": [path.name for path in left_out],
        "events": sum(task.n_events for task in tasks),
    }
    say(f"{len(good)} files, {len(left_out)} left out, {report['events']} events")
    return tasks, report


def convert_hepmc(task: Task, directory: Path) -> Report:
    """Turn one HepMC file into training tables.

    Parameters
    ----------
    task : Task
        With an input file.
    directory : pathlib.Path
        Where to write. A file with more than ``source.chunk_events`` events becomes several tables,
        ``NAME.h5``, ``NAME_00001.h5``, ...

    Returns
    -------
    Report
        The sums over all tables.

    Raises
    ------
    InputError
        When the file is damaged; then none of its tables stay.
    """
    settings = task.settings
    source = settings.source
    assert isinstance(source, HepmcSource)
    assert task.input is not None
    path = Path(task.input)
    kind = EVENT_TYPES.index(task.event_type) if task.event_type in EVENT_TYPES else -1
    random = detector_generator(settings, kind, task.chunk)
    total: Report | None = None
    done = 0
    try:
        for part, (record, n) in enumerate(iterate_hepmc(path, chunk_events=source.chunk_events)):
            table = _table(task, record, n, done, kind)
            if source.labels:
                table = label_events(
                    table,
                    source.beams,
                    settings.detector,
                    settings.skim,
                    random,
                    source.particles,
                )
            else:
                plain = stored_particles(table, source.particles)
                table = replace(plain, decay_strings=build_decay_strings(plain))
            report = write_part(task, directory, part_name(path, part, settings.format), table)
            total = report if total is None else _add(total, report)
            done += n
    except BaseException:
        # A damaged event is found only when its turn comes.
        for file in [] if total is None else [*total.files, *total.side_files]:
            (directory / file).unlink(missing_ok=True)
        raise
    assert total is not None
    return total


def _table(task: Task, record: Record, n: int, done: int, kind: int) -> EventTable:
    """Make the particle table of some events."""
    source = task.settings.source
    assert isinstance(source, HepmcSource)
    if source.frame == "centre_of_mass":
        collision = nominal_collision(source.beams)
        turn = rotation_to(collision.axis)
        for vectors in (record.momentum, record.vertex):
            vectors[:, :3] = vectors[:, :3] @ turn.T
            vectors[:] = boost(vectors, collision.velocity)
    keys = {
        "experiment": np.full(n, HEPMC_EXPERIMENT, dtype=np.int64),
        "run": np.full(n, task.chunk, dtype=np.int64),
        "event": np.arange(done + 1, done + n + 1, dtype=np.int64),
        "production": np.full(n, 10 * task.settings.seed + (kind if kind >= 0 else 9), np.int64),
    }
    try:
        return extract(
            record,
            np.zeros((n, 3)),
            source.detector_radius,
            source.detector_z,
            keys,
            kind if kind >= 0 else UNKNOWN_EVENT_TYPE,
        )
    except ValueError as error:
        raise InputError(f"events {done + 1} to {done + n}: {error}", where=task.input) from error


def _add(a: Report, b: Report) -> Report:
    def summed(x: dict[str, int], y: dict[str, int]) -> dict[str, int]:
        return {key: x.get(key, 0) + y.get(key, 0) for key in {**x, **y}}

    return replace(
        a,
        files=a.files + b.files,
        side_files=a.side_files + b.side_files,
        n_events=a.n_events + b.n_events,
        n_particles=a.n_particles + b.n_particles,
        passing=summed(a.passing, b.passing),
        unknown_codes=summed(a.unknown_codes, b.unknown_codes),
    )
