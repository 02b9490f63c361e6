"""Label events by the lists of those that passed a skim.

Events are joined on all four parts of the key (experiment, run, event, production).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from smartbkg_tf.events.keys import KeyIndex, key_columns, key_rows
from smartbkg_tf.events.table import EventTable


@dataclass(frozen=True)
class LabelReport:
    """How the passing events of one skim matched the events that were labelled.

    `n_keys` counts the distinct keys of the list, `n_repeated` its further entries,
    `n_without_event` the keys that matched no event (up to five of them are the examples) and
    `n_ambiguous` those that matched several.
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
        """One line: how many events pass, and what does not match, if anything."""
        n_events = self.n_passing + self.n_failing
        share = 100.0 * self.n_passing / n_events if n_events else 0.0
        parts = [f"{self.skim}: {self.n_passing} of {n_events} events pass ({share:.2f} %)"]
        if self.n_repeated:
            parts.append(f"{self.n_repeated} keys occur more than once in the list")
        if self.n_ambiguous:
            parts.append(f"{self.n_ambiguous} keys match more than one event")
        if self.n_without_event:
            parts.append(
                f"{self.n_without_event} of {self.n_keys} keys match no event, "
                f"such as {self.examples_without_event[0]}"
            )
        return "; ".join(parts)


class Labeller:
    """Label events piece by piece, and report at the end what did not match.

    `passing` maps skims to keys [n, 4] of the events that passed them (`read_passing_keys`). Every
    event that is not among them is labelled 0: the lists must cover all events that are labelled.
    """

    def __init__(self, passing: Mapping[str, npt.ArrayLike]) -> None:
        self._lists = {name: key_columns(keys) for name, keys in passing.items()}
        self._indices = {name: KeyIndex(keys) for name, keys in self._lists.items()}
        self._n_matched = {
            name: np.zeros(len(keys["event"]), dtype=np.int64) for name, keys in self._lists.items()
        }
        self._n_events = 0

    def label(self, table: EventTable) -> EventTable:
        """Label some events; labels of the same name are replaced, others stay."""
        labels = dict(table.labels)
        for name, index in self._indices.items():
            row = index.find(table.keys)
            matched = row >= 0
            labels[name] = matched.astype(np.int8)
            self._n_matched[name] += np.bincount(row[matched], minlength=len(self._n_matched[name]))
        self._n_events += len(table)
        return replace(table, labels=labels)

    def reports(self) -> list[LabelReport]:
        """Report, skim by skim, how the lists matched all events labelled so far."""
        result = []
        for name, index in self._indices.items():
            n_matched = self._n_matched[name][index.rows]
            lost = key_rows(self._lists[name])[index.rows[n_matched == 0]]
            n_passing = int(n_matched.sum())
            result.append(
                LabelReport(
                    skim=name,
                    n_keys=len(index.rows),
                    n_repeated=index.n_repeated,
                    n_passing=n_passing,
                    n_failing=self._n_events - n_passing,
                    n_without_event=len(lost),
                    n_ambiguous=int((n_matched > 1).sum()),
                    examples_without_event=[
                        tuple(key) for key in lost[np.lexsort(lost.T[::-1])][:5].tolist()
                    ],
                )
            )
        return result


def label_events(table: EventTable, passing: Mapping[str, npt.ArrayLike]) -> EventTable:
    """Label events at once, as a `Labeller` does piece by piece."""
    return Labeller(passing).label(table)
