"""What the AUC loses when a part of the events is shuffled or taken away.

A loss of zero means that the network does without this part, not that the part knows nothing:
where two inputs tell the same (the decay string and the particle list, say), each can
replace the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.encoding.events import Events, offsets_of
from smartbkg_tf.evaluation.comparison import auc_covariance
from smartbkg_tf.evaluation.understanding.trees import codes_of_tokens, tree_of_tokens
from smartbkg_tf.events.decay_strings import decay_tokens
from smartbkg_tf.events.vocabulary import default_vocabulary
from smartbkg_tf.settings.encoding import EVENT, PARTICLES, TOKENS

Flags = npt.NDArray[np.bool_]
Random = np.random.Generator

#: Types of particles by the absolute value of their PDG codes.
_TYPES: dict[str, tuple[int, ...]] = {
    r"electrons": (11,),
    r"muons": (13,),
    r"tau leptons": (15,),
    r"neutrinos": (12, 14, 16),
    r"photons": (22,),
    r"charged pions": (211,),
    r"neutral pions": (111,),
    r"charged kaons": (321,),
    r"neutral kaons": (130, 310, 311),
    r"protons, neutrons": (2112, 2212),
}
_CHARM, _BOTTOM, _OTHER = "charmed hadrons", "bottom hadrons", "other particles"
TYPE_NAMES = (*_TYPES, _CHARM, _BOTTOM, _OTHER)


@dataclass(frozen=True)
class Change:
    """One way to spoil events."""

    kind: str  # list, input, feature or type
    name: str
    apply: Callable[[Events, Random], Events]


@lru_cache(maxsize=1)
def type_of_tokens() -> npt.NDArray[np.int64]:
    """Give the position in `TYPE_NAMES` of every token, [n_tokens]; -1: stands for no particle."""
    from particle import PDGID

    codes = codes_of_tokens(default_vocabulary())
    simple = {code: i for i, group in enumerate(_TYPES.values()) for code in group}
    kinds = np.full(len(codes), -1, dtype=np.int64)
    for token in np.flatnonzero(codes):
        code = abs(int(codes[token]))
        digits = PDGID(code)
        name = _OTHER
        if digits.is_hadron and digits.has_bottom:
            name = _BOTTOM
        elif digits.is_hadron and digits.has_charm:
            name = _CHARM
        kinds[token] = simple.get(code, TYPE_NAMES.index(name))
    return kinds


def changes(events: Events, inputs: tuple[str, ...], features: tuple[str, ...]) -> Iterator[Change]:
    """List what can be shuffled or taken away of events whose `inputs` a network reads."""
    axis = {name: events.schema.by_name[name].axis for name in inputs}
    lists = {one: [name for name in inputs if axis[name] == one] for one in axis.values()}
    for one, names in lists.items():
        # A list of one input is that input, shuffled from event to event below.
        if one != EVENT and len(names) > 1 and len(lists) > 1:
            yield Change("list", f"{one} (all inputs)", _swap_lists(one))
    for name in inputs:
        if axis[name] == PARTICLES and name == "mother_index_input":
            yield Change("input", name, _shuffle_links)
        elif axis[name] == PARTICLES:
            yield Change("input", name, _shuffle_rows(name))
        else:
            yield Change("input", name, _swap_lists(axis[name], name))
    if "particle_input" in inputs:
        for i, feature in enumerate(features):
            yield Change("feature", feature, _shuffle_feature(i))
    if {PARTICLES, TOKENS, EVENT} >= set(axis.values()):
        present = np.zeros(len(TYPE_NAMES) + 1, dtype=bool)
        for name in ("pdg_input", "decay_input"):
            if name in inputs:
                present[np.unique(type_of_tokens()[events[name]])] = True
        for kind in np.flatnonzero(present[:-1]).tolist():
            yield Change("type", TYPE_NAMES[kind], _without(kind))


def losses(
    events: Events,
    labels: npt.NDArray[np.int8],
    inputs: tuple[str, ...],
    features: tuple[str, ...],
    score: Callable[[Events], npt.NDArray[np.float32]],
    random: Random,
    done: Callable[[int], None] = lambda _: None,
) -> list[dict[str, Any]]:
    """Measure the loss of AUC by every one of `changes`, on the same events.

    `score` gives scores [n] of events [n]. Each entry holds ``kind``, ``name``, ``auc_loss`` and
    its error, that of the paired difference (DeLong); `done` is told of scored events.
    """
    before = score(events)
    done(len(events))
    result = []
    for change in changes(events, inputs, features):
        after = score(change.apply(events, random))
        area, covariance = auc_covariance([before, after], labels)
        variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
        result.append(
            {
                "kind": change.kind,
                "name": change.name,
                "auc_loss": float(area[0] - area[1]),
                "auc_loss_error": float(np.sqrt(max(variance, 0.0))),
            }
        )
        done(len(events))
    return result


def _with(events: Events, **columns: Any) -> Events:
    return replace(events, columns={**events.columns, **columns})


def _swap_lists(axis: str, *names: str) -> Callable[[Events, Random], Events]:
    """Give each event the list (or the value) of another one."""

    def apply(events: Events, random: Random) -> Events:
        other = events.take(random.permutation(len(events)))
        moved = names or [c.name for c in events.schema.columns if c.axis == axis]
        result = _with(events, **{name: other[name] for name in moved})
        if axis == EVENT:
            return result
        return replace(result, offsets={**events.offsets, axis: other.offsets[axis]})

    return apply


def _shuffle_rows(name: str) -> Callable[[Events, Random], Events]:
    """Exchange an input between all particles of all events."""

    def apply(events: Events, random: Random) -> Events:
        order = random.permutation(events.n_rows(PARTICLES))
        names = (name, "charge") if name == "particle_input" else (name,)
        return _with(events, **{n: events[n][order] for n in names if n in events.columns})

    return apply


def _shuffle_links(events: Events, random: Random) -> Events:
    """Exchange mother links between the particles of an event: they are positions in it."""
    offsets = events.offsets[PARTICLES]
    event = np.repeat(np.arange(len(events)), np.diff(offsets))
    order = np.lexsort((random.random(len(event)), event))
    return _with(events, mother_index_input=events["mother_index_input"][order])


def _shuffle_feature(i: int) -> Callable[[Events, Random], Events]:
    """Exchange a column of the particles' features between all particles of all events."""

    def apply(events: Events, random: Random) -> Events:
        order = random.permutation(events.n_rows(PARTICLES))
        values = events["particle_input"]
        if i == values.shape[1]:  # the charge stands apart
            return _with(events, charge=events["charge"][order])
        values = values.copy()
        values[:, i] = values[order, i]
        return _with(events, particle_input=values)

    return apply


def _without(kind: int) -> Callable[[Events, Random], Events]:
    """Take the particles of a type out of the list and the decay string.

    Their daughters stay, without mother in the list.
    """

    def apply(events: Events, _: Random) -> Events:
        types = type_of_tokens()
        if "pdg_input" in events.columns:
            events = _drop_particles(events, kind)
        if "decay_input" not in events.columns:
            return events
        token, mother, offsets = tree_of_tokens(events["decay_input"], events.offsets[TOKENS])
        keep = types[token] != kind
        mother, kept = _without_mothers(mother, offsets, keep)
        tokens, ends = decay_tokens(token[keep], mother, kept, default_vocabulary())
        return replace(_with(events, decay_input=tokens), offsets={**events.offsets, TOKENS: ends})

    return apply


def _drop_particles(events: Events, kind: int) -> Events:
    offsets = events.offsets[PARTICLES]
    keep = type_of_tokens()[events["pdg_input"]] != kind
    names = [c.name for c in events.schema.columns if c.axis == PARTICLES]
    columns = {name: events[name][keep] for name in names}
    kept = offsets_of(keep)[offsets]
    if "mother_index_input" in columns:
        mother = events["mother_index_input"]
        links, _ = _without_mothers(mother.astype(np.int64), offsets, keep)
        columns["mother_index_input"] = links.astype(mother.dtype)
    if "mother_pdg_input" in columns:
        tokens = columns["mother_pdg_input"]
        columns["mother_pdg_input"] = np.where(type_of_tokens()[tokens] == kind, 0, tokens)
    return replace(_with(events, **columns), offsets={**events.offsets, PARTICLES: kept})


def _without_mothers(
    mother: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64], keep: Flags
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Give the mothers' positions of the particles that stay, and the offsets of these."""
    before = offsets_of(keep)
    first = np.repeat(offsets[:-1], np.diff(offsets))
    row = np.where(mother >= 0, first + mother, 0)
    there = (mother >= 0) & keep[row] if len(row) else keep
    position = before[row] - before[first] if len(row) else mother
    return np.where(there, position, -1)[keep], before[offsets]
