"""One event with a B0 -> D- pi+, D- -> K+ pi- pi- whose momenta add up."""

from __future__ import annotations

import numpy as np

from smartbkg_tf.events.table import EventTable
from smartbkg_tf.generation.beams import boost, nominal_collision
from smartbkg_tf.settings.sources import BeamSettings
from tests.samples import make_events

_PION, _KAON, _D, _B = 0.13957039, 0.493677, 1.86966, 5.27972


def _two_body(
    mother: np.ndarray, first: float, second: float, axis: np.ndarray
) -> list[np.ndarray]:
    """Let a particle decay along an axis of its own frame."""
    mass = np.sqrt(mother[3] ** 2 - mother[:3] @ mother[:3])
    energy = (mass**2 + first**2 - second**2) / (2 * mass)
    momentum = np.sqrt(energy**2 - first**2) * axis / np.linalg.norm(axis)
    vectors = np.array([[*momentum, energy], [*-momentum, mass - energy]])
    return list(boost(vectors, mother[:3] / mother[3]))


def signal_event() -> EventTable:
    """Make the event; the other B0 is not decayed.

    Returns
    -------
    EventTable
        One event.
    """
    collision = nominal_collision(BeamSettings())
    beam = 0.5 * float(collision.mass)
    momentum = np.sqrt(beam**2 - _B**2) * np.array([0.6, 0.64, 0.48])
    b, other = np.array([*momentum, beam]), np.array([*-momentum, beam])
    d, pion = _two_body(b, _D, _PION, np.array([0.3, 0.9, -0.2]))
    pair, second = _two_body(d, 0.9, _PION, np.array([-0.5, 0.2, 0.7]))
    kaon, third = _two_body(pair, _KAON, _PION, np.array([0.1, -0.8, 0.4]))
    inside = [b + other, b, other, d, pion, kaon, second, third]
    vectors = collision.to_laboratory(np.array(inside))
    code = np.array([300553, 511, -511, -411, 211, 321, -211, -211])
    mother = np.array([-1, 0, 0, 1, 1, 3, 3, 3])
    n = len(code)
    base = make_events(1, seed=1)
    return EventTable(
        particles={
            "PDG": code,
            "mass": np.sqrt(vectors[:, 3] ** 2 - np.sum(vectors[:, :3] ** 2, axis=1)),
            "charge": np.array([0.0, 0, 0, -1, 1, 1, -1, -1]),
            "energy": vectors[:, 3],
            "prodTime": np.zeros(n),
            **{name: np.zeros(n) for name in ("x", "y", "z")},
            **{name: vectors[:, i] for i, name in enumerate(("px", "py", "pz"))},
            "nDaughters": np.array([(mother == i).sum() for i in range(n)]),
            "status": np.ones(n, dtype=int),
            "motherPDG": np.where(mother >= 0, code[mother], 0),
            "motherIndex": mother,
        },
        offsets=np.array([0, n]),
        keys=base.keys,
        event_type=base.event_type,
        labels=base.labels,
    )
