"""Which events are kept at the working point: by multiplicity, event type and decay mode."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.dataset.symmetries import antiparticle_tokens
from smartbkg_tf.evaluation.bias_tests import wilson
from smartbkg_tf.evaluation.understanding.names import (
    decay_formula,
    decay_text,
    sorted_daughters,
)
from smartbkg_tf.evaluation.understanding.trees import DecayTrees
from smartbkg_tf.events.keys import mix
from smartbkg_tf.events.table import EVENT_TYPES
from smartbkg_tf.events.vocabulary import default_vocabulary

Flags = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]

#: Decay modes that are shown.
N_MODES = 20
#: Bins of multiplicities.
_BINS = 8
#: Mesons whose decay modes are looked at; tau leptons in events without any of them.
_B_MESONS = (511, 521, 531, 541)
_TAU = 15


def _fraction(key: str, k: int, n: int) -> dict[str, Any]:
    if n == 0:
        return dict.fromkeys((key, f"{key}_low", f"{key}_high"))
    low, high = wilson(k, n)
    return {key: k / n, f"{key}_low": float(low), f"{key}_high": float(high)}


def kept_of_groups(
    groups: Iterable[tuple[str, Rows]], passing: Flags, known: Flags, kept: Flags
) -> list[dict[str, Any]]:
    """Count what is kept of groups of events, each its name and its rows.

    ``efficiency`` and ``false_rate`` are the kept fractions of passing and of failing events, with
    the bounds of Wilson's 68 % intervals (``_low``, ``_high``); None without such events.
    """
    result = []
    for name, rows in groups:
        yes, no = rows[passing[rows]], rows[known[rows] & ~passing[rows]]
        result.append(
            {
                "name": name,
                "n_passing": len(yes),
                "n_failing": len(no),
                **_fraction("efficiency", int(kept[yes].sum()), len(yes)),
                **_fraction("false_rate", int(kept[no].sum()), len(no)),
            }
        )
    return result


def by_number(values: npt.ArrayLike) -> list[tuple[str, Rows]]:
    """Divide events [n] by a number of particles, into bins of about equal content."""
    numbers = np.asarray(values)
    inner = np.unique(np.quantile(numbers, np.arange(1, _BINS) / _BINS, method="higher"))
    edges = np.concatenate([inner[inner > numbers.min()], [numbers.max() + 1]]).astype(np.int64)
    place = np.searchsorted(edges, numbers, side="right")
    firsts = [int(numbers.min()), *edges[:-1].tolist()]
    groups = []
    for i, (first, end) in enumerate(zip(firsts, edges.tolist(), strict=True)):
        name = str(first) if end == first + 1 else f"{first}-{end - 1}"
        groups.append((name, np.flatnonzero(place == i)))
    return [(name, rows) for name, rows in groups if len(rows)]


def by_event_type(event_type: npt.NDArray[np.int8]) -> list[tuple[str, Rows]]:
    """Divide events [n] by type."""
    names = (*EVENT_TYPES, "unknown")
    return [
        (names[code], np.flatnonzero(event_type == code)) for code in np.unique(event_type).tolist()
    ]


class DecayModes:
    """The decays of the B mesons of events, or of the tau leptons where there are none.

    Charge-conjugate modes are one. A mode is that of the direct daughters. An event with two B
    mesons belongs to the modes of both.
    """

    def __init__(self, trees: DecayTrees) -> None:
        vocabulary = default_vocabulary()
        code, size = np.abs(trees.code), len(trees.offsets) - 1
        mesons = np.isin(code, _B_MESONS)
        with_meson = np.bincount(trees.event[mesons], minlength=size) > 0
        heads = mesons | ((code == _TAU) & ~with_meson[trees.event])
        # One that turns into the other, or a copy: what follows it is what decays.
        daughters = np.flatnonzero(trees.mother >= 0)
        daughters = daughters[heads[trees.mother[daughters]]]
        heads[trees.mother[daughters[code[daughters] == code[trees.mother[daughters]]]]] = False
        daughters = daughters[heads[trees.mother[daughters]]]
        mother = trees.mother[daughters]
        # Of an antiparticle the conjugate daughters count, and their order does not matter.
        token = trees.token[daughters].astype(np.int64)
        token = np.where(trees.code[mother] < 0, antiparticle_tokens(vocabulary)[token], token)
        number, place = np.unique(mother, return_inverse=True)
        sums = np.zeros(len(number), dtype=np.uint64)
        np.add.at(sums, place, mix(token.astype(np.uint64)))
        self._hash = mix(sums ^ code[number].astype(np.uint64))
        self._event, self._mother = trees.event[number], number
        order = np.argsort(place, kind="stable")
        self._first = np.searchsorted(place[order], np.arange(len(number) + 1))
        self._token, self._code = token[order], code

    def most_frequent(self, passing: Flags, number: int = N_MODES) -> list[tuple[str, str, Rows]]:
        """Give text, formula and events of the modes with the most passing events, then failing."""
        hashes, example, mode = np.unique(self._hash, return_index=True, return_inverse=True)
        pairs = np.unique(np.stack([mode, self._event], axis=1), axis=0)
        n_passing = np.bincount(pairs[passing[pairs[:, 1]], 0], minlength=len(hashes))
        n_events = np.bincount(pairs[:, 0], minlength=len(hashes))
        chosen = np.lexsort((hashes, -n_events, -n_passing))[:number]
        borders = np.searchsorted(pairs[:, 0], [chosen, chosen + 1])
        result = []
        for one, (begin, end) in zip(chosen.tolist(), borders.T.tolist(), strict=True):
            mother, daughters = self._decay(int(example[one]))
            rows = pairs[begin:end, 1]
            result.append((decay_text(mother, daughters), decay_formula(mother, daughters), rows))
        return result

    def _decay(self, i: int) -> tuple[int, list[int]]:
        """Give the codes of a decay: of a particle, never of an antiparticle."""
        tokens = self._token[self._first[i] : self._first[i + 1]]
        codes = [0, 0, *default_vocabulary().codes.tolist()]
        daughters = sorted_daughters(codes[token] for token in tokens)
        return int(self._code[self._mother[i]]), daughters
