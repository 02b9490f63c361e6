"""Encoded events: columns on axes, described by a schema.

Some columns have one row per event (axis ``event``), the others belong to a list that every event
has with a length of its own: ``particles``, ``tokens``, or a further one that a feature set
declares. Rows of a list stand one after the other for all events; event i owns
``offsets[axis][i]:offsets[axis][i + 1]``. Whatever is done with events (choosing, joining,
writing, reading, padding) is written once, over the names of the schema.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from smartbkg_tf.events.table import offsets_of as offsets_of
from smartbkg_tf.runtime.kernels import kernel
from smartbkg_tf.settings.base import validate
from smartbkg_tf.settings.encoding import EVENT, PARTICLES, TOKENS, Column, EncodingSettings

Array = npt.NDArray[Any]
Offsets = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Schema:
    """Columns of events, in the order in which they are written."""

    columns: tuple[Column, ...]

    @cached_property
    def by_name(self) -> dict[str, Column]:
        """Column by its name."""
        return {column.name: column for column in self.columns}

    @cached_property
    def axes(self) -> tuple[str, ...]:
        """Names of all lists, without the axis ``event``."""
        return tuple(dict.fromkeys(c.axis for c in self.columns if c.axis != EVENT))

    def select(self, names: Iterable[str]) -> Schema:
        """Keep the columns of these names that are there."""
        chosen = set(names)
        return Schema(tuple(c for c in self.columns if c.name in chosen))

    @cached_property
    def max_lengths(self) -> dict[str, int]:
        """Length of every further list in a batch."""
        lengths: dict[str, int] = {}
        for column in self.columns:
            lengths[column.axis] = max(lengths.get(column.axis, 0), column.max_length)
        return lengths


def encoded_schema(encoding: EncodingSettings) -> Schema:
    """Describe the columns that an encoding gives; their names are those of the memory maps.

    The charge (units of e/3) stands apart from the other features.
    """
    names = encoding.feature_names
    charge = names[-1:] == ("charge",)
    plain = _plain_schema(len(names) - charge, charge)
    if not encoding.further_columns:
        return plain
    return Schema((*plain.columns, *encoding.further_columns))


@lru_cache(maxsize=16)
def _plain_schema(n_features: int, charge: bool) -> Schema:
    """Describe the columns without further ones; kept, because single events are encoded, too."""
    return Schema(
        (
            Column(name="particle_input", axis=PARTICLES, shape=(n_features,)),
            *([Column(name="charge", axis=PARTICLES, dtype="int8", unit="e/3")] if charge else []),
            Column(name="pdg_input", axis=PARTICLES, dtype="int16"),
            Column(name="mother_pdg_input", axis=PARTICLES, dtype="int16"),
            Column(name="mother_index_input", axis=PARTICLES, dtype="int16"),
            Column(name="decay_input", axis=TOKENS, dtype="int16"),
            Column(name="event_type_input", dtype="int8"),
        )
    )


@dataclass(frozen=True)
class EncodingReport:
    """What was noticed while events were encoded.

    `unknown_codes` counts PDG codes (of particles and mothers) and words of decay strings that the
    vocabulary lacks, `truncated_particles` and `truncated_tokens` the events that are longer than
    ``max_particles`` or ``max_tokens``. `broken_strings`, bool [n_events], tells where the brackets
    of the decay string do not fit together; None where tokens came from trees.
    """

    unknown_codes: dict[str, int] = field(default_factory=dict)
    truncated_particles: int = 0
    truncated_tokens: int = 0
    broken_strings: npt.NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Events:
    """Events as flat columns and offsets; nothing is padded and nothing is cut.

    `columns` are arrays [n_rows, ...] by name, `offsets` int64 [n_events + 1] by axis, and `report`
    tells what was noticed when the events were encoded.
    """

    schema: Schema
    columns: Mapping[str, Array]
    offsets: Mapping[str, Offsets]
    n_events: int
    report: EncodingReport = field(default_factory=EncodingReport)

    def __len__(self) -> int:
        """Count the events."""
        return self.n_events

    def __getitem__(self, name: str) -> Array:
        return self.columns[name]

    def n_rows(self, axis: str) -> int:
        """Count the rows of an axis; none of a list that is not there."""
        if axis == EVENT:
            return self.n_events
        return int(self.offsets[axis][-1]) if axis in self.offsets else 0

    def lengths(self, axis: str) -> npt.NDArray[np.int64]:
        """Rows of every event, int64 [n_events]; 0 of a list that is not there."""
        if axis not in self.offsets:
            return np.zeros(self.n_events, dtype=np.int64)
        return np.diff(self.offsets[axis])

    @property
    def n_bytes(self) -> int:
        """Bytes of all columns."""
        return sum(values.nbytes for values in self.columns.values())

    def select(self, schema: Schema) -> Events:
        """See the columns of a smaller schema."""
        columns = {name: self.columns[name] for name in schema.by_name}
        offsets = {axis: self.offsets[axis] for axis in schema.axes}
        return replace(self, schema=schema, columns=columns, offsets=offsets)

    def with_event_columns(self, further: Mapping[Column, Array]) -> Events:
        """Add columns of the axis ``event``."""
        columns = {**self.columns, **{column.name: values for column, values in further.items()}}
        return replace(self, schema=Schema((*self.schema.columns, *further)), columns=columns)

    def take(self, rows: npt.NDArray[np.int64]) -> Events:
        """Choose events by position, in the given order; the report stays that of all."""
        offsets = {axis: offsets_of(self.lengths(axis)[rows]) for axis in self.schema.axes}
        columns: dict[str, Array] = {}
        for column in self.schema.columns:
            values = self.columns[column.name]
            if column.axis == EVENT:
                columns[column.name] = values[rows]
                continue
            out = np.empty((int(offsets[column.axis][-1]), *values.shape[1:]), values.dtype)
            width = values.dtype.itemsize * math.prod(column.shape)
            # Long words are copied faster, and there are four kinds of words only.
            word = f"u{math.gcd(width, 8)}"
            _copy_rows(
                flat_bytes(values).view(word),
                self.offsets[column.axis],
                rows,
                flat_bytes(out).view(word),
                width // np.dtype(word).itemsize,
            )
            columns[column.name] = out
        return replace(self, columns=columns, offsets=offsets, n_events=len(rows))

    def write(self, stream: BinaryIO) -> None:
        """Append the events to a file, for `read_frames`."""
        text = json.dumps([self.n_events, [asdict(column) for column in self.schema.columns]])
        arrays: list[Array] = [
            np.frombuffer(text.encode(), np.uint8),
            *(self.lengths(axis) for axis in self.schema.axes),
            *(self.columns[column.name] for column in self.schema.columns),
        ]
        for values in arrays:
            np.save(stream, values, allow_pickle=False)


def read_frames(path: Path) -> Iterator[Events]:
    """Read what `Events.write` appended to a file, one call after the other."""
    with open(path, "rb") as stream:
        while stream.peek(1):
            n_events, columns = json.loads(np.load(stream).tobytes())
            schema = Schema(tuple(validate(Column, values) for values in columns))
            offsets = {axis: offsets_of(np.load(stream)) for axis in schema.axes}
            arrays = {column.name: np.load(stream) for column in schema.columns}
            yield Events(schema, arrays, offsets, n_events)


def concatenate(parts: Sequence[Events]) -> Events:
    """Put events one after the other; rows of a part that lacks a column are `Column.missing`."""
    if len(parts) == 1:
        return parts[0]
    schema = Schema(tuple(dict.fromkeys(c for part in parts for c in part.schema.columns)))

    def values(part: Events, column: Column) -> Array:
        if column.name in part.columns:
            return part.columns[column.name]
        return np.full((part.n_rows(column.axis), *column.shape), column.missing, column.dtype)

    columns = {
        column.name: np.concatenate([values(part, column) for part in parts])
        for column in schema.columns
    }
    offsets = {
        axis: offsets_of(np.concatenate([part.lengths(axis) for part in parts]))
        for axis in schema.axes
    }
    return Events(schema, columns, offsets, sum(map(len, parts)))


def flat_bytes(values: Array) -> npt.NDArray[np.uint8]:
    """See an array as bytes [n_bytes]."""
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8)


@kernel
def _copy_rows(
    values: npt.NDArray[np.unsignedinteger],
    offsets: Offsets,
    events: npt.NDArray[np.int64],
    out: npt.NDArray[np.unsignedinteger],
    width: int,
) -> None:
    """Copy the rows, of `width` words each, of chosen events one after the other."""
    end = 0
    for event in events:
        source = values[offsets[event] * width : offsets[event + 1] * width]
        target = out[end : end + len(source)]
        for i in range(len(source)):
            target[i] = source[i]
        end += len(source)


def same_events(
    events: Events, first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """Tell for pairs of events [n] whether all their columns are equal in every bit."""
    same = np.ones(len(first), dtype=np.bool_)
    for column in events.schema.columns:
        values = events.columns[column.name]
        width = values.dtype.itemsize * math.prod(column.shape)
        offsets = events.offsets.get(column.axis, np.arange(len(events) + 1, dtype=np.int64))
        _compare_rows(flat_bytes(values), offsets, first, second, same, width)
    return same


@kernel
def _compare_rows(
    values: npt.NDArray[np.uint8],
    offsets: Offsets,
    first: npt.NDArray[np.int64],
    second: npt.NDArray[np.int64],
    same: npt.NDArray[np.bool_],
    width: int,
) -> None:
    for i in range(len(first)):
        one = values[offsets[first[i]] * width : offsets[first[i] + 1] * width]
        other = values[offsets[second[i]] * width : offsets[second[i] + 1] * width]
        if len(one) != len(other):
            same[i] = False
            continue
        for k in range(len(one)):
            if one[k] != other[k]:
                same[i] = False
                break
