"""The built-in source: Pythia 8, in chunks that have a seed of their own."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import model_validator

from smartbkg_tf.events.cross_sections import natural_numbers
from smartbkg_tf.events.table import EVENT_TYPES, EventTable
from smartbkg_tf.generation import seeds
from smartbkg_tf.generation.beams import random_vertices
from smartbkg_tf.generation.chunks import detector_generator, event_keys, label_events, write_part
from smartbkg_tf.generation.extract import extract
from smartbkg_tf.generation.input_files import SUFFIXES
from smartbkg_tf.generation.pythia import PythiaEngine
from smartbkg_tf.generation.source import EventSource, Report, Task
from smartbkg_tf.settings.base import Field, settings
from smartbkg_tf.settings.sources import BeamSettings

if TYPE_CHECKING:
    from smartbkg_tf.settings.generation import ProduceSettings

#: Belle II's experiment number of run-independent simulation at the nominal energy.
EXPERIMENT = 1003


@settings
class PythiaSource(EventSource):
    """The built-in source: Pythia 8.

    Parameters
    ----------
    particles : {"tables", "generator"}
        What the tables keep. ``tables``: without photons that beams and
        shower radiate.
        ``generator``: what basf2's SmartBackground module sees, with these
        photons, for networks that run there. Events, labels and keys are the same.
    decay_table : {"belle2", "pythia"}
        ``belle2``: branching fractions of DECAY_BELLE2.DEC, read from the installed
        decaylanguage package; ``pythia``: Pythia's own.
    inclusive : {"as_pythia", "avoid_listed"}
        Inclusive B decays of decay_table=belle2. ``as_pythia``: kept as they come, as EvtGen with
        Pythia 8 does; ``avoid_listed``: an event in which one comes out as a channel that the
        table lists is generated again, as EvtGen with Pythia 6 did.
    k_long : {"detector", "stable"}
        ``detector``: K_L decay in the generator when they do so inside the detector
        volume, as in Belle II's own files (and as the published spreads of vertices and
        times require); ``stable``: never.
    detector_radius : float
        Radius of the volume outside which nothing decays, cm. Default 140: half-way into the
        crystals of the barrel calorimeter (125 to 162 cm), where a K_L has interacted.
    detector_z : tuple of two float
        Its ends along z, cm. Default (-117, 211): 15 cm behind the front of either end cap.
    mixing_frequency : float
        B0 oscillation frequency (mass difference), 1/ps. Default 0.5065 (PDG 2024).
    initial_state_radiation : bool
        Continuum and tau pairs: photons radiated by the beams. Default True.
    final_state_radiation : bool
        Photons in decays to a lepton pair (J/psi -> e+ e- and others). Default True.
    tau_spin_correlations : bool
        Full helicity correlations in tau decays. Default True; False makes tau pairs
        about eight times faster.
    maximum_failures : float
        Largest fraction of generated events that may be thrown away because Pythia gave
        up or broke four-momentum or charge conservation. Default 0.2.
    beams : BeamSettings
        The beams.
    """

    uses: ClassVar[tuple[str, ...]] = ("mixture",)

    decay_table: Literal["belle2", "pythia"] = "belle2"
    inclusive: Literal["as_pythia", "avoid_listed"] = "as_pythia"
    k_long: Literal["detector", "stable"] = "detector"
    detector_radius: float = Field(default=140.0, gt=1)
    detector_z: tuple[float, float] = (-117.0, 211.0)
    mixing_frequency: float = Field(default=0.5065, ge=0)
    initial_state_radiation: bool = True
    final_state_radiation: bool = True
    tau_spin_correlations: bool = True
    maximum_failures: float = Field(default=0.2, gt=0, lt=1)
    beams: BeamSettings = Field(default_factory=BeamSettings)

    @model_validator(mode="after")
    def _ordered(self) -> PythiaSource:
        if not self.detector_z[0] < 0 < self.detector_z[1]:
            raise ValueError("detector_z: must hold a negative and a positive end")
        return self

    def required_packages(self) -> list[str]:
        """Name Pythia, and what reads Belle II's decay table."""
        return ["pythia8mc"] + (["decaylanguage"] if self.decay_table == "belle2" else [])

    def check(self, settings: ProduceSettings) -> None:
        """Refuse input files and events of unknown type."""
        super().check(settings)
        if "unknown" in settings.event_types:
            raise ValueError("event_type=unknown is for sources that read files")

    def plan(self, settings: ProduceSettings) -> tuple[list[Task], dict[str, Any]]:
        """Divide the events by event type and chunk; the last chunk of a type may be smaller."""
        suffix = SUFFIXES[settings.format]
        numbers = dict.fromkeys(settings.event_types, settings.n_events)
        if settings.mixture == "natural":
            numbers = natural_numbers(settings.event_types, settings.n_events)
        tasks = [
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
        return tasks, {}

    def make(self, task: Task, directory: Path) -> Report:
        """Generate, label and write one chunk."""
        settings = task.settings
        failures: Counter[str] = Counter()
        table = generate_events(
            task.event_type, self, task.n_events, settings.seed, task.chunk, failures
        )
        random = detector_generator(settings, EVENT_TYPES.index(task.event_type), task.chunk)
        table = label_events(
            table, self.beams, settings.detector, settings.skim, random, self.particles
        )
        lost = engine_for(task.event_type, self).lost
        return write_part(
            task,
            directory,
            task.name,
            table,
            failures={reason: n for reason, n in sorted(failures.items()) if n},
            lost_branching={str(code): round(x, 6) for code, x in sorted(lost.items())},
        )


#: Engines of this process: Pythia takes half a second to start.
_ENGINES: dict[tuple[str, PythiaSource], PythiaEngine] = {}


def engine_for(event_type: str, source: PythiaSource) -> PythiaEngine:
    """Give this process's engine, started when first needed; events depend on the seed alone."""
    key = (event_type, source)
    if key not in _ENGINES:
        _ENGINES[key] = PythiaEngine(event_type, source)
    return _ENGINES[key]


def generate_events(
    event_type: str,
    source: PythiaSource,
    n_events: int,
    seed: int,
    chunk: int,
    failures: Counter[str],
) -> EventTable:
    """Generate one chunk with radiated photons, without labels.

    Key: experiment 1003, run = chunk + 1, event from 1, production = 10 seed + position of the
    event type. `failures` counts what is thrown away, by reason.
    """
    kind = EVENT_TYPES.index(event_type)
    random = seeds.generator(seed, kind, chunk, "generator")
    record = engine_for(event_type, source).generate(
        n_events, seeds.pythia_seed(seed, kind, chunk), random, failures
    )
    keys = event_keys(EXPERIMENT, chunk + 1, 1, n_events, seed, kind)
    vertices = random_vertices(source.beams, n_events, random)
    return extract(record, vertices, source.detector_radius, source.detector_z, keys, kind)
