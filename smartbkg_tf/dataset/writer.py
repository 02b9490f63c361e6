"""Which maps a dataset directory holds, and how events are written to them.

One map for each column of the encoding: flat, one row per event, particle, token or member of a
further list; nothing is cut::

    particle_input      float32 [n_particles, n_features without charge]
    charge              int8    [n_particles]       in units of e/3
    pdg_input           int16   [n_particles]
    mother_pdg_input    int16   [n_particles]
    mother_index_input  int16   [n_particles]
    particle_offsets    int64   [n_events + 1]
    decay_input         int16   [n_tokens]
    decay_offsets       int64   [n_events + 1]
    AXIS_offsets        int64   [n_events + 1]      of every further list
    event_type_input    int8    [n_events]

Beside them: ``labels`` int8 [n_events, n_skims] (-1 unknown), ``keys`` int64 [n_events, 4],
``observables`` float64 [n_events, n_observables], and the numbers of particles and tokens,
``n_particles`` and ``n_tokens`` int32 [n_events].
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from smartbkg_tf.dataset.duplicates import written_columns
from smartbkg_tf.dataset.statistics import StreamedStatistics
from smartbkg_tf.dataset.store import MapWriter
from smartbkg_tf.encoding.events import Events, Schema, encoded_schema
from smartbkg_tf.settings.encoding import PARTICLES, TOKENS, EncodingSettings

#: Inputs of a model that come from particles.
PARTICLE_INPUTS = ("particle_input", "pdg_input", "mother_pdg_input", "mother_index_input")

#: Begin of the name of an axis's offsets, where it is not the axis itself.
_OFFSETS_OF = {PARTICLES: "particle", TOKENS: "decay"}


def offsets_name(axis: str) -> str:
    """Name the map of the offsets of a list."""
    return f"{_OFFSETS_OF.get(axis, axis)}_offsets"


def inputs_in(
    key: Literal["all", "train_events", "decay_strings"], encoding: EncodingSettings
) -> tuple[str, ...]:
    """Name the model inputs that a dataset of a part of the tables has."""
    particles = () if key == "decay_strings" else PARTICLE_INPUTS
    further = tuple(column.name for column in encoding.further_columns)
    return (*particles, "decay_input", "event_type_input", *further)


def stored_schema(encoding: EncodingSettings, inputs: Iterable[str]) -> Schema:
    """Describe the columns that are maps of a dataset with these inputs."""
    schema = encoded_schema(encoding)
    if "particle_input" in inputs:
        return schema
    return Schema(tuple(column for column in schema.columns if column.axis != PARTICLES))


class DatasetWriter:
    """Write the maps of a dataset directory, an existing folder, piece by piece."""

    def __init__(
        self,
        directory: Path,
        *,
        encoding: EncodingSettings,
        inputs: Sequence[str],
        label_names: Sequence[str],
        observable_names: Sequence[str],
    ) -> None:
        self.encoding = encoding
        self.inputs = tuple(inputs)
        self.label_names = list(label_names)
        self.observable_names = list(observable_names)
        further = written_columns(len(self.label_names), len(self.observable_names))
        self.schema = Schema((*stored_schema(encoding, inputs).columns, *further))
        self.n_events = 0
        self.n_rows = {PARTICLES: 0, TOKENS: 0, **dict.fromkeys(self.schema.axes, 0)}
        self.truncated = {PARTICLES: 0, TOKENS: 0}
        self.longest = {PARTICLES: 0, TOKENS: 0}
        #: Of all features but the charge, and of the charge (e).
        self.statistics = StreamedStatistics(
            encoded_schema(encoding).by_name["particle_input"].shape[0]
        )
        self.charge_statistics = StreamedStatistics(1)
        #: Events that pass, fail, and are unknown [n_skims, 3], and all events, by event type.
        self.label_counts: dict[int, npt.NDArray[np.int64]] = {}
        self.event_counts: dict[int, int] = {}
        self._writers: dict[str, MapWriter] = {}
        for name, dtype, shape in self._maps():
            self._writers[name] = MapWriter(directory, name, dtype, shape)
        for axis in self.schema.axes:
            self._writers[offsets_name(axis)].append(np.zeros(1, dtype=np.int64))

    def _maps(self) -> list[tuple[str, str, tuple[int, ...]]]:
        """Name, type and shape of a row of every map, in the order of ``dataset.json``."""
        columns = self.schema.columns
        maps: list[tuple[str, str, tuple[int, ...]]] = []
        for axis in self.schema.axes:
            maps += [(c.name, c.dtype, c.shape) for c in columns if c.axis == axis]
            maps.append((offsets_name(axis), "int64", ()))
        maps += [("n_particles", "int32", ()), ("n_tokens", "int32", ())]
        maps += [(c.name, c.dtype, c.shape) for c in columns if c.axis not in self.schema.axes]
        return maps

    def append(self, events: Events) -> None:
        """Write the next events, which have the columns of the schema.

        ValueError when a column does not fit its map, OSError when the disk is full.
        """
        columns = {column.name: events[column.name] for column in self.schema.columns}
        for axis in self.schema.axes:
            columns[offsets_name(axis)] = events.offsets[axis][1:] + self.n_rows[axis]
            self.n_rows[axis] += events.n_rows(axis)
        for axis, limit in (
            (PARTICLES, self.encoding.max_particles),
            (TOKENS, self.encoding.max_tokens),
        ):
            lengths = events.lengths(axis)
            columns[f"n_{axis}"] = lengths.astype(np.int32)
            self.truncated[axis] += int(np.count_nonzero(lengths > limit))
            self.longest[axis] = max(self.longest[axis], int(lengths.max(initial=0)))
        for name, values in columns.items():
            self._writers[name].append(values)
        self.n_events += len(events)
        self._count(events["labels"], events["event_type_input"])
        if "particle_input" in columns:
            self.statistics.add(columns["particle_input"])
        if "charge" in columns:
            self.charge_statistics.add(columns["charge"][:, np.newaxis] / np.float32(3))

    def _count(self, labels: npt.NDArray[np.int8], event_type: npt.NDArray[np.int8]) -> None:
        for code in np.unique(event_type).tolist():
            mine = labels[event_type == code]
            counts = [np.count_nonzero(mine == value, axis=0) for value in (1, 0, -1)]
            self.label_counts[code] = self.label_counts.get(code, 0) + np.stack(counts, axis=1)
            self.event_counts[code] = self.event_counts.get(code, 0) + len(mine)

    def close(self) -> dict[str, dict[str, Any]]:
        """Finish all maps; gives for each what `MapWriter.close` gives."""
        return {name: writer.close() for name, writer in self._writers.items()}

    def __enter__(self) -> DatasetWriter:
        """Begin to write."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close all files, whole or not."""
        for writer in self._writers.values():
            writer.abandon()
