"""Label events by the lists of those that passed a skim.

Events are joined on all four parts of the key (experiment, run, event, production).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from smartbkg_tf.events.passing_keys import Keys, read_passing_keys
from smartbkg_tf.events.table import KEY_COLUMNS, EventTable

__all__ = ["LabelReport", "Labeller", "key_hashes", "label_events", "read_passing_keys"]


@dataclass(frozen=True)
class LabelReport:
    """How the passing events of one skim met the events that were labelled.

    Parameters
    ----------
    skim : str
        Its name.
    n_keys : int
        Different keys in the list.
    n_repeated : int
        Keys that the list held once more.
    n_passing : int
        Events that were labelled 1.
    n_failing : int
        Events that were labelled 0.
    n_without_event : int
        Keys of the list for which no event came.
    n_ambiguous : int
        Keys of the list for which more than one event came.
    examples_without_event : list of tuple
        Up to five of these keys.
    """

    skim: str
    n_keys: int
    n_repeated: int
    n_passing: int
    n_failing: int
    n_without_event: int
    n_ambiguous: int
    examples_without_event: list[tuple[int, ...]]

    def text(self) -> str:
        """Tell it in one line.

        Returns
        -------
        str
            Numbers of passing events, and what does not fit, if anything.
        """
        n_events = self.n_passing + self.n_failing
        share = 100.0 * self.n_passing / n_events if n_events else 0.0
        parts = [f"{self.skim}: {self.n_passing} of {n_events} events pass ({share:.2f} %)"]
        if self.n_repeated:
            parts.append(f"{self.n_repeated} keys stand more than once in the list")
        if self.n_ambiguous:
            parts.append(f"{self.n_ambiguous} keys fit more than one event")
        if self.n_without_event:
            parts.append(
                f"{self.n_without_event} of {self.n_keys} keys fit no event, "
                f"as {self.examples_without_event[0]}"
            )
        return "; ".join(parts)


class _KeySet:
    """A set of event keys that is searched by a 64-bit hash and compared in full."""

    def __init__(self, keys: npt.ArrayLike) -> None:
        given = np.asarray(keys, dtype=np.int64).reshape(-1, len(KEY_COLUMNS))
        self.keys = np.unique(given, axis=0) if len(given) else given
        self.n_repeated = len(given) - len(self.keys)
        self.salt = 0
        # Two keys of equal hash would hide each other: then another salt parts them.
        while len(np.unique(_hash(self.keys, self.salt))) < len(self.keys):
            self.salt += 1
        hashes = _hash(self.keys, self.salt)
        order = np.argsort(hashes, kind="stable")
        self.keys = self.keys[order]
        self.hashes = hashes[order]

    def find(self, keys: Keys) -> npt.NDArray[np.int64]:
        """Give the place of each key in the set, -1 if it is not there."""
        if len(self.keys) == 0:
            return np.full(len(keys), -1, dtype=np.int64)
        place = np.searchsorted(self.hashes, _hash(keys, self.salt))
        place[place == len(self.keys)] = 0
        return np.where((self.keys[place] == keys).all(axis=1), place, -1)


def _hash(keys: Keys, salt: int) -> npt.NDArray[np.uint64]:
    """Mix the four parts of a key (finaliser of SplitMix64, Steele et al. 2014)."""
    mixed = np.full(len(keys), salt + 1, dtype=np.uint64)
    for part in range(keys.shape[1]):
        mixed = mixed * np.uint64(0x9E3779B97F4A7C15) + keys[:, part].astype(np.uint64)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed = mixed ^ (mixed >> np.uint64(31))
    return mixed


def key_hashes(keys: Keys) -> npt.NDArray[np.uint64]:
    """Hash event keys, to count equal ones among very many with 8 bytes each.

    Parameters
    ----------
    keys : numpy.ndarray [n, 4]
        Event keys.

    Returns
    -------
    numpy.ndarray [n]
        uint64; among 1e8 different keys two are equal with a probability of 3e-4.
    """
    return _hash(keys, 0)


class Labeller:
    """Label events piece by piece, and tell at the end what did not fit.

    Parameters
    ----------
    passing : mapping of str to array_like [n, 4]
        Skim -> keys of the events that passed it, as `read_passing_keys` gives them. Every
        event that is not among them is labelled 0: the lists must cover all events that
        are labelled.
    """

    def __init__(self, passing: Mapping[str, npt.ArrayLike]) -> None:
        self._sets = {name: _KeySet(keys) for name, keys in passing.items()}
        self._met = {name: np.zeros(len(s.keys), dtype=np.int64) for name, s in self._sets.items()}
        self._n_events = 0

    def label(self, table: EventTable) -> EventTable:
        """Label some events.

        Parameters
        ----------
        table : EventTable
            Events; it is not changed.

        Returns
        -------
        EventTable
            The same events with the skims' labels; labels of the same name are replaced,
            others stay.
        """
        keys = np.stack([table.keys[part] for part in KEY_COLUMNS], axis=1)
        labels = dict(table.labels)
        for name, known in self._sets.items():
            place = known.find(keys)
            met = place >= 0
            labels[name] = met.astype(np.int8)
            self._met[name] += np.bincount(place[met], minlength=len(known.keys))
        self._n_events += len(table)
        return replace(table, labels=labels)

    def reports(self) -> list[LabelReport]:
        """Tell how the lists met all events that were labelled so far.

        Returns
        -------
        list of LabelReport
            One per skim.
        """
        result = []
        for name, known in self._sets.items():
            met = self._met[name]
            lost = known.keys[met == 0]
            lost = lost[np.lexsort(lost.T[::-1])][:5] if len(lost) else lost
            result.append(
                LabelReport(
                    skim=name,
                    n_keys=len(known.keys),
                    n_repeated=known.n_repeated,
                    n_passing=int(met.sum()),
                    n_failing=self._n_events - int(met.sum()),
                    n_without_event=int((met == 0).sum()),
                    n_ambiguous=int((met > 1).sum()),
                    examples_without_event=[tuple(key) for key in lost.tolist()],
                )
            )
        return result


def label_events(table: EventTable, passing: Mapping[str, npt.ArrayLike]) -> EventTable:
    """Label events by the lists of those that passed.

    Parameters
    ----------
    table : EventTable
        Events; it is not changed.
    passing : mapping of str to array_like [n, 4]
        Skim -> keys of the events that passed it (`read_passing_keys`).

    Returns
    -------
    EventTable
        The same events; label 1 if the four-part key is in the list, else 0. For events
        in pieces, and for what did not fit, use `Labeller`.
    """
    return Labeller(passing).label(table)
