"""Inclusive B decays that come out as a channel which the decay table lists.

The table's inclusive channels represent what it does not list; what it lists has its own
branching fraction, often zero "to avoid PYTHIA". So with ``source.inclusive=avoid_listed`` such a
decay is generated again.

Pythia's record does not tell which channel was chosen. Each inclusive channel therefore becomes
the only one of a separate particle, which is renamed to B after its decay. Which kind of
decay each B of a pair has is drawn first and kept when the pair is generated again: the fractions
of all channels stay those of the table.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.events.keys import mix
from smartbkg_tf.generation.arrays import Integers
from smartbkg_tf.generation.decay_table import Channel, matrix_element, obstacle
from smartbkg_tf.generation.extract import is_parton_or_string
from smartbkg_tf.generation.record import Record

#: PDG code of the first particle with one inclusive channel; no generator uses it.
_FIRST_CODE = 9_511_001


def _words(codes: npt.ArrayLike) -> npt.NDArray[np.uint64]:
    """Scramble PDG codes, so that the sum of its words names a decay."""
    mixed: npt.NDArray[np.uint64] = mix(np.asarray(codes, dtype=np.int64).view(np.uint64))
    return mixed


def is_inclusive(channel: Channel) -> bool:
    """Tell whether a channel of the table names quarks instead of products."""
    return channel.model == "PYTHIA"


class InclusiveDecays:
    """The inclusive channels of one B meson, as separate particles; made before ``init``."""

    def __init__(self, pythia: Any, species: int, channels: list[Channel]) -> None:
        data = pythia.particleData
        self.species = species
        held = [c for c in channels if c.fraction > 0 and not obstacle(data, species, c)]
        inclusive = [c for c in held if is_inclusive(c)]
        fractions = np.array([c.fraction for c in inclusive])
        exclusive = sum(c.fraction for c in held) - fractions.sum()
        #: Where each kind ends in [0, 1]; kind 0 is any exclusive channel.
        self._ends = np.cumsum([exclusive, *fractions]) / (exclusive + fractions.sum())
        self.codes = np.array([species, *(_FIRST_CODE + i for i in range(len(inclusive)))])
        for code, channel in zip(self.codes[1:], inclusive, strict=True):
            mode, products = matrix_element(channel)
            pythia.readString(
                f"{code}:new = inclusive{code} inclusive{code}bar 1 {data.chargeType(species)} 0 "
                f"{data.m0(species)!r} 0.0 0.0 0.0 {data.tau0(species)!r}"
            )
            numbers = " ".join(str(product) for product in products)
            pythia.readString(f"{code}:oneChannel = 1 1.0 {mode} {numbers}")
        self._listed = self._keys(data, channels)

    def _keys(self, data: Any, channels: list[Channel]) -> npt.NDArray[np.uint64]:
        """Keys of the listed decays of the meson and of their conjugates."""
        keys = []
        for channel in channels:
            if is_inclusive(channel) or not channel.codes or 0 in channel.codes:
                continue
            for sign in (1, -1):
                codes = [sign * c if data.hasAnti(abs(c)) else c for c in channel.codes]
                keys.append(_words([sign * self.species, *codes]).sum())
        return np.unique(np.array(keys, dtype=np.uint64))

    def draw(self, n: int, random: np.random.Generator) -> Integers:
        """Draw the kinds of decays of n pairs: positions [n, 2] in `codes`."""
        kinds = np.searchsorted(self._ends[:-1], random.random((n, 2)), side="right")
        return kinds.astype(np.int64)

    def listed(self, record: Record) -> Integers:
        """Find events with inclusive decays that the table lists.

        The mesons are called by their names again: the record's codes change.
        """
        code, mother = record.code, record.mother
        inclusive = np.abs(code) >= _FIRST_CODE
        inclusive &= np.abs(code) < _FIRST_CODE + len(self.codes)
        code[inclusive] = np.sign(code[inclusive]) * self.species
        # Strings of quarks lie between some mesons and their first products.
        parton = is_parton_or_string(code)
        rows = np.flatnonzero((mother >= 0) & ~parton)
        first = mother[rows]
        while (climb := parton[first] & (mother[first] >= 0)).any():
            first[climb] = mother[first[climb]]
        chosen = inclusive[first]
        keys = _words(code)
        np.add.at(keys, first[chosen], keys[rows[chosen]])
        found = np.flatnonzero(inclusive)
        found = found[np.isin(keys[found], self._listed)]
        return np.unique(record.event[found])
