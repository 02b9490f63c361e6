"""Events of HepMC3 files: what `HepmcSource` labels, and what `preprocess` and `apply` read."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np

from smartbkg_tf.errors import ConfigurationError, InputError
from smartbkg_tf.events.readers import Key, Reader
from smartbkg_tf.events.table import EventTable, event_type_code
from smartbkg_tf.generation.beams import nominal_collision
from smartbkg_tf.generation.chunks import event_keys
from smartbkg_tf.generation.extract import extract, stored_particles
from smartbkg_tf.generation.hepmc import is_hepmc, iterate_hepmc, scan_hepmc
from smartbkg_tf.settings.base import Field, settings
from smartbkg_tf.settings.sources import BeamSettings, ParticleSet

#: Experiment number of events from HepMC files: ours; Belle II's data and simulation use smaller
#: ones.
EXPERIMENT = 2000


@settings
class HepmcEvents:
    """How HepMC's events become particle tables; `HepmcSource` describes the arguments."""

    frame: Literal["laboratory", "centre_of_mass"] = "laboratory"
    detector_radius: float = Field(default=140.0, gt=1)
    detector_z: tuple[float, float] = (-117.0, 211.0)
    beams: BeamSettings = Field(default_factory=BeamSettings)

    def tables(
        self, path: Path, run: int, *, chunk_events: int, seed: int, kind: int
    ) -> Iterator[EventTable]:
        """Read a file piece by piece, with radiated photons; `kind` is the event type's code."""
        done = 0
        for record, n in iterate_hepmc(path, chunk_events=chunk_events):
            if self.frame == "centre_of_mass":
                record.to_laboratory(nominal_collision(self.beams))
            keys = event_keys(EXPERIMENT, run, done + 1, n, seed, kind)
            at = np.zeros((n, 3))
            try:
                table = extract(record, at, self.detector_radius, self.detector_z, keys, kind)
            except ValueError as error:
                raise InputError(f"events {done + 1} to {done + n}: {error}", where=path) from error
            yield table
            done += n


@settings
class HepmcReader(HepmcEvents, Reader):
    """HepMC3 ASCII files, plain or gzip.

    Keys are those that `HepmcSource` gives with the same seed and event type, so that decisions
    about an event are the same by either way.

    Parameters
    ----------
    particles : {"tables", "generator"}, default "tables"
        Which particles are kept.
    event_type : str, optional
        What the files hold, as ``"mixed"``; the files themselves do not tell.
    seed : int, default 1
        Of the keys: ``seed`` of `produce`.
    frame : {"laboratory", "centre_of_mass"}
        System of the files' momenta and vertices; the latter are boosted with the beams.
    detector_radius : float
        Radius outside which nothing decays, cm. Default 140.
    detector_z : tuple of two float
        Its ends along z, cm. Default (-117, 211).
    beams : BeamSettings
        The beams.
    """

    particles: ParticleSet = "tables"
    event_type: str | None = None
    seed: int = Field(default=1, ge=0, le=10**17)

    def recognises(self, path: Path) -> bool:
        """Tell by the first line."""
        return is_hepmc(path)

    def count(self, path: Path) -> int:
        """Count the events, and check that the file is whole."""
        return scan_hepmc(path)[0]

    def iterate(self, path: Path, *, chunk_events: int, key: Key) -> Iterator[EventTable]:
        """Read the events piece by piece."""
        if find_spec("pyhepmc") is None:
            raise ConfigurationError(
                "HepMC3 files need pyhepmc, not installed here",
                where=path,
                next_step="pip install 'smartbkg_tf[generate]'",
            )
        run, kind = scan_hepmc(path)[1], event_type_code(self.event_type)
        for table in self.tables(path, run, chunk_events=chunk_events, seed=self.seed, kind=kind):
            yield stored_particles(table, self.particles)

    def particle_set(self, path: Path) -> None:
        """Files hold all particles; this reader chooses."""
        return
