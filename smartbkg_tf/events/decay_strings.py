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

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.errors import InputError
from smartbkg_tf.events.table import EventTable, offsets_of
from smartbkg_tf.events.vocabulary import CLOSER, OPENER, UNKNOWN, Vocabulary
from smartbkg_tf.runtime.kernels import kernel

Array = npt.NDArray[Any]
Tokens = npt.NDArray[np.int16]
Offsets = npt.NDArray[np.int64]

_OPENER_LETTERS = np.frombuffer(OPENER.encode(), dtype=np.uint8).copy()
_CLOSER_LETTERS = np.frombuffer(CLOSER.encode(), dtype=np.uint8).copy()


def build_decay_strings(
    table: EventTable, *, where: str | Path | None = None, first_event: int = 0
) -> npt.NDArray[np.object_]:
    """Write the decay trees of all events as text.

    Parameters
    ----------
    table : EventTable
        With particles.
    where : str or pathlib.Path, optional
        The file, for the message.
    first_event : int, default 0
        Position of the first event in it, for the message.

    Returns
    -------
    numpy.ndarray [n_events]
        Objects of type str; ``""`` for an event without particles. Each word follows a
        blank, as in `` 300553 (--> 511 -511 <--)``.

    Raises
    ------
    InputError
        When mother links point outside their event or form a ring.
    ValueError
        When the table has no particle columns at all.
    """
    if not table.particles:
        raise ValueError("decay strings cannot be built: the table has no particles")
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


def with_strings(table: EventTable, where: str | Path, first_event: int) -> EventTable:
    """Give the same events with decay strings built from their particles."""
    return replace(
        table, decay_strings=build_decay_strings(table, where=where, first_event=first_event)
    )


def decay_tokens(
    tokens: npt.ArrayLike,
    mother_index: npt.ArrayLike,
    offsets: npt.ArrayLike,
    vocabulary: Vocabulary,
    *,
    where: str | Path | None = None,
    first_event: int = 0,
) -> tuple[Tokens, Offsets]:
    """List the decay trees of all events as tokens, from tokens and mothers of the particles.

    Parameters
    ----------
    tokens : array_like of int [n_particles]
        Tokens of the PDG codes (`Vocabulary.tokens`).
    mother_index : array_like of int [n_particles]
        The mother's position within the event, -1 for none.
    offsets : array_like of int [n_events + 1]
        Event i owns the particles ``offsets[i]:offsets[i + 1]``.
    vocabulary : Vocabulary
        Gives the tokens of the two brackets.
    where : str or pathlib.Path, optional
        The file, for the message.
    first_event : int, default 0
        Position of the first event in it, for the message.

    Returns
    -------
    tokens : numpy.ndarray [n_tokens]
        int16, the same as ``tokenise(build_decay_strings(...))`` gives.
    token_offsets : numpy.ndarray [n_events + 1]
        int64; event i owns ``token_offsets[i]:token_offsets[i + 1]``.

    Raises
    ------
    InputError
        When mother links point outside their event or form a ring.
    ValueError
        When the lengths do not fit together.
    """
    values = np.ascontiguousarray(tokens, dtype=np.int16)
    brackets = vocabulary.opener, vocabulary.closer
    return _walk_checked(values, mother_index, offsets, brackets, where, first_event)


def _walk_checked(
    values: Array,
    mother_index: npt.ArrayLike,
    offsets: npt.ArrayLike,
    brackets: tuple[int, int],
    where: str | Path | None,
    first_event: int,
) -> tuple[Array, Offsets]:
    mothers = np.ascontiguousarray(mother_index, dtype=np.int32)
    borders = np.ascontiguousarray(offsets, dtype=np.int64)
    if len(values) != len(mothers):
        raise ValueError(f"{len(values)} particles, {len(mothers)} mother links")
    if len(borders) == 0 or borders[0] != 0 or borders[-1] != len(mothers):
        raise ValueError(
            f"offsets must begin with 0 and end with the number of particles, {len(mothers)}"
        )
    if np.any(np.diff(borders) < 0):
        raise ValueError("offsets must never decrease")
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
    """Translate decay strings into tokens.

    Parameters
    ----------
    strings : sequence of str or numpy.ndarray [n_events]
        Decay strings (objects, 'U' or 'S'); words are separated by white space.
    vocabulary : Vocabulary
        The tokens.

    Returns
    -------
    tokens : numpy.ndarray [n_tokens]
        int16. A code that is not in the vocabulary and a word that is neither code nor
        bracket have the token 1. A code may be written as a float, ``511.0``.
    token_offsets : numpy.ndarray [n_events + 1]
        int64; string i owns ``token_offsets[i]:token_offsets[i + 1]``; none if it is empty.
    unknown : dict of str to int
        The words with token 1 and how often they occur, the most frequent first.
    broken : numpy.ndarray [n_events]
        bool; strings whose brackets do not match, or do not follow a particle.

    Raises
    ------
    InputError
        When an entry is not a text.
    """
    text, starts, stops = _as_bytes(strings)
    tokens, offsets, borders, broken = _translate(
        text,
        starts,
        stops,
        vocabulary.slot_codes,
        vocabulary.slot_tokens,
        vocabulary.opener,
        vocabulary.closer,
    )
    unknown: Counter[str] = Counter()
    for begin, end in borders.tolist():
        # A word without a token is short unless the string is garbage.
        word = text[begin : min(end, begin + 32)].tobytes().decode("utf-8", "replace")
        unknown[word] += 1
    return tokens, offsets, dict(unknown.most_common()), broken


def _as_bytes(strings: Sequence[str] | Array) -> tuple[Array, Array, Array]:
    """Give all texts as one array of bytes, and where each begins and ends."""
    values = strings if isinstance(strings, list | tuple) else np.asarray(strings)
    if isinstance(values, np.ndarray) and values.dtype.kind == "S":
        letters = np.frombuffer(values.tobytes(), dtype=np.uint8)
        starts = np.arange(len(values), dtype=np.int64) * values.dtype.itemsize
        return letters, starts, starts + values.dtype.itemsize
    try:
        encoded = [value.encode("utf-8", "surrogatepass") for value in values]
    except AttributeError:
        row = next(i for i, value in enumerate(values) if not isinstance(value, str))
        raise InputError(f"decay string {row} is not a text but {values[row]!r}") from None
    borders = offsets_of([len(value) for value in encoded])
    return np.frombuffer(b"".join(encoded), dtype=np.uint8), borders[:-1], borders[1:]


@kernel
def _translate(
    text: Array,
    starts: Array,
    stops: Array,
    slot_codes: Array,
    slot_tokens: Array,
    opener: int,
    closer: int,
) -> Any:
    """Translate all words; a zero byte is white space.

    Returns the tokens, their offsets by string, where the words without a token begin and
    end [n, 2], and which strings have broken brackets.
    """
    size = 0
    for i in range(len(starts)):
        size += (stops[i] - starts[i] + 1) // 2
    tokens = np.empty(size, dtype=np.int16)
    unknown = np.empty((size, 2), dtype=np.int64)
    n = n_unknown = 0
    offsets = np.zeros(len(starts) + 1, dtype=np.int64)
    broken = np.zeros(len(starts), dtype=np.bool_)
    for i in range(len(starts)):
        place, end = starts[i], stops[i]
        depth = 0
        after_particle = False
        while True:
            while place < end and text[place] <= 32:
                place += 1
            if place >= end:
                break
            start = place
            place, token = _read_word(text, start, end, slot_codes, slot_tokens, opener, closer)
            if token == opener:
                depth += 1
                broken[i] |= not after_particle
            elif token == closer:
                depth -= 1
                broken[i] |= depth < 0
            elif token == UNKNOWN:
                unknown[n_unknown] = start, place
                n_unknown += 1
            after_particle = token != opener and token != closer
            tokens[n] = token
            n += 1
        broken[i] |= depth != 0
        offsets[i + 1] = n
    return tokens[:n].copy(), offsets, unknown[:n_unknown].copy(), broken


@kernel
def _is_word(text: Array, start: int, stop: int, word: Array) -> bool:
    if stop - start != len(word):
        return False
    for i in range(len(word)):  # noqa: SIM110  (numba compiles no generators)
        if text[start + i] != word[i]:
            return False
    return True


@kernel
def _read_word(
    text: Array,
    start: int,
    end: int,
    slot_codes: Array,
    slot_tokens: Array,
    opener: int,
    closer: int,
) -> Any:
    """Read a bracket, or a code such as '511' or '511.0' of up to 18 digits.

    Returns where the word ends, and its token.
    """
    negative = text[start] == 45
    place = start + 1 if negative or text[start] == 43 else start
    first = place
    code = np.int64(0)
    while place < end and 48 <= text[place] <= 57:
        code = code * 10 + np.int64(text[place]) - 48
        place += 1
    # 18 digits always fit into 64 bits.
    sound = first < place <= first + 18
    if place < end and text[place] > 32:
        sound &= text[place] == 46
        place += 1
        while place < end and text[place] > 32:
            sound &= text[place] == 48
            place += 1
        if _is_word(text, start, place, _OPENER_LETTERS):
            return place, np.int64(opener)
        if _is_word(text, start, place, _CLOSER_LETTERS):
            return place, np.int64(closer)
    if negative:
        code = -code
    slot = code % len(slot_codes)
    if sound and slot_codes[slot] == code:
        return place, np.int64(slot_tokens[slot])
    return place, np.int64(UNKNOWN)
