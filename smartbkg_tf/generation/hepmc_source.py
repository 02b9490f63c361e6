"""HepMC3 files of any other generator as the source."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smartbkg_tf.errors import InputError
from smartbkg_tf.events.table import EVENT_TYPES
from smartbkg_tf.generation.chunks import detector_generator, label_events, write_part
from smartbkg_tf.generation.extract import stored_particles
from smartbkg_tf.generation.hepmc import scan_hepmc
from smartbkg_tf.generation.hepmc_reader import HepmcEvents
from smartbkg_tf.generation.input_files import FileSource, part_name
from smartbkg_tf.generation.source import Report, Task
from smartbkg_tf.runtime.progress import say
from smartbkg_tf.settings.base import settings

if TYPE_CHECKING:
    from smartbkg_tf.settings.generation import ProduceSettings


@settings
class HepmcSource(HepmcEvents, FileSource):
    """HepMC3 ASCII files of any generator, sent through the parametrised detector.

    Parameters
    ----------
    particles : {"tables", "generator"}
        As for `PythiaSource`; HepMC does not mark radiated photons, so that ``tables`` keeps
        those that `extract` does not recognise.
    frame : {"laboratory", "centre_of_mass"}
        System of the files' momenta and vertices; the latter are boosted with the beams.
    labels : bool
        Send the events through detector and skims. Default True; False: no labels.
    detector_radius : float
        Radius outside which nothing decays, cm. Default 140 (see `PythiaSource`).
    detector_z : tuple of two float
        Its ends along z, cm. Default (-117, 211).
    beams : BeamSettings
        The beams: the centre-of-mass system of skims and observables.
    """

    labels: bool = True

    def required_packages(self) -> list[str]:
        """Name the reader of HepMC3."""
        return ["pyhepmc"]

    def needs_skims(self, settings: ProduceSettings) -> bool:
        """Labels may be left out."""
        return self.labels

    def plan(self, settings: ProduceSettings) -> tuple[list[Task], dict[str, Any]]:
        """Check all input before any work; make one task for each good file.

        The report holds files, left_out, events. Refused are files that are truncated or of another
        format, and files of equal content.
        """
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

        good, left_out = self.usable_files(settings.input, check)
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

    def make(self, task: Task, directory: Path) -> Report:
        """Turn one file into training tables, ``NAME.h5``, ``NAME_00001.h5``, ...

        Of a damaged file none of its tables stay.
        """
        from smartbkg_tf.events.decay_strings import build_decay_strings

        settings = task.settings
        assert task.input is not None
        path = Path(task.input)
        kind = EVENT_TYPES.index(task.event_type) if task.event_type in EVENT_TYPES else -1
        random = detector_generator(settings, kind, task.chunk)
        total: Report | None = None
        tables = self.tables(
            path, task.chunk, chunk_events=self.chunk_events, seed=settings.seed, kind=kind
        )
        try:
            for part, table in enumerate(tables):
                if self.labels:
                    table = label_events(
                        table, self.beams, settings.detector, settings.skim, random, self.particles
                    )
                else:
                    plain = stored_particles(table, self.particles)
                    table = replace(plain, decay_strings=build_decay_strings(plain))
                report = write_part(task, directory, part_name(path, part, settings.format), table)
                total = report if total is None else _add(total, report)
        except BaseException:
            # A damaged event is found only when its turn comes.
            for file in [] if total is None else [*total.files, *total.side_files]:
                (directory / file).unlink(missing_ok=True)
            raise
        assert total is not None
        return total


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
