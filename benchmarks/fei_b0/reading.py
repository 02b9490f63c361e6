"""What the tree baselines read from generated events: kinds of particles, visibility, the tree.

"Seen" is what a detector may see of stable particles: tracks with a transverse momentum above
`TRACK_PT` and photons above `PHOTON_ENERGY` within `ACCEPTANCE`. The numbers are those of a generic
detector and were chosen on validation events; no cut of a skim enters.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt

from smartbkg_tf.events.table import EventTable
from smartbkg_tf.generation.beams import nominal_collision
from smartbkg_tf.settings.sources import BeamSettings

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

#: Polar angles in the laboratory that the detector covers, degrees.
ACCEPTANCE = (17.0, 150.0)
#: Smallest transverse momentum of a seen track, GeV.
TRACK_PT = 0.05
#: Smallest energy of a seen photon, GeV.
PHOTON_ENERGY = 0.05

TRACKS = {"electron": 11, "muon": 13, "pion": 211, "kaon": 321, "proton": 2212}
INVISIBLE = {"neutrino": (12, 14, 16), "long_kaon": (130,), "neutron": (2112,)}


def has_quark(code: Integers, quark: int) -> Mask:
    """Say which hadrons hold a quark, quarkonia left out.

    Parameters
    ----------
    code : numpy.ndarray [n]
        PDG codes.
    quark : int
        4 for charm, 5 for bottom.

    Returns
    -------
    numpy.ndarray [n]
        bool: open charm or bottom.
    """
    size = np.abs(code)
    digits = [size // 10**i % 10 for i in (1, 2, 3)]
    hadron = (size > 100) & (size < 10**9) & (size % 10 > 0)
    meson = (digits[2] == 0) & (digits[1] == quark) & (digits[0] != quark)
    baryon = digits[2] == quark
    return np.asarray(hadron & (meson | baryon))


class Reading:
    """Generated events, with one entry [n_particles] in every array.

    Parameters
    ----------
    table : EventTable
        The events.
    """

    def __init__(self, table: EventTable) -> None:
        columns = table.particles
        self.n_events = len(table)
        self.offsets = table.offsets
        self.event = table.event_of_particle()
        self.code = np.asarray(columns["PDG"]).astype(np.int64)
        self.size = np.abs(self.code)
        mother = np.asarray(columns["motherIndex"]).astype(np.int64)
        #: Row of the mother; the particle's own row where it has none.
        self.mother = np.where(
            mother >= 0, mother + table.offsets[:-1][self.event], np.arange(len(mother))
        )
        self.has_mother = mother >= 0
        self.n_daughters = np.asarray(columns["nDaughters"]).astype(np.int64)
        self.stable = self.n_daughters == 0
        #: (px, py, pz, E) in the laboratory, GeV.
        self.laboratory = np.stack(
            [np.asarray(columns[name], dtype=np.float64) for name in ("px", "py", "pz", "energy")],
            axis=1,
        )
        collision = nominal_collision(BeamSettings())
        #: Energy of each beam in the centre-of-mass system (CMS), GeV.
        self.beam_energy = 0.5 * float(collision.mass)
        #: (px, py, pz, E) in the CMS, GeV.
        self.inside = collision.to_centre_of_mass(self.laboratory)
        #: Momentum in the CMS, GeV.
        self.momentum = np.linalg.norm(self.inside[:, :3], axis=1)
        #: Transverse momentum in the laboratory, GeV.
        self.pt = np.hypot(self.laboratory[:, 0], self.laboratory[:, 1])
        #: Polar angle in the laboratory, degrees.
        self.theta = np.degrees(np.arctan2(self.pt, self.laboratory[:, 2]))
        #: Production vertex, cm.
        self.place = np.stack(
            [np.asarray(columns[name], dtype=np.float64) for name in ("x", "y", "z")], axis=1
        )
        #: Its transverse distance, cm.
        self.radius = np.hypot(self.place[:, 0], self.place[:, 1])
        self.charge = np.asarray(columns["charge"], dtype=np.float64)

    @cached_property
    def track(self) -> Mask:
        """Stable charged particles that leave tracks."""
        return np.asarray(self.stable & np.isin(self.size, list(TRACKS.values())))

    @cached_property
    def photon(self) -> Mask:
        """Stable photons."""
        return np.asarray(self.stable & (self.code == 22))

    @cached_property
    def accepted(self) -> Mask:
        """Particles that fly into the detector."""
        low, high = ACCEPTANCE
        return np.asarray((self.theta >= low) & (self.theta <= high))

    @cached_property
    def seen_track(self) -> Mask:
        """Tracks that the detector may see."""
        return np.asarray(self.track & self.accepted & (self.pt > TRACK_PT))

    @cached_property
    def seen_photon(self) -> Mask:
        """Photons that the detector may see."""
        return np.asarray(self.photon & self.accepted & (self.laboratory[:, 3] > PHOTON_ENERGY))

    @cached_property
    def charm(self) -> Mask:
        """Hadrons with open charm."""
        return has_quark(self.code, 4)

    @cached_property
    def bottom(self) -> Mask:
        """Hadrons with open bottom."""
        return has_quark(self.code, 5)

    def invisible(self, name: str) -> Mask:
        """Stable particles of a kind that no detector component measures well.

        Parameters
        ----------
        name : str
            A key of `INVISIBLE`.

        Returns
        -------
        numpy.ndarray [n_particles]
            bool.
        """
        return np.asarray(self.stable & np.isin(self.size, INVISIBLE[name]))

    def below(self, chosen: Mask) -> Mask:
        """Say which particles descend from chosen ones.

        Parameters
        ----------
        chosen : numpy.ndarray [n_particles]
            bool.

        Returns
        -------
        numpy.ndarray [n_particles]
            bool; a chosen particle itself only if it descends from another one.
        """
        found = self.has_mother & chosen[self.mother]
        while True:
            further = found | (self.has_mother & found[self.mother])
            if np.array_equal(further, found):
                return found
            found = further

    @cached_property
    def heads(self) -> Integers:
        """Rows of the B mesons: hadrons with bottom whose mother has none.

        An oscillated B is the daughter of a B and heads nothing.
        """
        return np.flatnonzero(self.bottom & ~(self.has_mother & self.bottom[self.mother]))

    @cached_property
    def side(self) -> Integers:
        """Number 2 * event + (0 or 1) of the B that a particle descends from, or is; else -1.

        B mesons beyond the second of an event have no side.
        """
        event = self.event[self.heads]
        first = np.searchsorted(event, event)
        place = np.arange(len(event)) - first
        side = np.full(len(self.code), -1)
        side[self.heads] = np.where(place < 2, 2 * event + place, -1)
        free = side < 0
        free[self.heads] = False
        while True:
            further = np.where(free & self.has_mother, side[self.mother], side)
            if np.array_equal(further, side):
                return side
            side = further


class Groups:
    """Sums over the particles of groups: events, or sides.

    Parameters
    ----------
    group : numpy.ndarray [n_particles]
        Group of each particle; -1 for none.
    n_groups : int
        How many there are.
    """

    def __init__(self, group: Integers, n_groups: int) -> None:
        self.group = group
        self.n_groups = n_groups

    def count(self, chosen: Mask) -> Floats:
        """Count chosen particles.

        Parameters
        ----------
        chosen : numpy.ndarray [n_particles]
            bool.

        Returns
        -------
        numpy.ndarray [n_groups]
            float64.
        """
        rows = np.flatnonzero(chosen & (self.group >= 0))
        return np.bincount(self.group[rows], minlength=self.n_groups).astype(np.float64)

    def sum(self, chosen: Mask, values: Floats) -> Floats:
        """Add values of chosen particles.

        Parameters
        ----------
        chosen : numpy.ndarray [n_particles]
            bool.
        values : numpy.ndarray [n_particles] or [n_particles, m]
            What is added.

        Returns
        -------
        numpy.ndarray [n_groups] or [n_groups, m]
            float64; 0 for groups without a chosen particle.
        """
        rows = np.flatnonzero(chosen & (self.group >= 0))
        groups = self.group[rows]
        if values.ndim == 1:
            return np.bincount(groups, values[rows], minlength=self.n_groups)
        columns = [np.bincount(groups, v, minlength=self.n_groups) for v in values[rows].T]
        return np.stack(columns, axis=1)

    def ranked(self, chosen: Mask, values: Floats, number: int) -> Floats:
        """Give the smallest values of chosen particles.

        Parameters
        ----------
        chosen : numpy.ndarray [n_particles]
            bool.
        values : numpy.ndarray [n_particles]
            What is compared; with a minus sign the largest come first.
        number : int
            How many.

        Returns
        -------
        numpy.ndarray [n_groups, number]
            Rising; NaN where there are not as many.
        """
        rows = np.flatnonzero(chosen & (self.group >= 0))
        groups = self.group[rows]
        order = np.lexsort((values[rows], groups))
        groups, ordered = groups[order], values[rows][order]
        place = np.arange(len(groups)) - np.searchsorted(groups, groups)
        result = np.full((self.n_groups, number), np.nan)
        kept = place < number
        result[groups[kept], place[kept]] = ordered[kept]
        return result
