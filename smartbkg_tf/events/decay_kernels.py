"""Compiled loops over decay trees and decay strings; used by `smartbkg_tf.events.decay_strings`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from smartbkg_tf.events.vocabulary import CLOSER, OPENER, UNKNOWN

Array = npt.NDArray[Any]

# Steps of a walk through a tree that are no particles.
DOWN = -1
UP = -2

OPENER_BYTES = np.frombuffer(OPENER.encode(), dtype=np.uint8).copy()
CLOSER_BYTES = np.frombuffer(CLOSER.encode(), dtype=np.uint8).copy()

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
SOUND = 0
CLOSED_TOO_OFTEN = 1
LEFT_OPEN = 2
NOTHING_BEFORE = 3


def _compiled(function: Callable[..., Any], **options: Any) -> Any:
    """Compile a function, and keep the result on the disk if there is a place for it."""
    try:
        return numba.njit(cache=True, nogil=True, **options)(function)
    except RuntimeError:
        # Neither the package's folder nor the user's can be written, as in some containers.
        return numba.njit(nogil=True, **options)(function)


def _compiled_into_its_caller(function: Callable[..., Any]) -> Any:
    return _compiled(function, inline="always")


@_compiled
def walk(mother: Array, offsets: Array) -> Any:
    """List the steps of the walks through all trees: rows, `DOWN` and `UP`.

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
                steps[n_steps] = DOWN
                n_steps += 1
                row = eldest[row]
                continue
            while younger[row] < 0 and mother[row] >= 0:
                steps[n_steps] = UP
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


@_compiled
def _digits(value: Any) -> Any:
    """Count the characters of a number."""
    count = 1
    rest = abs(np.int64(value))
    while rest >= 10:
        rest //= 10
        count += 1
    return count + 1 if value < 0 else count


@_compiled
def write(steps: Array, step_offsets: Array, codes: Array, opener: Array, closer: Array) -> Any:
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
                word = opener if step == DOWN else closer
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


@_compiled_into_its_caller
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


@_compiled
def count_words(text: Array, starts: Array, stops: Array) -> Any:
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


@_compiled
def translate(
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
        fault = SOUND
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
            letters = np.int64(0)
            if place - start == _BRACKET_LENGTH:
                for j in range(start, place):
                    letters = letters << 8 | np.int64(text[j])
            if letters == _OPENER_LETTERS:
                kind = _OPEN
                token = opener_token
                depth += 1
                if (before == _OPEN or before == _CLOSE) and fault == SOUND:  # noqa: SIM109
                    fault = NOTHING_BEFORE
            elif letters == _CLOSER_LETTERS:
                kind = _CLOSE
                token = closer_token
                depth -= 1
                if depth < 0 and fault == SOUND:
                    fault = CLOSED_TOO_OFTEN
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
        if depth > 0 and fault == SOUND:
            fault = LEFT_OPEN
        faults[i] = fault
    return tokens, places, faults
