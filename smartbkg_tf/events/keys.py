"""Event keys: their hash, reproducible random numbers from them, and finding them again.

An event's hash depends on its key and a salt only, never on files, order or process.
The definition is fixed for ever, because the split into training and test events and
the decision of the filter rest on it::

    h = mix(salt)
    for part in (experiment, run, event, production):
        h = mix(h XOR part)                  # part as a 64-bit two's complement number

    mix(h): h += 0x9E3779B97F4A7C15          # all modulo 2**64
            h = (h XOR h >> 30) * 0xBF58476D1CE4E5B9
            h = (h XOR h >> 27) * 0x94D049BB133111EB
            h =  h XOR h >> 31

``mix`` is splitmix64 (Steele, Lea, Flood, OOPSLA 2014; constants of D. Stafford's
variant 13). A salt given as text is the first eight bytes, little endian, of its SHA-256.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.events.table import KEY_COLUMNS

UInt64Array = npt.NDArray[np.uint64]

#: Integer columns experiment, run, event, production, as a mapping or a structured array.
KeyColumns = Mapping[str, npt.NDArray[np.int64]] | npt.NDArray[np.void]

_ALL = 2**64 - 1


def mix(h: Any) -> Any:
    """Apply splitmix64 to an array of uint64 [...], or to a Python number below 2**64."""
    h = h + 0x9E3779B97F4A7C15 & _ALL
    h = (h ^ h >> 30) * 0xBF58476D1CE4E5B9 & _ALL
    h = (h ^ h >> 27) * 0x94D049BB133111EB & _ALL
    return h ^ h >> 31


@lru_cache(maxsize=64)
def salt_number(salt: int | str) -> int:
    """Turn a salt, a number modulo 2**64 or a text, into the number that enters the hash."""
    if isinstance(salt, str):
        return int.from_bytes(hashlib.sha256(salt.encode()).digest()[:8], "little")
    return int(salt) % 2**64


def hash_keys(keys: KeyColumns, salt: int | str) -> UInt64Array:
    """Hash event keys [n] to 64 uniformly distributed bits; other salts, independent numbers.

    Among 1e8 different keys two have equal hashes with a probability of 3e-4.
    """
    h: UInt64Array = np.full(len(keys["experiment"]), mix(salt_number(salt)), dtype=np.uint64)
    for name in KEY_COLUMNS:
        h = mix(h ^ np.ascontiguousarray(keys[name], dtype=np.int64).view(np.uint64))
    return h


def uniform_of_one(key: Iterable[int], salt: int | str) -> float:
    """Draw the number in [0, 1) of one event, as `uniform` does for many."""
    h = mix(salt_number(salt))
    for part in key:
        h = mix(h ^ part & _ALL)
    return float(h >> 11) * 2.0**-53


def uniform(keys: KeyColumns, salt: int | str) -> npt.NDArray[np.float64]:
    """Draw one number in [0, 1) per event, the same one whenever the event is met."""
    return (hash_keys(keys, salt) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def key_rows(keys: KeyColumns) -> npt.NDArray[np.int64]:
    """Put the four columns side by side [n, 4]."""
    return np.stack([np.asarray(keys[name], dtype=np.int64) for name in KEY_COLUMNS], axis=1)


def key_columns(rows: npt.ArrayLike) -> dict[str, npt.NDArray[np.int64]]:
    """Give the four columns of keys that are rows [n, 4]."""
    columns = np.asarray(rows, dtype=np.int64).reshape(-1, len(KEY_COLUMNS)).T
    return dict(zip(KEY_COLUMNS, columns, strict=True))


class KeyIndex:
    """Find event keys in a list of them: searched by hash, compared in full.

    `rows` [n_distinct] tells where each distinct key first occurs in the list, `n_repeated` how
    many entries repeat an earlier one.
    """

    def __init__(self, keys: KeyColumns) -> None:
        self._keys = key_rows(keys)
        for salt in range(64):
            hashes = hash_keys(keys, salt)
            order = np.argsort(hashes, kind="stable")
            ordered = hashes[order]
            equal = ordered[1:] == ordered[:-1]
            neighbours = self._keys[order[1:][equal]], self._keys[order[:-1][equal]]
            # Two keys of equal hash would hide each other: then another salt parts them.
            if np.array_equal(*neighbours):
                break
        else:  # pragma: no cover
            raise AssertionError("no salt parts these keys")
        self._salt = salt
        first = np.concatenate([np.ones(min(len(order), 1), dtype=bool), ~equal])
        self.rows: npt.NDArray[np.int64] = order[first]
        self._hashes = ordered[first]
        self.n_repeated = len(order) - len(self.rows)

    def find(self, keys: KeyColumns) -> npt.NDArray[np.int64]:
        """Give the first row of the list with each key [n]; -1 if there is none."""
        wanted = key_rows(keys)
        if len(self.rows) == 0:
            return np.full(len(wanted), -1, dtype=np.int64)
        place = np.searchsorted(self._hashes, hash_keys(keys, self._salt))
        row = self.rows[np.minimum(place, len(self.rows) - 1)]
        return np.where((self._keys[row] == wanted).all(axis=1), row, -1)
