"""What every masked layer must do: a layer test is arguments, an input and a shape."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import keras
import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

LENGTHS = np.array([5, 1, 0, 3, 7])


def batch(channels: int = 3, length: int = 7) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Make values [5, length, channels] whose padding is not zero, and their mask."""
    values = np.random.default_rng(4).normal(0.5, 2.0, (5, length, channels)).astype(np.float32)
    return values, np.arange(length) < LENGTHS[:, None]


class LayerTestCase:
    """Inherit, name it Test..., and give a class, arguments and the shape of the output."""

    layer_class: ClassVar[type[Any]]
    arguments: ClassVar[dict[str, Any]] = {}
    channels: ClassVar[int] = 3
    output_shape: ClassVar[tuple[int | None, ...]]
    #: Output rows belong to particles, and only unmasked ones mean something.
    per_particle: ClassVar[bool] = True

    def make(self, **changes: Any) -> Any:
        """Make the layer with random weights."""
        keras.utils.set_random_seed(2)
        layer = self.layer_class(**{**self.arguments, **changes})
        if not layer.built:
            layer.build((None, None, self.channels))
        random = np.random.default_rng(1)
        for weight in layer.weights:
            weight.assign(np.abs(random.normal(0.5, 0.5, weight.shape)) + 0.1)
        return layer

    def meaningful(self, output: Any, mask: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
        """Keep what later layers look at."""
        values = np.asarray(output)
        return values[:, : mask.shape[1]][mask] if self.per_particle else values

    def model(self, layer: Any) -> keras.Model:
        """Put the layer into a functional model with dynamic length."""
        x = keras.Input((None, self.channels), name="x")
        mask = keras.Input((None,), dtype="bool", name="mask")
        return keras.Model([x, mask], layer(x, mask=mask))

    def test_shape_symbolic_and_real(self) -> None:
        layer = self.make()
        x, mask = batch(self.channels)
        assert self.model(layer).output_shape == self.output_shape
        real = tuple(np.asarray(layer(x, mask=mask)).shape)
        expected = tuple(
            {0: 5, 1: 7}[i] if size is None else size for i, size in enumerate(self.output_shape)
        )
        assert real == expected

    def test_config_round_trip(self) -> None:
        layer = self.make()
        again = type(layer).from_config(layer.get_config())
        assert again.get_config() == layer.get_config()

    def test_survives_saving(self, tmp_path: Path) -> None:
        from smartbkg_tf.models.loading import save_model

        model = self.model(self.make())
        save_model(model, tmp_path / "layer.keras")
        again = keras.saving.load_model(tmp_path / "layer.keras", compile=False)
        x, mask = batch(self.channels)
        np.testing.assert_array_equal(again([x, mask]), model([x, mask]))

    @pytest.mark.parametrize("training", [False, True])
    def test_padding_changes_nothing(self, training: bool) -> None:
        x, mask = batch(self.channels)
        expected = self.meaningful(self.make()(x, mask=mask, **self.mode(training)), mask)
        for extra in (1, 2, 5, 40):
            more = np.pad(x, [(0, 0), (0, extra), (0, 0)], constant_values=77.0)
            more[:, :7][~mask] = -50.0
            wide = np.pad(mask, [(0, 0), (0, extra)])
            got = self.meaningful(self.make()(more, mask=wide, **self.mode(training)), mask)
            np.testing.assert_allclose(got, expected, atol=2e-5, rtol=1e-5)

    def test_values_change_something(self) -> None:
        layer = self.make()
        x, mask = batch(self.channels)
        changed = x.copy()
        changed[mask] += np.random.default_rng(0).normal(0, 1, changed[mask].shape)
        before = self.meaningful(layer(x, mask=mask), mask)
        assert np.abs(self.meaningful(layer(changed, mask=mask), mask) - before).max() > 1e-3

    def mode(self, training: bool) -> dict[str, bool]:
        """Give the argument ``training`` to those layers that take it."""
        return {"training": training} if training and self.takes_training else {}

    takes_training: ClassVar[bool] = False

    @pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
    def test_mixed_precision(self, policy: str) -> None:
        x, mask = batch(self.channels)
        exact = self.meaningful(self.make()(x, mask=mask), mask)
        low = self.make(dtype=policy)(x, mask=mask)
        assert low.dtype == tf.as_dtype(policy.removeprefix("mixed_"))
        values = self.meaningful(tf.cast(low, tf.float32), mask)
        assert np.abs(values - exact).max() <= 0.03 * max(np.abs(exact).max(), 1.0)

    def test_xla_gives_the_same(self) -> None:
        layer = self.make()
        x, mask = batch(self.channels)
        compiled = tf.function(lambda a, b: layer(a, mask=b), jit_compile=True)
        np.testing.assert_allclose(compiled(x, mask), layer(x, mask=mask), atol=1e-4, rtol=1e-4)

    def test_gradient_reaches_every_weight(self) -> None:
        layer = self.make()
        x, mask = batch(self.channels)
        target = np.random.default_rng(3).normal(0, 1, np.asarray(layer(x, mask=mask)).shape)
        with tf.GradientTape() as tape:
            out = layer(x, mask=mask, **self.mode(True))
            if self.per_particle:
                out = out * mask[..., None].astype(np.float32)
            loss = tf.reduce_sum(out * target.astype(np.float32))
        weights = layer.trainable_weights
        for weight, gradient in zip(
            weights, tape.gradient(loss, [w.value for w in weights]), strict=True
        ):
            assert gradient is not None, weight.path
            assert np.abs(gradient).max() > 0, weight.path
