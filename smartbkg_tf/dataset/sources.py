"""First pass: read files chunk by chunk, check, encode, and write sorted runs."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from smartbkg_tf.dataset.blocks import EventBlock, order_of
from smartbkg_tf.dataset.keys import hash_keys
from smartbkg_tf.dataset.legacy import is_legacy, read_legacy
from smartbkg_tf.dataset.runs import MemoryRun, Run, bytes_of, write_run
from smartbkg_tf.dataset.source_files import FileHasher, OpenFiles
from smartbkg_tf.encoding.checks import Findings
from smartbkg_tf.encoding.encode import EncodedEvents, check_and_encode
from smartbkg_tf.encoding.one_pass import side_by_side
from smartbkg_tf.errors import UserError
from smartbkg_tf.events.hdf5 import TrainingFile
from smartbkg_tf.events.readers import file_format, iterate_events, particle_set
from smartbkg_tf.events.table import KEY_COLUMNS, EventTable
from smartbkg_tf.events.vocabulary import default_vocabulary
from smartbkg_tf.runtime.progress import Progress
from smartbkg_tf.runtime.scratch import Scratch
from smartbkg_tf.settings.encoding import EncodingSettings
from smartbkg_tf.settings.sources import ParticleSet

#: Bytes of runs that stay in memory; what is beyond is shuffled by way of the disk.
MEMORY_BYTES = 256 << 20


@dataclass(frozen=True)
class ReadingSettings:
    """What a process needs to know to read a file.

    Parameters
    ----------
    key : {"all", "train_events", "decay_strings"}
        Part of the tables.
    encoding : EncodingSettings
        Feature set and lengths.
    seed : int
        Of the shuffle.
    chunk_events : int
        Events in memory at a time.
    """

    key: Literal["all", "train_events", "decay_strings"]
    encoding: EncodingSettings
    seed: int
    chunk_events: int


@dataclass
class SourceReport:
    """What came out of one file.

    Parameters
    ----------
    name : str
        File name without folder, for ``dataset.json``.
    path : str
        The file as it was given, for messages.
    size : int
        Bytes.
    hash : str
        Hash of the file.
    runs : list of Run or MemoryRun
        Its events, sorted.
    n_read : int
        Events in the file.
    findings : Findings
        Events that cannot be used.
    unknown_codes : dict of str to int
        Codes without token.
    label_names, observable_names : list of str
        In the order of the file.
    vocabulary_size : int
        Tokens of arrays of the original project, which have a vocabulary of their own.
    particles : {"tables", "generator"}
        Which generated particles it keeps.
    """

    name: str
    path: str = ""
    size: int = 0
    hash: str = ""
    runs: list[Run | MemoryRun] = field(default_factory=list)
    n_read: int = 0
    findings: Findings = field(default_factory=Findings)
    unknown_codes: dict[str, int] = field(default_factory=dict)
    label_names: list[str] = field(default_factory=list)
    observable_names: list[str] = field(default_factory=list)
    vocabulary_size: int = 0
    particles: ParticleSet = "tables"


class MemoryBudget:
    """Room for runs that need not be written to the disk and read again.

    Parameters
    ----------
    n_bytes : int
        How much there is.
    """

    def __init__(self, n_bytes: int) -> None:
        self.left = n_bytes
        self._lock = threading.Lock()
        #: Set when the work of the other threads is of no use any more.
        self.stopped = False

    def take(self, n_bytes: int) -> bool:
        """Ask for room.

        Parameters
        ----------
        n_bytes : int
            Needed.

        Returns
        -------
        bool
            Whether there was enough; it is taken then.
        """
        with self._lock:
            if n_bytes > self.left:
                return False
            self.left -= n_bytes
            return True


def shuffle_salt(seed: int) -> str:
    """Give the salt of the shuffle at writing.

    Parameters
    ----------
    seed : int
        From the settings.

    Returns
    -------
    str
        Salt for `keys.hash_keys`.
    """
    return f"smartbkg_tf shuffle {seed}"


def block_of(
    table: EventTable,
    encoded: EncodedEvents,
    settings: ReadingSettings,
    source: int,
) -> EventBlock:
    """Put encoded events together with everything that travels along.

    Parameters
    ----------
    table : EventTable
        Usable events; left unchanged.
    encoded : EncodedEvents
        The same events.
    settings : ReadingSettings
        Holds the seed.
    source : int
        Position of the file.

    Returns
    -------
    EventBlock
        In the order of the table.
    """
    labels = np.empty((len(table), len(table.labels)), dtype=np.int8)
    for i, values in enumerate(table.labels.values()):
        labels[:, i] = values
    keys = np.stack([np.asarray(table.keys[name], np.int64) for name in KEY_COLUMNS], axis=1)
    return EventBlock(
        hash=hash_keys(table.keys, shuffle_salt(settings.seed)),
        content=np.zeros(len(table), dtype=np.uint64),
        keys=keys,
        labels=labels,
        observables=_rows_of(list(table.observables.values()), len(table)),
        source=np.full(len(table), source, dtype=np.int32),
        n_particles=np.diff(encoded.offsets).astype(np.int32),
        n_tokens=np.diff(encoded.decay_offsets).astype(np.int32),
        encoded=encoded,
    )


def _rows_of(columns: list[npt.NDArray[Any]], n_rows: int) -> npt.NDArray[np.float64]:
    """Copy columns into rows [n_rows, n_columns]; in one go where they are views into rows."""
    if not columns:
        return np.empty((n_rows, 0), dtype=np.float64)
    columns = [np.asarray(values, dtype=np.float64) for values in columns]
    memory, step, places = side_by_side(columns)
    if any(b - a != 8 for a, b in pairwise(places)):
        return np.stack(columns, axis=1)
    shape = (n_rows, len(columns))
    return np.ndarray(shape, np.float64, memory, strides=(step, 8)).copy()


def read_source(
    path: Path,
    source: int,
    directory: Path,
    settings: ReadingSettings,
    progress: Callable[[int], None] | None = None,
    memory: MemoryBudget | None = None,
    opened: TrainingFile | None = None,
    alone: bool = True,
) -> SourceReport:
    """Read one file into sorted runs.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    source : int
        Its position among all files.
    directory : pathlib.Path
        Where runs are written.
    settings : ReadingSettings
        How.
    progress : callable, optional
        Told the number of events of every chunk.
    memory : MemoryBudget, optional
        Runs stay in memory as long as there is room; without it all are files.
    opened : TrainingFile, optional
        The file, if it is open already; it is closed.
    alone : bool, default True
        Whether no other file is read at the same time: the file is then hashed meanwhile.

    Returns
    -------
    SourceReport
        Runs and faults.

    Raises
    ------
    InputError
        When the file cannot be read.
    """
    report = SourceReport(name=path.name, path=str(path))
    hasher = FileHasher(path, beside=alone)
    scratch = Scratch()
    chunks = _encoded_chunks(path, settings, report, opened)
    for number, (table, encoded, n_read) in enumerate(chunks):
        if memory is not None and memory.stopped:
            break
        report.n_read += n_read
        if len(table):
            block = block_of(table, encoded, settings, source)
            columns = (list(table.labels), list(table.observables))
            if memory is not None and memory.take(bytes_of(block, encoded)):
                report.runs.append(MemoryRun(block, *columns))
            else:
                # Not made, and so not removed, for small samples: a disk may wait for that.
                directory.mkdir(exist_ok=True)
                run = directory / f"{source:06d}-{number:06d}.run"
                report.runs.append(write_run(run, block.take(order_of(block), scratch), *columns))
        if progress is not None:
            progress(n_read)
    report.size, report.hash = hasher.result()
    return report


def _encoded_chunks(
    path: Path,
    settings: ReadingSettings,
    report: SourceReport,
    opened: TrainingFile | None,
) -> Iterator[tuple[EventTable, EncodedEvents, int]]:
    """Usable events, encoded, and how many were read for them; the report is filled."""
    if is_legacy(path):
        report.label_names.append("label")
        for table, encoded, findings in read_legacy(path, settings.chunk_events):
            report.findings.extend(findings)
            for tokens in (encoded.pdg, encoded.mother_pdg, encoded.decay):
                largest = int(tokens.max(initial=0))
                report.vocabulary_size = max(report.vocabulary_size, largest + 1)
            yield table, encoded, len(table) + sum(f.count for f in findings)
        return
    report.particles = particle_set(path) or "tables"
    vocabulary = default_vocabulary()
    for table in _tables(path, settings, opened):
        n_read = len(table)
        for names, known in (
            (table.labels, report.label_names),
            (table.observables, report.observable_names),
        ):
            known.extend(name for name in names if name not in known)
        table, encoded, found = check_and_encode(
            table, settings.encoding, vocabulary, file=str(path)
        )
        report.findings.extend(found)
        for code, count in encoded.report.unknown_codes.items():
            report.unknown_codes[code] = report.unknown_codes.get(code, 0) + count
        yield table, encoded, n_read


def _tables(
    path: Path, settings: ReadingSettings, opened: TrainingFile | None
) -> Iterator[EventTable]:
    """Read a file chunk by chunk, which may be open already."""
    chunk = settings.chunk_events
    if opened is None:
        for _, table in iterate_events([path], key=settings.key, chunk_events=chunk):
            yield table
        return
    with opened:
        for start in range(0, len(opened), chunk):
            yield opened.read(start, start + chunk)


def read_sources(
    paths: Sequence[Path],
    directory: Path,
    settings: ReadingSettings,
    workers: int,
    memory_bytes: int | None = None,
) -> list[SourceReport]:
    """Read all files, several at a time.

    Parameters
    ----------
    paths : sequence of pathlib.Path
        Files.
    directory : pathlib.Path
        Where runs are written.
    settings : ReadingSettings
        How.
    workers : int
        Number of threads, or, for ROOT files, processes.
    memory_bytes : int, optional
        Room for runs that stay in memory (not in processes); `MEMORY_BYTES` by default.

    Returns
    -------
    list of SourceReport
        In the order of `paths`.

    Raises
    ------
    InputError
        When files cannot be read; all those that cannot even be opened are named before
        the first one is read.
    UserError
        When a process died.
    """
    memory = MemoryBudget(MEMORY_BYTES if memory_bytes is None else memory_bytes)
    with (
        OpenFiles(paths, settings.key) as files,
        Progress("preprocess: read and encode", total=files.n_events) as progress,
    ):
        if workers == 1 or len(paths) == 1:
            return [
                read_source(path, i, directory, settings, progress.add, memory, files.get(path))
                for i, path in enumerate(paths)
            ]
        n_workers = min(workers, len(paths))
        if any(not is_legacy(path) and file_format(path) == "root" for path in paths):
            # Reading ROOT files is Python's work, which threads cannot share. New processes
            # instead of forks: a process that has loaded TensorFlow cannot fork.
            context = multiprocessing.get_context("spawn")
            processes = ProcessPoolExecutor(n_workers, mp_context=context)
            return _in_parallel(processes, paths, directory, settings, progress, None, None)
        threads = ThreadPoolExecutor(n_workers, thread_name_prefix="read")
        return _in_parallel(threads, paths, directory, settings, progress, memory, files)


def _in_parallel(
    pool: Executor,
    paths: Sequence[Path],
    directory: Path,
    settings: ReadingSettings,
    progress: Progress,
    memory: MemoryBudget | None,
    files: OpenFiles | None,
) -> list[SourceReport]:
    with pool:
        futures = [
            pool.submit(
                read_source,
                path,
                i,
                directory,
                settings,
                memory=memory,
                opened=None if files is None else files.get(path),
                alone=False,
            )
            for i, path in enumerate(paths)
        ]
        try:
            for future in as_completed(futures):
                progress.add(future.result().n_read)
            return [future.result() for future in futures]
        except BrokenProcessPool as error:
            raise UserError(
                "a reading process was killed, most often for want of memory",
                next_step="use fewer workers or a smaller chunk_events",
            ) from error
        finally:
            if memory is not None:
                memory.stopped = True  # threads end at their next chunk
            for future in futures:
                future.cancel()
