"""A feature set with a further list, candidates of a decay, and with columns of the whole event.

In this folder (or with it on PYTHONPATH):

    python -m smartbkg_tf.preprocess features._target_=candidate_features.WithCandidates \
        input='tables/*.h5' output=dataset
    python -m smartbkg_tf.train data.path=dataset model=custom \
        model._target_=candidate_network.CandidateNetwork

What is declared in `further_columns` is stored, streamed and padded like the particles, and a
network reads it under its name.
"""

from __future__ import annotations

import numpy as np

from smartbkg_tf.encoding.feature_sets import FeatureSet
from smartbkg_tf.events.table import EventTable
from smartbkg_tf.settings.encoding import FEATURE_UNITS, Column


class WithCandidates(FeatureSet):
    """Momenta, pairs of a kaon and a pion of opposite charge, and the event's visible energy."""

    names = ("energy", "px", "py", "pz", "charge")
    units = tuple(FEATURE_UNITS[name] for name in names)
    further_columns = (
        # Of the event: energy of all charged particles, and their number.
        Column(name="visible_input", shape=(2,), unit="GeV"),
        # Of every candidate: mass and momentum; and whether the kaon is positive.
        Column(name="candidate_input", axis="candidates", shape=(2,), unit="GeV", max_length=16),
        Column(name="candidate_kind_input", axis="candidates", dtype="int8", max_length=16),
    )

    def compute(self, table: EventTable) -> np.ndarray:
        """Compute the columns of particles."""
        return np.stack([table.particles[name] for name in self.names], axis=1)

    def compute_further(self, table: EventTable) -> dict[str, np.ndarray]:
        """Compute the further columns, for many events at once."""
        p, event = table.particles, table.event_of_particle()
        n_events = len(table)
        charged = p["charge"] != 0
        visible = np.stack(
            [
                np.bincount(event, np.where(charged, p["energy"], 0.0), n_events),
                np.bincount(event, charged, n_events),
            ],
            axis=1,
        )
        kaons, pions = (np.flatnonzero(np.abs(p["PDG"]) == code) for code in (321, 211))
        # Every kaon with every pion of its event.
        n_pions = np.bincount(event[pions], minlength=n_events)
        first_pion = np.cumsum(n_pions) - n_pions
        n_pairs = n_pions[event[kaons]]
        kaon = np.repeat(kaons, n_pairs)
        number = np.arange(len(kaon)) - np.repeat(np.cumsum(n_pairs) - n_pairs, n_pairs)
        pion = pions[np.repeat(first_pion[event[kaons]], n_pairs) + number]
        opposite = p["charge"][kaon] * p["charge"][pion] < 0
        kaon, pion = kaon[opposite], pion[opposite]
        energy, *momentum = (p[name][kaon] + p[name][pion] for name in ("energy", "px", "py", "pz"))
        squared = sum(component**2 for component in momentum)
        mass = np.sqrt(np.maximum(energy**2 - squared, 0.0))
        return {
            "visible_input": visible,
            "candidates": np.bincount(event[kaon], minlength=n_events),
            "candidate_input": np.stack([mass, np.sqrt(squared)], axis=1),
            "candidate_kind_input": p["charge"][kaon] > 0,
        }
