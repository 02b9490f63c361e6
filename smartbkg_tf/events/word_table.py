"""Words of decay strings that are looked up as they stand: eight letters are one number.

Nearly every word of a decay string is a bracket or a short PDG code. Read as a 64-bit number,
it is found in a table with one multiplication, and none of its digits is looked at.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from smartbkg_tf.events.vocabulary import CLOSER, OPENER, Vocabulary

#: Words of at most so many letters stand in the table.
LONGEST = 7

# 2**64 divided by the golden ratio; the upper bits of a product are the slot.
MULTIPLIER = 0x9E3779B97F4A7C15


@lru_cache(maxsize=8)
def word_table(
    vocabulary: Vocabulary,
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int16]]:
    """Give the table of all short words that have a token.

    Parameters
    ----------
    vocabulary : Vocabulary
        The tokens.

    Returns
    -------
    words : numpy.ndarray [2**k]
        uint64; letters of a word, the first one in the lowest byte, 0 for an empty slot. A
        word stands in the slot ``word * MULTIPLIER >> 64 - k`` or the next free one.
    tokens : numpy.ndarray [2**k]
        int16.
    """
    entries = {str(code): token for code, token in _tokens(vocabulary) if len(str(code)) <= LONGEST}
    entries |= {OPENER: vocabulary.opener, CLOSER: vocabulary.closer}
    bits = max(4, (4 * len(entries) - 1).bit_length())
    words = np.zeros(2**bits, dtype=np.uint64)
    tokens = np.zeros(2**bits, dtype=np.int16)
    for text, token in entries.items():
        word = int.from_bytes(text.encode(), "little")
        slot = (word * MULTIPLIER & 2**64 - 1) >> 64 - bits
        while words[slot]:
            slot = (slot + 1) % 2**bits
        words[slot], tokens[slot] = word, token
    for array in (words, tokens):
        array.flags.writeable = False
    return words, tokens


def _tokens(vocabulary: Vocabulary) -> list[tuple[int, int]]:
    codes = vocabulary.codes
    return list(zip(codes.tolist(), vocabulary.tokens(codes).tolist(), strict=True))
