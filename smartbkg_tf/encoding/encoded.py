"""Encoded events: what a model reads, before it is padded."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.events.memory import bytes_of_array, copy_bytes
from smartbkg_tf.runtime.kernels import kernel
from smartbkg_tf.runtime.scratch import Scratch


@dataclass(frozen=True)
class EncodingReport:
    """What was noticed while events were encoded.

    Parameters
    ----------
    unknown_codes : dict of str to int
        PDG codes (of particles and mothers) and words of decay strings that the
        vocabulary lacks -> how often.
    truncated_particles, truncated_tokens : int
        Events that are longer than ``max_particles`` or ``max_tokens``.
    longest_particles, longest_tokens : int
        Of the longest event.
    """

    unknown_codes: dict[str, int] = field(default_factory=dict)
    truncated_particles: int = 0
    truncated_tokens: int = 0
    longest_particles: int = 0
    longest_tokens: int = 0


@dataclass(frozen=True)
class EncodedEvents:
    """Events as flat columns and offsets, nothing padded and nothing cut.

    Parameters
    ----------
    offsets : numpy.ndarray [n_events + 1]
        int64; event i owns the particles ``offsets[i]:offsets[i + 1]``.
    continuous : numpy.ndarray [n_particles, n_continuous]
        float32 physical values (GeV, ns, cm); all features but the charge.
    charge : numpy.ndarray [n_particles], optional
        int8 in units of e/3; None where the feature set has no charge.
    pdg, mother_pdg : numpy.ndarray [n_particles]
        int16 tokens; ``mother_pdg`` is 0 where there is no mother.
    mother_index : numpy.ndarray [n_particles]
        int16 position among the event's particles here, -1 for none.
    decay : numpy.ndarray [n_tokens]
        int16 tokens of the decay strings.
    decay_offsets : numpy.ndarray [n_events + 1]
        int64.
    event_type : numpy.ndarray [n_events]
        int8.
    broken_strings : numpy.ndarray [n_events], optional
        bool; True where the brackets of the decay string do not fit together. None where
        tokens came from trees, which cannot be broken.
    report : EncodingReport
        What was noticed.
    """

    offsets: npt.NDArray[np.int64]
    continuous: npt.NDArray[np.float32]
    charge: npt.NDArray[np.int8] | None
    pdg: npt.NDArray[np.int16]
    mother_pdg: npt.NDArray[np.int16]
    mother_index: npt.NDArray[np.int16]
    decay: npt.NDArray[np.int16]
    decay_offsets: npt.NDArray[np.int64]
    event_type: npt.NDArray[np.int8]
    broken_strings: npt.NDArray[np.bool_] | None = None
    report: EncodingReport = field(default_factory=EncodingReport)

    def __len__(self) -> int:
        """Give the number of events."""
        return len(self.offsets) - 1

    @property
    def n_features(self) -> int:
        """Number of feature columns, the charge included."""
        return int(self.continuous.shape[1]) + (self.charge is not None)

    @property
    def features(self) -> npt.NDArray[np.float32]:
        """All features [n_particles, n_features], float32, the charge (in e) last."""
        if self.charge is None:
            return self.continuous
        charge = self.charge.astype(np.float32) / np.float32(3)
        return np.concatenate([self.continuous, charge[:, None]], axis=1)

    def take(self, events: npt.NDArray[np.int64], scratch: Scratch | None = None) -> EncodedEvents:
        """Choose events by position, in the given order.

        Parameters
        ----------
        events : numpy.ndarray [n]
            Positions.
        scratch : Scratch, optional
            Where they are put; by default into memory of their own.

        Returns
        -------
        EncodedEvents
            The chosen events, with the report of all.
        """
        places = np.arange(len(events), dtype=np.int64)
        taken = EventGatherer(
            self,
            gathered_offsets(self.offsets, events),
            gathered_offsets(self.decay_offsets, events),
            scratch,
        )
        taken.put(self, events, places)
        return taken.finish()


def gathered_offsets(
    offsets: npt.NDArray[np.int64], events: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Give the offsets of chosen events, put one after the other.

    Parameters
    ----------
    offsets : numpy.ndarray [n_events + 1]
        int64.
    events : numpy.ndarray [n]
        int64 positions.

    Returns
    -------
    numpy.ndarray [n + 1]
        int64.
    """
    return offsets_of((offsets[1:] - offsets[:-1])[events])


def offsets_of(lengths: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Give the offsets of pieces of known lengths.

    Parameters
    ----------
    lengths : array_like of int [n]
        Rows of each piece.

    Returns
    -------
    numpy.ndarray [n + 1]
        int64, beginning with 0.
    """
    values = np.asarray(lengths)
    offsets = np.zeros(len(values) + 1, dtype=np.int64)
    np.cumsum(values, out=offsets[1:])
    return offsets


class EventGatherer:
    """Put events of several sources into one table, each at a place that is known before.

    Every particle is copied once, whatever the number of sources.

    Parameters
    ----------
    like : EncodedEvents
        Decides about columns and types.
    offsets, decay_offsets : numpy.ndarray [n_events + 1]
        int64 of the table to come.
    scratch : Scratch, optional
        Lends the memory of the table, which then holds until it is lent again; by default
        the table has memory of its own.
    """

    def __init__(
        self,
        like: EncodedEvents,
        offsets: npt.NDArray[np.int64],
        decay_offsets: npt.NDArray[np.int64],
        scratch: Scratch | None = None,
    ) -> None:
        room = Scratch() if scratch is None else scratch
        n_particles, n_tokens = int(offsets[-1]), int(decay_offsets[-1])
        self._offsets = offsets
        self._decay_offsets = decay_offsets
        self._report = like.report
        self._columns = {
            name: room.empty(name, (n_particles, *values.shape[1:]), values.dtype)
            for name, values in _particle_columns(like).items()
        }
        self._decay = room.empty("decay", (n_tokens,), like.decay.dtype)
        self._event_type = np.empty(len(offsets) - 1, dtype=np.int8)
        self._broken: npt.NDArray[np.bool_] | None = None
        if like.broken_strings is not None:
            self._broken = np.empty(len(offsets) - 1, dtype=np.bool_)

    def put(
        self,
        source: EncodedEvents,
        events: npt.NDArray[np.int64],
        places: npt.NDArray[np.int64],
    ) -> None:
        """Copy events of one source.

        Parameters
        ----------
        source : EncodedEvents
            With the columns of the first one.
        events : numpy.ndarray [n]
            int64 positions in the source.
        places : numpy.ndarray [n]
            int64 positions in the new table.
        """
        columns = _particle_columns(source)
        widths = np.array(
            [self._columns[name].nbytes // max(len(self._columns[name]), 1) for name in columns]
        )
        _copy_events(
            tuple(bytes_of_array(values) for values in columns.values()),
            source.offsets,
            events,
            tuple(bytes_of_array(self._columns[name]) for name in columns),
            self._offsets,
            places,
            widths,
        )
        _copy_events(
            (bytes_of_array(source.decay),),
            source.decay_offsets,
            events,
            (bytes_of_array(self._decay),),
            self._decay_offsets,
            places,
            np.array([self._decay.itemsize]),
        )
        self._event_type[places] = source.event_type[events]
        if self._broken is not None and source.broken_strings is not None:
            self._broken[places] = source.broken_strings[events]

    def finish(self) -> EncodedEvents:
        """Give the table, when all places are filled.

        Returns
        -------
        EncodedEvents
            With the report of the first source.
        """
        return EncodedEvents(
            offsets=self._offsets,
            continuous=self._columns["continuous"],
            charge=self._columns.get("charge"),
            pdg=self._columns["pdg"],
            mother_pdg=self._columns["mother_pdg"],
            mother_index=self._columns["mother_index"],
            decay=self._decay,
            decay_offsets=self._decay_offsets,
            event_type=self._event_type,
            broken_strings=self._broken,
            report=self._report,
        )


def _particle_columns(encoded: EncodedEvents) -> dict[str, npt.NDArray[Any]]:
    columns: dict[str, npt.NDArray[Any]] = {
        "continuous": encoded.continuous,
        "pdg": encoded.pdg,
        "mother_pdg": encoded.mother_pdg,
        "mother_index": encoded.mother_index,
    }
    if encoded.charge is not None:
        columns["charge"] = encoded.charge
    return columns


@kernel
def _copy_events(
    columns: tuple[npt.NDArray[np.uint8], ...],
    offsets: npt.NDArray[np.int64],
    events: npt.NDArray[np.int64],
    out: tuple[npt.NDArray[np.uint8], ...],
    out_offsets: npt.NDArray[np.int64],
    places: npt.NDArray[np.int64],
    widths: npt.NDArray[np.int64],
) -> None:
    """Copy the rows of events in all columns; `widths` are the bytes of a row."""
    for i in range(len(events)):
        begin = offsets[events[i]]
        n = offsets[events[i] + 1] - begin
        out_begin = out_offsets[places[i]]
        for k in range(len(columns)):
            width = widths[k]
            copy_bytes(out[k], out_begin * width, columns[k], begin * width, n * width)
