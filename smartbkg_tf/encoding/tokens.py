"""Tokens of long columns of PDG codes, in one compiled pass."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from smartbkg_tf.events.vocabulary import UNKNOWN, Vocabulary


def look_up(
    codes: npt.NDArray[Any], vocabulary: Vocabulary, unknown: dict[str, int]
) -> npt.NDArray[np.int16]:
    """Translate PDG codes and count those without a token.

    Parameters
    ----------
    codes : numpy.ndarray [n]
        Of any numeric type; whole floats such as 211.0 count as their integer.
    vocabulary : Vocabulary
        The tokens.
    unknown : dict of str to int
        Code -> count; what is found is added.

    Returns
    -------
    numpy.ndarray [n]
        int16, as `Vocabulary.tokens` gives them.
    """
    tokens: npt.NDArray[np.int16]
    if codes.dtype.kind == "i":
        tokens, n_unknown = _look_up(
            np.ascontiguousarray(codes), vocabulary.slot_codes, vocabulary.slot_tokens
        )
    else:
        tokens = vocabulary.tokens(codes)
        n_unknown = int(np.count_nonzero(tokens == UNKNOWN))
    if n_unknown:
        for code, count in vocabulary.unknown(codes[tokens == UNKNOWN]).items():
            unknown[str(code)] = unknown.get(str(code), 0) + count
    return tokens


@numba.njit(cache=True, nogil=True)
def _look_up(
    codes: npt.NDArray[np.int32],
    slot_codes: npt.NDArray[np.int64],
    slot_tokens: npt.NDArray[np.int16],
) -> tuple[npt.NDArray[np.int16], int]:
    out = np.empty(len(codes), dtype=np.int16)
    n_unknown = 0
    for i in range(len(codes)):
        code = np.int64(codes[i])
        slot = code % len(slot_codes)
        if slot_codes[slot] == code:
            out[i] = slot_tokens[slot]
        else:
            out[i] = 1
            n_unknown += 1
    return out, n_unknown
