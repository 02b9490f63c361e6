"""Compiled loops over decay trees and decay strings; used by `smartbkg_tf.events.decay_strings`."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.events.memory import trailing_zeros, uint64_at
from smartbkg_tf.events.vocabulary import CLOSER, OPENER, UNKNOWN
from smartbkg_tf.events.word_table import LONGEST, MULTIPLIER
from smartbkg_tf.runtime.kernels import kernel

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

# What can be wrong with the brackets of a string.
SOUND = 0
CLOSED_TOO_OFTEN = 1
LEFT_OPEN = 2
NOTHING_BEFORE = 3


@kernel
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


@kernel
def _digits(value: Any) -> Any:
    """Count the characters of a number."""
    count = 1
    rest = abs(np.int64(value))
    while rest >= 10:
        rest //= 10
        count += 1
    return count + 1 if value < 0 else count


@kernel
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


@kernel(inline="always")
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


@kernel
def _read_word(
    text: Array,
    start: int,
    end: int,
    slot_codes: Array,
    slot_tokens: Array,
    opener_token: int,
    closer_token: int,
) -> Any:
    """Read any word; returns where it ends, and its token."""
    place = start
    while place < end and text[place] > 32:
        place += 1
    letters = np.int64(0)
    if place - start == _BRACKET_LENGTH:
        for j in range(start, place):
            letters = letters << 8 | np.int64(text[j])
    if letters == _OPENER_LETTERS:
        return place, np.int64(opener_token)
    if letters == _CLOSER_LETTERS:
        return place, np.int64(closer_token)
    sound, code = _read_number(text, start, place)
    if not sound:
        return place, np.int64(UNKNOWN)
    slot = code % len(slot_codes)
    token = np.int64(slot_tokens[slot]) if slot_codes[slot] == code else np.int64(UNKNOWN)
    return place, token


@kernel
def translate(
    text: Array,
    starts: Array,
    stops: Array,
    words: Array,
    word_tokens: Array,
    slot_codes: Array,
    slot_tokens: Array,
    opener_token: int,
    closer_token: int,
) -> Any:
    """Translate all words; `words` and `word_tokens` come from `word_table`.

    Returns the tokens, their offsets by string, where the words without a token begin and
    end, and each string's fault. A zero byte is white space.
    """
    size = 0
    for i in range(len(starts)):
        size += (stops[i] - starts[i] + 1) // 2
    # Words are parted by at least one letter; what is never touched takes no memory.
    tokens = np.empty(size, dtype=np.int16)
    unknown = np.empty((size, 2), dtype=np.int64)
    n_unknown = 0
    offsets = np.zeros(len(starts) + 1, dtype=np.int64)
    faults = np.zeros(len(starts), dtype=np.int8)
    bits = 0
    while 1 << bits < len(words):
        bits += 1
    shift, last_slot = np.uint64(64 - bits), np.int64(len(words) - 1)
    lows, highs = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)
    ones, eight, none = np.uint64(2**64 - 1), np.uint64(8), np.uint64(0)
    multiplier = np.uint64(MULTIPLIER)
    n = np.int64(0)
    for i in range(len(starts)):
        place, end = np.int64(starts[i]), np.int64(stops[i])
        in_reach: Any = min(end, len(text) - 7)
        depth = np.int64(0)
        after_bracket = np.int64(1)
        fault = SOUND
        while True:
            while place < end and text[place] <= 32:
                # Texts of a fixed width end in zeros.
                while text[place] == 0 and place < in_reach and uint64_at(text, place) == 0:
                    place += 8
                place += 1
            if place >= end:
                break
            start = place
            found = none
            if place < in_reach:
                letters = uint64_at(text, place)
                # The lowest byte up to 32 ends the word: of x - 33 its high bit is set first.
                marks = (letters - lows * np.uint64(33)) & ~letters & highs
                length = min(trailing_zeros(marks) >> 3, end - place)
                if length <= LONGEST:
                    letters &= ~(ones << (np.uint64(length) * eight))
                    slot = np.int64((letters * multiplier) >> shift)
                    found = words[slot]
                    while found != letters and found != none:
                        slot = (slot + 1) & last_slot
                        found = words[slot]
            if found != none:
                place += length
                token = np.int64(word_tokens[slot])
            else:
                place, token = _read_word(
                    text, place, end, slot_codes, slot_tokens, opener_token, closer_token
                )
            # Half of the words are brackets, in no order that a processor could guess: numbers
            # instead of branches.
            opens, closes = np.int64(token == opener_token), np.int64(token == closer_token)
            depth += opens - closes
            if (opens & after_bracket) | np.int64(depth < 0) and fault == SOUND:
                fault = NOTHING_BEFORE if opens & after_bracket else CLOSED_TOO_OFTEN
            after_bracket = opens | closes
            tokens[n] = token
            n += 1
            if token == UNKNOWN:
                unknown[n_unknown, 0] = start
                unknown[n_unknown, 1] = place
                n_unknown += 1
        if depth > 0 and fault == SOUND:
            fault = LEFT_OPEN
        faults[i] = fault
        offsets[i + 1] = n
    return tokens[:n].copy(), offsets, unknown[:n_unknown].copy(), faults
