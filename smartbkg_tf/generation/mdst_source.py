"""basf2 mDST files as the source: one training table for each file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from smartbkg_tf.events.flags import label_events, read_passing_keys
from smartbkg_tf.events.mdst import iterate_mdst
from smartbkg_tf.generation.chunks import Report, Task, report_of, write_table
from smartbkg_tf.runtime.files import expand_inputs
from smartbkg_tf.runtime.progress import say
from smartbkg_tf.settings.errors import ConfigurationError, InputError, Problems, UserError
from smartbkg_tf.settings.generation import MdstSource, ProduceSettings

SUFFIXES = {"hdf5": ".h5", "parquet": ".parquet"}


def skim_name(settings: ProduceSettings) -> str:
    """Name the skim that the lists of passing events stand for.

    Parameters
    ----------
    settings : ProduceSettings
        ``source.skim_name``, or the one skim of the configuration.

    Returns
    -------
    str
        Name of the label.

    Raises
    ------
    ConfigurationError
        When it is not clear which skim is meant.
    """
    source = settings.source
    assert isinstance(source, MdstSource)
    if source.skim_name is not None:
        return source.skim_name
    if len(settings.skim) != 1:
        raise ConfigurationError(
            f"skim_files stands for one skim, but the configuration has {len(settings.skim)} "
            f"({', '.join(settings.skim)})",
            next_step="choose one (skim=fei_hadronic_b0) or name it: source.skim_name=my_skim",
        )
    return next(iter(settings.skim))


def plan_files(settings: ProduceSettings) -> list[Task]:
    """Check all input before any work, and make one task for each good file.

    Parameters
    ----------
    settings : ProduceSettings
        With ``source=mdst``.

    Returns
    -------
    list of Task
        In the order of the input.

    Raises
    ------
    InputError
        Naming every file that does not open or lacks a branch (``on_bad_file=fail``),
        files of equal name, or passing events that stand in no file.
    """
    source = settings.source
    assert isinstance(source, MdstSource)
    paths = expand_inputs(settings.input)
    problems = Problems()
    good: list[tuple[Path, int]] = []
    keys = []
    for path in paths:
        try:
            next(iter(iterate_mdst(path, chunk_events=1)))
            keys.append(read_passing_keys(path))
            good.append((path, len(keys[-1])))
        except UserError as error:
            problems.add(error)
    if source.on_bad_file == "skip" and good:
        for text in problems.texts:
            say(f"left out: {text}")
    else:
        problems.raise_if_any(
            "input files cannot be used",
            kind=InputError,
            next_step="mend or leave them out, or add source.on_bad_file=skip",
        )
    names: dict[str, Path] = {}
    for path, _ in good:
        if path.stem in names:
            raise InputError(
                f"has the same name as {names[path.stem]}: their tables would have too",
                where=path,
                next_step="produce them into two folders",
            )
        names[path.stem] = path
    _check_keys(settings, np.concatenate(keys))
    return [
        Task(
            name=path.stem + SUFFIXES[settings.format],
            settings=settings,
            event_type=settings.event_types[0],
            chunk=i,
            n_events=n,
            input=str(path),
        )
        for i, (path, n) in enumerate(good)
    ]


def _check_keys(settings: ProduceSettings, keys: np.ndarray) -> None:
    """Report duplicates, and passing events without a parent."""
    source = settings.source
    assert isinstance(source, MdstSource)
    unique = np.unique(keys, axis=0)
    if len(unique) < len(keys):
        say(f"{len(keys) - len(unique)} events of {len(keys)} have the key of another event")
    if not settings.skim_files:
        say("no skim_files: the label of every event is unknown (-1)")
        return
    passing = passing_keys(settings)
    wanted = np.unique(passing, axis=0)
    both = np.concatenate([unique, wanted])
    _, counts = np.unique(both, axis=0, return_counts=True)
    matched = int((counts == 2).sum())
    say(
        f"{skim_name(settings)}: {len(passing)} passing events listed "
        f"({len(passing) - len(wanted)} twice), {matched} of them among {len(unique)} events"
    )
    lost = len(wanted) - matched
    if lost and not source.allow_unmatched:
        raise InputError(
            f"{lost} of {len(wanted)} passing events stand in none of the input files",
            where=str(settings.skim_files),
            next_step="add their parent files to input=, or allow it: source.allow_unmatched=true",
        )


def passing_keys(settings: ProduceSettings) -> np.ndarray:
    """Read all lists of passing events.

    Parameters
    ----------
    settings : ProduceSettings
        With ``skim_files``.

    Returns
    -------
    numpy.ndarray [n, 4]
        Event keys.
    """
    files = expand_inputs(settings.skim_files, option="skim_files")
    return np.concatenate([read_passing_keys(path) for path in files])


def convert_file(task: Task, directory: Path) -> Report:
    """Turn one mDST file into training tables.

    Parameters
    ----------
    task : Task
        With an input file.
    directory : pathlib.Path
        Where to write. A file with more than ``source.chunk_events`` events becomes several tables,
        ``NAME.h5``, ``NAME_00001.h5``, ..., which bounds the memory.

    Returns
    -------
    Report
        The sums over all tables.
    """
    settings = task.settings
    source = settings.source
    assert isinstance(source, MdstSource)
    assert task.input is not None
    passing = {skim_name(settings): passing_keys(settings)} if settings.skim_files else {}
    kind = None if task.event_type == "unknown" else task.event_type
    total: Report | None = None
    first = Path(task.name)
    for part, table in enumerate(
        iterate_mdst(task.input, chunk_events=source.chunk_events, event_type=kind)
    ):
        if passing:
            table = label_events(table, passing)
        name = first.name if part == 0 else f"{first.stem}_{part:05d}{first.suffix}"
        write_table(directory / name, table, settings.format)
        report = report_of(task, [name], table)
        total = report if total is None else _add(total, report)
    assert total is not None
    return total


def _add(a: Report, b: Report) -> Report:
    def summed(x: dict[str, int], y: dict[str, int]) -> dict[str, int]:
        return {key: x.get(key, 0) + y.get(key, 0) for key in {**x, **y}}

    return replace(
        a,
        files=a.files + b.files,
        n_events=a.n_events + b.n_events,
        n_particles=a.n_particles + b.n_particles,
        passing=summed(a.passing, b.passing),
        unknown_codes=summed(a.unknown_codes, b.unknown_codes),
    )
