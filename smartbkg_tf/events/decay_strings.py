"""Decay trees as text and as tokens.

A decay string lists a tree depth first; the daughters of a particle are enclosed in
``(-->`` and ``<--)``::

     300553 (--> 511 (--> -411 211 <--) -511 (--> 411 -211 <--) <--)

Several trees of one event (both taus of a tau pair, the quarks of a continuum event) follow
one another; daughters keep the order of the generator. Tokens come from the mother
links (`decay_tokens`) or, where a file has none, from the text (`tokenise`); both give the
same tokens.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.errors import InputError, OutputError
from smartbkg_tf.events.table import EventTable, offsets_of
from smartbkg_tf.events.vocabulary import CLOSER, OPENER, UNKNOWN, Vocabulary
from smartbkg_tf.runtime.kernels import kernel

Array = npt.NDArray[Any]
Tokens = npt.NDArray[np.int16]
Offsets = npt.NDArray[np.int64]

_CODE = re.compile(r"([+-]?[0-9]{1,18})(?:\.0*)?")


def build_decay_strings(
    table: EventTable, *, where: str | Path | None = None, first_event: int = 0
) -> npt.NDArray[np.object_]:
    """Write the decay trees of all events as text.

    Parameters
    ----------
    table : EventTable
        With particles.
    where : str or pathlib.Path, optional
        The file, and `first_event` the position of the first event in it, for the message.

    Returns
    -------
    numpy.ndarray [n_events]
        Objects of type str; ``""`` for an event without particles. Each word follows a
        blank, as in `` 300553 (--> 511 -511 <--)``.

    Raises
    ------
    InputError
        When mother links point outside their event or form a ring.
    """
    codes, place = np.unique(table.particles["PDG"], return_inverse=True)
    words = np.array([*(f" {code}" for code in codes.tolist()), f" {CLOSER}", f" {OPENER}"], object)
    # The brackets are the last words, where -1 and -2 find them.
    steps, step_offsets = _walk_checked(
        place.astype(np.int32), table.particles["motherIndex"], table.offsets, (-1, -2), where,
        first_event,
    )  # fmt: skip
    listed = words[steps].tolist()
    strings = np.empty(len(table), dtype=object)
    strings[:] = ["".join(listed[a:b]) for a, b in pairwise(step_offsets.tolist())]
    return strings


def strings_to_write(table: EventTable, path: str | Path) -> npt.NDArray[np.object_]:
    """Give the decay strings of a table, built if it has none; OutputError where that cannot be."""
    if table.decay_strings is not None:
        return table.decay_strings
    if not table.particles:
        raise OutputError(
            "there is nothing to write: neither particles nor decay strings", where=path
        )
    return build_decay_strings(table)


def decay_tokens(
    tokens: npt.ArrayLike,
    mother_index: npt.ArrayLike,
    offsets: npt.ArrayLike,
    vocabulary: Vocabulary,
) -> tuple[Tokens, Offsets]:
    """List the decay trees of all events as tokens (int16 [n_tokens]) and offsets [n_events + 1].

    `tokens` [n_particles] are those of the PDG codes (`Vocabulary.tokens`), `mother_index`
    [n_particles] positions within the event, -1 for none. The result is that of
    ``tokenise(build_decay_strings(...))``. InputError when mother links point outside their event
    or form a ring.
    """
    values = np.ascontiguousarray(tokens, dtype=np.int16)
    brackets = vocabulary.opener, vocabulary.closer
    return _walk_checked(values, mother_index, offsets, brackets)


def _walk_checked(
    values: Array,
    mother_index: npt.ArrayLike,
    offsets: npt.ArrayLike,
    brackets: tuple[int, int],
    where: str | Path | None = None,
    first_event: int = 0,
) -> tuple[Array, Offsets]:
    mothers = np.ascontiguousarray(mother_index, dtype=np.int32)
    borders = np.ascontiguousarray(offsets, dtype=np.int64)
    steps, step_offsets, event, place = _walk(values, mothers, borders, *brackets)
    if event >= 0:
        size, mother = borders[event + 1] - borders[event], mothers[borders[event] + place]
        raise InputError(
            f"event {first_event + event} (counted from 0) is not a tree: its particle {place} of "
            f"{size} has the mother {mother}, which "
            + ("descends from it" if -1 <= mother < size else "does not exist"),
            where=where,
        )
    return steps, step_offsets


@kernel
def _walk(values: Array, mother: Array, offsets: Array, down: int, up: int) -> Any:
    """List the values of all trees depth first, with `down` and `up` around daughters.

    Returns the steps, their offsets by event, the first event that is not a tree (-1: none)
    and the particle in it that is at fault.
    """
    n_events = len(offsets) - 1
    # A mother adds two steps, and there are no more mothers than particles.
    steps = np.empty(3 * len(values), dtype=values.dtype)
    step_offsets = np.zeros(n_events + 1, dtype=np.int64)
    longest = 0
    for event in range(n_events):
        longest = max(longest, offsets[event + 1] - offsets[event])
    eldest = np.empty(longest, dtype=np.int32)
    younger = np.empty(longest, dtype=np.int32)
    n = 0
    for event in range(n_events):
        first, size = offsets[event], offsets[event + 1] - offsets[event]
        eldest[:size] = -1
        root = -1
        # Backwards, so that each chain of siblings runs forwards.
        for i in range(size - 1, -1, -1):
            above = mother[first + i]
            if above == -1:
                younger[i] = root
                root = i
            elif above < -1 or above >= size or above == i:
                return steps[:0], step_offsets, event, i
            else:
                younger[i] = eldest[above]
                eldest[above] = i
        visited = 0
        i = root
        while i >= 0:
            steps[n] = values[first + i]
            n += 1
            visited += 1
            if eldest[i] >= 0:
                steps[n] = down
                n += 1
                i = eldest[i]
                continue
            while younger[i] < 0 and mother[first + i] >= 0:
                steps[n] = up
                n += 1
                i = mother[first + i]
            i = younger[i]
        if visited != size:
            # The others hang on a ring: so many steps upwards end in it.
            for i in range(size):
                above = i
                for _ in range(size):
                    if above >= 0:
                        above = mother[first + above]
                if above >= 0:
                    return steps[:0], step_offsets, event, above
        step_offsets[event + 1] = n
    return steps[:n].copy(), step_offsets, -1, -1


def tokenise(
    strings: Sequence[str] | Array, vocabulary: Vocabulary
) -> tuple[Tokens, Offsets, dict[str, int], npt.NDArray[np.bool_]]:
    """Translate decay strings [n_events], texts or bytes whose words white space separates.

    Gives the tokens, int16 [n_tokens] (1 for words that are neither brackets nor codes of the
    vocabulary; a code may be written as a float, ``511.0``), the offsets of the strings [n_events +
    1], how often each word with token 1 occurs (the most frequent first), and which strings have
    brackets that do not match or follow no particle, bool [n_events]. InputError when an entry is
    not a text.
    """
    listed = strings if isinstance(strings, list | tuple) else np.asarray(strings).tolist()
    split = []
    for row, value in enumerate(listed):
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        elif not isinstance(value, str):
            raise InputError(f"decay string {row} is not a text but {value!r}")
        split.append(value.replace("\0", " ").split())
    known = _Tokens(vocabulary)
    offsets = offsets_of([len(words) for words in split])
    words = list(chain.from_iterable(split))
    tokens = np.fromiter(map(known.__getitem__, words), np.int16, len(words))
    unknown = Counter(words[i] for i in np.flatnonzero(tokens == UNKNOWN).tolist())
    return tokens, offsets, dict(unknown.most_common()), _broken(tokens, offsets, vocabulary)


class _Tokens(dict[str, int]):
    """Tokens of words: brackets, and codes such as '511' or '511.0' of up to 18 digits."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        super().__init__({OPENER: vocabulary.opener, CLOSER: vocabulary.closer})

    def __missing__(self, word: str) -> int:
        code = _CODE.fullmatch(word)
        self[word] = int(self.vocabulary.tokens(int(code[1]))) if code else UNKNOWN
        return self[word]


def _broken(tokens: Tokens, offsets: Offsets, vocabulary: Vocabulary) -> npt.NDArray[np.bool_]:
    """Tell which strings have brackets that do not match, or do not follow a particle."""
    opens, closes = tokens == vocabulary.opener, tokens == vocabulary.closer
    depth = np.concatenate([[0], np.cumsum(opens.astype(np.int64) - closes)])
    after_particle = np.concatenate([[False], ~(opens | closes)])[:-1]
    after_particle[offsets[:-1][np.diff(offsets) > 0]] = False
    event = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    broken: npt.NDArray[np.bool_] = depth[offsets[1:]] != depth[offsets[:-1]]
    broken[event[depth[1:] < depth[offsets[:-1]][event]]] = True
    broken[event[opens & ~after_particle]] = True
    return broken
