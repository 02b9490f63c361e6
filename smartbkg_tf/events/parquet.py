"""Training tables in Parquet: one row per event, particles as lists.

Columns: experiment, run, event, production, n_particles, event_type (text),
``label_<skim>``, the observables, decay_str, and a list per particle column of
`smartbkg_tf.events.table.PARTICLE_COLUMNS`. Any Parquet reader (pandas, polars, awkward,
DuckDB) opens it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from smartbkg_tf.errors import InputError, OutputError, did_you_mean
from smartbkg_tf.events.columns import (
    event_columns,
    events_from_columns,
    particle_column,
    texts,
)
from smartbkg_tf.events.decay_strings import strings_to_write
from smartbkg_tf.events.readers import Key, Reader, begins_with
from smartbkg_tf.events.table import KEY_COLUMNS, PARTICLE_COLUMNS, EventTable, offsets_of
from smartbkg_tf.runtime.files import atomic_file
from smartbkg_tf.settings.base import settings
from smartbkg_tf.settings.sources import ParticleSet

Array = npt.NDArray[Any]

_MADE_BY = "such files are made by: python -m smartbkg_tf.produce ... format=parquet"

#: Events that are packed together; a reader holds one such group in memory.
ROW_GROUP = 5000


def write_parquet(
    path: str | Path, table: EventTable, *, particles: ParticleSet = "tables"
) -> None:
    """Write a training table, whole or not at all.

    Parameters
    ----------
    path : str or pathlib.Path
        The file; one of that name is replaced.
    table : EventTable
        With particles, decay strings or both; decay strings that are missing are built.
    particles : {"tables", "generator"}, default "tables"
        Which generated particles they are; recorded in the file.

    Raises
    ------
    OutputError
        When the table has neither particles nor decay strings, an observable has the name
        of another column, or the file cannot be written.
    InputError
        When decay strings must be built and mother links are broken.
    """
    columns: dict[str, Any] = {}
    for name, values in event_columns(table, path).items():
        columns[name] = (
            pa.array(texts(values, where=name), pa.string())
            if values.dtype.kind == "S"
            else pa.array(values)
        )
    columns["decay_str"] = pa.array(strings_to_write(table, path), pa.string())
    clash = [name for name in columns if name in PARTICLE_COLUMNS]
    if clash:
        raise OutputError(f"an observable cannot be called '{clash[0]}'", where=path)
    if table.particles:
        offsets = pa.array(table.offsets, pa.int32())
        for name, dtype in PARTICLE_COLUMNS.items():
            values = pa.array(np.ascontiguousarray(table.particles[name], dtype=dtype))
            columns[name] = pa.ListArray.from_arrays(offsets, values)
    metadata = None if particles == "tables" else {"particles": particles}
    with atomic_file(path) as partial:
        pq.write_table(
            pa.table(columns, metadata=metadata),
            partial,
            row_group_size=ROW_GROUP,
            compression="zstd",
            # Dictionaries pay for codes and texts, not for numbers that never repeat.
            use_dictionary=[
                name for name in columns if name in ("PDG", "motherPDG", "status", "event_type")
            ],
        )


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"cannot be read as Parquet; it is probably truncated or damaged ({reason[:200]})",
            where=path,
            next_step=f"make or copy it again; {_MADE_BY}",
        ) from error


def _open(path: Path) -> Any:
    with _explained(path):
        return pq.ParquetFile(path, memory_map=False)


def _wanted(file: Any, key: Key, path: Path) -> list[str]:
    """Choose the columns to read."""
    there = file.schema_arrow.names
    missing = [name for name in KEY_COLUMNS if name not in there]
    particles = key != "decay_strings"
    if particles:
        missing += [name for name in PARTICLE_COLUMNS if name not in there]
    elif "decay_str" not in there:
        missing.append("decay_str")
    if missing:
        raise InputError(
            f"is not a training table: it lacks the columns {', '.join(missing)}; "
            f"{did_you_mean(missing[0], there, 30)}",
            where=path,
            next_step=_MADE_BY,
        )
    lists = [
        name
        for name, kind in zip(there, file.schema_arrow.types, strict=True)
        if pa.types.is_nested(kind)
    ]
    chosen = [name for name in there if name not in lists and name != "decay_str"]
    # With particles, their mother links tell the same as the decay strings.
    return chosen + (list(PARTICLE_COLUMNS) if particles else ["decay_str"])


def _plain(column: Any, where: str) -> Array:
    """Give a column of numbers or texts as an array."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if column.null_count and not pa.types.is_floating(column.type):
        raise InputError(f"{column.null_count} entries are missing", where=where)
    values: Array = column.to_numpy(zero_copy_only=False)
    return values


def _table(batch: Any, path: Path, first_event: int) -> EventTable:
    names = batch.schema.names
    raw = {
        name: _plain(batch.column(name), f"{path}: {name}")
        for name in names
        if name not in PARTICLE_COLUMNS and name != "decay_str"
    }
    columns: dict[str, Array] = {}
    offsets = np.zeros(batch.num_rows + 1, dtype=np.int64)
    if "PDG" in names:
        columns, offsets = _particles(batch, path, raw.get("n_particles"))
    table = events_from_columns(raw, offsets, str(path), first_event)
    if "decay_str" in names:
        where = f"{path}: decay_str"
        strings = _plain(batch.column("decay_str"), where)
        table = replace(table, decay_strings=texts(strings, where=where, first_row=first_event))
    return replace(table, particles=columns)


def _particles(batch: Any, path: Path, counts: Array | None) -> tuple[dict[str, Array], Array]:
    columns: dict[str, Array] = {}
    offsets: Array | None = None
    for name in PARTICLE_COLUMNS:
        where = f"{path}: {name}"
        lists = batch.column(name)
        if not (pa.types.is_list(lists.type) or pa.types.is_large_list(lists.type)):
            raise InputError(f"holds no lists but {lists.type}", where=where)
        if lists.null_count:
            raise InputError(f"the lists of {lists.null_count} events are missing", where=where)
        borders = lists.offsets.to_numpy().astype(np.int64)
        borders = borders - borders[0]
        if offsets is None:
            offsets = borders
        elif not np.array_equal(borders, offsets):
            raise InputError("the lists are not as long as those of the PDG codes", where=where)
        values = _plain(lists.flatten(), where)
        columns[name] = particle_column(name, values, where=where)
    assert offsets is not None
    if counts is not None and not np.array_equal(np.diff(offsets), counts):
        raise InputError("n_particles does not count the particles of each event", where=path)
    return columns, offsets


def _row_groups(metadata: Any, begin: int, end: int) -> tuple[list[int], int]:
    """Choose the row groups that hold some events; give the first event of the first one, too."""
    borders = offsets_of([metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)])
    chosen = np.flatnonzero((borders[:-1] < end) & (borders[1:] > begin))
    return chosen.tolist(), int(borders[chosen[0]]) if len(chosen) else end


@settings
class ParquetReader(Reader):
    """Training tables in Parquet; besides a chunk of events one row group is in memory."""

    divisible: ClassVar[bool] = True

    def recognises(self, path: Path) -> bool:
        """Tell by the first bytes."""
        return begins_with(path, b"PAR1")

    def count(self, path: Path) -> int:
        """Count the events, from the file's own counts."""
        with _open(path) as file:
            return int(file.metadata.num_rows)

    def iterate(
        self, path: Path, *, chunk_events: int, key: Key, begin: int = 0, end: int | None = None
    ) -> Iterator[EventTable]:
        """Read the events piece by piece."""
        with _open(path) as file:
            if file.metadata.num_rows == 0:
                raise InputError("holds no events", where=path, next_step=_MADE_BY)
            names = _wanted(file, key, path)
            end = file.metadata.num_rows if end is None else end
            groups, row = _row_groups(file.metadata, begin, end)
            batches = file.iter_batches(batch_size=chunk_events, row_groups=groups, columns=names)
            while True:
                with _explained(path):
                    batch = next(batches, None)
                    if batch is None:
                        return
                    low, high = max(begin - row, 0), min(end - row, batch.num_rows)
                    # Also here: texts are decoded when they become arrays.
                    table = _table(batch.slice(low, max(high - low, 0)), path, row + low)
                    row += batch.num_rows
                if len(table):
                    yield table

    def particle_set(self, path: Path) -> ParticleSet:
        """Read it from the file's metadata."""
        with _open(path) as file:
            metadata = file.schema_arrow.metadata or {}
        return "generator" if metadata.get(b"particles") == b"generator" else "tables"
