"""The normalisation layer, against the formula of the settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import yaml

from smartbkg_tf.errors import ConfigurationError
from smartbkg_tf.models.layers import ParticleNormalisation
from smartbkg_tf.models.normalisation import EventColumns
from tests.models.model_test_case import FEATURES, NORMALISATION

CONF = Path(__file__).resolve().parents[2] / "conf" / "normalisation"


def values_of(name: str) -> dict[str, dict[str, Any]]:
    features: dict[str, dict[str, Any]] = yaml.safe_load((CONF / f"{name}.yaml").read_text())[
        "features"
    ]
    return features


@pytest.mark.parametrize("name", ["physical", "original"])
def test_formula_and_column_order(name: str) -> None:
    constants = values_of(name)
    random = np.random.default_rng(0)
    x = np.concatenate(
        [random.normal(0, 5, (3, 6, 8)), random.integers(-2, 3, (3, 6, 1))], axis=-1
    ).astype(np.float32)
    got = np.asarray(ParticleNormalisation(FEATURES, constants)(x))
    assert got.shape == (3, 6, 13)
    for i, feature in enumerate(FEATURES[:-1]):
        one = {"scale": 1.0, "limit": 10.0, **constants[feature]}
        t = x[..., i].astype(np.float64)
        t = (t - t[:, :1] if one.get("relative") else t) / one["scale"]
        t = np.arcsinh(t) if one["transform"] == "asinh" else t
        expected = np.clip((t - one["centre"]) / one["spread"], -one["limit"], one["limit"])
        np.testing.assert_allclose(got[..., i], expected, atol=1e-5, rtol=1e-5)
    np.testing.assert_array_equal(got[..., 8:].argmax(axis=-1) - 2, x[..., 8])
    np.testing.assert_array_equal(got[..., 8:].sum(axis=-1), np.ones((3, 6)))


def test_original_is_the_min_max_of_the_original_project() -> None:
    low = [0.0, 0.0, -700.0, -700.0, -700.0, -3.0, -3.0, -2.0, 0.0]
    high = [11.0, 150.0, 700.0, 700.0, 700.0, 3.0, 3.0, 4.0, 0.0]
    layer = ParticleNormalisation(FEATURES, values_of("original"))
    got = np.asarray(layer(np.array([[low, high]], np.float32)))[0, :, :8]
    np.testing.assert_allclose(got, [[0] * 8, [1] * 8], atol=1e-6)


def test_mixed_transforms_and_no_charge() -> None:
    features: dict[str, dict[str, Any]] = {
        "a": {"transform": "linear", "spread": 2.0},
        "b": {"transform": "asinh"},
    }
    got = ParticleNormalisation(("a", "b"), features)(np.array([[[4.0, 4.0]]], np.float32))
    np.testing.assert_allclose(got, [[[2.0, np.arcsinh(4.0)]]], rtol=1e-6)


def test_micrometres_and_metres_are_both_seen() -> None:
    # A B vertex at 0.01 cm and none must differ by far more than float32 noise; with the
    # original's range they differ by 7e-6.
    layer = ParticleNormalisation(("x",), {"x": values_of("physical")["x"]})
    at = np.asarray(layer(np.array([[[0.0], [0.01], [1.0], [50.0]]], np.float32)))[0, :, 0]
    assert (np.diff(at) > 0.5).all()
    assert (np.abs(at) < 10).all(), "clipping hides the largest vertices"


def test_offsets_of_the_collision_change_nothing() -> None:
    # Belle II's bunches cross every 3.93 ns, and the interaction point lies off the origin.
    random = np.random.default_rng(1)
    x = random.normal(0, 0.01, (2, 5, 9)).astype(np.float32)
    shifted = x.copy()
    for feature, offset in {"prodTime": 3.93, "x": -0.05, "y": 0.02, "z": 0.03}.items():
        shifted[..., FEATURES.index(feature)] += np.float32(offset)
    layer = ParticleNormalisation(FEATURES, values_of("physical"))
    # float32 resolves 2e-7 ns at 3.93 ns; asinh(t / 0.001 ns) turns that into 2e-4.
    np.testing.assert_allclose(layer(shifted), layer(x), atol=5e-4)
    shifted[..., FEATURES.index("energy")] += 1.0
    assert np.abs(np.asarray(layer(shifted)) - np.asarray(layer(x))).max() > 0.1


def test_charges_without_a_column_give_zeros_and_floats_are_rounded() -> None:
    x = np.array([[[3.0], [-2.0], [0.9999999], [1 / 3]]], np.float32)
    got = np.asarray(ParticleNormalisation(("charge",), {})(x))[0]
    np.testing.assert_array_equal(got[0], np.zeros(5))
    np.testing.assert_array_equal(got[1], [1, 0, 0, 0, 0])
    np.testing.assert_array_equal(got[2], [0, 0, 0, 1, 0])
    np.testing.assert_array_equal(got[3], [0, 0, 1, 0, 0])


def test_padding_gives_zeros_even_where_it_is_not_a_number() -> None:
    x = np.full((1, 2, 9), np.nan, np.float32)
    x[0, 0] = 0.5
    got = np.asarray(
        ParticleNormalisation(FEATURES, NORMALISATION)(x, mask=np.array([[True, False]]))
    )
    assert np.isfinite(got[0, 0]).all()
    assert got[0, 0].any()
    np.testing.assert_array_equal(got[0, 1], np.zeros(13))


def test_energies_keep_float32_under_mixed_precision() -> None:
    policy = keras.config.dtype_policy()
    constants = {"energy": {"transform": "linear", "centre": 10.0, "spread": 0.01}}
    try:
        keras.config.set_dtype_policy("mixed_float16")
        got = ParticleNormalisation(("energy",), constants)(np.array([[[10.005]]], np.float32))
    finally:
        keras.config.set_dtype_policy(policy)
    # float16 knows no number between 10 and 10.0078.
    np.testing.assert_allclose(got, [[[0.5]]], atol=1e-3)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"spread": 0.0}, "px: spread is 0"),
        ({"spread": float("nan")}, "px: spread is nan"),
        ({"scale": -1.0}, "px: scale is -1"),
        ({"centre": float("inf")}, "px: centre is inf"),
        ({"transform": "log"}, "px: transform"),
    ],
)
def test_unusable_constants_name_the_feature(change: dict[str, Any], words: str) -> None:
    constants = {**NORMALISATION, "px": {**NORMALISATION["px"], **change}}
    with pytest.raises(ConfigurationError, match=words):
        ParticleNormalisation(FEATURES, constants)


def test_missing_feature_is_named_with_the_nearest() -> None:
    constants = {k: v for k, v in NORMALISATION.items() if k != "prodTime"} | {
        "prodtime": NORMALISATION["prodTime"]
    }
    with pytest.raises(ConfigurationError, match=r"'prodTime' has no constants.*'prodtime'"):
        ParticleNormalisation(FEATURES, constants)


def test_event_columns_are_those_of_the_first_particle() -> None:
    features = {
        "a": {"spread": 2.0},
        "b": {"transform": "asinh", "centre": 1.0},
        "c": {"relative": True},
    }
    layer = EventColumns(["b", "a", "c"], ("a", "b", "c", "charge"), features)
    x = np.zeros((2, 3, 4), np.float32)
    x[0] = [4.0, 3.0, 2.0, 1.0]
    x[0, 1:] = 7.0  # not the first
    x[1] = np.nan  # padding
    mask = np.array([[True, True, False], [False, False, False]])
    got = np.asarray(layer(x, mask=mask))
    np.testing.assert_allclose(got, [[np.arcsinh(3.0) - 1.0, 2.0, 2.0], [0.0] * 3], rtol=1e-6)
    again = EventColumns.from_config(layer.get_config())
    np.testing.assert_array_equal(np.asarray(again(x, mask=mask)), got)


@pytest.mark.parametrize("name", ["energi", "charge"])
def test_an_event_column_that_there_is_not(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"no column '{name}'"):
        EventColumns([name], ("energy", "charge"), {"energy": {}})
