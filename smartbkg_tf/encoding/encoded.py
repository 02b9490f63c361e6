"""Encoded events: what a model reads, before it is padded."""

from __future__ import annotations

from dataclasses import dataclass, field

import numba
import numpy as np
import numpy.typing as npt


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

    def take(self, events: npt.NDArray[np.int64]) -> EncodedEvents:
        """Choose events by position, in the given order.

        Parameters
        ----------
        events : numpy.ndarray [n]
            Positions.

        Returns
        -------
        EncodedEvents
            The chosen events, with the report of all.
        """
        rows, offsets = ragged_rows(self.offsets, events)
        tokens, decay_offsets = ragged_rows(self.decay_offsets, events)
        return EncodedEvents(
            offsets=offsets,
            continuous=self.continuous[rows],
            charge=None if self.charge is None else self.charge[rows],
            pdg=self.pdg[rows],
            mother_pdg=self.mother_pdg[rows],
            mother_index=self.mother_index[rows],
            decay=self.decay[tokens],
            decay_offsets=decay_offsets,
            event_type=self.event_type[events],
            report=self.report,
        )


@numba.njit(cache=True, nogil=True)
def ragged_rows(
    offsets: npt.NDArray[np.int64], events: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Give the rows of chosen events in a flat column, and the offsets behind the choice.

    Parameters
    ----------
    offsets : numpy.ndarray [n_events + 1]
        int64.
    events : numpy.ndarray [n]
        int64 positions.

    Returns
    -------
    rows : numpy.ndarray [n_rows]
        int64 rows in the flat column.
    new_offsets : numpy.ndarray [n + 1]
        int64.
    """
    new_offsets = np.zeros(len(events) + 1, dtype=np.int64)
    for i in range(len(events)):
        event = events[i]
        new_offsets[i + 1] = new_offsets[i] + offsets[event + 1] - offsets[event]
    rows = np.empty(new_offsets[-1], dtype=np.int64)
    for i in range(len(events)):
        begin = offsets[events[i]]
        for k in range(new_offsets[i + 1] - new_offsets[i]):
            rows[new_offsets[i] + k] = begin + k
    return rows, new_offsets
