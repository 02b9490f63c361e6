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

from benchmarks.fei_b0.reading import Floats, Mask, Reading
from benchmarks.fei_b0.sample import SKIM
from smartbkg_tf.generation.beams import nominal_collision
from smartbkg_tf.generation.observables import EventView
from smartbkg_tf.generation.reconstruction import SPECIES, Clusters, Reconstruction, Tracks
from smartbkg_tf.generation.skims.combiner import (
    MOST_TRACKS,
    Base,
    Best,
    Cuts,
    find_best,
)
from smartbkg_tf.generation.skims.fei_hadronic import FeiHadronic
from smartbkg_tf.generation.skims.modes import (
    B_MODES,
    D_MODES,
    D_STAR_MODES,
    LIGHT_MODES,
    compile_modes,
)
from smartbkg_tf.generation.skims.tag import ranks
from smartbkg_tf.runtime.command import compose_settings
from smartbkg_tf.settings.generation import ProduceSettings
from smartbkg_tf.settings.sources import BeamSettings

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
        (skim,) = settings.skim.values()
        assert isinstance(skim, FeiHadronic)
        #: The skim, with its cuts.
        self.skim = skim
        inside = (r.theta > 17.0 + variation.margin) & (r.theta < 150.0 - variation.margin)
        tracks = r.seen_track & inside & (r.pt > variation.track_pt)
        photons = r.seen_photon & inside & (r.laboratory[:, 3] > variation.photon_energy)
        #: What is seen of the particles.
        self.reconstruction = _reconstruction(r, tracks, photons)
        view = self.view(self.reconstruction)
        #: What the skim combines.
        self.reactions = compile_modes(LIGHT_MODES + D_MODES + D_STAR_MODES + B_MODES[skim.tag])
        #: What candidates must fulfil.
        self.cuts = Cuts(
            float(np.log(variation.probability)),
            skim.capacity,
            r.beam_energy,
            skim.minimum_mbc,
            skim.maximum_delta_e,
        )
        #: What the combiner begins with.
        self.base = skim.base_particles(view)
        #: Do the cuts on the whole event let it pass? bool [n_events].
        self.selected = skim.preselection(skim.cleaned(view))
        #: Row of the particle that is called by a bit of an event [n_events, 64]; -1: none.
        self.named = np.full((r.n_events, 64), -1)
        found = self.reconstruction
        for objects, size, first in (
            (found.tracks, np.linalg.norm(found.tracks.momentum, axis=1), 0),
            (found.clusters, found.clusters.energy, MOST_TRACKS),
        ):
            bit = ranks(objects.event, size, r.n_events)
            low = bit < MOST_TRACKS
            self.named[objects.event[low], bit[low] + first] = objects.particle[low]

    @staticmethod
    def view(reconstruction: Reconstruction) -> EventView:
        """Show tracks and clusters as a skim sees them.

        Parameters
        ----------
        reconstruction : Reconstruction
            Tracks and clusters.

        Returns
        -------
        EventView
            In collisions of nominal beams.
        """
        return EventView(reconstruction, nominal_collision(BeamSettings()))

    def combine(self, base: Base | None = None) -> Best:
        """Run the combiner.

        Parameters
        ----------
        base : Base, optional
            What to begin with; `base` by default.

        Returns
        -------
        Best
            One entry for each event.
        """
        return find_best(self.base if base is None else base, self.reactions, self.cuts)


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
