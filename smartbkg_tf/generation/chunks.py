"""What every source does with its events: detector and skims, then files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.events.table import EVENT_TYPES, EventTable
from smartbkg_tf.events.vocabulary import default_vocabulary
from smartbkg_tf.generation import seeds
from smartbkg_tf.generation.beams import nominal_collision
from smartbkg_tf.generation.detector import reconstruct
from smartbkg_tf.generation.extract import stored_particles
from smartbkg_tf.generation.observables import Cleaning, EventView
from smartbkg_tf.generation.observables_file import observables_name, write_observables
from smartbkg_tf.generation.skims.base import Skim
from smartbkg_tf.generation.source import Report, Task
from smartbkg_tf.settings.detector import DetectorSettings
from smartbkg_tf.settings.generation import ProduceSettings
from smartbkg_tf.settings.sources import BeamSettings, ParticleSet


def label_events(
    table: EventTable,
    beams: BeamSettings,
    detector: DetectorSettings,
    skims: Mapping[str, Skim],
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
    skims : mapping of str to Skim
        The skims by name.
    random : numpy.random.Generator
        The detector's random numbers (`detector_generator`).
    particles : {"tables", "generator"}, default "tables"
        Which particles are kept; the detector sees all of them.

    Returns
    -------
    EventTable
        The events as the training tables hold them (`stored_particles`), with labels, bias
        observables and decay strings.
    """
    from smartbkg_tf.events.decay_strings import build_decay_strings

    events = EventView(reconstruct(table, detector, random), nominal_collision(beams))
    labels: dict[str, npt.NDArray[np.int8]] = {}
    observables = dict(events.summary(Cleaning()).observables())
    for name, skim in skims.items():
        result = skim.select(events)
        labels[name] = np.asarray(result.passes).astype(np.int8)
        observables |= {f"{key}_{name}": values for key, values in result.observables.items()}
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


def detector_generator(settings: ProduceSettings, kind: int, chunk: int) -> np.random.Generator:
    """Give the detector's random generator of one chunk; `kind` is -1 for an unknown event type."""
    seed = settings.seed if settings.detector.seed is None else settings.detector.seed
    return seeds.generator(seed, kind if kind >= 0 else len(EVENT_TYPES), chunk, "detector")


def write_part(task: Task, directory: Path, name: str, table: EventTable, **more: Any) -> Report:
    """Write a table and its observables, each whole or not at all, and sum them up.

    Parameters
    ----------
    task : Task
        What it was made from.
    directory : pathlib.Path
        The output folder.
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
    particles = task.settings.source.particles
    if task.settings.format == "parquet":
        from smartbkg_tf.events.parquet import write_parquet

        write_parquet(directory / name, table, particles=particles)
    else:
        from smartbkg_tf.events.hdf5_writer import write_hdf5

        write_hdf5(directory / name, table, particles=particles)
    unknown = default_vocabulary().unknown(table.particles["PDG"]) if table.particles else {}
    return Report(
        name=task.name,
        files=[name],
        side_files=side_files,
        event_type=task.event_type,
        n_events=len(table),
        n_particles=table.n_particles,
        passing={skim: int((labels == 1).sum()) for skim, labels in table.labels.items()},
        unknown_codes={str(code): int(n) for code, n in unknown.items()},
        **more,
    )
