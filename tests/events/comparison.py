"""Read event files with one reader, and compare event tables to the last bit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from smartbkg_tf.events.hdf5 import HDF5Reader
from smartbkg_tf.events.readers import Key, Reader, as_asked
from smartbkg_tf.events.table import KEY_COLUMNS, EventTable


def read_with(
    reader: Reader,
    path: Path,
    *,
    key: Key = "all",
    chunk_events: int = 20000,
    decay_text: bool = True,
) -> Iterator[EventTable]:
    """Read a file as `iterate_events` does, whatever the file looks like."""
    first_event = 0
    for table in reader.iterate(path, chunk_events=chunk_events, key=key):
        yield as_asked(table, key, path, first_event, decay_text=decay_text)
        first_event += len(table)


def iterate_hdf5(
    path: Path, *, key: Key = "all", chunk_events: int = 20000, decay_text: bool = True
) -> Iterator[EventTable]:
    """Read a training table in HDF5."""
    return read_with(HDF5Reader(), path, key=key, chunk_events=chunk_events, decay_text=decay_text)


def assert_same_events(found: EventTable, expected: EventTable, *, strings: bool = True) -> None:
    """Fail where two tables differ in a number, a type, a name or an order."""
    assert len(found) == len(expected)
    np.testing.assert_array_equal(found.offsets, expected.offsets)
    assert set(found.particles) == set(expected.particles)
    for name, values in expected.particles.items():
        assert found.particles[name].dtype == values.dtype, name
        # As bytes, so that NaN equals NaN and -0 differs from 0.
        assert found.particles[name].tobytes() == values.tobytes(), name
    for name in KEY_COLUMNS:
        assert found.keys[name].dtype == np.int64
        np.testing.assert_array_equal(found.keys[name], expected.keys[name], err_msg=name)
    np.testing.assert_array_equal(found.event_type, expected.event_type)
    assert list(found.labels) == list(expected.labels)
    for name, values in expected.labels.items():
        np.testing.assert_array_equal(found.labels[name], values, err_msg=name)
    assert list(found.observables) == list(expected.observables)
    for name, values in expected.observables.items():
        assert found.observables[name].tobytes() == values.tobytes(), name
    if strings and expected.decay_strings is not None:
        assert found.decay_strings is not None
        assert found.decay_strings.tolist() == expected.decay_strings.tolist()
