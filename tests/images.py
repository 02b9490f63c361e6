"""Images of events under the symmetries of `smartbkg_tf.dataset.symmetries`, made of the events."""

from __future__ import annotations

import dataclasses

import numpy as np

from smartbkg_tf.dataset.symmetries import antiparticle_tokens
from smartbkg_tf.events.table import EventTable
from smartbkg_tf.events.vocabulary import FIRST_CODE, default_vocabulary


def image(table: EventTable, symmetry: str) -> EventTable:
    """Make the images ``charge_conjugation`` or ``mirror``, without decay strings."""
    particles = dict(table.particles)
    if symmetry == "mirror":
        particles |= {name: -np.asarray(particles[name]) for name in ("y", "py")}
    else:
        vocabulary = default_vocabulary()
        codes = np.concatenate([np.zeros(FIRST_CODE), vocabulary.codes]).astype(np.int64)
        for name in ("PDG", "motherPDG"):
            old = np.asarray(particles[name])
            tokens = vocabulary.tokens(old)
            new = codes[antiparticle_tokens(vocabulary)[tokens]]
            particles[name] = np.where(tokens >= FIRST_CODE, new, old)
        particles["charge"] = -np.asarray(particles["charge"])
    return dataclasses.replace(table, particles=particles, decay_strings=None)
