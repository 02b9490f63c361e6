"""Bias observables by event key, in Parquet: what ``evaluate observables=FILE`` reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from smartbkg_tf.events.table import EVENT_TYPES, KEY_COLUMNS, EventTable
from smartbkg_tf.runtime.files import atomic_file

#: Folder beside the training tables, and the file that joins all others in it.
FOLDER, JOINED = "observables", "all.parquet"


def observables_name(table: str) -> str:
    """Name the observables of a training table, relative to the output folder."""
    return f"{FOLDER}/{Path(table).stem}.parquet"


def write_observables(path: Path, table: EventTable) -> None:
    """Write keys, event type (text) and a float64 column for each observable of some events."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = np.array([*EVENT_TYPES, "unknown"])
    columns = {name: pa.array(table.keys[name]) for name in KEY_COLUMNS}
    columns["event_type"] = pa.array(names[table.event_type].tolist(), pa.string())
    columns |= {name: pa.array(values) for name, values in table.observables.items()}
    with atomic_file(path) as partial:
        pq.write_table(pa.table(columns), partial)


def join_observables(directory: Path, tables: Sequence[str]) -> None:
    """Join the observables of several tables in one file, one after the other."""
    import pyarrow.parquet as pq

    parts = [directory / observables_name(name) for name in tables]
    with (
        atomic_file(directory / FOLDER / JOINED) as partial,
        pq.ParquetWriter(partial, pq.read_schema(parts[0])) as writer,
    ):
        for part in parts:
            writer.write_table(pq.read_table(part))
