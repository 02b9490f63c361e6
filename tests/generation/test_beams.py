from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartbkg_tf.generation.beams import (
    boost,
    collide,
    mass_squared,
    nominal_collision,
    random_collisions,
    random_vertices,
    rotation_to,
)
from smartbkg_tf.settings.sources import BeamSettings

component = st.floats(-5, 5)
velocities = st.tuples(*[st.floats(-0.5, 0.5)] * 3)


@given(st.tuples(component, component, component), st.floats(0, 5), velocities)
def test_boost_keeps_mass_and_is_undone_by_its_opposite(momentum, mass, velocity):
    p, v = np.array(momentum), np.array(velocity)
    vector = np.array([*p, np.sqrt(p @ p + mass**2)])
    there = boost(vector, v)
    assert mass_squared(there) == pytest.approx(mass**2, abs=1e-9)
    np.testing.assert_allclose(boost(there, -v), vector, atol=1e-12)


def test_boost_of_a_particle_at_rest_gives_it_the_velocity():
    moving = boost(np.array([0.0, 0.0, 0.0, 2.0]), np.array([0.0, 0.0, 0.6]))
    # gamma = 1.25: the textbook case.
    np.testing.assert_allclose(moving, [0.0, 0.0, 1.5, 2.5], atol=1e-12)


@given(st.floats(0, 3.0), st.floats(-3.1, 3.1))
def test_rotation_turns_z_into_the_axis_and_keeps_lengths(theta, phi):
    axis = np.array([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)])
    matrix = rotation_to(axis)
    np.testing.assert_allclose(matrix @ [0, 0, 1], axis, atol=1e-9)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(matrix) == pytest.approx(1.0)


def test_nominal_collision_is_the_upsilon_4s():
    collision = nominal_collision(BeamSettings())
    assert float(collision.mass) == pytest.approx(10.5796, abs=1e-4)
    px, py, pz, energy = collision.total
    assert energy == pytest.approx(11.006)
    assert py == 0.0
    # The published sample has mean px / mean pz = 0.0525 / 0.345.
    assert px / pz == pytest.approx(0.152, abs=5e-4)
    # The CMS total is at rest and the electrons fly along the axis.
    np.testing.assert_allclose(
        collision.to_centre_of_mass(collision.total), [0, 0, 0, collision.mass], atol=1e-12
    )


def test_axis_is_the_direction_of_the_electrons_in_the_cms():
    collision = collide(np.asarray(7.0), np.asarray(4.0), 0.0)
    np.testing.assert_allclose(collision.axis, [0, 0, 1], atol=1e-12)
    # sqrt(s) = 2 sqrt(E1 E2) for head-on beams without mass.
    assert float(collision.mass) == pytest.approx(2 * np.sqrt(28.0), rel=1e-7)


def test_energy_spread_moves_the_mass_as_error_propagation_says():
    beams = BeamSettings()
    mass = random_collisions(beams, 40_000, 10.0, np.random.default_rng(1)).mass
    expected = np.hypot(beams.energy_ler * beams.spread_her, beams.energy_her * beams.spread_ler)
    expected *= 2 * np.cos(beams.half_crossing_angle) ** 2 / 10.5796
    assert mass.std() == pytest.approx(expected, rel=0.02)


def test_collisions_below_the_threshold_are_drawn_anew():
    threshold = 10.5790
    mass = random_collisions(BeamSettings(), 5000, threshold, np.random.default_rng(1)).mass
    assert mass.min() > threshold
    with pytest.raises(ValueError, match="below the threshold"):
        random_collisions(BeamSettings(), 1, 11.0, np.random.default_rng(1))


def test_vertices_have_the_size_of_the_beam_spot():
    beams = BeamSettings(vertex=(0.1, 0.0, -0.2), vertex_spread=(0.01, 0.0, 0.03))
    points = random_vertices(beams, 20_000, np.random.default_rng(1))
    np.testing.assert_allclose(points.mean(axis=0), beams.vertex, atol=1e-3)
    np.testing.assert_allclose(points.std(axis=0), beams.vertex_spread, rtol=0.03, atol=1e-12)
