"""Read files chunk by chunk, check and encode them: in this process, or in several."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from smartbkg_tf.dataset.duplicates import LABEL, OBSERVABLE
from smartbkg_tf.dataset.hashing import hash_file, new_hash
from smartbkg_tf.dataset.legacy import is_legacy, open_legacy, read_legacy
from smartbkg_tf.encoding.checks import Findings
from smartbkg_tf.encoding.encode import check_and_encode
from smartbkg_tf.encoding.events import Events, Schema, read_frames
from smartbkg_tf.errors import InputError, Problems
from smartbkg_tf.events.hdf5 import TrainingFile
from smartbkg_tf.events.keys import hash_keys, key_rows
from smartbkg_tf.events.readers import (
    Reader,
    count_events,
    file_format,
    iterate_events,
    particle_set,
)
from smartbkg_tf.events.table import KEY_COLUMNS, EventTable
from smartbkg_tf.events.vocabulary import default_vocabulary
from smartbkg_tf.runtime.pool import run_in_processes
from smartbkg_tf.runtime.progress import Progress
from smartbkg_tf.settings.encoding import Column, EncodingSettings
from smartbkg_tf.settings.sources import ParticleSet

#: What file names of tables end in, when a folder is given.
_SUFFIXES = (".h5", ".hdf5", ".parquet", ".root", ".npz")

#: With several workers, HDF5 files with more events than this are divided.
RANGE_EVENTS = 200_000

_HASH = Column(name="hash", dtype="uint64")
_KEYS = Column(name="keys", dtype="int64", shape=(len(KEY_COLUMNS),))
_SOURCE = Column(name="source", dtype="int32")


@dataclass(frozen=True)
class ReadingSettings:
    """What a process needs to know to read a file.

    `schema` names the columns that are kept, `seed` is that of the shuffle, `chunk_events` are in
    memory at a time, and a custom `reader` is asked first.
    """

    key: Literal["all", "train_events", "decay_strings"]
    encoding: EncodingSettings
    schema: Schema
    seed: int
    chunk_events: int
    reader: Reader | None = None


@dataclass(frozen=True)
class Part:
    """Events `begin` to `end` of a file (None: all); `source` is its position among all files."""

    path: Path
    source: int
    begin: int = 0
    end: int | None = None


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
    n_read : int
        Events in the file.
    findings : Findings
        Events that cannot be used.
    unknown_codes : dict of str to int
        Codes without token.
    label_names, observable_names : list of str
        In the order of the file.
    labelled : bool
        Whether any event has a known label.
    vocabulary_size : int
        Tokens of arrays of the original project, which have a vocabulary of their own.
    particles : {"tables", "generator"}
        Which generated particles it keeps.
    """

    name: str
    path: str = ""
    size: int = 0
    hash: str = ""
    n_read: int = 0
    findings: Findings = field(default_factory=Findings)
    unknown_codes: dict[str, int] = field(default_factory=dict)
    label_names: list[str] = field(default_factory=list)
    observable_names: list[str] = field(default_factory=list)
    labelled: bool = False
    vocabulary_size: int = 0
    particles: ParticleSet = "tables"

    def extend(self, other: SourceReport) -> None:
        """Add what came out of a later part of the same file."""
        self.n_read += other.n_read
        self.findings.extend(other.findings)
        for code, count in other.unknown_codes.items():
            self.unknown_codes[code] = self.unknown_codes.get(code, 0) + count
        for mine, names in (
            (self.label_names, other.label_names),
            (self.observable_names, other.observable_names),
        ):
            mine.extend(name for name in names if name not in mine)
        self.labelled |= other.labelled
        self.vocabulary_size = max(self.vocabulary_size, other.vocabulary_size)


def find_files(paths: Sequence[Path]) -> list[Path]:
    """Replace folders by the tables in them, and sort; InputError where there are none."""
    files: set[Path] = set()
    for path in paths:
        if not path.is_dir() or is_legacy(path):
            files.add(path)
            continue
        if (path / "dataset.json").is_file():
            raise InputError(
                "is a dataset directory already",
                where=path,
                next_step="train on it: python -m smartbkg_tf.train data.path=DIR",
            )
        inside = [p for p in path.iterdir() if p.suffix in _SUFFIXES and p.name[0] != "."]
        if not inside:
            raise InputError(
                f"the folder holds no tables ({', '.join(_SUFFIXES)})",
                where=path,
                next_step="tables are made by: python -m smartbkg_tf.produce",
            )
        files.update(inside)
    return sorted(files)


def shuffle_salt(seed: int) -> str:
    """Give the salt of the shuffle at writing, for `keys.hash_keys`."""
    return f"smartbkg_tf shuffle {seed}"


def hash_source(path: Path) -> tuple[int, str]:
    """Give size and XXH3 of a file, or of all files of a folder of arrays."""
    if path.is_file():
        return path.stat().st_size, hash_file(path)
    files = sorted(p for p in path.iterdir() if p.is_file())
    every = new_hash()
    for file in files:
        every.update(f"{file.name} {hash_file(file)}\n".encode())
    return sum(file.stat().st_size for file in files), every.hexdigest()


def read_part(
    part: Part, settings: ReadingSettings, take: Callable[[Events], None]
) -> SourceReport:
    """Read a part of a file, and hand over its usable events chunk by chunk.

    Besides the columns of ``settings.schema`` they have hash, keys, source, and one for every label
    and observable.
    """
    report = SourceReport(name=part.path.name, path=str(part.path))
    for table, encoded in _encoded_chunks(part, settings, report):
        report.labelled |= any(np.any(values != -1) for values in table.labels.values())
        if len(table):
            take(_travelling(table, encoded.select(settings.schema), settings, part.source))
    if part.begin == 0:
        report.size, report.hash = hash_source(part.path)
    return report


def _travelling(
    table: EventTable, encoded: Events, settings: ReadingSettings, source: int
) -> Events:
    """Put encoded events together with everything that travels along."""
    further: dict[Column, npt.NDArray[Any]] = {
        _HASH: hash_keys(table.keys, shuffle_salt(settings.seed)),
        _KEYS: key_rows(table.keys),
        _SOURCE: np.full(len(table), source, dtype=np.int32),
    }
    for name, labels in table.labels.items():
        further[Column(name=LABEL + name, dtype="int8")] = np.asarray(labels, dtype=np.int8)
    for name, values in table.observables.items():
        column = Column(name=OBSERVABLE + name, dtype="float64")
        further[column] = np.array(values, dtype=np.float64)
    return encoded.with_event_columns(further)


def _encoded_chunks(
    part: Part, settings: ReadingSettings, report: SourceReport
) -> Iterator[tuple[EventTable, Events]]:
    """Give usable events, encoded; the report is filled."""
    if is_legacy(part.path):
        report.label_names.append("label")
        for table, encoded, findings in read_legacy(
            part.path, settings.encoding, settings.chunk_events
        ):
            report.findings.extend(findings)
            report.n_read += len(table) + sum(finding.count for finding in findings)
            for name in ("pdg_input", "mother_pdg_input", "decay_input"):
                largest = int(encoded[name].max(initial=0))
                report.vocabulary_size = max(report.vocabulary_size, largest + 1)
            yield table, encoded
        return
    report.particles = particle_set(part.path, reader=settings.reader) or "tables"
    vocabulary = default_vocabulary()
    for table in _tables(part, settings):
        report.n_read += len(table)
        for names, known in (
            (table.labels, report.label_names),
            (table.observables, report.observable_names),
        ):
            known.extend(name for name in names if name not in known)
        usable, encoded, found = check_and_encode(
            table, settings.encoding, vocabulary, file=str(part.path)
        )
        report.findings.extend(found)
        for code, count in encoded.report.unknown_codes.items():
            report.unknown_codes[code] = report.unknown_codes.get(code, 0) + count
        yield usable, encoded


def _tables(part: Part, settings: ReadingSettings) -> Iterator[EventTable]:
    chunk = settings.chunk_events
    if part.end is None:
        # Of our own files the text says what the mother links say, which is not read again.
        for _, table in iterate_events(
            [part.path],
            key=settings.key,
            chunk_events=chunk,
            decay_text=False,
            reader=settings.reader,
        ):
            yield table
        return
    with TrainingFile(part.path, settings.key, decay_text=False) as file:
        for start in range(part.begin, part.end, chunk):
            yield file.read(start, min(start + chunk, part.end))


def count_sources(paths: Sequence[Path], reader: Reader | None = None) -> list[int]:
    """Count the events of all files; one InputError names every file that cannot be opened."""
    counts, problems = [], Problems()
    for path in paths:
        try:
            counts.append(
                sum(map(len, open_legacy(path)))
                if is_legacy(path)
                else count_events(path, reader=reader)
            )
        except InputError as error:
            problems.add(error)
    if len(problems.texts) == 1 and len(paths) == 1:
        raise InputError(problems.texts[0])
    problems.raise_if_any("not all files can be read", kind=InputError)
    return counts


def read_sources(
    paths: Sequence[Path],
    settings: ReadingSettings,
    workers: int,
    folder: Path,
    take: Callable[[Events], None],
) -> list[SourceReport]:
    """Read all files in `workers` processes, and hand over their events in the order of the files.

    `take` gets the events of a chunk; `folder`, which need not exist, is where processes put the
    events. InputError when files cannot be read: all those that cannot even be opened are named
    before the first one is read. UserError when processes keep dying.
    """
    counts = count_sources(paths, settings.reader)
    with Progress("preprocess: read and encode", total=sum(counts)) as progress:

        def count_and_take(events: Events) -> None:
            progress.add(len(events))
            take(events)

        parts = _parts(paths, counts, workers, settings.reader)
        if workers == 1 or len(parts) == 1:
            reports = [read_part(part, settings, count_and_take) for part in parts]
        else:
            reports = _in_processes(parts, settings, workers, folder, count_and_take)
    by_source: dict[int, SourceReport] = {}
    for part, report in zip(parts, reports, strict=True):
        if part.source in by_source:
            by_source[part.source].extend(report)
        else:
            by_source[part.source] = report
    return list(by_source.values())


def _parts(
    paths: Sequence[Path], counts: Sequence[int], workers: int, reader: Reader | None
) -> list[Part]:
    parts: list[Part] = []
    for source, (path, n_events) in enumerate(zip(paths, counts, strict=True)):
        divided = workers > 1 and n_events > RANGE_EVENTS and not path.is_dir()
        if not divided or file_format(path, reader=reader) != "hdf5":
            parts.append(Part(path, source))
            continue
        for begin in range(0, n_events, RANGE_EVENTS):
            parts.append(Part(path, source, begin, min(begin + RANGE_EVENTS, n_events)))
    return parts


def _in_processes(
    parts: Sequence[Part],
    settings: ReadingSettings,
    workers: int,
    folder: Path,
    take: Callable[[Events], None],
) -> list[SourceReport]:
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"part-{number:06d}" for number in range(len(parts))]
    results = run_in_processes(
        list(zip(parts, files, strict=True)),
        functools.partial(_write_part, settings=settings),
        workers,
        in_order=True,
        unit="parts of the input",
        next_step="is memory short? use fewer workers or a smaller chunk_events",
    )
    reports = []
    with contextlib.closing(results):
        for report, file in zip(results, files, strict=True):
            reports.append(report)
            for events in read_frames(file):
                take(events)
            file.unlink()
    return reports


def _write_part(job: tuple[Part, Path], settings: ReadingSettings) -> SourceReport:
    """Write the events of a part to a file of frames; runs in a process of its own."""
    part, file = job
    with open(file, "wb") as stream:
        return read_part(part, settings, lambda events: events.write(stream))
