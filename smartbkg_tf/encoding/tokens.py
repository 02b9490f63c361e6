"""Tokens of long columns of PDG codes, in one compiled pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.events.vocabulary import UNKNOWN, Vocabulary
from smartbkg_tf.runtime.kernels import kernel


def look_up(
    codes: npt.NDArray[Any],
    vocabulary: Vocabulary,
    unknown: dict[str, int],
    *,
    none: int | None = None,
) -> npt.NDArray[np.int16]:
    """Translate PDG codes [n] of any numeric type, and add those without a token to `unknown`.

    `none` is the token of the code 0 (and of NaN) where it stands for "nothing"; by default it is
    a code as any other.
    """
    tokens: npt.NDArray[np.int16]
    if codes.dtype.kind == "i":
        nothing = int(vocabulary.tokens(0)) if none is None else none
        tokens, n_unknown = _look_up(
            codes, vocabulary.slot_codes, vocabulary.slot_tokens, np.int16(nothing)
        )
    else:
        tokens = vocabulary.tokens(codes)
        if none is not None:
            tokens = np.where(np.nan_to_num(codes) == 0, np.int16(none), tokens)
        n_unknown = int(np.count_nonzero(tokens == UNKNOWN))
    if n_unknown:
        for code, count in vocabulary.unknown(codes[tokens == UNKNOWN]).items():
            unknown[str(code)] = unknown.get(str(code), 0) + count
    return tokens


@kernel
def _look_up(
    codes: npt.NDArray[np.int32],
    slot_codes: npt.NDArray[np.int64],
    slot_tokens: npt.NDArray[np.int16],
    nothing: np.int16,
) -> tuple[npt.NDArray[np.int16], int]:
    out = np.empty(len(codes), dtype=np.int16)
    n_unknown = 0
    # Unsigned 32-bit remainders are several times as fast as signed 64-bit ones; most codes fit.
    slots = np.uint32(len(slot_codes))
    for i in range(len(codes)):
        code = np.int64(codes[i])
        if code == 0:
            out[i] = nothing
            n_unknown += nothing == 1
            continue
        if 0 < code < 0x7FFFFFFF:
            slot = np.int64(np.uint32(code) % slots)
        elif -0x7FFFFFFF < code < 0:
            rest = np.uint32(-code) % slots
            slot = np.int64(slots - rest) if rest else np.int64(0)
        else:
            slot = code % len(slot_codes)
        if slot_codes[slot] == code:
            out[i] = slot_tokens[slot]
        else:
            out[i] = 1
            n_unknown += 1
    return out, n_unknown
