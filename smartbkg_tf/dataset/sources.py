"""Read files chunk by chunk, check and encode them: in this process, or in several."""

from __future__ import annotations

import contextlib
import functools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.dataset.duplicates import LABEL, OBSERVABLE
from smartbkg_tf.dataset.hashing import hash_file, new_hash
from smartbkg_tf.dataset.legacy import is_legacy, open_legacy, read_legacy
from smartbkg_tf.encoding.checks import Finding
from smartbkg_tf.encoding.encode import check_and_encode
from smartbkg_tf.encoding.events import Events, Schema, read_frames
from smartbkg_tf.errors import InputError, Problems
from smartbkg_tf.events.keys import hash_keys, key_rows
from smartbkg_tf.events.readers import (
    Reader,
    count_events,
    find_reader,
    iterate_events,
    particle_set,
)
from smartbkg_tf.events.table import KEY_COLUMNS, EventTable
from smartbkg_tf.events.vocabulary import default_vocabulary
from smartbkg_tf.runtime.cluster import run_tasks
from smartbkg_tf.runtime.progress import Progress
from smartbkg_tf.settings.encoding import Column, EncodingSettings
from smartbkg_tf.settings.preprocessing import PreprocessSettings
from smartbkg_tf.settings.sources import ParticleSet

#: What file names of tables end in, when a folder is given.
_SUFFIXES = (".h5", ".hdf5", ".parquet", ".root", ".npz")

#: With several workers, files with more events than this are divided, if their reader can.
RANGE_EVENTS = 200_000

_HASH = Column(name="hash", dtype="uint64")
_KEYS = Column(name="keys", dtype="int64", shape=(len(KEY_COLUMNS),))
_SOURCE = Column(name="source", dtype="int32")


@dataclass(frozen=True)
class Reading:
    """How files are read: as configured, encoded so, of which the columns of `schema` are kept."""

    settings: PreprocessSettings
    encoding: EncodingSettings
    schema: Schema


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

    `path` is the file as it was given, `size` and `hash` those of its bytes, `labelled` whether any
    event has a known label, `vocabulary_size` that of arrays of the original project, which have a
    vocabulary of their own, and `particles` which generated particles the file keeps.
    """

    path: Path
    size: int = 0
    hash: str = ""
    n_read: int = 0
    findings: list[Finding] = field(default_factory=list)
    unknown_codes: Counter[str] = field(default_factory=Counter)
    label_names: dict[str, None] = field(default_factory=dict)
    observable_names: dict[str, None] = field(default_factory=dict)
    labelled: bool = False
    vocabulary_size: int = 0
    particles: ParticleSet = "tables"

    def extend(self, other: SourceReport) -> None:
        """Add what came out of a later part of the same file."""
        self.n_read += other.n_read
        self.findings += other.findings
        self.unknown_codes.update(other.unknown_codes)
        self.label_names |= other.label_names
        self.observable_names |= other.observable_names
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


def read_part(part: Part, reading: Reading, take: Callable[[Events], None]) -> SourceReport:
    """Read a part of a file, and hand over its usable events chunk by chunk.

    Besides the columns of ``reading.schema`` they have hash, keys, source, and one for every label
    and observable.
    """
    report = SourceReport(part.path)
    for table, encoded in _encoded_chunks(part, reading, report):
        report.labelled |= any(np.any(values != -1) for values in table.labels.values())
        if len(table):
            take(
                _travelling(
                    table, encoded.select(reading.schema), reading.settings.seed, part.source
                )
            )
    if part.begin == 0:
        report.size, report.hash = hash_source(part.path)
    return report


def _travelling(table: EventTable, encoded: Events, seed: int, source: int) -> Events:
    """Put encoded events together with everything that travels along."""
    further: dict[Column, npt.NDArray[Any]] = {
        _HASH: hash_keys(table.keys, shuffle_salt(seed)),
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
    part: Part, reading: Reading, report: SourceReport
) -> Iterator[tuple[EventTable, Events]]:
    """Give usable events, encoded; the report is filled."""
    if is_legacy(part.path):
        report.label_names = {"label": None}
        for table, encoded, findings in read_legacy(
            part.path, reading.encoding, reading.settings.chunk_events
        ):
            report.findings += findings
            report.n_read += len(table) + sum(finding.count for finding in findings)
            for name in ("pdg_input", "mother_pdg_input", "decay_input"):
                largest = int(encoded[name].max(initial=0))
                report.vocabulary_size = max(report.vocabulary_size, largest + 1)
            yield table, encoded
        return
    report.particles = particle_set(part.path, reader=reading.settings.reader) or "tables"
    vocabulary = default_vocabulary()
    for table in _tables(part, reading.settings):
        report.n_read += len(table)
        report.label_names |= dict.fromkeys(table.labels)
        report.observable_names |= dict.fromkeys(table.observables)
        usable, encoded, found = check_and_encode(
            table, reading.encoding, vocabulary, file=str(part.path)
        )
        report.findings += found
        report.unknown_codes.update(encoded.report.unknown_codes)
        yield usable, encoded


def _tables(part: Part, settings: PreprocessSettings) -> Iterator[EventTable]:
    tables = iterate_events(
        part.path,
        key=settings.key,
        chunk_events=settings.chunk_events,
        decay_text=False,
        reader=settings.reader,
        begin=part.begin,
        end=part.end,
    )
    yield from (table for _, table in tables)


def count_sources(paths: Sequence[Path], reader: Reader | None = None) -> list[int]:
    """Count the events of all files; one InputError names every file that cannot be opened."""
    counts, problems = [], Problems()
    for path in paths:
        try:
            counts.append(
                sum(len(one["y_output"]) for one in open_legacy(path))
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
    paths: Sequence[Path], reading: Reading, folder: Path, take: Callable[[Events], None]
) -> list[SourceReport]:
    """Read all files, and hand over their events in the order of the files.

    `take` gets the events of a chunk; `folder`, which need not exist, is where processes put the
    events. InputError when files cannot be read: all those that cannot even be opened are named
    before the first one is read. UserError when processes or Dask workers keep dying.
    """
    reader, workers = reading.settings.reader, reading.settings.workers
    counts = count_sources(paths, reader)
    with Progress("preprocess: read and encode", total=sum(counts)) as progress:

        def count_and_take(events: Events) -> None:
            progress.add(len(events))
            take(events)

        parts = _parts(paths, counts, workers, reader)
        here = reading.settings.cluster.name == "none" and (workers == 1 or len(parts) == 1)
        if here:
            reports = [read_part(part, reading, count_and_take) for part in parts]
        else:
            reports = _in_processes(parts, reading, folder, count_and_take)
    whole: dict[int, SourceReport] = {}
    for part, report in zip(parts, reports, strict=True):
        if part.source in whole:
            whole[part.source].extend(report)
        else:
            whole[part.source] = report
    return list(whole.values())


def _parts(
    paths: Sequence[Path], counts: Sequence[int], workers: int, reader: Reader | None
) -> list[Part]:
    parts: list[Part] = []
    for source, (path, n_events) in enumerate(zip(paths, counts, strict=True)):
        divided = workers > 1 and n_events > RANGE_EVENTS and not path.is_dir()
        if not divided or not find_reader(path, reader).divisible:
            parts.append(Part(path, source))
            continue
        for begin in range(0, n_events, RANGE_EVENTS):
            parts.append(Part(path, source, begin, min(begin + RANGE_EVENTS, n_events)))
    return parts


def _in_processes(
    parts: Sequence[Part], reading: Reading, folder: Path, take: Callable[[Events], None]
) -> list[SourceReport]:
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"part-{number:06d}" for number in range(len(parts))]
    results = run_tasks(
        [(part, file.absolute()) for part, file in zip(parts, files, strict=True)],
        functools.partial(_write_part, reading=reading),
        reading.settings.workers,
        reading.settings.cluster,
        in_order=True,
        unit="parts of the input",
        name=lambda job: f"{job[0].path} from event {job[0].begin}",
        where=None,
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


def _write_part(job: tuple[Part, Path], reading: Reading) -> SourceReport:
    """Write the events of a part to a file of frames; runs in a process of its own."""
    part, file = job
    with open(file, "wb") as stream:
        return read_part(part, reading, lambda events: events.write(stream))
