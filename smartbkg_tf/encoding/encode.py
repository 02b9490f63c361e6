"""From a particle table to the arrays that a model reads.

This one function serves the preprocessing of training tables and the filter that meets
events one at a time, so that the two can never differ.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.encoding.checks import Finding, find_unusable_encoded, find_unusable_events
from smartbkg_tf.encoding.events import EncodingReport, Events, encoded_schema, offsets_of
from smartbkg_tf.encoding.feature_sets import computed_features, further_features
from smartbkg_tf.encoding.features import (
    charge_in_thirds,
    original,
    smartbackground,
    sound_mothers,
)
from smartbkg_tf.encoding.pad import pad
from smartbkg_tf.events.decay_strings import decay_tokens, tokenise
from smartbkg_tf.events.table import EventTable
from smartbkg_tf.events.vocabulary import Vocabulary, whole_codes
from smartbkg_tf.settings.encoding import FEATURE_SETS, PARTICLES, TOKENS, EncodingSettings

__all__ = ["FEATURES", "EncodingReport", "check_and_encode", "encode", "pad"]

#: Columns of ``particle_input`` of the feature set ``original``.
FEATURES = FEATURE_SETS["original"]

#: The largest mother index that is stored.
_LARGEST_INDEX = np.iinfo(np.int16).max

_Columns = dict[str, npt.NDArray[Any]]


def check_and_encode(
    table: EventTable, encoding: EncodingSettings, vocabulary: Vocabulary, *, file: str = ""
) -> tuple[EventTable, Events, list[Finding]]:
    """Encode the usable events as `encode` does; give them, encoded, and the faults of the others.

    `file` is where the events come from, for the findings.
    """
    usable, findings = find_unusable_events(table, file=file)
    if not usable.all():
        table = table.take(usable)
    encoded = encode(table, encoding, vocabulary, file=file)
    usable, more = find_unusable_encoded(encoded, table, file=file)
    if not usable.all():
        chosen = np.flatnonzero(usable)
        table, encoded = table.take(chosen), encoded.take(chosen)
    return table, encoded, findings + more


def encode(
    table: EventTable,
    encoding: EncodingSettings,
    vocabulary: Vocabulary,
    *,
    file: str = "",
    decay: bool = True,
) -> Events:
    """Encode events; nothing is padded, cut or dropped yet.

    The lengths of `encoding` serve the report only, `file` the messages. Without particle columns
    (a source of decay strings only) every event has no particles. An event without particles is
    encoded as one, and an unknown PDG code as token 1; both are legal here. Values that are not
    finite and decay strings with broken brackets pass through: `checks` finds them. With
    ``decay=False``, for networks that do not read them, no event has decay tokens.

    Decay tokens come from the decay strings where the table has them, else from the trees of *all*
    its particles, whatever the feature set keeps. A mother's token is that of ``motherPDG`` in
    ``original``; in ``smartbackground`` it is that of the particle at the mother index (0 for -1),
    because basf2 hands over nothing else.

    InputError when tokens come from trees and the mothers of an event run in a ring, or a
    custom feature set gives NaN.
    """
    schema = encoded_schema(encoding)
    unknown: Counter[str] = Counter()
    columns: _Columns = {"event_type_input": np.asarray(table.event_type, dtype=np.int8)}
    offsets = {PARTICLES: np.zeros(len(table) + 1, dtype=np.int64)}
    mother = None
    if table.particles:
        mother = sound_mothers(table.offsets, _column(table, "motherIndex", np.int32))
        particles, offsets[PARTICLES] = _particles(
            table, encoding, vocabulary, mother, unknown, file
        )
        columns |= particles
    else:
        columns |= {
            column.name: np.empty((0, *column.shape), column.dtype)
            for column in schema.columns
            if column.axis == PARTICLES
        }
    broken = None
    tokens, offsets[TOKENS] = np.empty(0, np.int16), np.zeros(len(table) + 1, np.int64)
    if decay and table.decay_strings is not None:
        tokens, offsets[TOKENS], words, broken = tokenise(table.decay_strings, vocabulary)
        # Particle columns hold the same codes, as a rule; they were counted there.
        unknown |= Counter(words)
    elif decay and mother is not None:
        pdg = np.asarray(table.particles["PDG"])
        own = columns["pdg_input"] if encoding.features == "original" else vocabulary.tokens(pdg)
        tokens, offsets[TOKENS] = decay_tokens(own, mother, table.offsets, vocabulary)
    columns["decay_input"] = tokens
    if encoding.further_columns:
        further, counts = further_features(table, encoding, file)
        columns |= further
        offsets |= {axis: offsets_of(number) for axis, number in counts.items()}
    report = EncodingReport(
        unknown_codes=unknown,
        truncated_particles=_longer(offsets[PARTICLES], encoding.max_particles),
        truncated_tokens=_longer(offsets[TOKENS], encoding.max_tokens),
        broken_strings=broken,
    )
    return Events(schema, columns, offsets, len(table), report)


def _longer(offsets: npt.NDArray[np.int64], most: int) -> int:
    """Count the events that are longer."""
    return int(np.count_nonzero(np.diff(offsets) > most)) if offsets[-1] > most else 0


def _column(table: EventTable, name: str, dtype: type[np.generic]) -> npt.NDArray[Any]:
    return np.asarray(table.particles[name], dtype=dtype)


def _particles(
    table: EventTable,
    encoding: EncodingSettings,
    vocabulary: Vocabulary,
    mother: npt.NDArray[np.int32],
    unknown: Counter[str],
    file: str,
) -> tuple[_Columns, npt.NDArray[np.int64]]:
    """Particle columns and their offsets; codes without a token are added to `unknown`."""
    # Old tables hold codes as floats (211.0), and NaN for no mother.
    pdg, mother_pdg = (np.asarray(table.particles[name]) for name in ("PDG", "motherPDG"))
    if mother_pdg.dtype.kind == "f":
        mother_pdg = np.nan_to_num(mother_pdg)
    offsets = np.asarray(table.offsets, dtype=np.int64)
    columns: _Columns = {}
    kept: npt.NDArray[np.int64] | None
    if encoding.features == "original":
        values, columns["charge"], tokens, mother_tokens, some_unknown = original(
            whole_codes(pdg),
            whole_codes(mother_pdg),
            tuple([_column(table, name, np.float64) for name in FEATURES]),
            vocabulary.slot_codes,
            vocabulary.slot_tokens,
        )
        if some_unknown:
            _count_unknown(pdg, vocabulary, unknown)
            _count_unknown(mother_pdg, vocabulary, unknown)
    else:
        if encoding.features == "smartbackground":
            values, kept, offsets, mother = smartbackground(table, mother)
        else:
            values, kept, offsets, mother = computed_features(table, encoding, mother, file)
            if encoding.feature_names[-1] == "charge":
                columns["charge"] = charge_in_thirds(values[:, -1].astype(np.float64))
                values = np.ascontiguousarray(values[:, :-1])
        if kept is not None:
            pdg, mother_pdg = pdg[kept], mother_pdg[kept]
        tokens = vocabulary.tokens(pdg)
        _count_unknown(pdg, vocabulary, unknown)
        if encoding.features == "smartbackground":
            first = np.repeat(offsets[:-1], np.diff(offsets))
            mother_tokens = np.where(mother >= 0, tokens[first + mother], np.int16(0))
        else:
            mother_tokens = np.where(mother_pdg == 0, np.int16(0), vocabulary.tokens(mother_pdg))
            _count_unknown(mother_pdg, vocabulary, unknown)
    columns |= {
        "particle_input": values,
        "pdg_input": tokens,
        "mother_pdg_input": mother_tokens,
        "mother_index_input": _as_int16(mother),
    }
    return columns, offsets


def _count_unknown(codes: npt.NDArray[Any], vocabulary: Vocabulary, unknown: Counter[str]) -> None:
    unknown.update({str(code): count for code, count in vocabulary.unknown(codes).items()})


def _as_int16(mother: npt.NDArray[np.int32]) -> npt.NDArray[np.int16]:
    """Mothers beyond what 16 bits hold count as none; no event of physics is that long."""
    if len(mother) > _LARGEST_INDEX and mother.max() > _LARGEST_INDEX:
        mother = np.where(mother <= _LARGEST_INDEX, mother, -1)
    return mother.astype(np.int16)
