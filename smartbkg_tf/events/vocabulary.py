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

#: Token 0 is padding, token 1 a code that the vocabulary lacks.
UNKNOWN = 1
FIRST_CODE = 2

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
        Lookup tables for compiled code: code c stands, if it is known, in slot
        ``c % slots`` (the remainder is never negative); int64 and int16.

    Raises
    ------
    ConfigurationError
        When a code appears twice, there is none, or more than an int16 token can hold.

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
        """Translate PDG codes.

        Parameters
        ----------
        codes : array_like [...]
            Of any numeric type; whole floats such as 211.0 count as their integer.

        Returns
        -------
        numpy.ndarray [...]
            int16 of the same shape; 1 for codes that are not in the list, and for NaN
            and broken numbers such as 211.5.

        Raises
        ------
        TypeError
            When the codes are not numbers.
        """
        whole, sound = _whole(codes)
        slots = whole % len(self.slot_codes)
        known = self.slot_codes[slots] == whole
        if sound is not None:
            known &= sound
        return np.where(known, self.slot_tokens[slots], np.int16(UNKNOWN))

    def unknown(self, codes: npt.ArrayLike) -> dict[int, int]:
        """Count the codes [...] that have no token, the most frequent first; NaN is not a code."""
        whole, sound = _whole(codes)
        missing = self.tokens(whole) == UNKNOWN
        if sound is not None:
            missing &= sound
        values, counts = np.unique(whole[missing], return_counts=True)
        order = np.lexsort((values, -counts))
        return dict(zip(values[order].tolist(), counts[order].tolist(), strict=True))

    def code_of(self, token: int) -> int | None:
        """Give the PDG code of a token; None for padding, unknown and the two brackets."""
        position = token - FIRST_CODE
        return int(self.codes[position]) if 0 <= position < len(self.codes) else None


def _whole(
    codes: npt.ArrayLike,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_] | None]:
    """Give codes as int64, and which of them are whole numbers (None: all are)."""
    values = np.asarray(codes)
    if values.dtype.kind in "ib":
        return values.astype(np.int64, copy=False), None
    if values.dtype.kind == "u":
        # Above int64 nothing is a code; such a value must not wrap to a negative one.
        sound = values <= np.uint64(np.iinfo(np.int64).max)
        return np.where(sound, values, 0).astype(np.int64), sound
    if values.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            sound = (np.abs(values) < 2.0**53) & (values == np.rint(values))
        return np.where(sound, values, 0).astype(np.int64), sound
    if values.size == 0:
        return values.astype(np.int64), None
    raise TypeError(f"PDG codes must be numbers, not {values.dtype}")


def _slots(
    codes: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int16]]:
    """Find a number of slots for which every code has a slot of its own.

    One remainder and one comparison then translate a code, in NumPy as in compiled
    code; a binary search over the list takes five times as long.
    """
    slots = 8 * len(codes)
    for trial in range(20000):
        if len(np.unique(codes % slots)) == len(codes):
            break
        slots += 1 if trial < 3000 else slots // 64
        if slots > 2**26:
            raise ConfigurationError(f"no lookup table found for {len(codes)} PDG codes")
    places = codes % slots
    # An empty slot holds a code that belongs elsewhere, so that nothing matches it.
    slot_codes = np.where(np.arange(slots) == 0, 1, 0).astype(np.int64)
    slot_tokens = np.full(slots, UNKNOWN, dtype=np.int16)
    slot_codes[places] = codes
    slot_tokens[places] = np.arange(FIRST_CODE, FIRST_CODE + len(codes), dtype=np.int16)
    return slot_codes, slot_tokens


@lru_cache(maxsize=1)
def default_vocabulary() -> Vocabulary:
    """Give the vocabulary that the package ships: ``events/data/pdg_codes.txt``.

    All 562 codes that the Belle II software knows, and 10221, which Pythia makes, sorted by
    size, antiparticle first.
    """
    text = files("smartbkg_tf.events").joinpath("data/pdg_codes.txt").read_text("utf-8")
    return Vocabulary(np.array([int(line) for line in text.split()]))
