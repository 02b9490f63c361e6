"""The particle table in memory: flat columns, offsets, and one row per event beside them.

Units: GeV, cm, ns. Everything is columnar; nothing here loops over events.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.errors import UserError, did_you_mean
from smartbkg_tf.settings.sources import EVENT_TYPES as EVENT_TYPES

Array = npt.NDArray[np.generic]

#: Code of an event whose type is not known.
UNKNOWN_EVENT_TYPE = -1

#: Particle columns and their types, in the order of the training tables: masses, energies and
#: momenta in GeV, production times in ns, vertices in cm, charges in e.
PARTICLE_COLUMNS: dict[str, npt.DTypeLike] = {
    "PDG": np.int32,
    "mass": np.float64,
    "charge": np.float64,
    "energy": np.float64,
    "prodTime": np.float64,
    "x": np.float64,
    "y": np.float64,
    "z": np.float64,
    "px": np.float64,
    "py": np.float64,
    "pz": np.float64,
    "nDaughters": np.int32,
    "status": np.int32,
    "motherPDG": np.int32,
    "motherIndex": np.int32,
}

#: The event key: an event number alone identifies nothing.
KEY_COLUMNS = ("experiment", "run", "event", "production")


def event_type_code(event_type: str | None) -> int:
    """Give the code of an event type; None: it is not known."""
    if event_type is None:
        return UNKNOWN_EVENT_TYPE
    if event_type in EVENT_TYPES:
        return EVENT_TYPES.index(event_type)
    raise UserError(
        f"there is no event type {event_type!r}; {did_you_mean(event_type, EVENT_TYPES)}"
    )


@dataclass(frozen=True)
class EventTable:
    """Events and their generated particles.

    Parameters
    ----------
    particles : mapping of str to numpy.ndarray [n_particles]
        The columns of `PARTICLE_COLUMNS`, in generator order within each event.
        ``motherIndex`` is the mother's position within the event, -1 for none;
        ``motherPDG`` is 0 for none. May be empty ({}) when a source has only decay strings.
    offsets : numpy.ndarray [n_events + 1]
        int64; event i owns the rows ``offsets[i]:offsets[i + 1]``.
    keys : mapping of str to numpy.ndarray [n_events]
        int64 columns experiment, run, event, production.
    event_type : numpy.ndarray [n_events]
        int8 position in `EVENT_TYPES`, -1 if unknown.
    labels : mapping of str to numpy.ndarray [n_events]
        int8 for every skim: 1 passes, 0 does not, -1 unknown.
    observables : mapping of str to numpy.ndarray [n_events]
        float64 bias observables; never a model input. NaN where not defined.
    decay_strings : numpy.ndarray [n_events], optional
        The decay tree as text, where the source has one.

    Raises
    ------
    ValueError
        When lengths do not fit together.
    """

    particles: Mapping[str, Array]
    offsets: npt.NDArray[np.int64]
    keys: Mapping[str, npt.NDArray[np.int64]]
    event_type: npt.NDArray[np.int8]
    labels: Mapping[str, npt.NDArray[np.int8]] = field(default_factory=dict)
    observables: Mapping[str, npt.NDArray[np.float64]] = field(default_factory=dict)
    decay_strings: npt.NDArray[np.object_] | None = None

    def __post_init__(self) -> None:
        """Check that all lengths fit together."""
        n_events = len(self.offsets) - 1
        if n_events < 0 or self.offsets[0] != 0 or np.any(np.diff(self.offsets) < 0):
            raise ValueError("offsets must start with 0 and never decrease")
        if self.particles and set(self.particles) != set(PARTICLE_COLUMNS):
            different = sorted(set(self.particles) ^ set(PARTICLE_COLUMNS))
            raise ValueError(f"particle columns missing or not known: {different}")
        for name, column in self.particles.items():
            if len(column) != self.offsets[-1]:
                raise ValueError(
                    f"{name}: {len(column)} rows, but the offsets end at {self.offsets[-1]}"
                )
        if set(self.keys) != set(KEY_COLUMNS):
            raise ValueError(f"keys must be {KEY_COLUMNS}, not {tuple(self.keys)}")
        columns: dict[str, Sequence[object] | Array] = {
            **self.keys,
            "event_type": self.event_type,
            **self.labels,
            **self.observables,
        }
        if self.decay_strings is not None:
            columns["decay_strings"] = self.decay_strings
        for name, values in columns.items():
            if len(values) != n_events:
                raise ValueError(f"{name}: {len(values)} rows for {n_events} events")

    def __len__(self) -> int:
        """Count the events."""
        return len(self.offsets) - 1

    @property
    def n_particles(self) -> int:
        """Count the particles of all events."""
        return int(self.offsets[-1])

    def event_of_particle(self) -> npt.NDArray[np.int64]:
        """Give the event's position for every particle, int64 [n_particles]."""
        return np.repeat(np.arange(len(self), dtype=np.int64), np.diff(self.offsets))

    def slice(self, start: int, stop: int) -> EventTable:
        """Choose the consecutive events start..stop, as views."""
        events = slice(max(start, 0), min(max(start, stop, 0), len(self)))
        offsets = self.offsets[events.start : events.stop + 1]
        return self._part(events, slice(int(offsets[0]), int(offsets[-1])), offsets - offsets[0])

    def take(self, events: npt.ArrayLike) -> EventTable:
        """Choose events by position [n], in the given order, or by a mask, bool [n_events]."""
        chosen = np.asarray(events)
        if chosen.dtype == bool:
            chosen = np.flatnonzero(chosen)
        # An empty list would become an array of floats.
        chosen = chosen.astype(np.int64)
        counts = np.diff(self.offsets)[chosen]
        offsets = offsets_of(counts)
        rows = np.repeat(self.offsets[:-1][chosen] - offsets[:-1], counts) + np.arange(offsets[-1])
        return self._part(chosen, rows, offsets)

    def _part(self, events: Any, rows: Any, offsets: npt.NDArray[np.int64]) -> EventTable:
        """Index columns of events and of particles, by arrays or slices."""
        return EventTable(
            particles={name: column[rows] for name, column in self.particles.items()},
            offsets=offsets,
            keys={name: column[events] for name, column in self.keys.items()},
            event_type=self.event_type[events],
            labels={name: column[events] for name, column in self.labels.items()},
            observables={name: column[events] for name, column in self.observables.items()},
            decay_strings=None if self.decay_strings is None else self.decay_strings[events],
        )


def offsets_of(lengths: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Give the offsets, int64 [n + 1], of pieces of known lengths [n]."""
    values = np.asarray(lengths)
    offsets = np.zeros(len(values) + 1, dtype=np.int64)
    np.cumsum(values, out=offsets[1:])
    return offsets


def concatenate(tables: Sequence[EventTable]) -> EventTable:
    """Put tables one after the other; ValueError when there are none.

    A label or observable that one of them lacks is unknown there (-1 and NaN). Decay strings are
    kept only if all have them.
    """
    if not tables:
        raise ValueError("nothing to concatenate")
    label_names = list(dict.fromkeys(name for table in tables for name in table.labels))
    observable_names = list(dict.fromkeys(name for table in tables for name in table.observables))
    strings = [table.decay_strings for table in tables]
    return EventTable(
        particles={
            name: np.concatenate([table.particles[name] for table in tables])
            for name in (PARTICLE_COLUMNS if all(table.particles for table in tables) else ())
        },
        offsets=offsets_of(np.concatenate([np.diff(table.offsets) for table in tables])),
        keys={name: np.concatenate([table.keys[name] for table in tables]) for name in KEY_COLUMNS},
        event_type=np.concatenate([table.event_type for table in tables]),
        labels={
            name: np.concatenate(
                [table.labels.get(name, np.full(len(table), -1, np.int8)) for table in tables]
            )
            for name in label_names
        },
        observables={
            name: np.concatenate(
                [table.observables.get(name, np.full(len(table), np.nan)) for table in tables]
            )
            for name in observable_names
        },
        decay_strings=(
            np.concatenate([s for s in strings if s is not None])
            if all(s is not None for s in strings)
            else None
        ),
    )
