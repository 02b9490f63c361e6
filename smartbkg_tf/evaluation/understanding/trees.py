"""Decay trees of encoded events: from mother links, or from decay strings where there are none."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.encoding.events import Events
from smartbkg_tf.events.charges import charges
from smartbkg_tf.events.vocabulary import FIRST_CODE, Vocabulary, default_vocabulary
from smartbkg_tf.runtime.kernels import kernel
from smartbkg_tf.settings.encoding import PARTICLES, TOKENS

Array = npt.NDArray[Any]
Offsets = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

#: Inputs that hold trees, the better ones first.
TREE_INPUTS = (("pdg_input", "mother_index_input"), ("decay_input",))


@dataclass(frozen=True)
class DecayTrees:
    """Particles of all events, one event after the other."""

    token: npt.NDArray[np.int16]  # [n_particles]
    mother: npt.NDArray[np.int64]  # [n_particles] row of the mother in this list, -1 for none
    offsets: Offsets  # [n_events + 1]

    @cached_property
    def event(self) -> npt.NDArray[np.int64]:
        """Event of each particle, [n_particles]."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))

    @cached_property
    def code(self) -> npt.NDArray[np.int64]:
        """PDG code of each particle, [n_particles]; 0 for an unknown one."""
        return codes_of_tokens(default_vocabulary())[self.token]

    @cached_property
    def final(self) -> Flags:
        """Whether a particle has no daughters, [n_particles]."""
        final = np.ones(len(self.token), dtype=np.bool_)
        final[self.mother[self.mother >= 0]] = False
        return final

    def charged_final(self) -> npt.NDArray[np.int64]:
        """Count the charged particles without daughters of each event, [n_events]."""
        charged = self.final & (charges(self.code)[0] != 0)
        return np.bincount(self.event[charged], minlength=len(self.offsets) - 1)


def codes_of_tokens(vocabulary: Vocabulary) -> npt.NDArray[np.int64]:
    """Give the PDG code of every token, [n_tokens]; 0 for those that stand for no particle."""
    codes = np.zeros(vocabulary.size, dtype=np.int64)
    codes[FIRST_CODE : FIRST_CODE + len(vocabulary)] = vocabulary.codes
    return codes


def trees_of(events: Events) -> DecayTrees | None:
    """Take the trees out of events that have one of `TREE_INPUTS`; None if they have neither."""
    if all(name in events.columns for name in TREE_INPUTS[0]):
        offsets = events.offsets[PARTICLES]
        token = events["pdg_input"]
        mother = _rows(events["mother_index_input"].astype(np.int64), offsets)
    elif "decay_input" in events.columns:
        token, mother, offsets = tree_of_tokens(events["decay_input"], events.offsets[TOKENS])
        mother = _rows(mother, offsets)
    else:
        return None
    return DecayTrees(token, mother, offsets)


def _rows(mother: npt.NDArray[np.int64], offsets: Offsets) -> npt.NDArray[np.int64]:
    """Turn positions within events into rows."""
    first = np.repeat(offsets[:-1], np.diff(offsets))
    return np.where(mother >= 0, first + mother, -1)


def tree_of_tokens(
    tokens: npt.NDArray[np.int16], offsets: Offsets
) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int64], Offsets]:
    """Read the trees that decay tokens spell: tokens of particles, mothers in the event, offsets.

    The reverse of `events.decay_strings.decay_tokens`.
    """
    vocabulary = default_vocabulary()
    token, mother, n_particles = _links(tokens, offsets, vocabulary.opener, vocabulary.closer)
    return token, mother, n_particles


@kernel
def _links(tokens: Array, offsets: Offsets, opener: int, closer: int) -> Any:
    token = np.empty(len(tokens), dtype=tokens.dtype)
    mother = np.empty(len(tokens), dtype=np.int64)
    ends = np.zeros(len(offsets), dtype=np.int64)
    above = np.empty(len(tokens) + 1, dtype=np.int64)
    n = 0
    for event in range(len(offsets) - 1):
        first, depth, last = n, 0, -1
        for i in range(offsets[event], offsets[event + 1]):
            if tokens[i] == opener:
                above[depth] = last
                depth += 1
            elif tokens[i] == closer:
                # A string with one bracket too many is read as far as it makes sense.
                if depth > 0:
                    depth -= 1
                    last = above[depth]
            else:
                token[n] = tokens[i]
                mother[n] = above[depth - 1] if depth > 0 else -1
                last = n - first
                n += 1
        ends[event + 1] = n
    return token[:n].copy(), mother[:n].copy(), ends
