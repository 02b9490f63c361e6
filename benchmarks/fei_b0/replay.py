"""Inputs that know the skim: its candidate combinatorics, replayed on generated particles.

The skim's own combiner runs on the particles that a detector may see, with their generated momenta
and kinds and no random numbers: what would pass if nothing were lost, misnamed or smeared.
Variations leave out what is easily lost and tighten the cut on the candidate's probability, so
that counts of candidates tell how much an event can afford to lose. Cuts, decay modes and purities
are those of the skim; the variations were chosen without looking at test events.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.fei_b0.reading import Floats, Integers, Mask, Reading
from benchmarks.fei_b0.sample import SKIM
from smartbkg_tf.generation.beams import nominal_collision
from smartbkg_tf.generation.observables import EventView
from smartbkg_tf.generation.reconstruction import SPECIES, Clusters, Reconstruction, Tracks
from smartbkg_tf.generation.skims.base import make_skims
from smartbkg_tf.generation.skims.combiner import MOST_DAUGHTERS, MOST_TRACKS, combine
from smartbkg_tf.generation.skims.fei_hadronic import FeiHadronic
from smartbkg_tf.generation.skims.modes import (
    B_MODES,
    D_MODES,
    D_STAR_MODES,
    LIGHT_MODES,
    compile_modes,
)
from smartbkg_tf.generation.skims.tag import base_particles, cleaned, ranks
from smartbkg_tf.runtime.command import compose_settings
from smartbkg_tf.settings.generation import BeamSettings, ProduceSettings

_CODES = {"electron": 11, "muon": 13, "pion": 211, "kaon": 321, "proton": 2212}


@dataclass(frozen=True)
class Variation:
    """One replay.

    Parameters
    ----------
    probability : float
        Smallest probability of a candidate.
    track_pt : float, default 0.05
        Tracks of less transverse momentum are left out, GeV.
    photon_energy : float, default 0.05
        Photons of less energy are left out, GeV.
    margin : float, default 0
        Particles so near to the edge of the acceptance are left out, degrees.
    """

    probability: float
    track_pt: float = 0.05
    photon_energy: float = 0.05
    margin: float = 0.0


VARIATIONS = {
    "loose": Variation(1e-7),
    "nominal": Variation(3e-5),
    "tight": Variation(3e-4),
    "pure": Variation(3e-3),
    "golden": Variation(3e-2),
    "fast": Variation(3e-5, track_pt=0.15),
    "hard": Variation(3e-5, photon_energy=0.12),
    "central": Variation(3e-5, margin=8.0),
    "fast_hard_central": Variation(3e-5, track_pt=0.12, photon_energy=0.1, margin=5.0),
}


def _reconstruction(r: Reading, tracks: Mask, photons: Mask) -> Reconstruction:
    """Tracks and clusters without any smearing."""
    rows = np.flatnonzero(tracks)
    momentum, vertex = r.laboratory[rows, :3], r.place[rows]
    pt = np.maximum(r.pt[rows], 1e-9)
    along = (vertex[:, 0] * momentum[:, 0] + vertex[:, 1] * momentum[:, 1]) / pt**2
    sizes = r.size[rows]
    species = np.select([sizes == _CODES[name] for name in SPECIES], range(len(SPECIES)), 2)
    hits = np.flatnonzero(photons)
    energy = r.laboratory[hits, 3]
    return Reconstruction(
        n_events=r.n_events,
        tracks=Tracks(
            event=r.event[rows],
            momentum=momentum,
            charge=np.sign(r.charge[rows]).astype(np.int64),
            species=species.astype(np.int64),
            d0=(vertex[:, 0] * momentum[:, 1] - vertex[:, 1] * momentum[:, 0]) / pt,
            z0=vertex[:, 2] - along * momentum[:, 2],
            cluster_energy=np.zeros(len(rows)),
            particle=rows,
        ),
        clusters=Clusters(
            event=r.event[hits],
            energy=energy,
            direction=r.laboratory[hits, :3] / energy[:, None],
            particle=hits,
        ),
    )


class Replay:
    """The skim's combiner on generated particles, ready to run.

    Parameters
    ----------
    reading : Reading
        The events.
    variation : Variation
        What is left out.
    """

    def __init__(self, reading: Reading, variation: Variation) -> None:
        r = reading
        settings = compose_settings("produce", ProduceSettings, [f"skim={SKIM}"])
        (skim,) = make_skims(settings.skim)
        assert isinstance(skim, FeiHadronic)
        self._cuts = skim.settings
        self._beam_energy = r.beam_energy
        inside = (r.theta > 17.0 + variation.margin) & (r.theta < 150.0 - variation.margin)
        tracks = r.seen_track & inside & (r.pt > variation.track_pt)
        photons = r.seen_photon & inside & (r.laboratory[:, 3] > variation.photon_energy)
        reconstruction = _reconstruction(r, tracks, photons)
        view = EventView(reconstruction, nominal_collision(BeamSettings()))
        self._reactions = compile_modes(
            LIGHT_MODES + D_MODES + D_STAR_MODES + B_MODES[self._cuts.tag], MOST_DAUGHTERS
        )
        self._floor = np.full(len(self._reactions.prior), np.log(variation.probability))
        #: Vectors, species, bits and offsets of what the combiner begins with.
        self.base = base_particles(view, self._cuts)
        #: Do the cuts on the whole event let it pass? bool [n_events].
        self.selected = skim.preselection(cleaned(view, self._cuts))
        #: Row of the particle that is called by a bit of an event [n_events, 64]; -1: none.
        self.named = np.full((r.n_events, 64), -1)
        found = reconstruction
        for objects, size, first in (
            (found.tracks, np.linalg.norm(found.tracks.momentum, axis=1), 0),
            (found.clusters, found.clusters.energy, MOST_TRACKS),
        ):
            bit = ranks(objects.event, size, r.n_events)
            low = bit < MOST_TRACKS
            self.named[objects.event[low], bit[low] + first] = objects.particle[low]

    def combine(
        self, base: tuple[Floats, Integers, Integers, Integers] | None = None
    ) -> tuple[Floats, Floats, Floats, Integers, Integers]:
        """Run the combiner.

        Parameters
        ----------
        base : tuple of numpy.ndarray, optional
            As `base`, which is taken by default.

        Returns
        -------
        tuple of numpy.ndarray [n_events]
            As `smartbkg_tf.generation.skims.combiner.combine`.
        """
        base = self.base if base is None else base
        reactions, cuts = self._reactions, self._cuts
        return combine(
            *base,
            np.ones(len(base[3]) - 1, dtype=bool),
            reactions.mothers,
            reactions.daughters,
            reactions.n_daughters,
            reactions.kinds,
            reactions.low,
            reactions.high,
            reactions.centre,
            reactions.width,
            reactions.prior,
            self._floor,
            reactions.constrain,
            len(reactions.species),
            cuts.capacity,
            self._beam_energy,
            cuts.minimum_mbc,
            cuts.maximum_delta_e,
        )


def replay(reading: Reading, variation: Variation) -> dict[str, Floats]:
    """Run the skim's combiner on generated particles.

    Parameters
    ----------
    reading : Reading
        The events.
    variation : Variation
        What is left out.

    Returns
    -------
    dict of str to numpy.ndarray [n_events]
        ``weight`` (natural logarithm of the best candidate's probability; NaN: none), ``mbc`` and
        ``delta_e`` (GeV), ``reaction``, ``candidates``.
    """
    run = Replay(reading, variation)
    weight, mbc, delta_e, reaction, number = run.combine()
    return {
        "weight": np.where(np.isfinite(weight), weight, np.nan),
        "mbc": mbc,
        "delta_e": delta_e,
        "reaction": reaction.astype(np.float64),
        "candidates": number.astype(np.float64),
        "selected": run.selected.astype(np.float64),
    }


def replay_features(reading: Reading) -> dict[str, Floats]:
    """Run all variations.

    Parameters
    ----------
    reading : Reading
        The events.

    Returns
    -------
    dict of str to numpy.ndarray [n_events]
        ``VARIATION_QUANTITY``.
    """
    columns: dict[str, Floats] = {}
    for name, variation in VARIATIONS.items():
        for quantity, values in replay(reading, variation).items():
            if quantity in ("reaction", "selected") and name != "loose":
                continue
            columns[f"replay_{name}_{quantity}"] = values
    return columns
