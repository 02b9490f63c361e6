"""The work of one process: make one chunk of events, or convert one file, and write it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.events.decay_strings import build_decay_strings
from smartbkg_tf.events.table import EVENT_TYPES, EventTable
from smartbkg_tf.events.vocabulary import default_vocabulary
from smartbkg_tf.generation import seeds
from smartbkg_tf.generation.beams import nominal_collision, random_vertices
from smartbkg_tf.generation.detector import reconstruct
from smartbkg_tf.generation.extract import extract, stored_particles
from smartbkg_tf.generation.observables import Cleaning, EventView
from smartbkg_tf.generation.observables_file import observables_name, write_observables
from smartbkg_tf.generation.pythia import Failures, PythiaEngine
from smartbkg_tf.generation.skims.base import make_skims
from smartbkg_tf.settings.generation import (
    BeamSettings,
    DetectorSettings,
    HepmcSource,
    MdstSource,
    ProduceSettings,
    PythiaSource,
)
from smartbkg_tf.settings.sources import ParticleSet

Integers = npt.NDArray[np.int64]

#: Belle II's experiment number of run-independent simulation at the nominal energy.
EXPERIMENT = 1003

#: Experiment number of events from HepMC files: ours; Belle II's data and simulation use smaller
#: ones.
HEPMC_EXPERIMENT = 2000

#: Engines of this process: Pythia takes half a second to start.
_ENGINES: dict[tuple[str, PythiaSource], PythiaEngine] = {}


@dataclass(frozen=True)
class Task:
    """What one output file is made from.

    Parameters
    ----------
    name : str
        Name of the file (of the first one, for an input file with many events).
    settings : ProduceSettings
        Everything that the user chose.
    event_type : str
        One event type, or ``unknown`` (mDST).
    chunk : int
        Number of the chunk (built-in source), of the input file (mDST), or of its content (HepMC).
    n_events : int
        Events to make, or to read from the input file.
    input : str or None
        The input file (absolute).
    first_event : int
        Where to begin in it.
    passing : numpy.ndarray [n, 4], optional
        Keys of its events that passed the skim; None without a list.
    """

    name: str
    settings: ProduceSettings
    event_type: str
    chunk: int
    n_events: int
    input: str | None = None
    first_event: int = 0
    passing: Integers | None = field(default=None, compare=False, repr=False)


@dataclass
class Report:
    """What was made.

    Parameters
    ----------
    name : str
        The task's file.
    files : list of str
        All training tables of the task.
    side_files : list of str
        Their observables, relative to the output folder.
    event_type : str
        The event type.
    n_events : int
        Number of events.
    n_particles : int
        Number of particles.
    passing : dict of str to int
        Passing events of each skim.
    failures : dict of str to int
        Events that were made anew, by reason.
    unknown_codes : dict of str to int
        Particles whose PDG code Belle II does not know, by code.
    lost_branching : dict of str to float
        Lost fraction of the decay table by PDG code of the mother.
    """

    name: str
    files: list[str]
    side_files: list[str]
    event_type: str
    n_events: int
    n_particles: int
    passing: dict[str, int]
    failures: dict[str, int] = field(default_factory=dict)
    unknown_codes: dict[str, int] = field(default_factory=dict)
    lost_branching: dict[str, float] = field(default_factory=dict)


def engine_for(event_type: str, source: PythiaSource) -> PythiaEngine:
    """Give this process's engine, started when first needed.

    Parameters
    ----------
    event_type : str
        One of `EVENT_TYPES`.
    source : PythiaSource
        Its settings.

    Returns
    -------
    PythiaEngine
        Its events depend on the seed alone.
    """
    key = (event_type, source)
    if key not in _ENGINES:
        _ENGINES[key] = PythiaEngine(event_type, source)
    return _ENGINES[key]


def generate_events(
    event_type: str, source: PythiaSource, n_events: int, seed: int, chunk: int, failures: Failures
) -> EventTable:
    """Generate one chunk.

    Parameters
    ----------
    event_type : str
        One of `EVENT_TYPES`.
    source : PythiaSource
        The generator's settings.
    n_events : int
        How many.
    seed : int
        The user's seed.
    chunk : int
        Number of the chunk.
    failures : Failures
        Counts what is thrown away.

    Returns
    -------
    EventTable
        With radiated photons, without labels. Key: experiment 1003, run = chunk + 1, event from 1,
        production = 10 seed + position of the event type.
    """
    kind = EVENT_TYPES.index(event_type)
    random = seeds.generator(seed, kind, chunk, "generator")
    record = engine_for(event_type, source).generate(
        n_events, seeds.pythia_seed(seed, kind, chunk), random, failures
    )
    keys = {
        "experiment": np.full(n_events, EXPERIMENT, dtype=np.int64),
        "run": np.full(n_events, chunk + 1, dtype=np.int64),
        "event": np.arange(1, n_events + 1, dtype=np.int64),
        "production": np.full(n_events, 10 * seed + kind, dtype=np.int64),
    }
    vertices = random_vertices(source.beams, n_events, random)
    return extract(record, vertices, source.detector_radius, source.detector_z, keys, kind)


def label_events(
    table: EventTable,
    beams: BeamSettings,
    detector: DetectorSettings,
    skims: Mapping[str, Mapping[str, Any]],
    random: np.random.Generator,
    particles: ParticleSet = "tables",
) -> EventTable:
    """Send events through the detector and the skims.

    Parameters
    ----------
    table : EventTable
        Generated events, with radiated photons.
    beams : BeamSettings
        The beams.
    detector : DetectorSettings
        The detector.
    skims : mapping of str to mapping
        The skims, as in `ProduceSettings`.
    random : numpy.random.Generator
        The detector's random numbers.
    particles : {"tables", "generator"}, default "tables"
        Which particles are kept; the detector sees all of them.

    Returns
    -------
    EventTable
        The events as the training tables hold them (`stored_particles`), with labels, bias
        observables and decay strings.
    """
    events = EventView(reconstruct(table, detector, random), nominal_collision(beams))
    labels: dict[str, npt.NDArray[np.int8]] = {}
    observables = dict(events.summary(Cleaning()).observables())
    for skim in make_skims(skims):
        result = skim.select(events)
        labels[skim.name] = np.asarray(result.passes).astype(np.int8)
        observables.update(result.observables)
    plain = stored_particles(table, particles)
    return EventTable(
        particles=plain.particles,
        offsets=plain.offsets,
        keys=plain.keys,
        event_type=plain.event_type,
        labels=labels,
        observables=observables,
        decay_strings=build_decay_strings(plain),
    )


def run_task(task: Task, directory: Path) -> Report:
    """Make and write one chunk.

    Parameters
    ----------
    task : Task
        What to make.
    directory : pathlib.Path
        Where to write.

    Returns
    -------
    Report
        What was made.
    """
    settings = task.settings
    source = settings.source
    if isinstance(source, MdstSource):
        from smartbkg_tf.generation.mdst_source import convert_mdst

        return convert_mdst(task, directory)
    if isinstance(source, HepmcSource):
        from smartbkg_tf.generation.hepmc_source import convert_hepmc

        return convert_hepmc(task, directory)
    failures = Failures()
    table = generate_events(
        task.event_type, source, task.n_events, settings.seed, task.chunk, failures
    )
    kind = EVENT_TYPES.index(task.event_type)
    random = detector_generator(settings, kind, task.chunk)
    table = label_events(
        table, source.beams, settings.detector, settings.skim, random, source.particles
    )
    lost = engine_for(task.event_type, source).lost.by_mother
    return write_part(
        task,
        directory,
        task.name,
        table,
        failures={reason: n for reason, n in sorted(failures.counts.items()) if n},
        lost_branching={str(code): round(x, 6) for code, x in sorted(lost.items())},
    )


def detector_generator(settings: ProduceSettings, kind: int, chunk: int) -> np.random.Generator:
    """Give the detector's random generator of one chunk or input file.

    Parameters
    ----------
    settings : ProduceSettings
        With the seeds.
    kind : int
        Position of the event type in `EVENT_TYPES`, -1 if unknown.
    chunk : int
        Number of the chunk or file.

    Returns
    -------
    numpy.random.Generator
        Independent of the generator's.
    """
    seed = settings.seed if settings.detector.seed is None else settings.detector.seed
    return seeds.generator(seed, kind if kind >= 0 else len(EVENT_TYPES), chunk, "detector")


def write_part(task: Task, directory: Path, name: str, table: EventTable, **more: Any) -> Report:
    """Write a table and its observables, and sum them up.

    Parameters
    ----------
    task : Task
        What it was made from.
    directory : pathlib.Path
        Where to write.
    name : str
        Name of the table's file.
    table : EventTable
        The events.
    **more
        Further fields of `Report`.

    Returns
    -------
    Report
        The numbers.
    """
    side_files = [observables_name(name)] if table.observables else []
    for side_file in side_files:
        write_observables(directory / side_file, table)
    write_table(directory / name, table, task.settings.format, task.settings.source.particles)
    unknown = default_vocabulary().unknown(table.particles["PDG"]) if table.particles else {}
    return Report(
        name=task.name,
        files=[name],
        side_files=side_files,
        event_type=task.event_type,
        n_events=len(table),
        n_particles=table.n_particles,
        passing={name: int((labels == 1).sum()) for name, labels in table.labels.items()},
        unknown_codes={str(code): int(n) for code, n in unknown.items()},
        **more,
    )


def write_table(path: Path, table: EventTable, kind: str, particles: ParticleSet) -> None:
    """Write a training table, whole or not at all.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    table : EventTable
        The events.
    kind : {"hdf5", "parquet"}
        The format.
    particles : {"tables", "generator"}
        Which generated particles it keeps.
    """
    if kind == "parquet":
        from smartbkg_tf.events.parquet import write_parquet

        write_parquet(path, table, particles=particles)
    else:
        from smartbkg_tf.events.hdf5_writer import write_hdf5

        write_hdf5(path, table, particles=particles)
