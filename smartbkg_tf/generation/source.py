"""Where the events of ``produce`` come from: base class of ``source``, its tasks and reports."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from smartbkg_tf.generation.arrays import Integers
from smartbkg_tf.settings.base import settings
from smartbkg_tf.settings.plugins import Plugin
from smartbkg_tf.settings.sources import ParticleSet

if TYPE_CHECKING:
    from smartbkg_tf.settings.generation import ProduceSettings

#: What only some sources use, and which of the package's own.
_SPECIAL = {
    "input": "source=mdst and source=hepmc",
    "skim_files": "source=mdst",
    "mixture": "source=pythia",
}


@dataclass(frozen=True)
class Task:
    """What one worker makes at a time: one training table, or those of one input file.

    Parameters
    ----------
    name : str
        Name of the table's file, of the first one if there may be several.
    settings : ProduceSettings
        Everything that the user chose.
    event_type : str
        One event type, or ``unknown``.
    n_events : int
        Events to make, or to read from the input file.
    chunk : int, default 0
        A number that decides about seeds or keys of the events.
    input : str, optional
        The input file (absolute).
    first_event : int, default 0
        Where to begin in it.
    passing : numpy.ndarray [n, 4], optional
        Keys of its events that passed the skim; None without a list.
    """

    name: str
    settings: ProduceSettings
    event_type: str
    n_events: int
    chunk: int = 0
    input: str | None = None
    first_event: int = 0
    passing: Integers | None = field(default=None, compare=False, repr=False)


@dataclass
class Report:
    """What was made; `smartbkg_tf.generation.chunks.write_part` gives one.

    Parameters
    ----------
    name : str
        The task's.
    files : list of str
        All training tables of the task.
    side_files : list of str
        Their observables, relative to the output folder.
    event_type : str
        The event type.
    n_events, n_particles : int
        How many.
    passing : dict of str to int
        Passing events of each skim.
    failures : dict of str to int
        Events that were generated again, by reason.
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


@settings
class EventSource(Plugin):
    """Where the events of ``produce`` come from.

    Inherit, declare the arguments as fields, and write `plan` and `make`. Packages other than NumPy
    are best imported inside the methods: ``--help`` and a mistake in the configuration import the
    module, too.

    Parameters
    ----------
    particles : {"tables", "generator"}
        What the tables keep of the generated particles. Default "tables".

    Examples
    --------
    A file ``my_module.py`` in the current folder::

        from smartbkg_tf.generation.chunks import detector_generator, label_events, write_part
        from smartbkg_tf.generation.source import EventSource, Task
        from smartbkg_tf.settings.base import Field, settings

        @settings
        class MySource(EventSource):
            energy: float = Field(default=1.0, gt=0)

            def plan(self, settings):
                return [Task("mine.h5", settings, "mixed", settings.n_events)], {}

            def make(self, task, directory):
                table = ...  # an EventTable of task.n_events events
                return write_part(task, directory, task.name, table)

    produces with ``source._target_=my_module.MySource source.energy=2``.
    """

    #: Which of the settings ``input``, ``skim_files`` and ``mixture`` mean something here.
    uses: ClassVar[tuple[str, ...]] = ()

    particles: ParticleSet = "tables"

    def required_packages(self) -> list[str]:
        """Name the modules that must be installed, as a list of str; none by default."""
        return []

    def check(self, settings: ProduceSettings) -> None:
        """Refuse settings of ``produce`` that have no meaning here, by ValueError before any work.

        By default those of ``input``, ``skim_files`` and ``mixture`` that are given but not named
        in `uses`, and a configuration without a skim.
        """
        for key, used_by in _SPECIAL.items():
            given = settings.mixture != "equal" if key == "mixture" else getattr(settings, key)
            if given and key not in self.uses:
                raise ValueError(f"{key} is for {used_by}: {type(self).__name__} does not use it")
        if self.needs_skims(settings) and not settings.skim:
            raise ValueError("skim: at least one skim is needed")

    def needs_skims(self, settings: ProduceSettings) -> bool:
        """Whether there are labels to be named; True by default."""
        return True

    def plan(self, settings: ProduceSettings) -> tuple[list[Task], dict[str, Any]]:
        """Look at all input and divide the work.

        Parameters
        ----------
        settings : ProduceSettings
            All settings.

        Returns
        -------
        list of Task
            In the order of the output, with different names.
        dict
            What ``production.json`` shall tell of the input, in plain values.

        Raises
        ------
        UserError
            For input that cannot be used.
        """
        raise NotImplementedError

    def make(self, task: Task, directory: Path) -> Report:
        """Make the tables of one task, perhaps in another process or on another machine.

        Parameters
        ----------
        task : Task
            One of `plan`.
        directory : pathlib.Path
            The output folder.

        Returns
        -------
        Report
            What was made.
        """
        raise NotImplementedError
