"""What every source does with its events: detector and skims, then files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.events.table import EVENT_TYPES, EventTable
from smartbkg_tf.generation import seeds
from smartbkg_tf.generation.arrays import Integers
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
    """Send generated events, with radiated photons, through the detector and the skims.

    `random` serves the detector (see `detector_generator`), which sees all particles. The events
    come back as the training tables hold them (`stored_particles`, by `particles`), with labels,
    bias observables and decay strings.
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
    strings = build_decay_strings(plain)
    return replace(plain, labels=labels, observables=observables, decay_strings=strings)


def event_keys(
    experiment: int, run: int, first: int, n_events: int, seed: int, kind: int
) -> dict[str, Integers]:
    """Give keys of events; the production is 10 seed + position of the type, 9 if unknown."""
    return {
        "experiment": np.full(n_events, experiment, dtype=np.int64),
        "run": np.full(n_events, run, dtype=np.int64),
        "event": np.arange(first, first + n_events, dtype=np.int64),
        "production": np.full(n_events, 10 * seed + (kind if kind >= 0 else 9), dtype=np.int64),
    }


def detector_generator(settings: ProduceSettings, kind: int, chunk: int) -> np.random.Generator:
    """Give the detector's random generator of one chunk; `kind` is -1 for an unknown event type."""
    seed = settings.seed if settings.detector.seed is None else settings.detector.seed
    return seeds.generator(seed, kind if kind >= 0 else len(EVENT_TYPES), chunk, "detector")


def write_part(task: Task, directory: Path, name: str, table: EventTable, **more: Any) -> Report:
    """Write a table and its observables into a folder, each whole or not at all, and sum them up.

    `name` is that of the table's file; `more` are further fields of the `Report`.
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
    from smartbkg_tf.events.vocabulary import default_vocabulary  # imports numba

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
