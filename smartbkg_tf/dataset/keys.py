"""Hashes and reproducible random numbers from event keys.

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
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from smartbkg_tf.events.table import KEY_COLUMNS

UInt64Array = npt.NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


def mix(values: UInt64Array) -> UInt64Array:
    """Apply splitmix64 to every number.

    Parameters
    ----------
    values : numpy.ndarray [...]
        uint64; left unchanged.

    Returns
    -------
    numpy.ndarray [...]
        uint64.
    """
    h = values + _GOLDEN
    h ^= h >> np.uint64(30)
    h *= _FIRST
    h ^= h >> np.uint64(27)
    h *= _SECOND
    h ^= h >> np.uint64(31)
    return h


def salt_number(salt: int | str) -> int:
    """Turn a salt into the number that enters the hash.

    Parameters
    ----------
    salt : int or str
        A number (modulo 2**64), or a text, of which the SHA-256 is used.

    Returns
    -------
    int
        In [0, 2**64).
    """
    if isinstance(salt, str):
        return int.from_bytes(hashlib.sha256(salt.encode()).digest()[:8], "little")
    return int(salt) % 2**64


def hash_keys(
    keys: Mapping[str, npt.NDArray[np.int64]] | npt.NDArray[np.void], salt: int | str
) -> UInt64Array:
    """Hash event keys to 64 uniformly distributed bits.

    Parameters
    ----------
    keys : mapping of str to numpy.ndarray [n], or structured numpy.ndarray [n]
        Integer columns experiment, run, event, production.
    salt : int or str
        Different purposes use different salts, so that their numbers are independent.

    Returns
    -------
    numpy.ndarray [n]
        uint64.

    Raises
    ------
    KeyError
        When a column is missing.
    """
    h = mix(np.full(len(keys["experiment"]), salt_number(salt), dtype=np.uint64))
    for name in KEY_COLUMNS:
        h = mix(h ^ np.ascontiguousarray(keys[name], dtype=np.int64).view(np.uint64))
    return h


def uniform(
    keys: Mapping[str, npt.NDArray[np.int64]] | npt.NDArray[np.void], salt: int | str
) -> npt.NDArray[np.float64]:
    """Draw one uniform random number per event, the same one whenever the event is met.

    Parameters
    ----------
    keys : mapping of str to numpy.ndarray [n], or structured numpy.ndarray [n]
        Integer columns experiment, run, event, production.
    salt : int or str
        Different purposes use different salts.

    Returns
    -------
    numpy.ndarray [n]
        float64 in [0, 1): the hash's upper 53 bits.
    """
    return (hash_keys(keys, salt) >> np.uint64(11)).astype(np.float64) * 2.0**-53
