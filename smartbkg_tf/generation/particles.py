"""Stable particles on their way into the detector, and directions in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from smartbkg_tf.events.table import EventTable
from smartbkg_tf.generation.arrays import Floats, Integers, Mask

#: Inner faces of the calorimeter, cm: radius of the barrel, z of the end caps.
BARREL, FORWARD, BACKWARD = 125.0, 196.0, -102.0

#: PDG code.
K_LONG = 130


@dataclass(frozen=True)
class Generated:
    """Stable generated particles, as flat columns."""

    row: Integers  # [n] their rows in the particle table
    event: Integers  # [n]
    code: Integers  # [n] PDG codes
    momentum: Floats  # [n, 3] GeV
    energy: Floats  # [n] GeV
    place: Floats  # [n, 3] production vertex, cm

    def __getitem__(self, chosen: Mask) -> Generated:
        return Generated(*(column[chosen] for column in vars(self).values()))

    def __len__(self) -> int:
        return len(self.row)


def behind_front(place: Floats) -> Mask:
    """Tell which places [n, 3], cm, lie behind the inner faces of the calorimeter.

    Barrel radius 125 cm, end caps at z = 196 and -102 cm (The Belle detector, NIM A 479 (2002)
    117, table 1; Belle II keeps its crystals).
    """
    x, y, z = place.T
    result: Mask = (x**2 + y**2 > BARREL**2) | (z > FORWARD) | (z < BACKWARD)
    return result


def stable_particles(table: EventTable) -> Generated:
    """Choose the particles that reach the detector or decay in it undetected, sorted by event.

    These are the particles without daughters, and the K_L that decay behind the front of the
    calorimeter: like those that do not decay they leave a cluster there, or none.
    """
    columns = table.particles
    code = np.asarray(columns["PDG"]).astype(np.int64)
    event = table.event_of_particle()
    momentum, place = (
        np.stack([columns[n] for n in names], axis=-1).astype(np.float64)
        for names in (("px", "py", "pz"), ("x", "y", "z"))
    )
    index = np.asarray(columns["motherIndex"], dtype=np.int64)
    mother = np.where(index >= 0, index + table.offsets[:-1][event], -1)
    late = np.unique(mother[(mother >= 0) & (code[mother] == K_LONG) & behind_front(place)])
    below = np.isin(mother, late)
    while (further := below | ((mother >= 0) & below[mother])).sum() > below.sum():
        below = further
    ends = (np.asarray(columns["nDaughters"]) == 0) & ~below
    ends[late] = True
    return Generated(
        row=np.flatnonzero(ends),
        event=event[ends],
        code=code[ends],
        momentum=momentum[ends],
        energy=np.asarray(columns["energy"])[ends].astype(np.float64),
        place=place[ends],
    )


def direction_of(theta: Floats, phi: Floats) -> Floats:
    """Give unit vectors [n, 3] of polar and azimuthal angles [n], rad."""
    sine = np.sin(theta)
    return np.stack([sine * np.cos(phi), sine * np.sin(phi), np.cos(theta)], axis=-1)


def reflected(theta: Floats) -> Floats:
    """Bring smeared polar angles [n], rad, at most a turn outside, back into [0, pi]."""
    theta = np.abs(theta)
    return np.where(theta > np.pi, 2.0 * np.pi - theta, theta)


def inside(theta: Floats, minimum: float, maximum: float) -> Mask:
    """Tell which polar angles [n], rad, lie inside an acceptance given in degrees."""
    result: Mask = (theta >= np.radians(minimum)) & (theta <= np.radians(maximum))
    return result
