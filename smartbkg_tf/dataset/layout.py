"""Which maps a dataset directory holds, and how blocks of events are written to them.

``storage=ragged``: flat columns and offsets, nothing is cut::

    particle_input      float32 [n_particles, n_features without charge]
    charge              int8    [n_particles]       in units of e/3
    pdg_input           int16   [n_particles]
    mother_pdg_input    int16   [n_particles]
    mother_index_input  int16   [n_particles]
    particle_offsets    int64   [n_events + 1]
    decay_input         int16   [n_tokens]
    decay_offsets       int64   [n_events + 1]

``storage=padded``: one row per event, cut at ``max_particles`` and ``max_tokens``::

    particle_input      float32 [n_events, max_particles, n_features]
    pdg_input           int16   [n_events, max_particles]    (mother_... alike)
    decay_input         int16   [n_events, max_tokens]

Both: ``event_type_input`` int8 [n_events], ``labels`` int8 [n_events, n_skims] (-1 unknown),
``keys`` int64 [n_events, 4], ``observables`` float64 [n_events, n_observables], and the
lengths before cutting in ``n_particles`` and ``n_tokens`` int32 [n_events].
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from smartbkg_tf.dataset.blocks import EventBlock, count_labels
from smartbkg_tf.dataset.statistics import StreamedStatistics
from smartbkg_tf.dataset.store import MapWriter
from smartbkg_tf.encoding.encoded import EncodedEvents
from smartbkg_tf.encoding.pad import pad
from smartbkg_tf.settings.encoding import EncodingSettings

#: Inputs of a model that come from particles, and from decay strings.
PARTICLE_INPUTS = ("particle_input", "pdg_input", "mother_pdg_input", "mother_index_input")
DECAY_INPUTS = ("decay_input",)

#: Events that are padded in memory at a time.
_PADDED_EVENTS = 4096


def inputs_in(key: Literal["all", "train_events", "decay_strings"]) -> tuple[str, ...]:
    """Name the model inputs that a dataset of a part of the tables has.

    Parameters
    ----------
    key : {"all", "train_events", "decay_strings"}
        Part of the tables.

    Returns
    -------
    tuple of str
        Names of inputs.
    """
    particles = () if key == "decay_strings" else PARTICLE_INPUTS
    return (*particles, *DECAY_INPUTS, "event_type_input")


class DatasetWriter:
    """Write the maps of a dataset directory block by block.

    Parameters
    ----------
    directory : pathlib.Path
        An existing folder.
    encoding : EncodingSettings
        Feature set and lengths.
    key : {"all", "train_events", "decay_strings"}
        Part of the tables that was read.
    storage : {"ragged", "padded"}
        Layout.
    n_events, n_particles, n_tokens : int
        What will be written altogether.
    label_names, observable_names : sequence of str
        Columns.
    inputs : sequence of str, optional
        Model inputs that the source has, where it lacks some of those of `key`.

    Raises
    ------
    OSError
        When the disk is full or cannot be written.
    """

    def __init__(
        self,
        directory: Path,
        *,
        encoding: EncodingSettings,
        key: Literal["all", "train_events", "decay_strings"],
        storage: Literal["ragged", "padded"],
        n_events: int,
        n_particles: int,
        n_tokens: int,
        label_names: Sequence[str],
        observable_names: Sequence[str],
        inputs: Sequence[str] | None = None,
    ) -> None:
        self.encoding = encoding
        self.storage = storage
        self.inputs = inputs_in(key) if inputs is None else tuple(inputs)
        self.label_names = list(label_names)
        self.observable_names = list(observable_names)
        self.n_events = n_events
        self.n_particles = n_particles
        self.n_tokens = n_tokens
        self.truncated = {"particles": 0, "tokens": 0}
        self.longest = {"particles": 0, "tokens": 0}
        self.statistics = StreamedStatistics(len(encoding.feature_names))
        self.label_counts: dict[int, npt.NDArray[np.int64]] = {}
        self._particles_written = 0
        self._tokens_written = 0
        shapes = self._shapes(len(label_names), len(observable_names))
        self._writers: dict[str, MapWriter] = {}
        try:
            for name, (dtype, shape) in shapes.items():
                self._writers[name] = MapWriter(directory, name, dtype, shape)
            for name in ("particle_offsets", "decay_offsets"):
                if name in self._writers:
                    self._writers[name].append(np.zeros(1, dtype=np.int64))
        except BaseException:
            self._abandon()
            raise

    def _shapes(self, n_skims: int, n_observables: int) -> dict[str, tuple[str, tuple[int, ...]]]:
        n, width = self.n_events, len(self.encoding.feature_names)
        shapes: dict[str, tuple[str, tuple[int, ...]]] = {}
        has_particles = "particle_input" in self.inputs
        if self.storage == "ragged":
            if has_particles:
                has_charge = "charge" in self.encoding.feature_names
                shapes["particle_input"] = ("float32", (self.n_particles, width - has_charge))
                if has_charge:
                    shapes["charge"] = ("int8", (self.n_particles,))
                for name in PARTICLE_INPUTS[1:]:
                    shapes[name] = ("int16", (self.n_particles,))
                shapes["particle_offsets"] = ("int64", (n + 1,))
            shapes["decay_input"] = ("int16", (self.n_tokens,))
            shapes["decay_offsets"] = ("int64", (n + 1,))
        else:
            length = self.encoding.max_particles
            if has_particles:
                shapes["particle_input"] = ("float32", (n, length, width))
                for name in PARTICLE_INPUTS[1:]:
                    shapes[name] = ("int16", (n, length))
            shapes["decay_input"] = ("int16", (n, self.encoding.max_tokens))
        shapes["n_particles"] = ("int32", (n,))
        shapes["n_tokens"] = ("int32", (n,))
        shapes["event_type_input"] = ("int8", (n,))
        shapes["labels"] = ("int8", (n, n_skims))
        shapes["keys"] = ("int64", (n, 4))
        shapes["observables"] = ("float64", (n, n_observables))
        return shapes

    def append(self, block: EventBlock) -> None:
        """Write the next events.

        Parameters
        ----------
        block : EventBlock
            With encoded events.

        Notes
        -----
        Statistics are combined as a tree of blocks that end where `end_of_range` says.

        Raises
        ------
        ValueError
            When the block does not fit the maps.
        OSError
            When the disk is full.
        """
        encoded = block.encoded
        assert encoded is not None
        if self.storage == "ragged":
            self._append_ragged(encoded)
        else:
            self._append_padded(encoded)
        columns: dict[str, npt.NDArray[Any]] = {
            "n_particles": np.diff(encoded.offsets).astype(np.int32),
            "n_tokens": np.diff(encoded.decay_offsets).astype(np.int32),
            "event_type_input": encoded.event_type,
            "labels": block.labels,
            "keys": block.keys,
            "observables": block.observables,
        }
        for name, values in columns.items():
            self._writers[name].append(values)
        self._count(block, encoded)
        self.statistics.add_part(encoded.continuous, encoded.charge)

    def _append_ragged(self, encoded: EncodedEvents) -> None:
        columns: dict[str, npt.NDArray[Any]] = {
            "decay_input": encoded.decay,
            "decay_offsets": encoded.decay_offsets[1:] + self._tokens_written,
        }
        if "particle_input" in self.inputs:
            columns["particle_input"] = encoded.continuous
            if encoded.charge is not None:
                columns["charge"] = encoded.charge
            columns["pdg_input"] = encoded.pdg
            columns["mother_pdg_input"] = encoded.mother_pdg
            columns["mother_index_input"] = encoded.mother_index
            columns["particle_offsets"] = encoded.offsets[1:] + self._particles_written
        for name, values in columns.items():
            self._writers[name].append(values)
        self._particles_written += int(encoded.offsets[-1])
        self._tokens_written += int(encoded.decay_offsets[-1])

    def _append_padded(self, encoded: EncodedEvents) -> None:
        names = tuple(name for name in self._writers if name in (*PARTICLE_INPUTS, *DECAY_INPUTS))
        lengths = (self.encoding.max_particles, self.encoding.max_tokens)
        for begin in range(0, len(encoded), _PADDED_EVENTS):
            rows = np.arange(begin, min(begin + _PADDED_EVENTS, len(encoded)))
            for name, values in pad(encoded, rows, names, *lengths).items():
                self._writers[name].append(values.astype(self._writers[name].dtype, copy=False))

    def _count(self, block: EventBlock, encoded: EncodedEvents) -> None:
        for what, lengths, limit in (
            ("particles", np.diff(encoded.offsets), self.encoding.max_particles),
            ("tokens", np.diff(encoded.decay_offsets), self.encoding.max_tokens),
        ):
            self.truncated[what] += int(np.count_nonzero(lengths > limit))
            self.longest[what] = max(self.longest[what], int(lengths.max(initial=0)))
        n_events = np.bincount(encoded.event_type + 1)
        counts = count_labels(block.labels, encoded.event_type)
        for code in np.flatnonzero(n_events).tolist():
            total = np.concatenate([[[n_events[code], 0, 0]], counts[code]])
            self.label_counts[code - 1] = self.label_counts.get(code - 1, 0) + total

    def end_of_range(self) -> None:
        """End a block of the statistics."""
        self.statistics.end_block()

    def close(self) -> dict[str, dict[str, Any]]:
        """Finish all maps.

        Returns
        -------
        dict of str to dict
            Map -> shape, dtype, bytes, xxh3, fingerprint.

        Raises
        ------
        ValueError
            When rows are missing.
        """
        # Each flush waits for the disk; together they wait once.
        with ThreadPoolExecutor(len(self._writers), thread_name_prefix="flush") as pool:
            for done in [pool.submit(writer.flush) for writer in self._writers.values()]:
                done.result()
        return {name: writer.close() for name, writer in self._writers.items()}

    def _abandon(self) -> None:
        for writer in self._writers.values():
            writer.abandon()

    def __enter__(self) -> DatasetWriter:
        """Begin to write."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close all files, whole or not."""
        self._abandon()
