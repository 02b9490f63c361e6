"""Particle columns that know the skim's candidates, for `benchmarks.fei_b0.candidate_network`.

The quality benchmark's README has the command that preprocesses events with it.
"""

from __future__ import annotations

import numpy as np

from benchmarks.fei_b0.candidate_columns import IS, PREFIX, WAYS, bit_columns, candidate_columns
from benchmarks.fei_b0.candidates import MOST, WIDER, choose, members
from benchmarks.fei_b0.features import event_features, visible_features
from benchmarks.fei_b0.reading import Floats, Reading
from smartbkg_tf.encoding.feature_sets import FeatureSet
from smartbkg_tf.events.table import EventTable
from smartbkg_tf.settings.encoding import FEATURE_SETS, FEATURE_UNITS

_PLAIN = FEATURE_SETS["original"][:-1]
#: Columns of the whole event; not `seen_charge`, which charge conjugation turns round.
EVENT_COLUMNS = (
    "candidates",
    "selected",
    "n_particles",
    "n_stable",
    "n_tracks",
    "n_charm",
    "n_electron",
    "n_muon",
    "n_pion",
    "n_kaon",
    "n_proton",
    "n_photon",
    "n_neutrino",
    "n_long_kaon",
    "n_neutron",
    "n_pi0",
    "n_short_kaon",
    "n_eta",
    "n_rho",
    "n_lambda",
    "energy_tracks",
    "energy_photon",
    "energy_neutrino",
    "energy_long_kaon",
    "energy_kaon",
    "energy_electron",
    "energy_muon",
    "largest_momentum",
    "largest_track",
    "largest_photon",
    "sum_pt",
    "mean_momentum",
    "momentum_squared",
    "seen_tracks",
    "seen_tracks_fast",
    "seen_photons",
    "seen_photons_hard",
    "lost_tracks",
    "lost_photons",
    "seen_energy",
    "seen_photon_energy",
    "seen_electron_energy",
    "missing_energy",
    "missing_momentum",
    "missing_mass_squared",
    "missing_cosine",
    "r2",
    "thrust",
    "sphericity",
    "aplanarity",
    "seen_electron",
    "seen_muon",
    "seen_pion",
    "seen_kaon",
    "seen_proton",
    "largest_lepton",
    "slowest_track_0",
    "slowest_track_1",
    "slowest_track_2",
    "fastest_track_0",
    "fastest_track_1",
    "fastest_track_2",
    "hardest_photon_0",
    "hardest_photon_1",
    "hardest_photon_2",
)


class SkimCandidates(FeatureSet):
    """The eight physical values, and the skim's candidates (`candidate_columns`).

    Of the whole event, at each of its particles: ``candidates``, ln(1 + their number before the
    choice), ``selected``, the event passes the cuts on the whole event, and what trees read of
    event and visible particles (`benchmarks.fei_b0.features`; 0 where a quantity does not exist).

    Values of a candidate, each of order one: ``probability`` (natural logarithm over the skim's
    threshold, in 3), ``purity`` (the same of the mode's purities alone), ``mbc`` (above the skim's
    cut, in 20 MeV), ``energy_difference`` (deltaE in 100 MeV), ``edge_light``, ``edge_charm``
    and ``edge_excited`` (distance of masses from the middle of their windows, in half windows of
    the skim).
    """

    names = (
        *_PLAIN,
        *EVENT_COLUMNS,
        *bit_columns(MOST),
        IS,
        *(
            f"{PREFIX}{name}"
            for name in (
                *("reaction", "probability", "purity", "mbc", "energy_difference"),
                *("edge_light", "edge_charm", "edge_excited"),
            )
        ),
        "charge",
    )
    units = (
        *(FEATURE_UNITS[name] for name in _PLAIN),
        *("" for _ in EVENT_COLUMNS),
        *("" for _ in bit_columns(MOST)),
        *("", "", "", "", "20 MeV", "100 MeV", "", "", ""),
        "e",
    )
    #: The skim treats particles and antiparticles alike, and looks at masses and energies.
    #: Where an event has more candidates than are kept, its image may keep others of equal score.
    symmetries = ("charge_conjugation", "mirror")

    def compute(self, table: EventTable) -> Floats:
        """Compute all columns.

        Parameters
        ----------
        table : EventTable
            Many events.

        Returns
        -------
        numpy.ndarray [n_particles, columns]
            Physical values.
        """
        reading = Reading(table)
        chosen = choose(reading)
        found = chosen.candidates
        part = {}
        marked = (found.marked[:, 0], found.marked[:, 1])
        for way, bits in zip(WAYS, (found.members, *marked), strict=True):
            candidate, bit = np.nonzero(members(bits))
            part[way] = (chosen.named[chosen.event[candidate], bit], candidate)
        edges = WIDER * found.edges.T
        values = {
            "reaction": chosen.mode,
            "probability": (found.weight - chosen.threshold) / 3.0,
            "purity": (found.purity - chosen.threshold) / 3.0,
            "mbc": (found.mbc - chosen.minimum_mbc) / 0.02,
            "energy_difference": found.delta_e / 0.1,
            **dict(zip(("edge_light", "edge_charm", "edge_excited"), edges, strict=True)),
        }
        columns = {name: np.asarray(table.particles[name], np.float64) for name in _PLAIN}
        events = {
            "candidates": np.log1p(chosen.number),
            "selected": chosen.selected.astype(np.float64),
            **event_features(reading),
            **visible_features(reading),
        }
        # What an event does not have, such as a third photon, is 0.
        columns |= {name: np.nan_to_num(events[name])[reading.event] for name in EVENT_COLUMNS}
        columns |= candidate_columns(
            reading.offsets, chosen.event, chosen.place, part, values, MOST
        )
        columns["charge"] = reading.charge
        return np.stack([columns[name] for name in self.names], axis=1)
