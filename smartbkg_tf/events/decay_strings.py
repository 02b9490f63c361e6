"""Decay trees as text and as tokens.

A decay string lists a tree depth first; the daughters of a particle stand between
``(-->`` and ``<--)``::

     300553 (--> 511 (--> -411 211 <--) -511 (--> 411 -211 <--) <--)

Several trees of one event (both taus of a tau pair, the quarks of a continuum event) stand
one after the other; daughters keep the order of the generator. Tokens come from the text
(`tokenise`) or, without the detour, from codes and mother links (`tokens_from_trees`);
both routes give the same tokens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from smartbkg_tf.events.table import EventTable
from smartbkg_tf.events.vocabulary import CLOSER, OPENER, UNKNOWN, Vocabulary
from smartbkg_tf.settings.errors import InputError

Array = npt.NDArray[Any]

# Steps of a walk through a tree that are no particles.
_DOWN = -1
_UP = -2

_OPENER_BYTES = np.frombuffer(OPENER.encode(), dtype=np.uint8).copy()
_CLOSER_BYTES = np.frombuffer(CLOSER.encode(), dtype=np.uint8).copy()

# The letters of a bracket as one number, by which it is recognised.
_BRACKET_LENGTH = len(OPENER)
_OPENER_LETTERS = int.from_bytes(OPENER.encode(), "big")
_CLOSER_LETTERS = int.from_bytes(CLOSER.encode(), "big")

# Words of a decay string.
_CODE = 0
_OPEN = 1
_CLOSE = 2
_OTHER = 3

# What can be wrong with the brackets of a string.
_SOUND = 0
_CLOSED_TOO_OFTEN = 1
_LEFT_OPEN = 2
_NOTHING_BEFORE = 3
_COMPLAINTS = {
    _CLOSED_TOO_OFTEN: f"'{CLOSER}' without its '{OPENER}'",
    _LEFT_OPEN: f"'{OPENER}' without its '{CLOSER}' (was the text cut off?)",
    _NOTHING_BEFORE: f"'{OPENER}' does not follow a particle",
}


@numba.njit(cache=True, nogil=True)
def _walk(mother: Array, offsets: Array) -> Any:
    """List the steps of the walks through all trees: rows, `_DOWN` and `_UP`.

    Returns the steps, their offsets by event, the first event with a broken tree (-1: none)
    and the row of it that is at fault.
    """
    n_events = len(offsets) - 1
    n_rows = offsets[n_events]
    # A mother adds two brackets, and there are no more mothers than particles.
    steps = np.empty(3 * n_rows, dtype=np.int32)
    step_offsets = np.zeros(n_events + 1, dtype=np.int64)
    eldest = np.full(n_rows, -1, dtype=np.int32)
    younger = np.full(n_rows, -1, dtype=np.int32)
    n_steps = 0
    for event in range(n_events):
        first, last = offsets[event], offsets[event + 1]
        root = -1
        # Backwards, so that each chain of siblings runs forwards.
        for row in range(last - 1, first - 1, -1):
            link = mother[row]
            if link == -1:
                younger[row] = root
                root = row
            elif link < -1 or link >= last - first or first + link == row:
                return steps[:0], step_offsets, event, row
            else:
                above = first + link
                younger[row] = eldest[above]
                eldest[above] = row
        visited = 0
        row = root
        while row >= 0:
            steps[n_steps] = row
            n_steps += 1
            visited += 1
            if eldest[row] >= 0:
                steps[n_steps] = _DOWN
                n_steps += 1
                row = eldest[row]
                continue
            while younger[row] < 0 and mother[row] >= 0:
                steps[n_steps] = _UP
                n_steps += 1
                row = first + mother[row]
            row = younger[row]
        if visited != last - first:
            # Some particles hang on each other in a ring; find one of them.
            for row in range(first, last):
                above = row
                for _ in range(last - first):
                    if mother[above] == -1:
                        break
                    above = first + mother[above]
                if mother[above] != -1:
                    return steps[:0], step_offsets, event, row
        step_offsets[event + 1] = n_steps
    return steps[:n_steps], step_offsets, -1, -1


@numba.njit(cache=True, nogil=True)
def _digits(value: Any) -> Any:
    """Count the characters of a number."""
    count = 1
    rest = abs(np.int64(value))
    while rest >= 10:
        rest //= 10
        count += 1
    return count + 1 if value < 0 else count


@numba.njit(cache=True, nogil=True)
def _write(steps: Array, step_offsets: Array, codes: Array, opener: Array, closer: Array) -> Any:
    """Write the walks as text; returns bytes and their offsets by event."""
    size = 0
    for step in steps:
        size += 1 + (_digits(codes[step]) if step >= 0 else len(opener))
    text = np.empty(size, dtype=np.uint8)
    n_events = len(step_offsets) - 1
    text_offsets = np.zeros(n_events + 1, dtype=np.int64)
    place = 0
    for event in range(n_events):
        for i in range(step_offsets[event], step_offsets[event + 1]):
            text[place] = 32
            place += 1
            step = steps[i]
            if step < 0:
                word = opener if step == _DOWN else closer
                for letter in word:
                    text[place] = letter
                    place += 1
                continue
            value = codes[step]
            length = _digits(value)
            rest = abs(np.int64(value))
            for j in range(place + length - 1, place - 1, -1):
                text[j] = 48 + rest % 10
                rest //= 10
            if value < 0:
                text[place] = 45
            place += length
        text_offsets[event + 1] = place
    return text, text_offsets


@numba.njit(cache=True, nogil=True, inline="always")
def _read_number(text: Array, start: int, stop: int) -> Any:
    """Read '511' or '511.0'; say whether it is a whole number of at most 18 digits."""
    place = start
    negative = text[place] == 45
    if negative or text[place] == 43:
        place += 1
    first = place
    value = np.int64(0)
    while place < stop and 48 <= text[place] <= 57:
        value = value * 10 + np.int64(text[place]) - 48
        place += 1
    # 18 digits always fit into 64 bits.
    sound = first < place <= first + 18
    if place < stop:
        sound &= text[place] == 46
        place += 1
        while place < stop:
            sound &= text[place] == 48
            place += 1
    return sound, -value if negative else value


@numba.njit(cache=True, nogil=True)
def _count_words(text: Array, starts: Array, stops: Array) -> Any:
    """Give the offsets of the words of each string."""
    offsets = np.zeros(len(starts) + 1, dtype=np.int64)
    for i in range(len(starts)):
        count = 0
        inside = False
        for place in range(starts[i], stops[i]):
            letter = text[place] > 32
            if letter and not inside:
                count += 1
            inside = letter
        offsets[i + 1] = offsets[i] + count
    return offsets


@numba.njit(cache=True, nogil=True)
def _tokenise(
    text: Array,
    starts: Array,
    stops: Array,
    offsets: Array,
    slot_codes: Array,
    slot_tokens: Array,
    opener_token: int,
    closer_token: int,
) -> Any:
    """Translate all words; returns tokens, places of the words and each string's fault."""
    tokens = np.empty(offsets[-1], dtype=np.int16)
    places = np.empty(offsets[-1], dtype=np.int64)
    faults = np.zeros(len(starts), dtype=np.int8)
    slots = len(slot_codes)
    for i in range(len(starts)):
        place, end = starts[i], stops[i]
        word = offsets[i]
        depth = 0
        before = _CLOSE
        fault = _SOUND
        while True:
            while place < end and text[place] <= 32:
                place += 1
            if place >= end:
                break
            start = place
            while place < end and text[place] > 32:
                place += 1
            token = UNKNOWN
            kind = _OTHER
            letters = 0
            if place - start == _BRACKET_LENGTH:
                for j in range(start, place):
                    letters = letters << 8 | np.int64(text[j])
            if letters == _OPENER_LETTERS:
                kind = _OPEN
                token = opener_token
                depth += 1
                if (before == _OPEN or before == _CLOSE) and fault == _SOUND:  # noqa: SIM109
                    fault = _NOTHING_BEFORE
            elif letters == _CLOSER_LETTERS:
                kind = _CLOSE
                token = closer_token
                depth -= 1
                if depth < 0 and fault == _SOUND:
                    fault = _CLOSED_TOO_OFTEN
            else:
                sound, code = _read_number(text, start, place)
                if sound:
                    kind = _CODE
                    slot = code % slots
                    if slot_codes[slot] == code:
                        token = slot_tokens[slot]
            before = kind
            tokens[word] = token
            places[word] = start
            word += 1
        if depth > 0 and fault == _SOUND:
            fault = _LEFT_OPEN
        faults[i] = fault
    return tokens, places, faults


def _walk_checked(mother_index: npt.ArrayLike, offsets: npt.ArrayLike) -> tuple[Array, Array]:
    mothers = np.ascontiguousarray(mother_index, dtype=np.int32)
    borders = np.ascontiguousarray(offsets, dtype=np.int64)
    if len(borders) == 0 or borders[0] != 0 or borders[-1] != len(mothers):
        raise ValueError(
            f"offsets must begin with 0 and end with the number of particles, {len(mothers)}"
        )
    if np.any(np.diff(borders) < 0):
        raise ValueError("offsets must never decrease")
    steps, step_offsets, event, row = _walk(mothers, borders)
    if event >= 0:
        place = row - borders[event]
        raise InputError(
            f"event {event} (counted from 0 in this piece) is no tree: its particle {place} of "
            f"{borders[event + 1] - borders[event]} has the mother {mothers[row]}, which "
            + (
                "does not exist"
                if not -1 <= mothers[row] < borders[event + 1] - borders[event]
                else "descends from it"
            )
        )
    return steps, step_offsets


def build_decay_strings(table: EventTable) -> npt.NDArray[np.object_]:
    """Write the decay trees of all events as text.

    Parameters
    ----------
    table : EventTable
        With particles.

    Returns
    -------
    numpy.ndarray [n_events]
        Objects of type str; ``""`` for an event without particles. Each word follows a
        blank, as in `` 300553 (--> 511 -511 <--)``.

    Raises
    ------
    InputError
        When mother links point outside of their event or run in a ring.
    ValueError
        When the table has no particles column at all.
    """
    if not table.particles:
        raise ValueError("decay strings cannot be built: the table has no particles")
    steps, step_offsets = _walk_checked(table.particles["motherIndex"], table.offsets)
    codes = np.ascontiguousarray(table.particles["PDG"], dtype=np.int64)
    letters, text_offsets = _write(steps, step_offsets, codes, _OPENER_BYTES, _CLOSER_BYTES)
    text = letters.tobytes().decode("ascii")
    borders = text_offsets.tolist()
    strings = np.empty(len(table), dtype=object)
    strings[:] = [text[a:b] for a, b in pairwise(borders)]
    return strings


def tokens_from_trees(
    pdg: npt.ArrayLike,
    mother_index: npt.ArrayLike,
    offsets: npt.ArrayLike,
    vocabulary: Vocabulary,
) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int64]]:
    """Translate decay trees into tokens without writing them as text.

    Parameters
    ----------
    pdg : array_like of int [n_particles]
        PDG codes.
    mother_index : array_like of int [n_particles]
        The mother's position within the event, -1 for none.
    offsets : array_like of int [n_events + 1]
        Event i owns the particles ``offsets[i]:offsets[i + 1]``.
    vocabulary : Vocabulary
        The tokens.

    Returns
    -------
    tokens : numpy.ndarray [n_tokens]
        int16, the same as ``tokenise(build_decay_strings(...))`` gives.
    token_offsets : numpy.ndarray [n_events + 1]
        int64; event i owns ``token_offsets[i]:token_offsets[i + 1]``.

    Raises
    ------
    InputError
        When mother links point outside of their event or run in a ring.
    ValueError
        When the lengths do not fit together.
    """
    codes = np.asarray(pdg)
    if len(codes) != len(np.asarray(mother_index)):
        raise ValueError(f"{len(codes)} codes, {len(np.asarray(mother_index))} mother links")
    steps, step_offsets = _walk_checked(mother_index, offsets)
    # The two brackets stand behind all particles, where steps -1 and -2 find them.
    by_step = np.concatenate(
        [vocabulary.tokens(codes), np.array([vocabulary.closer, vocabulary.opener], np.int16)]
    )
    return by_step[steps], step_offsets


def _as_bytes(strings: Sequence[str] | Array) -> tuple[Array, Array, Array]:
    """Give all texts as one array of bytes, and where each begins and ends."""
    values = strings if isinstance(strings, list | tuple) else np.asarray(strings)
    if isinstance(values, np.ndarray) and values.dtype.kind == "S" and values.dtype.itemsize:
        packed = np.ascontiguousarray(values)
        starts = np.arange(len(packed), dtype=np.int64) * packed.dtype.itemsize
        return packed.view(np.uint8), starts, starts + np.strings.str_len(packed)
    listed = list(values)
    try:
        text = "".join(listed)
    except TypeError:
        row = next(i for i, value in enumerate(listed) if not isinstance(value, str))
        raise InputError(f"decay string {row} is no text but {listed[row]!r}") from None
    data = text.encode("utf-8", "surrogatepass")
    lengths = map(len, listed)
    if len(data) != len(text):
        lengths = map(len, (value.encode("utf-8", "surrogatepass") for value in listed))
    borders = np.zeros(len(listed) + 1, dtype=np.int64)
    np.cumsum(np.fromiter(lengths, dtype=np.int64, count=len(listed)), out=borders[1:])
    return np.frombuffer(data, dtype=np.uint8), borders[:-1], borders[1:]


def tokenise(
    strings: Sequence[str] | Array, vocabulary: Vocabulary, *, check: bool = True
) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int64], dict[str, int]]:
    """Translate decay strings into tokens.

    Parameters
    ----------
    strings : sequence of str or numpy.ndarray [n_events]
        Decay strings (objects, 'U' or 'S'); words are parted by white space.
    vocabulary : Vocabulary
        The tokens.
    check : bool, default True
        Refuse strings whose brackets do not fit together.

    Returns
    -------
    tokens : numpy.ndarray [n_tokens]
        int16. A code that is not in the vocabulary and a word that is neither code nor
        bracket have the token 1. A code may be written as a float, ``511.0``.
    token_offsets : numpy.ndarray [n_events + 1]
        int64; string i owns ``token_offsets[i]:token_offsets[i + 1]``; none if it is empty.
    unknown : dict of str to int
        The words with token 1 and how often they stand there, the most frequent first.

    Raises
    ------
    InputError
        When an entry is no text, or (with `check`) its brackets do not fit together; the
        message tells which string is the first and how many there are.
    """
    text, starts, stops = _as_bytes(strings)
    offsets = _count_words(text, starts, stops)
    tokens, places, faults = _tokenise(
        text,
        starts,
        stops,
        offsets,
        vocabulary.slot_codes,
        vocabulary.slot_tokens,
        vocabulary.opener,
        vocabulary.closer,
    )
    if check and faults.any():
        row = int(np.argmax(faults != _SOUND))
        string = text[starts[row] : stops[row]].tobytes().decode("utf-8", "replace")
        shown = string if len(string) <= 120 else f"{string[:60]} ... {string[-60:]}"
        raise InputError(
            f"decay string {row} (counted from 0 in this piece; {int((faults != 0).sum())} of "
            f"{len(faults)} are broken): {_COMPLAINTS[int(faults[row])]}: '{shown}'"
        )
    return tokens, offsets, _count_unknown(text, places[tokens == UNKNOWN])


def _count_unknown(text: Array, places: Array) -> dict[str, int]:
    if len(places) == 0:
        return {}
    counts: Counter[str] = Counter()
    data = text.tobytes()
    for place in places.tolist():
        # A word without a token is short unless the string is garbage.
        word = data[place : place + 32].split(maxsplit=1)[0].decode("utf-8", "replace")
        counts[word] += 1
    return dict(counts.most_common())
