"""Columns on which a detector's response depends, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from smartbkg_tf.errors import ConfigurationError
from smartbkg_tf.models.physics import DISPLACEMENTS, STEPS, DetectorVariables
from tests.models.model_test_case import FEATURES, random_events


def test_columns_are_those_of_a_direct_calculation() -> None:
    layer = DetectorVariables(FEATURES)
    events = random_events(6)
    x, mask = events["particle_input"], events["pdg_input"] != 0
    found = np.asarray(layer(x, mask=mask))
    assert found.shape == (*x.shape[:2], 2 + 3 * len(STEPS) + len(DISPLACEMENTS))
    assert not found[~mask].any()
    own = {name: x[..., i][mask].astype(np.float64) for i, name in enumerate(FEATURES)}
    pt = np.hypot(own["px"], own["py"])
    p = np.hypot(pt, own["pz"])
    theta = np.degrees(np.arctan2(pt, own["pz"]))
    edges = [np.exp(-np.clip(d, 0, 60) / 5.0) for d in (theta - 17.0, 150.0 - theta)]
    expected = [np.stack(edges, axis=1)]
    for size in (pt, own["energy"], p):
        expected.append(np.tanh(3.0 * (np.log(np.maximum(size, 1e-4))[:, None] - np.log(STEPS))))
    rho = np.log(np.hypot(np.hypot(own["x"], own["y"]), 1e-4))
    expected.append(np.tanh(1.5 * (rho[:, None] - np.log(DISPLACEMENTS))))
    np.testing.assert_allclose(found[mask], np.concatenate(expected, axis=1), atol=2e-4)


@pytest.mark.parametrize(
    ("theta", "near_low", "near_high"),
    [(10.0, 1.0, 0.0), (17.0, 1.0, 0.0), (22.0, np.exp(-1.0), 0.0), (147.5, 0.0, np.exp(-0.5))],
)
def test_edges_of_the_acceptance(theta: float, near_low: float, near_high: float) -> None:
    x = np.zeros((1, 1, len(FEATURES)), np.float32)
    x[0, 0, FEATURES.index("px")] = np.sin(np.radians(theta))
    x[0, 0, FEATURES.index("pz")] = np.cos(np.radians(theta))
    x[0, 0, FEATURES.index("energy")] = 1.0
    found = np.asarray(DetectorVariables(FEATURES)(x, mask=np.ones((1, 1), bool)))[0, 0]
    assert found[:2] == pytest.approx([near_low, near_high], abs=2e-3)


def test_particles_at_rest_and_at_the_origin_are_finite() -> None:
    x = np.zeros((1, 2, len(FEATURES)), np.float32)
    assert np.isfinite(DetectorVariables(FEATURES)(x, mask=np.ones((1, 2), bool))).all()


def test_a_missing_column_is_named() -> None:
    with pytest.raises(ConfigurationError, match="need the columns energy"):
        DetectorVariables([name for name in FEATURES if name != "energy"])
