"""Which events passed a skim, by the list of their keys.

Events are joined on all four parts of the key (experiment, run, event, production).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from smartbkg_tf.events.keys import KeyColumns, KeyIndex, key_columns, key_rows


class PassingEvents:
    """The events that passed a skim, and how they matched those that were looked for.

    Parameters
    ----------
    keys : array_like [n, 4]
        As `read_passing_keys` gives them. Every event that is not among them fails: the list must
        cover all events that are looked for.
    """

    def __init__(self, keys: npt.ArrayLike) -> None:
        self._keys = key_columns(keys)
        self._index = KeyIndex(self._keys)
        self._n_matched = np.zeros(len(self._keys["event"]), dtype=np.int64)
        self._n_events = 0
        #: Further entries of the list for the same event.
        self.n_repeated = self._index.n_repeated

    def passed(self, keys: KeyColumns) -> npt.NDArray[np.bool_]:
        """Tell which events [n] passed, and remember that they were met."""
        row = self._index.find(keys)
        passed = row >= 0
        self._n_matched += np.bincount(row[passed], minlength=len(self._n_matched))
        self._n_events += len(row)
        return passed

    @property
    def n_passing(self) -> int:
        """Events met so far that passed."""
        return int(self._n_matched.sum())

    @property
    def n_keys(self) -> int:
        """Different keys of the list."""
        return len(self._index.rows)

    def not_met(self) -> npt.NDArray[np.int64]:
        """Give the keys of the list that no event had so far, sorted [m, 4]."""
        rows = self._index.rows
        lost = key_rows(self._keys)[rows[self._n_matched[rows] == 0]]
        result: npt.NDArray[np.int64] = lost[np.lexsort(lost.T[::-1])]
        return result

    def text(self, skim: str) -> str:
        """One line: how many events pass, and what does not match, if anything."""
        share = 100.0 * self.n_passing / self._n_events if self._n_events else 0.0
        parts = [f"{skim}: {self.n_passing} of {self._n_events} events pass ({share:.2f} %)"]
        if self.n_repeated:
            parts.append(f"{self.n_repeated} keys occur more than once in the list")
        if n_ambiguous := np.count_nonzero(self._n_matched > 1):
            parts.append(f"{n_ambiguous} keys match more than one event")
        if len(lost := self.not_met()):
            parts.append(
                f"{len(lost)} of {self.n_keys} keys match no event, such as "
                f"{tuple(lost[0].tolist())}"
            )
        return "; ".join(parts)
