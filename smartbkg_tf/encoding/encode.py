"""From a particle table to the arrays that a model reads.

This one function serves the preprocessing of training tables and the filter that meets
events one at a time, so that the two can never differ.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.encoding.checks import Finding, find_unusable_encoded, find_unusable_events
from smartbkg_tf.encoding.encoded import EncodedEvents, EncodingReport
from smartbkg_tf.encoding.feature_sets import computed_features
from smartbkg_tf.encoding.features import (
    as_they_stand,
    charge_in_thirds,
    smartbackground,
    sound_mothers,
)
from smartbkg_tf.encoding.one_pass import OnePass, one_pass
from smartbkg_tf.encoding.pad import INPUTS_OF, inputs_of, pad
from smartbkg_tf.encoding.tokens import add_unknown, look_up
from smartbkg_tf.events.decay_strings import decay_tokens, tokenise_unchecked
from smartbkg_tf.events.table import EventTable
from smartbkg_tf.events.vocabulary import Vocabulary
from smartbkg_tf.settings.encoding import FEATURE_SETS, EncodingSettings

__all__ = [
    "FEATURES",
    "INPUTS_OF",
    "EncodedEvents",
    "EncodingReport",
    "check_and_encode",
    "encode",
    "inputs_of",
    "pad",
]

#: Columns of ``particle_input`` of the feature set ``original``.
FEATURES = FEATURE_SETS["original"]

#: The largest mother index that is stored.
_LARGEST_INDEX = np.iinfo(np.int16).max


def check_and_encode(
    table: EventTable,
    encoding: EncodingSettings,
    vocabulary: Vocabulary,
    *,
    file: str = "",
) -> tuple[EventTable, EncodedEvents, list[Finding]]:
    """Encode the events that can be used, as `encode` does, and tell about the others.

    Parameters
    ----------
    table : EventTable
        The events; left unchanged.
    encoding : EncodingSettings
        Feature set and lengths.
    vocabulary : Vocabulary
        Tokens of PDG codes.
    file : str, default ""
        Where the events come from, for the report.

    Returns
    -------
    table : EventTable
        Events whose particles, labels and decay strings are sound.
    encoded : EncodedEvents
        The same events.
    findings : list of Finding
        What is wrong with the others.
    """
    found = None
    if table.particles and encoding.features == "original":
        found = one_pass(table, vocabulary)
    if found is None:
        table = _aligned(table)
    usable, findings = find_unusable_events(
        table,
        file=file,
        faults=None if found is None else (found.faults, found.not_finite),
    )
    if not usable.all():
        # Rare enough that a second pass does not matter.
        table, found = table.take(usable), None
    encoded = _encode(table, encoding, vocabulary, found, file)
    usable, more = find_unusable_encoded(encoded, table, file=file)
    if not usable.all():
        chosen = np.flatnonzero(usable)
        table, encoded = table.take(chosen), encoded.take(chosen)
    return table, encoded, findings + more


def encode(
    table: EventTable, encoding: EncodingSettings, vocabulary: Vocabulary, *, file: str = ""
) -> EncodedEvents:
    """Encode events; nothing is padded, cut or dropped yet.

    Parameters
    ----------
    table : EventTable
        The events; left unchanged. Without particle columns (a source of decay strings
        only) every event has no particles.
    encoding : EncodingSettings
        Feature set and lengths; the lengths serve the report only.
    vocabulary : Vocabulary
        Tokens of PDG codes.
    file : str, default ""
        Where the events come from, for messages.

    Returns
    -------
    EncodedEvents
        Same events, same order. An event without particles is encoded as one, and an
        unknown PDG code as token 1; both are legal here. Values that are not finite and
        decay strings with broken brackets pass through: `checks` finds them.

    Raises
    ------
    InputError
        When there are no decay strings and the mothers of an event run in a ring, or a
        custom feature set gives NaN.

    Notes
    -----
    Decay tokens come from the decay strings where the table has them, else from the
    trees of *all* its particles, whatever the feature set keeps. A mother's token is
    that of ``motherPDG`` in ``original``; in ``smartbackground`` it is that of the
    particle at the mother index (0 for -1), because basf2 hands over nothing else.
    """
    return _encode(table, encoding, vocabulary, None, file)


def _encode(
    table: EventTable,
    encoding: EncodingSettings,
    vocabulary: Vocabulary,
    found: OnePass | None,
    file: str,
) -> EncodedEvents:
    n_events = len(table)
    unknown: dict[str, int] = {}
    if found is None and table.particles and encoding.features == "original":
        found = one_pass(table, vocabulary)
    if found is not None:
        mother = None
        columns, offsets = _of_one_pass(table, vocabulary, found, unknown)
    elif table.particles:
        mother = sound_mothers(table.offsets, _column(table, "motherIndex", np.int32))
        columns, offsets = _particles(table, encoding, vocabulary, mother, unknown, file)
    else:
        mother = None
        columns, offsets = _no_particles(encoding), np.zeros(n_events + 1, dtype=np.int64)
    if table.decay_strings is not None:
        decay, decay_offsets, words, broken = tokenise_unchecked(table.decay_strings, vocabulary)
        for word, count in words.items():
            # Particle columns hold the same codes, as a rule; they were counted there.
            unknown[word] = max(unknown.get(word, 0), count)
    elif table.particles:
        broken = None
        pdg = np.asarray(table.particles["PDG"])
        if mother is None:
            mother = sound_mothers(table.offsets, _column(table, "motherIndex", np.int32))
        decay, decay_offsets = decay_tokens(
            vocabulary.tokens(pdg), mother, table.offsets, vocabulary
        )
    else:
        broken = None
        decay, decay_offsets = np.empty(0, np.int16), np.zeros(n_events + 1, np.int64)
    lengths, token_lengths = np.diff(offsets), np.diff(decay_offsets)
    return EncodedEvents(
        offsets=offsets,
        decay=decay,
        decay_offsets=decay_offsets,
        event_type=np.asarray(table.event_type, dtype=np.int8),
        broken_strings=broken,
        report=EncodingReport(
            unknown_codes=unknown,
            truncated_particles=int(np.count_nonzero(lengths > encoding.max_particles)),
            truncated_tokens=int(np.count_nonzero(token_lengths > encoding.max_tokens)),
            longest_particles=int(lengths.max(initial=0)),
            longest_tokens=int(token_lengths.max(initial=0)),
        ),
        **columns,
    )


def _of_one_pass(
    table: EventTable, vocabulary: Vocabulary, found: OnePass, unknown: dict[str, int]
) -> tuple[dict[str, Any], npt.NDArray[np.int64]]:
    """Particle columns and their offsets; codes without a token are added to `unknown`."""
    for name, tokens, count in (
        ("PDG", found.pdg, found.unknown_pdg),
        ("motherPDG", found.mother_pdg, found.unknown_mothers),
    ):
        if count:
            add_unknown(np.asarray(table.particles[name]), tokens, vocabulary, unknown)
    return {
        "continuous": found.continuous,
        "charge": found.charge,
        "pdg": found.pdg,
        "mother_pdg": found.mother_pdg,
        "mother_index": found.mother_index,
    }, np.asarray(table.offsets, dtype=np.int64)


def _column(table: EventTable, name: str, dtype: type[np.generic]) -> npt.NDArray[Any]:
    # No copy: columns that come as views of rows are read row by row, in one pass.
    return np.require(table.particles[name], dtype=dtype, requirements="A")


def _aligned(table: EventTable) -> EventTable:
    """Copy columns that stand at odd places of a file, which not every code can read."""
    if all(values.flags.aligned for values in table.particles.values()):
        return table
    columns = {name: np.require(v, requirements="A") for name, v in table.particles.items()}
    return replace(table, particles=columns)


def _no_particles(encoding: EncodingSettings) -> dict[str, Any]:
    has_charge = "charge" in encoding.feature_names
    return {
        "continuous": np.empty((0, len(encoding.feature_names) - has_charge), np.float32),
        "charge": np.empty(0, np.int8) if has_charge else None,
        "pdg": np.empty(0, np.int16),
        "mother_pdg": np.empty(0, np.int16),
        "mother_index": np.empty(0, np.int16),
    }


def _particles(
    table: EventTable,
    encoding: EncodingSettings,
    vocabulary: Vocabulary,
    mother: npt.NDArray[np.int32],
    unknown: dict[str, int],
    file: str,
) -> tuple[dict[str, Any], npt.NDArray[np.int64]]:
    """Particle columns and their offsets; codes without a token are added to `unknown`."""
    # Old tables hold codes as floats (211.0); the vocabulary takes any number.
    pdg = np.asarray(table.particles["PDG"])
    mother_pdg = np.asarray(table.particles["motherPDG"])
    if encoding.features == "original":
        columns = ("energy", "prodTime", "x", "y", "z", "px", "py", "pz")
        return {
            "continuous": as_they_stand(*(_column(table, c, np.float64) for c in columns)),
            "charge": charge_in_thirds(_column(table, "charge", np.float64)),
            "pdg": look_up(pdg, vocabulary, unknown),
            # "No mother" is no particle, although the code 0 has a token.
            "mother_pdg": look_up(mother_pdg, vocabulary, unknown, none=0),
            "mother_index": _as_int16(mother),
        }, np.asarray(table.offsets, dtype=np.int64)
    if encoding.features != "smartbackground":
        return _own_features(table, encoding, vocabulary, mother, unknown, file)
    columns = ("prodTime", "x", "y", "z", "energy", "px", "py", "pz")
    kept, offsets, continuous, kept_mother = smartbackground(
        np.asarray(table.offsets, dtype=np.int64),
        np.nan_to_num(pdg).astype(np.int64),
        _column(table, "status", np.int64),
        mother,
        np.nan_to_num(mother_pdg).astype(np.int64),
        *(_column(table, c, np.float64) for c in columns),
    )
    tokens = look_up(pdg[kept], vocabulary, unknown)
    first = np.repeat(offsets[:-1], np.diff(offsets))
    mother_tokens = np.zeros(len(tokens), dtype=np.int16)
    has_mother = kept_mother >= 0
    mother_tokens[has_mother] = tokens[(first + kept_mother)[has_mother]]
    return {
        "continuous": continuous,
        "charge": None,
        "pdg": tokens,
        "mother_pdg": mother_tokens,
        "mother_index": _as_int16(kept_mother),
    }, offsets


def _own_features(
    table: EventTable,
    encoding: EncodingSettings,
    vocabulary: Vocabulary,
    mother: npt.NDArray[np.int32],
    unknown: dict[str, int],
    file: str,
) -> tuple[dict[str, Any], npt.NDArray[np.int64]]:
    """Columns of a feature set of one's own; tokens and mothers as in ``original``."""
    values, kept, offsets, kept_mother = computed_features(table, encoding, mother, file)
    pdg, mother_pdg = (np.asarray(table.particles[name]) for name in ("PDG", "motherPDG"))
    if kept is not None:
        pdg, mother_pdg = pdg[kept], mother_pdg[kept]
    charge = None
    if encoding.feature_names[-1] == "charge":
        charge = charge_in_thirds(values[:, -1].astype(np.float64))
        values = np.ascontiguousarray(values[:, :-1])
    return {
        "continuous": values,
        "charge": charge,
        "pdg": look_up(pdg, vocabulary, unknown),
        "mother_pdg": look_up(mother_pdg, vocabulary, unknown, none=0),
        "mother_index": _as_int16(kept_mother),
    }, offsets


def _as_int16(mother: npt.NDArray[np.int32]) -> npt.NDArray[np.int16]:
    """Mothers beyond what 16 bits hold count as none; no event of physics is that long."""
    if len(mother) and mother.max() > _LARGEST_INDEX:
        mother = np.where(mother <= _LARGEST_INDEX, mother, -1)
    return mother.astype(np.int16)
