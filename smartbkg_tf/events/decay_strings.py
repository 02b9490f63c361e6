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
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.errors import InputError
from smartbkg_tf.events.decay_kernels import (
    CLOSED_TOO_OFTEN,
    CLOSER_BYTES,
    LEFT_OPEN,
    NOTHING_BEFORE,
    OPENER_BYTES,
    SOUND,
    translate,
    walk,
    write,
)
from smartbkg_tf.events.memory import flat_bytes
from smartbkg_tf.events.table import EventTable
from smartbkg_tf.events.vocabulary import CLOSER, OPENER, Vocabulary
from smartbkg_tf.events.word_table import word_table

Array = npt.NDArray[Any]

_COMPLAINTS = {
    CLOSED_TOO_OFTEN: f"'{CLOSER}' without its '{OPENER}'",
    LEFT_OPEN: f"'{OPENER}' without its '{CLOSER}' (was the text cut off?)",
    NOTHING_BEFORE: f"'{OPENER}' does not follow a particle",
}


def _walk_checked(
    mother_index: npt.ArrayLike,
    offsets: npt.ArrayLike,
    where: str | Path | None = None,
    first_event: int = 0,
) -> tuple[Array, Array]:
    mothers = np.ascontiguousarray(mother_index, dtype=np.int32)
    borders = np.ascontiguousarray(offsets, dtype=np.int64)
    if len(borders) == 0 or borders[0] != 0 or borders[-1] != len(mothers):
        raise ValueError(
            f"offsets must begin with 0 and end with the number of particles, {len(mothers)}"
        )
    if np.any(np.diff(borders) < 0):
        raise ValueError("offsets must never decrease")
    steps, step_offsets, event, row = walk(mothers, borders)
    if event >= 0:
        place = row - borders[event]
        raise InputError(
            f"event {first_event + event} (counted from 0) is no tree: its particle {place} of "
            f"{borders[event + 1] - borders[event]} has the mother {mothers[row]}, which "
            + (
                "does not exist"
                if not -1 <= mothers[row] < borders[event + 1] - borders[event]
                else "descends from it"
            ),
            where=where,
        )
    return steps, step_offsets


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
        When mother links point outside of their event or run in a ring.
    ValueError
        When the table has no particles column at all.
    """
    if not table.particles:
        raise ValueError("decay strings cannot be built: the table has no particles")
    steps, step_offsets = _walk_checked(
        table.particles["motherIndex"], table.offsets, where, first_event
    )
    codes = np.ascontiguousarray(table.particles["PDG"], dtype=np.int64)
    letters, text_offsets = write(steps, step_offsets, codes, OPENER_BYTES, CLOSER_BYTES)
    text = letters.tobytes().decode("ascii")
    borders = text_offsets.tolist()
    strings = np.empty(len(table), dtype=object)
    strings[:] = [text[a:b] for a, b in pairwise(borders)]
    return strings


def with_strings(table: EventTable, where: str | Path, first_event: int) -> EventTable:
    """Give the same events with decay strings built from their particles.

    Parameters
    ----------
    table : EventTable
        With particles.
    where : str or pathlib.Path
        The file, for the message.
    first_event : int
        Position of the first event in it, for the message.

    Returns
    -------
    EventTable
        A table of the same arrays.

    Raises
    ------
    InputError
        When mother links point outside of their event or run in a ring.
    """
    return replace(
        table, decay_strings=build_decay_strings(table, where=where, first_event=first_event)
    )


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
        letters, step = _bytes_of(values)
        starts = np.arange(len(values), dtype=np.int64) * step
        return letters, starts, starts + values.dtype.itemsize
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


def _bytes_of(values: Array) -> tuple[Array, int]:
    """Give the bytes of all texts, and how far apart the texts begin."""
    width, step = values.dtype.itemsize, values.strides[0] if values.ndim == 1 else -1
    if len(values) == 0 or step < width:
        return np.ascontiguousarray(values).view(np.uint8).reshape(-1), width
    return flat_bytes(values, (len(values) - 1) * step + width), step


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
    tokens, offsets, unknown, faults = _translated(text, starts, stops, vocabulary)
    if check and faults.any():
        row = int(np.argmax(faults != SOUND))
        string = text[starts[row] : stops[row]].tobytes().rstrip(b"\0").decode("utf-8", "replace")
        shown = string if len(string) <= 120 else f"{string[:60]} ... {string[-60:]}"
        raise InputError(
            f"decay string {row} (counted from 0; {int((faults != 0).sum())} of "
            f"{len(faults)} are broken): {_COMPLAINTS[int(faults[row])]}: '{shown}'"
        )
    return tokens, offsets, _count_unknown(text, unknown)


def tokenise_unchecked(
    strings: Sequence[str] | Array, vocabulary: Vocabulary
) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int64], dict[str, int], npt.NDArray[np.bool_]]:
    """Translate decay strings into tokens, and tell which of them are broken.

    Parameters
    ----------
    strings : sequence of str or numpy.ndarray [n_events]
        As `tokenise`.
    vocabulary : Vocabulary
        The tokens.

    Returns
    -------
    tokens : numpy.ndarray [n_tokens]
        As `tokenise`.
    token_offsets : numpy.ndarray [n_events + 1]
        As `tokenise`.
    unknown : dict of str to int
        As `tokenise`.
    broken : numpy.ndarray [n_events]
        bool; True where brackets do not fit together.

    Raises
    ------
    InputError
        When an entry is no text.
    """
    text, starts, stops = _as_bytes(strings)
    tokens, offsets, unknown, faults = _translated(text, starts, stops, vocabulary)
    return tokens, offsets, _count_unknown(text, unknown), faults != SOUND


def _translated(
    text: Array, starts: Array, stops: Array, vocabulary: Vocabulary
) -> tuple[Array, Array, Array, Array]:
    """Tokens, their offsets by string, borders of unknown words, and the fault of each string."""
    found: tuple[Array, Array, Array, Array] = translate(
        text,
        starts,
        stops,
        *word_table(vocabulary),
        vocabulary.slot_codes,
        vocabulary.slot_tokens,
        vocabulary.opener,
        vocabulary.closer,
    )
    return found


def _count_unknown(text: Array, borders: Array) -> dict[str, int]:
    """Count the words that begin and end at the given borders [n, 2]."""
    counts: Counter[str] = Counter()
    for begin, end in borders.tolist():
        # A word without a token is short unless the string is garbage.
        word = text[begin : min(end, begin + 32)].tobytes().decode("utf-8", "replace")
        counts[word] += 1
    return dict(counts.most_common())
