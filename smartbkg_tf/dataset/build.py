"""Build a dataset directory: two passes, little memory, all or nothing.

First pass (`sources`): every file is read chunk by chunk, checked, encoded, and written as
sorted runs. Then the keys of all runs are merged to find duplicates and to count. Second
pass: the runs are merged, range of hashes by range of hashes, into the final maps.

The place of an event follows from its key and the seed. Neither the order of files, nor
the way events are spread over them, nor chunks, nor workers change a byte of the maps.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import cycle, pairwise
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from smartbkg_tf.dataset.blocks import EventBlock, count_labels, repeated, unlabelled
from smartbkg_tf.dataset.information import FILE_NAME
from smartbkg_tf.dataset.layout import DatasetWriter
from smartbkg_tf.dataset.legacy import is_legacy, legacy_encoding, legacy_inputs
from smartbkg_tf.dataset.ranges import Range
from smartbkg_tf.dataset.runs import MemoryRun, Run
from smartbkg_tf.dataset.source_files import find_files
from smartbkg_tf.dataset.sources import (
    MEMORY_BYTES,
    ReadingSettings,
    SourceReport,
    read_sources,
)
from smartbkg_tf.dataset.summary import describe_dataset, information_of
from smartbkg_tf.encoding.checks import Findings, finding_of
from smartbkg_tf.encoding.feature_sets import complete
from smartbkg_tf.errors import ConfigurationError, InputError, Problems
from smartbkg_tf.events.vocabulary import default_vocabulary
from smartbkg_tf.runtime.files import atomic_directory, expand_inputs, write_json
from smartbkg_tf.runtime.outputs import check_output
from smartbkg_tf.runtime.progress import Progress, say
from smartbkg_tf.runtime.scratch import Scratch
from smartbkg_tf.runtime.threads import short_turns
from smartbkg_tf.settings.encoding import FEATURE_SETS, LEGACY, EncodingSettings
from smartbkg_tf.settings.preprocessing import PreprocessSettings

#: Bytes of runs that are merged in memory at a time.
MERGE_BYTES = 32 << 20

#: The same for samples of less than `MEMORY_BYTES`, whose runs are as a rule in memory: many
#: ranges, so that threads can share them, and each stays in the processor's caches.
_SMALL_MERGE_BYTES = 8 << 20

#: About so many events are put together, described and written while they are in the
#: processor's caches.
_EVENTS_AT_A_TIME = 4000

#: Blocks that are made while one is written.
_BLOCKS_AHEAD = 3

_T = TypeVar("_T")

#: What stands in a dataset directory.
WRITTEN = (FILE_NAME, "*.memmap", "*.memmap.shape", "*.memmap.dtype")

_MADE_BY = "python -m smartbkg_tf.produce source=pythia|mdst output=DIR"


@dataclass
class Plan:
    """What the merge of all keys showed.

    Parameters
    ----------
    n_events, n_particles, n_tokens : int
        What will be written.
    labels : numpy.ndarray [n_skims, 3]
        Events that pass, fail, and are unknown.
    findings : Findings
        All faults of all files.
    """

    labels: npt.NDArray[np.int64]
    findings: Findings = field(default_factory=Findings)
    n_events: int = 0
    n_particles: int = 0
    n_tokens: int = 0


def ahead(make: Callable[[int], _T], items: range, workers: int) -> Iterator[_T]:
    """Call a function for all items, a few of them ahead in threads.

    Parameters
    ----------
    make : callable
        Takes an item.
    items : range
        What it is called for.
    workers : int
        Threads; with one, nothing is done ahead.

    Yields
    ------
    object
        The results in the order of the items.
    """
    if workers == 1:
        yield from map(make, items)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="merge") as pool:
        waiting: deque[Future[_T]] = deque()
        for item in items:
            waiting.append(pool.submit(make, item))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


class Merger:
    """All runs, range of hashes by range of hashes, without the events that are dropped.

    Parameters
    ----------
    reports : sequence of SourceReport
        Of all files.
    merge_bytes : int, optional
        Aim for so many bytes at a time; by default what suits the size of the sample, and
        nothing else: ranges decide about the last digits of the statistics.
    workers : int, default 1
        With more than one, events are put together while others are written.
    """

    def __init__(
        self,
        reports: Sequence[SourceReport],
        merge_bytes: int | None = None,
        workers: int = 1,
    ) -> None:
        self._workers = workers
        self.runs: list[Run | MemoryRun] = [run for report in reports for run in report.runs]
        self.label_names = _names_of(report.label_names for report in reports)
        self.observable_names = _names_of(report.observable_names for report in reports)
        self.files = np.array([report.path for report in reports], dtype=object)
        n_bytes = sum(run.n_bytes for run in self.runs)
        if merge_bytes is None:
            merge_bytes = _SMALL_MERGE_BYTES if n_bytes <= MEMORY_BYTES else MERGE_BYTES
        self.n_ranges = max(1, -(-n_bytes // merge_bytes))
        #: Whether any event has any label: then those without are of no use.
        self.labelled = False
        #: Ranges of events that are all in memory: put into order once.
        self._kept: list[tuple[Range, Findings]] | None = None

    def ranges(self, *, with_events: bool) -> Iterator[tuple[Range, Findings]]:
        """Give the events in the order of the data set.

        Parameters
        ----------
        with_events : bool
            Read the encoded events too.

        Yields
        ------
        events : Range
            Kept events of one range; there is at least one.
        findings : Findings
            What was dropped from it.
        """
        if self._kept is not None:
            yield from self._kept
            return
        in_memory = all(isinstance(run, MemoryRun) for run in self.runs)
        kept = []
        scratch = Scratch()
        # What is lent from range to range cannot be made ahead.
        workers = 1 if with_events and not in_memory else self._workers

        def make(i: int) -> tuple[Range, Findings] | None:
            return self._range(i, with_events or in_memory, scratch)

        for found in ahead(make, range(self.n_ranges), workers):
            if found is not None:
                yield found
                kept.append(found)
            if not in_memory:
                kept.clear()
        if in_memory:
            self._kept = kept

    def blocks(self) -> Generator[tuple[EventBlock, bool], None, None]:
        """Give the encoded events in the order of the data set.

        Yields
        ------
        block : EventBlock
            Kept events, which hold until the next block is asked for.
        last : bool
            Whether a range ends here. Ranges do not depend on the number of workers.
        """
        if self._workers == 1:
            yield from self._pieces(cycle([Scratch()]))
            return
        # One thread puts events together while this one writes those before: both take about as
        # long, and what is written has not left the caches yet.
        scratches = [Scratch() for _ in range(_BLOCKS_AHEAD + 1)]
        pieces = self._pieces(cycle(scratches))
        with ThreadPoolExecutor(1, thread_name_prefix="merge") as pool:
            waiting = deque(pool.submit(next, pieces, None) for _ in range(_BLOCKS_AHEAD))
            while (piece := waiting.popleft().result()) is not None:
                waiting.append(pool.submit(next, pieces, None))
                yield piece

    def _pieces(self, scratches: Iterator[Scratch]) -> Iterator[tuple[EventBlock, bool]]:
        for events, _ in self.ranges(with_events=True):
            n = len(events)
            if n == 0:  # all of them were dropped
                continue
            # Of equal length: a short rest costs as many calls as a long piece.
            n_pieces = max(1, round(n / _EVENTS_AT_A_TIME))
            for begin, end in pairwise(i * n // n_pieces for i in range(n_pieces + 1)):
                yield events.gather(begin, end, next(scratches)), end == n

    def _range(self, i: int, with_events: bool, scratch: Scratch) -> tuple[Range, Findings] | None:
        begin, end = (j * 2**64 // self.n_ranges for j in (i, i + 1))
        events = Range(
            self.runs,
            begin,
            end,
            self.label_names,
            # Nothing is counted in them, and there may be dozens.
            self.observable_names if with_events else (),
            with_events=with_events,
            scratch=scratch,
        )
        if not len(events):
            return None
        findings = self._drop(events)
        return events, findings

    def _drop(self, events: Range) -> Findings:
        findings = Findings()
        block = events.block
        further, duplicate, conflict = repeated(block)
        no_label = np.zeros(len(block), dtype=np.bool_)
        if self.labelled:
            no_label = unlabelled(block.labels) & ~further & ~conflict
        kept = ~(further | conflict | no_label)
        if kept.all():
            return findings
        keys, files = block.key_columns(), self.files[block.source]
        for reason, mask in (
            ("duplicate", duplicate),
            ("conflict", conflict),
            ("no_label", no_label),
        ):
            if mask.any():
                findings.add(finding_of(reason, mask, keys, files))
        events.keep(np.flatnonzero(kept))
        return findings

    def plan(self, reports: Sequence[SourceReport]) -> Plan:
        """Merge the keys of all runs: find duplicates and count.

        Parameters
        ----------
        reports : sequence of SourceReport
            Of all files.

        Returns
        -------
        Plan
            What will be written, and every fault.
        """
        self.labelled = any(run.has_label for run in self.runs)
        plan = Plan(labels=np.zeros((len(self.label_names), 3), dtype=np.int64))
        for report in reports:
            plan.findings.extend(report.findings)
        for events, findings in self.ranges(with_events=False):
            block = events.block
            plan.findings.extend(findings)
            plan.n_events += len(block)
            plan.n_particles += int(block.n_particles.sum())
            plan.n_tokens += int(block.n_tokens.sum())
            plan.labels += count_labels(block.labels, np.zeros(len(block), np.int8)).sum(axis=0)
        return plan


def _names_of(lists: Iterable[list[str]]) -> list[str]:
    """Give all names in the order of the files where they agree, else sorted."""
    orders = {tuple(names) for names in lists if names}
    if len(orders) == 1:
        return list(orders.pop())
    return sorted({name for names in orders for name in names})


def build_dataset(settings: PreprocessSettings) -> Path:
    """Read tables, encode them and write a dataset directory.

    Parameters
    ----------
    settings : PreprocessSettings
        What to read, how to encode, where to write.

    Returns
    -------
    pathlib.Path
        The dataset directory.

    Raises
    ------
    InputError
        When there is no input, a file cannot be read, no event is left, or, with
        ``mode=strict``, any event cannot be used; the message lists all reasons.
    OutputError
        When the output exists and `overwrite` is false, or cannot be written. Nothing
        half-written is left behind, here as in every other case.
    """
    output = Path(settings.output)
    check_output(output, overwrite=settings.overwrite, own=WRITTEN)
    paths = find_files(expand_inputs(settings.input, made_by=_MADE_BY))
    encoding = _encoding(settings, paths)
    reading = ReadingSettings(
        key=settings.key,
        encoding=encoding,
        seed=settings.seed,
        chunk_events=settings.chunk_events,
    )
    start = time.monotonic()
    say(f"preprocess: {len(paths)} file{'s' * (len(paths) != 1)} -> {output}")
    with (
        short_turns() if settings.workers > 1 else contextlib.nullcontext(),
        atomic_directory(
            output, overwrite=settings.overwrite, own=WRITTEN, inputs=paths
        ) as partial,
    ):
        run_directory = partial / "runs"
        reports = read_sources(paths, run_directory, reading, settings.workers)
        _refuse_two_particle_sets(reports)
        merger = Merger(reports, workers=settings.workers)
        plan = merger.plan(reports)
        _check(plan, merger, reports, settings)
        writer = DatasetWriter(
            partial,
            encoding=encoding,
            key=settings.key,
            storage=settings.storage,
            n_events=plan.n_events,
            n_particles=plan.n_particles,
            n_tokens=plan.n_tokens,
            label_names=merger.label_names,
            observable_names=merger.observable_names,
            inputs=legacy_inputs(paths[0]) if encoding.features == LEGACY else None,
        )
        with (
            writer,
            Progress("preprocess: shuffle and write", total=plan.n_events) as progress,
            # A thread that works ahead ends before what it reads is removed.
            contextlib.closing(merger.blocks()) as blocks,
        ):
            for block, last in blocks:
                writer.append(block)
                if last:
                    writer.end_of_range()
                progress.add(len(block))
            maps = writer.close()
        if run_directory.exists():
            shutil.rmtree(run_directory)
        information = information_of(
            settings, writer, maps, reports, plan.findings, default_vocabulary()
        )
        write_json(partial / FILE_NAME, information)
    seconds = time.monotonic() - start
    n_read = sum(report.n_read for report in reports)
    say(describe_dataset(information, output))
    say(f"preprocess: {n_read} events in {seconds:.1f} s, {n_read / seconds:.4g} events/s")
    return output


def _encoding(settings: PreprocessSettings, paths: Sequence[Path]) -> EncodingSettings:
    """How events become arrays: as configured, or as the original project left them."""
    values = {name: getattr(settings, name) for name in ("features", "max_particles", "max_tokens")}
    legacy = [path for path in paths if is_legacy(path)]
    if not legacy:
        if settings.features == LEGACY:
            raise ConfigurationError(
                "features=legacy is for arrays of the original project, which are recognised by "
                "themselves; the input holds tables",
                next_step=f"use features={'|'.join(FEATURE_SETS)}",
            )
        return complete(values)
    if len(legacy) < len(paths):
        other = next(path for path in paths if path not in legacy)
        raise InputError(
            f"arrays of the original project cannot be mixed with other events ({other})",
            where=legacy[0],
            next_step="preprocess them alone",
        )
    if settings.key == "decay_strings":
        raise InputError(
            "key=decay_strings is not for arrays of the original project",
            where=legacy[0],
            next_step="use key=all; a model then chooses model.inputs=decay",
        )
    return legacy_encoding(legacy, **values)


def _refuse_two_particle_sets(reports: Sequence[SourceReport]) -> None:
    """Refuse what a network would tell apart by its photons."""
    of = {report.particles: report.path for report in reports}
    if len(of) > 1:
        raise InputError(
            "tables of source.particles=generator cannot be mixed with those of "
            f"source.particles=tables ({of['tables']})",
            where=of["generator"],
            next_step="produce all of them with the same source.particles (ROOT files that are "
            "read directly count as tables)",
        )


def _check(
    plan: Plan, merger: Merger, reports: Sequence[SourceReport], settings: PreprocessSettings
) -> None:
    """Refuse what cannot be used; in lenient mode say what is dropped."""
    if not sum(report.n_read for report in reports):
        raise InputError(
            "there are no events in the input",
            where=", ".join(report.path for report in reports[:5]),
            next_step=f"tables are made by: {_MADE_BY}",
        )
    one_class = [
        f"{name}: all {max(passing, failing)} events with a known label "
        f"{'pass' if passing else 'fail'}, so that nothing can be learned from them"
        for name, (passing, failing, _) in zip(
            merger.label_names, plan.labels.tolist(), strict=True
        )
        if (passing == 0) != (failing == 0)
    ]
    known = [counts for counts in plan.labels.tolist() if counts[0] or counts[1]]
    useless = bool(known) and all(min(counts[:2]) == 0 for counts in known)
    if settings.mode == "strict":
        problems = Problems()
        for finding in plan.findings:
            problems.add(str(finding))
        for text in one_class if useless else ():
            problems.add(text)
        problems.raise_if_any(
            "the input holds events that cannot be used"
            if len(plan.findings)
            else "the input cannot be trained on",
            kind=InputError,
            next_step="mend the input, or drop such events: mode=lenient",
        )
    for finding in plan.findings:
        say(f"warning: dropped {finding}")
    for text in one_class:
        say(f"warning: {text}")
    if merger.label_names == [] or not known:
        say("warning: no event has a label; the dataset can be applied to, not trained on")
    if plan.n_events == 0:
        raise InputError(
            "no usable event is left: " + "; ".join(str(f) for f in plan.findings),
            next_step="see the counts above; tables are made by: " + _MADE_BY,
        )
