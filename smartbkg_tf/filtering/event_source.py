"""The events that `apply` reads: event files of any kind, or a dataset directory, in parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.dataset.dataset import Dataset, open_dataset
from smartbkg_tf.dataset.hashing import new_hash
from smartbkg_tf.dataset.information import FILE_NAME, particles_of
from smartbkg_tf.dataset.split import as_fractions
from smartbkg_tf.dataset.store import fingerprint
from smartbkg_tf.errors import InputError
from smartbkg_tf.events.readers import Reader, find_reader, iterate_events
from smartbkg_tf.events.table import KEY_COLUMNS
from smartbkg_tf.filtering.scorers import Scorer, Scores
from smartbkg_tf.runtime.files import expand_inputs, sha256
from smartbkg_tf.runtime.run_directory import RunDirectory
from smartbkg_tf.settings.filtering import ApplySettings
from smartbkg_tf.settings.sources import ParticleSet

_MADE_BY = "python -m smartbkg_tf.produce ... or python -m smartbkg_tf.preprocess ..."


@dataclass(frozen=True)
class ScoredChunk:
    """Scored events."""

    keys: Mapping[str, npt.NDArray[np.int64]]  # [n] each: experiment, run, event, production
    event_type: npt.NDArray[np.int8]  # [n] position in `EVENT_TYPES`, -1 if unknown
    scores: Scores  # [n, skims] logits
    labels: Mapping[str, npt.NDArray[np.int8]]  # [n] by skim, -1 unknown


@dataclass(frozen=True)
class InputPart:
    """Events `begin` to `end` of an input; all of a file that must be read from its beginning."""

    path: Path  # absolute
    n_events: int
    begin: int = 0
    end: int | None = None
    #: Which events of a dataset directory, [n_events]; None: `begin` to `end`.
    rows: npt.NDArray[np.int64] | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        """Name the part in messages."""
        return f"{self.path} (events {self.begin} to {self.begin + self.n_events})"

    def state(self) -> dict[str, Any]:
        """Tell the input from a later one of the same name, and the part from others."""
        if self.path.is_dir():
            content: Any = sha256(self.path / FILE_NAME)
        else:
            place = self.path.stat()
            content = {"size": place.st_size, "modified": place.st_mtime_ns}
        rows = new_hash()
        rows.update(b"" if self.rows is None else np.ascontiguousarray(self.rows).tobytes())
        return {
            "path": str(self.path),
            "content": content,
            "begin": self.begin,
            "end": self.end,
            "rows": rows.hexdigest(),
        }


class EventsToScore:
    """The events that a scorer is applied to; nothing is read here but their numbers."""

    def __init__(self, settings: ApplySettings) -> None:
        self.settings = settings
        self.paths = expand_inputs(settings.input, made_by=_MADE_BY)
        self.dataset: Dataset | None = None
        self.indices: npt.NDArray[np.int64] | None = None
        self.readers: list[Reader] = []
        folders = [path for path in self.paths if path.is_dir()]
        if folders:
            if len(self.paths) > 1:
                raise InputError(
                    f"input: a dataset directory ({folders[0]}) is given alone, not with "
                    f"{len(self.paths) - 1} other inputs",
                    next_step="apply the model to each of them separately",
                )
            self.dataset = open_dataset(folders[0])
            return
        if settings.split != "all":
            raise InputError(
                f"split={settings.split} chooses events of a dataset directory; the input "
                "consists of event files",
                where=self.paths[0],
            )
        _refuse_copies(self.paths)
        self.readers = [find_reader(path, settings.reader) for path in self.paths]
        self.counts = [
            reader.count(path) for path, reader in zip(self.paths, self.readers, strict=True)
        ]

    def prepare(self, scorer: Scorer, run: RunDirectory | None) -> None:
        """Restrict a dataset to the `split` asked for, as the run divided it.

        Refuses events that keep other generated particles than those the model was trained on;
        ROOT files are read as the model needs them.
        """
        wanted, part = scorer.description.particles, self.settings.split
        for i, path in enumerate(self.paths):
            if self.dataset is not None:
                there: ParticleSet | None = particles_of(self.dataset.information)
            else:
                there = self.readers[i].particle_set(path)
            if there not in (None, wanted):
                raise InputError(
                    f"was produced with source.particles={there}, but the model was trained on "
                    f"source.particles={wanted}: radiated photons are in one of them only",
                    where=path,
                    next_step=f"produce the events with source.particles={wanted}",
                )
        if self.dataset is None or part == "all":
            return
        if run is None:
            raise InputError(
                f"split={part} needs a run directory: an exported model does not know "
                "which events it was trained on",
                next_step="give run=RUN_DIR",
            )
        self.indices = split_of_run(run, self.dataset)[part]

    def parts(self) -> list[InputPart]:
        """Divide the events into parts of at most ``chunk_events``, in the order of the input.

        A file whose reader cannot begin anywhere, or without events, is one part.
        """
        size = self.settings.chunk_events
        parts = []
        if self.dataset is not None:
            rows, path = self.indices, self.paths[0].absolute()
            total = len(self.dataset) if rows is None else len(rows)
            for begin in range(0, total, size):
                end = min(begin + size, total)
                mine = None if rows is None else rows[begin:end]
                parts.append(InputPart(path, end - begin, begin, end, mine))
            return parts
        for path, reader, n_events in zip(self.paths, self.readers, self.counts, strict=True):
            if not reader.divisible or n_events <= size:
                parts.append(InputPart(path.absolute(), n_events))
                continue
            for begin in range(0, n_events, size):
                end = min(begin + size, n_events)
                parts.append(InputPart(path.absolute(), end - begin, begin, end))
        return parts


def _refuse_copies(paths: Sequence[Path]) -> None:
    """Refuse two files of equal content: their events would be decided about twice."""
    # Among thousands of tables many have equal sizes by chance. Probes tell these apart, so that
    # only copies are read as a whole.
    alike = [
        same
        for sizes in _groups(paths, lambda path: path.stat().st_size)
        for same in _groups(sizes, fingerprint)
    ]
    for same in alike:
        seen: dict[str, Path] = {}
        for path in same:
            first = seen.setdefault(sha256(path), path)
            if first is not path:
                raise InputError(
                    f"is a copy of {first}: its events would be decided about twice",
                    where=path,
                    next_step="leave one of them out",
                )


def _groups(paths: Sequence[Path], of: Callable[[Path], object]) -> list[list[Path]]:
    """Give the groups of at least two files that have something in common."""
    groups: dict[object, list[Path]] = {}
    for path in paths:
        groups.setdefault(of(path), []).append(path)
    return [group for group in groups.values() if len(group) > 1]


def scored_events(
    part: InputPart, settings: ApplySettings, scorer: Scorer
) -> Iterator[ScoredChunk]:
    """Score the events of a part, at most ``chunk_events`` at a time."""
    if part.path.is_dir():
        rows = np.arange(part.begin, part.end) if part.rows is None else part.rows
        yield score_rows(scorer, open_dataset(part.path), rows)
        return
    for path, table in iterate_events(
        part.path,
        key=settings.key,
        chunk_events=settings.chunk_events,
        particles=scorer.description.particles,
        decay_text=False,
        reader=settings.reader,
        begin=part.begin,
        end=part.end,
    ):
        yield finite(
            ScoredChunk(
                keys=table.keys,
                event_type=table.event_type,
                scores=scorer.score_events(table, path),
                labels=table.labels,
            ),
            scorer,
        )


def score_rows(scorer: Scorer, dataset: Dataset, rows: npt.NDArray[np.int64]) -> ScoredChunk:
    """Score the events of a dataset at the positions `rows` [n]."""
    labels = np.asarray(dataset.labels[rows])
    chunk = ScoredChunk(
        keys={name: np.asarray(dataset.keys[name])[rows] for name in KEY_COLUMNS},
        event_type=np.asarray(dataset.event_type)[rows],
        scores=scorer.score_dataset(dataset, rows),
        labels={name: labels[:, i] for i, name in enumerate(dataset.label_names)},
    )
    return finite(chunk, scorer)


def split_of_run(run: RunDirectory, dataset: Dataset) -> dict[str, npt.NDArray[np.int64]]:
    """Divide a dataset into train, validation and test events as the run did."""
    data = run.read_config().get("data")
    if not isinstance(data, dict) or not isinstance(data.get("fractions"), dict):
        raise InputError("data.fractions is missing", where=run.config)
    return dataset.split(as_fractions(data["fractions"]))


def finite(chunk: ScoredChunk, scorer: Scorer) -> ScoredChunk:
    """Give the chunk back, or raise `InputError` naming the first event without a finite score."""
    broken = np.logical_not(np.isfinite(chunk.scores).all(axis=1))
    if not broken.any():
        return chunk
    first = int(np.argmax(broken))
    key = ", ".join(f"{name} {int(chunk.keys[name][first])}" for name in KEY_COLUMNS)
    raise InputError(
        f"gives no finite score for {int(broken.sum())} of {broken.size} events; the first "
        f"is that of {key}",
        where=scorer.where,
        next_step="look for NaN or infinite values in these events, then in the model's weights",
    )
