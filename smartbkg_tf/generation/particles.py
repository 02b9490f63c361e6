"""Stable particles on their way into the detector, and directions in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from smartbkg_tf.events.table import EventTable
from smartbkg_tf.generation.reconstruction import Floats, Integers

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Generated:
    """Stable generated particles, as flat columns.

    Parameters
    ----------
    row : numpy.ndarray [n]
        Their rows in the particle table.
    event : numpy.ndarray [n]
        Their events.
    code : numpy.ndarray [n]
        PDG codes.
    momentum : numpy.ndarray [n, 3]
        GeV.
    energy : numpy.ndarray [n]
        GeV.
    place : numpy.ndarray [n, 3]
        Production vertex, cm.
    """

    row: Integers
    event: Integers
    code: Integers
    momentum: Floats
    energy: Floats
    place: Floats

    def __getitem__(self, chosen: Mask) -> Generated:
        return Generated(
            self.row[chosen],
            self.event[chosen],
            self.code[chosen],
            self.momentum[chosen],
            self.energy[chosen],
            self.place[chosen],
        )

    def __len__(self) -> int:
        return len(self.row)


def stable_particles(table: EventTable) -> Generated:
    """Choose the particles that do not decay in the generator.

    Parameters
    ----------
    table : EventTable
        Generated events.

    Returns
    -------
    Generated
        Sorted by event.
    """
    columns = table.particles
    rows = np.flatnonzero(np.asarray(columns["nDaughters"]) == 0)
    stack = [
        np.stack([columns[n][rows] for n in names], axis=-1)
        for names in (("px", "py", "pz"), ("x", "y", "z"))
    ]
    return Generated(
        row=rows,
        event=table.event_of_particle()[rows],
        code=np.asarray(columns["PDG"])[rows].astype(np.int64),
        momentum=stack[0].astype(np.float64),
        energy=np.asarray(columns["energy"])[rows].astype(np.float64),
        place=stack[1].astype(np.float64),
    )


def direction_of(theta: Floats, phi: Floats) -> Floats:
    """Give unit vectors.

    Parameters
    ----------
    theta, phi : numpy.ndarray [n]
        Polar and azimuthal angle, rad.

    Returns
    -------
    numpy.ndarray [n, 3]
        (x, y, z).
    """
    sine = np.sin(theta)
    return np.stack([sine * np.cos(phi), sine * np.sin(phi), np.cos(theta)], axis=-1)


def reflected(theta: Floats) -> Floats:
    """Bring smeared polar angles back into [0, pi].

    Parameters
    ----------
    theta : numpy.ndarray [n]
        rad, at most a turn outside.

    Returns
    -------
    numpy.ndarray [n]
        rad.
    """
    theta = np.abs(theta)
    return np.where(theta > np.pi, 2.0 * np.pi - theta, theta)


def inside(theta: Floats, minimum: float, maximum: float) -> Mask:
    """Tell which angles lie inside an acceptance.

    Parameters
    ----------
    theta : numpy.ndarray [n]
        Polar angle, rad.
    minimum, maximum : float
        Ends of the acceptance, degrees.

    Returns
    -------
    numpy.ndarray [n]
        bool.
    """
    result: Mask = (theta >= np.radians(minimum)) & (theta <= np.radians(maximum))
    return result
