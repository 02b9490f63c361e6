"""The events that `apply` reads: event files of any kind, or a dataset directory, in chunks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from smartbkg_tf.dataset.dataset import Dataset, open_dataset
from smartbkg_tf.dataset.information import particles_of
from smartbkg_tf.dataset.split import as_fractions
from smartbkg_tf.errors import InputError
from smartbkg_tf.events.readers import count_events, iterate_events, particle_set
from smartbkg_tf.events.table import KEY_COLUMNS
from smartbkg_tf.filtering.scorers import Scorer, Scores
from smartbkg_tf.runtime.files import expand_inputs
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


class EventsToScore:
    """The events that a scorer is applied to; nothing is read before `scored`."""

    def __init__(self, settings: ApplySettings) -> None:
        self.settings = settings
        self.paths = expand_inputs(settings.input, made_by=_MADE_BY)
        self.dataset: Dataset | None = None
        self.indices: npt.NDArray[np.int64] | None = None
        folders = [path for path in self.paths if path.is_dir()]
        if folders:
            if len(self.paths) > 1:
                raise InputError(
                    f"input: a dataset directory ({folders[0]}) is given alone, not with "
                    f"{len(self.paths) - 1} other inputs",
                    next_step="apply the model to each of them separately",
                )
            self.dataset = open_dataset(folders[0])
            self.total = len(self.dataset)
            return
        if settings.split != "all":
            raise InputError(
                f"split={settings.split} chooses events of a dataset directory; the input "
                "consists of event files",
                where=self.paths[0],
            )
        self.total = sum(count_events(path, reader=settings.reader) for path in self.paths)

    def prepare(self, scorer: Scorer, run: RunDirectory | None) -> None:
        """Restrict a dataset to the `split` asked for, as the run divided it.

        Refuses events that keep other generated particles than those the model was trained on;
        ROOT files are read as the model needs them.
        """
        wanted, part = scorer.description.particles, self.settings.split
        for path in self.paths:
            if self.dataset is not None:
                there: ParticleSet | None = particles_of(self.dataset.information)
            else:
                there = particle_set(path, reader=self.settings.reader)
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
        self.total = len(self.indices)

    def scored(self, scorer: Scorer) -> Iterator[ScoredChunk]:
        """Score all events, at most ``chunk_events`` at a time, in the order of the input."""
        size = self.settings.chunk_events
        if self.dataset is not None:
            rows = self.indices
            if rows is None:
                rows = np.arange(len(self.dataset), dtype=np.int64)
            for start in range(0, len(rows), size):
                yield score_rows(scorer, self.dataset, rows[start : start + size])
            return
        for path, table in iterate_events(
            self.paths,
            key=self.settings.key,
            chunk_events=size,
            particles=scorer.description.particles,
            reader=self.settings.reader,
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
        f"is {key}",
        where=scorer.where,
        next_step="look for NaN or infinite values in these events, then in the model's weights",
    )
