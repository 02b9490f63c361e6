"""Y(4S) -> B anti-B: directions of the two B mesons, and the oscillation of neutral ones."""

from __future__ import annotations

import numpy as np

from smartbkg_tf.generation.arrays import Floats, Integers
from smartbkg_tf.generation.beams import Collision, boost, rotation_to


def b_momenta(collisions: Collision, mass: float, random: np.random.Generator) -> Floats:
    """Laboratory momenta (px, py, pz, E) of B pairs [n, 2, 4], GeV.

    The Y(4S) is made with spin +-1 along the beams and decays into two spinless particles:
    dN / d cos theta ~ sin^2 theta about the beam axis.
    """
    n = len(collisions.total)
    energy = 0.5 * collisions.mass
    size = np.sqrt(energy**2 - mass**2)
    # The median of three uniform numbers in (-1, 1) has density 3/4 (1 - c^2).
    cosine = np.median(random.uniform(-1.0, 1.0, (n, 3)), axis=1)
    sine = np.sqrt(1.0 - cosine**2)
    angle = random.uniform(0.0, 2.0 * np.pi, n)
    direction = np.stack([sine * np.cos(angle), sine * np.sin(angle), cosine], axis=-1)
    direction = np.einsum("nij,nj->ni", rotation_to(collisions.axis), direction)
    first = size[:, None] * direction
    pair = np.stack([first, -first], axis=1)
    vectors = np.concatenate([pair, np.tile(energy[:, None, None], (1, 2, 1))], axis=-1)
    return boost(vectors, collisions.velocity[:, None, :])


def oscillate(codes: Integers, phase: Floats, random: np.random.Generator) -> Integers:
    """Let entangled pairs of neutral B mesons oscillate: their PDG codes at decay [n, 2].

    ``phase`` [n] is dm (t1 - t2), rad. The pair is antisymmetric, so that it is of opposite flavour
    whenever the first one decays; the other one then has changed its flavour at its own decay with
    probability (1 - cos(dm dt)) / 2 (The Belle II Physics Book, arXiv:1808.10567, chapter 10).
    Integrated over time the same-flavour fraction is chi_d = x^2 / (2 (1 + x^2)), x = dm tau.
    """
    mixed = random.random(len(codes)) < 0.5 * (1.0 - np.cos(phase))
    which = random.integers(0, 2, len(codes))
    result = codes.copy()
    rows = np.flatnonzero(mixed)
    result[rows, which[rows]] *= -1
    return result
