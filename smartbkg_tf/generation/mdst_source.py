"""basf2 mDST files as the source, labelled by the events that passed a skim."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from smartbkg_tf.errors import ConfigurationError, InputError, Problems, UserError
from smartbkg_tf.events.flags import PassingEvents
from smartbkg_tf.events.keys import hash_keys, key_columns, key_rows
from smartbkg_tf.events.passing_keys import read_passing_keys
from smartbkg_tf.events.root_files import EVENT_META_DATA, BasfTree, read_event_keys
from smartbkg_tf.generation.arrays import Integers
from smartbkg_tf.generation.chunks import write_part
from smartbkg_tf.generation.input_files import FileSource, part_name
from smartbkg_tf.generation.source import Report, Task
from smartbkg_tf.runtime.files import expand_inputs
from smartbkg_tf.runtime.progress import say
from smartbkg_tf.settings.base import Field, settings

if TYPE_CHECKING:
    from smartbkg_tf.settings.generation import ProduceSettings

#: Event keys read at a time: some 50 MB.
_KEYS_AT_A_TIME = 500_000


@settings
class MdstSource(FileSource):
    """basf2 mDST files and, where given, the events that passed their skims.

    Parameters
    ----------
    particles : {"tables", "generator"}
        What the tables keep. ``tables``: primary particles that are
        neither virtual nor initial nor ISR or FSR photons.
        ``generator``: what basf2's SmartBackground module sees: primary
        particles that are neither initial nor quarks or gluons.
    skim_name : str or None
        Name of the label; None: the one skim that the configuration names.
    allow_unmatched : bool
        Accept passing events that are in none of the input files. Default False.
    fill : dict of str to int or None
        Parts of the event key (experiment, run, production) that the skim files lack because they
        are the same for all events: bare event numbers of a single run.
    """

    uses: ClassVar[tuple[str, ...]] = ("input", "skim_files")

    skim_name: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    allow_unmatched: bool = False
    fill: dict[Literal["experiment", "run", "event", "production"], int] | None = None

    def needs_skims(self, settings: ProduceSettings) -> bool:
        """Labels come from ``skim_files``."""
        return bool(settings.skim_files)

    def label_name(self, settings: ProduceSettings) -> str:
        """Name the skim whose passing events are listed."""
        if self.skim_name is not None:
            return self.skim_name
        if len(settings.skim) != 1:
            raise ConfigurationError(
                f"skim_files stands for one skim, but the configuration has {len(settings.skim)} "
                f"({', '.join(settings.skim)})",
                next_step="choose one (skim=fei_hadronic_b0) or name it: source.skim_name=my_skim",
            )
        return next(iter(settings.skim))

    def plan(self, settings: ProduceSettings) -> tuple[list[Task], dict[str, Any]]:
        """Check all input before any work; make one task for each part of each good file.

        The report holds files, left_out, events, duplicates, and with skim files skim, listed,
        listed_again, passing, without_parent. Refused are files that do not open or lack a branch,
        and passing events that are in no file.
        """
        from smartbkg_tf.events.mdst import iterate_mdst

        listed = None
        if settings.skim_files:
            skim, lists = self.label_name(settings), self._read_lists(settings.skim_files)
            listed = PassingEvents(lists)
        hashes: list[npt.NDArray[np.uint64]] = []

        def check(path: Path) -> tuple[int, Integers, Integers]:
            next(iterate_mdst(path, chunk_events=1))
            places, passing = [np.zeros(0, dtype=np.int64)], [np.zeros((0, 4), dtype=np.int64)]
            here = []
            n_events = 0
            for keys in _keys_of(path):
                here.append(hash_keys(key_columns(keys), 0))
                if listed is not None:
                    rows = np.flatnonzero(listed.passed(key_columns(keys)))
                    places.append(rows + n_events)
                    passing.append(keys[rows])
                n_events += len(keys)
            hashes.extend(here)
            return n_events, np.concatenate(places), np.concatenate(passing)

        good, left_out = self.usable_files(settings.input, check)
        tasks = []
        for path, (n_events, places, keys) in good:
            for part, start in enumerate(range(0, n_events, self.chunk_events)):
                n = min(self.chunk_events, n_events - start)
                mine = keys[(places >= start) & (places < start + n)]
                tasks.append(
                    Task(
                        name=part_name(path, part, settings.format),
                        settings=settings,
                        event_type=settings.event_types[0],
                        n_events=n,
                        input=str(path.absolute()),
                        first_event=start,
                        passing=None if listed is None else mine,
                    )
                )
        report: dict[str, Any] = {
            "files": len(good),
            "left_out": [path.name for path in left_out],
            "events": sum(len(part) for part in hashes),
            "duplicates": _count_repeated(hashes),
        }
        say(
            f"{len(good)} files, {len(left_out)} left out, {report['events']} events, "
            f"{report['duplicates']} of them with the key of an earlier one"
        )
        if listed is None:
            say("no skim_files: the label of every event is unknown")
            return tasks, report
        lost = listed.not_met()
        report |= {
            "skim": skim,
            "listed": len(lists),
            "listed_again": listed.n_repeated,
            "passing": listed.n_passing,
            "without_parent": len(lost),
        }
        say(f"{len(lists)} passing events listed; {listed.text(skim)}")
        if len(lost) and not self.allow_unmatched:
            why = " (files were left out)" if left_out else ""
            raise InputError(
                f"{len(lost)} of {listed.n_keys} passing events stand in none of the input "
                f"files{why}, as experiment, run, event, production = {tuple(lost[0].tolist())}",
                where=str(settings.skim_files),
                next_step="add their parent files to input=, or allow it: "
                "source.allow_unmatched=true",
            )
        return tasks, report

    def _read_lists(self, skim_files: str | list[str]) -> Integers:
        """Read all lists of passing events; name every bad one at once.

        A list that is left out would turn passing events into failing ones, so that
        ``on_bad_file=skip`` is for parents only.
        """
        fill = {str(part): value for part, value in (self.fill or {}).items()}
        problems = Problems()
        found = []
        for path in expand_inputs(skim_files, option="skim_files"):
            try:
                found.append(read_passing_keys(path, fill=fill))
            except UserError as error:
                problems.add(error)
        problems.raise_if_any(
            "skim files cannot be used",
            kind=InputError,
            next_step="a key part that is the same for all events can be given: "
            "'source.fill={experiment: 0, run: 1, production: 0}'",
        )
        return np.concatenate(found)

    def make(self, task: Task, directory: Path) -> Report:
        """Turn one part of an mDST file into a training table."""
        from smartbkg_tf.events.mdst import iterate_mdst

        assert task.input is not None
        (table,) = iterate_mdst(
            task.input,
            chunk_events=task.n_events,
            event_type=None if task.event_type == "unknown" else task.event_type,
            first_event=task.first_event,
            n_events=task.n_events,
            particles=self.particles,
        )
        if task.passing is not None:
            passed = PassingEvents(task.passing).passed(table.keys).astype(np.int8)
            table = replace(table, labels={self.label_name(task.settings): passed})
        return write_part(task, directory, task.name, table)


def _keys_of(path: Path) -> Iterator[Integers]:
    """Read the keys of a file's events piece by piece."""
    with BasfTree(path, EVENT_META_DATA) as tree:
        for start in range(0, tree.n_events, _KEYS_AT_A_TIME):
            columns = read_event_keys(tree, start, min(start + _KEYS_AT_A_TIME, tree.n_events))
            yield key_rows(columns)


def _count_repeated(parts: list[npt.NDArray[np.uint64]]) -> int:
    """Count hashes that came before; the parts are used up, since there may be very many."""
    together = np.concatenate(parts)
    parts.clear()
    together.sort()
    return int(np.count_nonzero(together[1:] == together[:-1]))
