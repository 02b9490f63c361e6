"""The PDG codes that a model knows, as tokens.

One vocabulary serves the PDG and mother-PDG columns and the decay strings: token 0 is
padding, 1 is "unknown", code i of the list has token ``2 + i``, and the two brackets of
the decay strings follow behind the last code.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.errors import ConfigurationError
from smartbkg_tf.runtime.kernels import kernel

#: Token 0 is padding, token 1 a code that the vocabulary lacks.
UNKNOWN = 1
FIRST_CODE = 2

#: Stands for what is not a number of 32 bits.
_NO_CODE = -(2**62)

#: How the daughters of a particle are opened and closed in a decay string.
OPENER = "(-->"
CLOSER = "<--)"


@dataclass(frozen=True, eq=False, repr=False)
class Vocabulary:
    """A fixed, ordered list of PDG codes and their tokens.

    Parameters
    ----------
    codes : iterable of int
        Distinct PDG codes; the position in the list decides the token.

    Attributes
    ----------
    codes : numpy.ndarray [n]
        int64, not writeable.
    slot_codes, slot_tokens : numpy.ndarray [slots]
        Lookup tables, int64 and int16: code c stands, if it is known, in slot
        ``uint32(c) % slots``.

    Raises
    ------
    ConfigurationError
        When a code appears twice or has more than 32 bits, there is none, or more than an int16
        token can hold.

    Examples
    --------
    >>> vocabulary = Vocabulary([211, -211, 22])
    >>> vocabulary.tokens([22, -211.0, 5122, float("nan")]).tolist()
    [4, 3, 1, 1]
    >>> vocabulary.opener, vocabulary.closer, vocabulary.size
    (5, 6, 7)
    """

    codes: npt.NDArray[np.int64]
    slot_codes: npt.NDArray[np.int64] = field(init=False)
    slot_tokens: npt.NDArray[np.int16] = field(init=False)

    def __post_init__(self) -> None:
        """Check the codes, and make the lookup tables."""
        codes = np.array([int(code) for code in self.codes], dtype=np.int64)
        if len(codes) == 0:
            raise ConfigurationError("a vocabulary needs at least one PDG code")
        if (codes != codes.astype(np.int32)).any():
            raise ConfigurationError("PDG codes have 32 bits")
        distinct, counts = np.unique(codes, return_counts=True)
        if len(distinct) != len(codes):
            twice = distinct[counts > 1][:10].tolist()
            raise ConfigurationError(f"PDG codes occur twice in the vocabulary: {twice}")
        most = np.iinfo(np.int16).max - FIRST_CODE - 2
        if len(codes) > most:
            raise ConfigurationError(
                f"a vocabulary holds at most {most} PDG codes, not {len(codes)}"
            )
        slot_codes, slot_tokens = _slots(codes)
        arrays: dict[str, npt.NDArray[Any]] = {
            "codes": codes, "slot_codes": slot_codes, "slot_tokens": slot_tokens,
        }  # fmt: skip
        for name, array in arrays.items():
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    @property
    def opener(self) -> int:
        """Token of ``(-->``: ``2 + n``."""
        return FIRST_CODE + len(self)

    @property
    def closer(self) -> int:
        """Token of ``<--)``: ``3 + n``."""
        return FIRST_CODE + len(self) + 1

    @property
    def size(self) -> int:
        """Number of tokens, padding and unknown included: ``4 + n``.

        This is the input dimension of an embedding, for the PDG tokens as for the decay tokens.
        """
        return FIRST_CODE + len(self) + 2

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits that change with any code or its position."""
        text = "\n".join(map(str, self.codes.tolist()))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def __len__(self) -> int:
        """Count the PDG codes."""
        return len(self.codes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and np.array_equal(self.codes, other.codes)

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"Vocabulary({len(self)} codes, digest {self.digest})"

    def tokens(self, codes: npt.ArrayLike) -> npt.NDArray[np.int16]:
        """Translate PDG codes [...] of any numeric type (211.0 counts as 211) to int16 tokens.

        1 for codes that are not in the list, for NaN, and for broken numbers such as 211.5.
        TypeError when the codes are not numbers.
        """
        whole = whole_codes(codes)
        tokens: npt.NDArray[np.int16]
        tokens = look_up(whole.reshape(-1), self.slot_codes, self.slot_tokens)
        return tokens.reshape(whole.shape)

    def unknown(self, codes: npt.ArrayLike) -> dict[int, int]:
        """Count the codes [...] that have no token, the most frequent first; NaN is not a code."""
        whole = whole_codes(codes)
        missing = (self.tokens(whole) == UNKNOWN) & (whole != _NO_CODE)
        values, counts = np.unique(whole[missing], return_counts=True)
        order = np.lexsort((values, -counts))
        return dict(zip(values[order].tolist(), counts[order].tolist(), strict=True))

    def code_of(self, token: int) -> int | None:
        """Give the PDG code of a token; None for padding, unknown and the two brackets."""
        position = token - FIRST_CODE
        return int(self.codes[position]) if 0 <= position < len(self.codes) else None


def whole_codes(codes: npt.ArrayLike) -> npt.NDArray[np.signedinteger[Any]]:
    """Give codes [...] as integers; NaN and broken numbers become one that is never a code."""
    values = np.asarray(codes)
    if values.dtype.kind == "i":
        return values
    if values.dtype.kind == "b":
        return values.astype(np.int64)
    if values.dtype.kind == "u":
        # Above int64 nothing is a code; such a value must not wrap to a negative one.
        sound = values <= np.uint64(np.iinfo(np.int64).max)
        return np.where(sound, values, 0).astype(np.int64) + np.where(sound, 0, _NO_CODE)
    if values.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            sound = (np.abs(values) < 2.0**53) & (values == np.rint(values))
        return np.where(sound, values, _NO_CODE).astype(np.int64)
    if values.size == 0:
        return values.astype(np.int64)
    raise TypeError(f"PDG codes must be numbers, not {values.dtype}")


@kernel
def look_up(
    codes: npt.NDArray[np.signedinteger[Any]],
    slot_codes: npt.NDArray[np.int64],
    slot_tokens: npt.NDArray[np.int16],
) -> npt.NDArray[np.int16]:
    """Translate codes [n]; see `Vocabulary.tokens`."""
    tokens = np.empty(len(codes), dtype=np.int16)
    slots = np.uint32(len(slot_codes))
    for i in range(len(codes)):
        slot = np.uint32(np.int64(codes[i]) & 0xFFFFFFFF) % slots
        tokens[i] = slot_tokens[slot] if slot_codes[slot] == codes[i] else UNKNOWN
    return tokens


def _slots(
    codes: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int16]]:
    """Find a number of slots for which every code has a slot of its own.

    One remainder and one comparison then translate a code; a binary search over the list takes
    five times as long.
    """
    slots = 8 * len(codes)
    for trial in range(20000):
        places = codes.astype(np.uint32) % np.uint32(slots)
        if len(np.unique(places)) == len(codes):
            break
        slots += 1 if trial < 3000 else slots // 64
        if slots > 2**26:
            raise ConfigurationError(f"no lookup table found for {len(codes)} PDG codes")
    # An empty slot holds a code that belongs elsewhere, so that nothing matches it.
    slot_codes = np.where(np.arange(slots) == 0, 1, 0).astype(np.int64)
    slot_tokens = np.full(slots, UNKNOWN, dtype=np.int16)
    slot_codes[places] = codes
    slot_tokens[places] = np.arange(FIRST_CODE, FIRST_CODE + len(codes), dtype=np.int16)
    return slot_codes, slot_tokens


@lru_cache(maxsize=1)
def default_vocabulary() -> Vocabulary:
    """Give the package's vocabulary: the 562 codes of the Belle II software, and 10221.

    Pythia makes the last one. Sorted by size, antiparticle first.
    """
    text = files("smartbkg_tf.events").joinpath("data/pdg_codes.txt").read_text("utf-8")
    return Vocabulary(np.array([int(line) for line in text.split()]))
