"""What every network must do: one base class, inherited by the tests of each of them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import keras
import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
import tensorflow as tf
from sklearn.metrics import roc_auc_score

from smartbkg_tf.filtering.export import compare, convert
from smartbkg_tf.filtering.model_description import ModelDescription
from smartbkg_tf.models.base import NNBaseClass
from smartbkg_tf.models.loading import load_model
from smartbkg_tf.settings.encoding import EncodingSettings
from smartbkg_tf.settings.training import TrainingSettings
from smartbkg_tf.training.optimizers import AdamW

FEATURES = ("energy", "prodTime", "x", "y", "z", "px", "py", "pz", "charge")
VOCABULARY = 40
NORMALISATION: dict[str, dict[str, Any]] = {
    name: {"transform": "asinh", "scale": 0.1, "centre": 0.3, "spread": 1.2, "limit": 10.0}
    for name in FEATURES[:-1]
}

#: PDG codes of the tokens 2 to 37, for networks that ask what a particle is.
CODES = (
    *(300553, 511, -511, 521, -521, 411, -411, 421, -421, 413, 211, -211, 321, -321, 22, 111),
    *(310, 130, 11, -11, 12, -12, 13, -13, 14, -14, 2212, -2212, 2112, 15, -15, 16, 443, 4122),
    *(113, 223),
)

#: What costs seconds for each class.
LONG = ("test_fit_overfits_64_events",)

#: Left to `make test-slow` for branches whose layers are tested one by one elsewhere, and
#: which differ from their neighbours in sizes only.
LONGER = (
    *LONG,
    "test_one_compiled_fit_step",
    "test_training_on_nothing_but_empty_events_stays_finite",
    "test_summary_counts_the_weights",
    "test_mixed_precision[bfloat16]",
)

#: Left to `make test-slow` for networks that differ from a neighbour by a part of it.
VARIANT = (*LONGER, "test_mixed_precision", "test_xla", "test_onnx_gives_the_same_scores")

Arrays = dict[str, npt.NDArray[Any]]


def random_events(
    n_events: int, particles: int = 12, tokens: int = 20, seed: int = 0, shortest: int = 1
) -> Arrays:
    """Make random padded events, with every array that a network may read."""
    random = np.random.default_rng(seed)
    mask = np.arange(particles) < random.integers(shortest, particles + 1, n_events)[:, None]
    token_mask = np.arange(tokens) < random.integers(shortest, tokens + 1, n_events)[:, None]
    values = random.normal(0, 1, (n_events, particles, len(FEATURES)))
    values[..., -1] = random.integers(-2, 3, (n_events, particles))

    def codes(where: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
        return (random.integers(1, VOCABULARY, where.shape) * where).astype(np.int32)

    mothers = np.where(mask, random.integers(-1, 3, mask.shape), -1)
    return {
        "particle_input": (values * mask[..., None]).astype(np.float32),
        "pdg_input": codes(mask),
        "mother_pdg_input": codes(mask),
        "mother_index_input": mothers.astype(np.int32),
        "decay_input": codes(token_mask),
        "event_type_input": random.integers(0, 7, n_events).astype(np.int32),
    }


def longer(events: Arrays, extra: int) -> Arrays:
    """Add padding behind the events."""
    result = {}
    for name, values in events.items():
        if values.ndim == 1:
            result[name] = values
            continue
        width = [(0, 0), (0, extra)] + [(0, 0)] * (values.ndim - 2)
        fill = -1 if name == "mother_index_input" else 0
        result[name] = np.pad(values, width, constant_values=fill)
    return result


def permuted(events: Arrays, seed: int = 0) -> Arrays:
    """Put the particles behind each event's first into another order; mothers stay who they are.

    Times and vertices count from the first, which no network may be indifferent to.
    """
    random = np.random.default_rng(seed)
    result = {name: values.copy() for name, values in events.items()}
    for event, n in enumerate(np.count_nonzero(events["pdg_input"], axis=1)):
        order = np.append(np.zeros(min(n, 1), int), random.permutation(np.arange(1, n)))
        place = np.empty(n, dtype=np.int32)
        place[order] = np.arange(n)
        for name in ("particle_input", "pdg_input", "mother_pdg_input"):
            result[name][event, :n] = events[name][event, order]
        # A mother beyond the event is none.
        mothers = events["mother_index_input"][event, order]
        known = (mothers >= 0) & (mothers < n)
        result["mother_index_input"][event, :n] = np.where(
            known, place[np.where(known, mothers, 0)], -1
        )
    return result


#: Time (ns) and vertex (cm) of whole events: those of the real file's kind (bunch spacings, the
#: place of the interaction), and larger ones.
OFFSETS = ((3.93, -0.05, 0.0, 0.02), (-7 * 3.93, -0.05, 0.001, -0.3), (100.0, 3.0, -2.0, 9.0))


def shifted(events: Arrays, offset: tuple[float, ...], features: Sequence[str]) -> Arrays:
    """Shift times and vertices of all particles of each event.

    `events` must lie on a grid (`on_a_grid`): float32 then holds the sums exactly, and nothing but
    the shift is tested.
    """
    values = events["particle_input"].copy()
    there = events["pdg_input"] != 0
    for name, by in zip(("prodTime", "x", "y", "z"), offset, strict=True):
        values[..., list(features).index(name)] += there * np.float32(np.round(by * GRID) / GRID)
    return {**events, "particle_input": values}


GRID = 4096


def on_a_grid(events: Arrays, features: Sequence[str]) -> Arrays:
    """Round times and vertices to multiples of 1 / 4096."""
    values = events["particle_input"].copy()
    places = [list(features).index(name) for name in ("prodTime", "x", "y", "z")]
    values[..., places] = np.round(values[..., places] * GRID) / GRID
    return {**events, "particle_input": values}


def restart_dropout(model: Any) -> None:
    """Let dropout draw the same again."""
    for variable in model.non_trainable_variables + model.variables:
        if variable.name == "seed_generator_state":
            variable.assign(np.zeros(variable.shape))


def randomise(model: Any, seed: int = 0) -> None:
    """Give all weights values of order one; moving variances stay positive."""
    random = np.random.default_rng(seed)
    for weight in model.weights:
        if not weight.dtype.startswith("float"):
            continue
        values = random.normal(0, 1, weight.shape)
        if len(weight.shape) > 1:
            values /= np.sqrt(np.prod(weight.shape[:-1]))
        if weight.name == "moving_variance":
            values = np.abs(values) + 0.5
        weight.assign(values)


@functools.lru_cache(maxsize=2)
def graph(model: Any) -> Any:
    """Trace a model once, for every number of events and every length."""
    read = {x.name: tf.TensorSpec([None, *x.shape[1:]], x.dtype) for x in model.inputs}
    return tf.function(lambda events: model(events, training=False), input_signature=[read])


def common_arguments(inputs: str, label_names: tuple[str, ...] = ("first", "second")) -> Any:
    """Make what `train` gives to every network."""
    return {
        "vocabulary_size": VOCABULARY,
        "inputs": inputs,
        "label_names": label_names,
        "feature_names": FEATURES,
        "normalisation": NORMALISATION,
        "max_particles": 12,
        "max_tokens": 20,
    }


class ModelTestCase:
    """Inherit, name it Test..., and say what to build."""

    network_class: ClassVar[type[NNBaseClass]]
    inputs: ClassVar[str]
    arguments: ClassVar[dict[str, Any]] = {}
    #: Whether a score may depend on the order of the particles.
    order_matters: ClassVar[bool] = True
    #: Tests of this class that take long; `make test` leaves them out.
    slow: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def make(cls, **changes: Any) -> NNBaseClass:
        """Make a network with random weights."""
        keras.utils.set_random_seed(3)
        values = {**common_arguments(cls.inputs), **cls.arguments, **changes}
        network = cls.network_class(**values)
        randomise(network.model)
        return network

    def events(self, n_events: int, **shape: Any) -> Arrays:
        """Make random events; override for networks that read more than `FEATURES`."""
        return random_events(n_events, **shape)

    @pytest.fixture(scope="class")
    @classmethod
    def network(cls) -> NNBaseClass:
        """One network for all tests that do not change it."""
        return cls.make()

    @pytest.fixture(scope="class")
    @classmethod
    def _another(cls) -> NNBaseClass:
        return cls.make()

    @pytest.fixture
    def spare(self, network: NNBaseClass, _another: NNBaseClass) -> NNBaseClass:
        """Give a second network that may be changed: its weights are those of the first again."""
        _another.model.set_weights(network.model.get_weights())
        return _another

    @staticmethod
    def scores(network: NNBaseClass, events: Arrays) -> npt.NDArray[np.float32]:
        """Give the logits of events that come with every input there is, as `apply` does."""
        return np.asarray(graph(network.model)({n: events[n] for n in network.input_names}))

    @staticmethod
    def eager_scores(network: NNBaseClass, events: Arrays) -> npt.NDArray[np.float32]:
        """Give the same without a graph, for networks that are asked once or twice."""
        return np.asarray(network.model(events, training=False))

    def test_output_is_one_finite_float32_logit_per_skim(self, network: NNBaseClass) -> None:
        scores = self.scores(network, self.events(5))
        np.testing.assert_allclose(
            self.eager_scores(network, self.events(5)), scores, atol=1e-4, rtol=1e-4
        )
        assert scores.shape == (5, 2)
        assert scores.dtype == np.float32
        assert np.isfinite(scores).all()
        assert scores.std() > 1e-3, "the network does not look at the events"
        assert network.model.output_names == ["y_output"]

    def test_save_and_load(self, network: NNBaseClass, spare: NNBaseClass, tmp_path: Path) -> None:
        network.save(tmp_path / "model.keras")
        loaded = load_model(tmp_path / "model.keras")
        events = self.events(4)
        expected = self.eager_scores(network, events)
        np.testing.assert_array_equal(loaded(events), expected)
        assert [p.name for p in tmp_path.iterdir()] == ["model.keras"], "temporary files are left"
        randomise(spare.model, seed=9)
        assert np.any(self.eager_scores(spare, events) != expected)
        spare.load(tmp_path / "model.keras")
        np.testing.assert_array_equal(self.eager_scores(spare, events), expected)

    @pytest.mark.parametrize("extra", [1, 7, 48])
    def test_padding_never_changes_a_score(self, network: NNBaseClass, extra: int) -> None:
        events = self.events(6)
        expected = self.scores(network, events)
        padded = longer(events, extra)
        np.testing.assert_allclose(self.scores(network, padded), expected, atol=1e-5)
        # Not even if something stands in it: only the tokens tell where an event ends.
        padded["particle_input"][padded["pdg_input"] == 0] = 123.0
        padded["mother_pdg_input"][padded["pdg_input"] == 0] = 7
        np.testing.assert_allclose(self.scores(network, padded), expected, atol=1e-5)

    def test_the_last_particle_counts(self, network: NNBaseClass) -> None:
        # The counterpart of the test above: what stands before the end does change scores.
        events = self.events(6, shortest=2)
        changed = {name: values.copy() for name, values in events.items()}
        for name in ("pdg_input", "decay_input"):
            last = np.count_nonzero(events[name], axis=1) - 1
            rows = np.arange(len(last))
            changed[name][rows, last] = events[name][rows, last] % (VOCABULARY - 1) + 1
        difference = np.abs(self.scores(network, changed) - self.scores(network, events))
        assert (difference.max(axis=1) > 1e-5).all()

    @pytest.mark.parametrize("length", [1, 2, 3])
    def test_events_shorter_than_a_kernel(self, network: NNBaseClass, length: int) -> None:
        events = self.events(3, particles=length, tokens=length)
        expected = self.scores(network, events)
        assert np.isfinite(expected).all()
        np.testing.assert_allclose(self.scores(network, longer(events, 20)), expected, atol=1e-5)

    def test_batch_size_never_changes_a_score(self, network: NNBaseClass) -> None:
        events = self.events(7)
        alone = [
            self.scores(network, {name: values[i : i + 1] for name, values in events.items()})
            for i in range(7)
        ]
        np.testing.assert_allclose(self.scores(network, events), np.concatenate(alone), atol=1e-5)

    def test_order_of_the_particles(self, network: NNBaseClass) -> None:
        events = self.events(6, shortest=8)
        expected = self.scores(network, events)
        difference = np.abs(self.scores(network, permuted(events)) - expected).max(axis=1)
        if not self.order_matters or "pdg_input" not in network.input_names:
            assert difference.max() < 1e-4 * max(1.0, np.abs(expected).max())
        else:
            assert (difference > 1e-4).any(), "the test class says that the order matters"

    @pytest.mark.parametrize("offset", OFFSETS)
    def test_times_and_vertices_of_the_whole_event(
        self, network: NNBaseClass, offset: tuple[float, ...]
    ) -> None:
        if "particle_input" not in network.input_names:
            return
        events = on_a_grid(self.events(6), network.feature_names)
        moved = shifted(events, offset, network.feature_names)
        np.testing.assert_allclose(
            self.scores(network, moved), self.scores(network, events), atol=1e-5
        )

    def test_times_and_vertices_of_the_whole_event_in_training(self, spare: NNBaseClass) -> None:
        if "particle_input" not in spare.input_names:
            return
        # Packed, where a network packs.
        events = on_a_grid(self.events(6), spare.feature_names)
        scores = []
        for one in (events, shifted(events, OFFSETS[1], spare.feature_names)):
            restart_dropout(spare.model)
            scores.append(np.asarray(spare.model(one, training=True)))
        np.testing.assert_allclose(scores[1], scores[0], atol=1e-5)

    def test_event_without_particles_has_a_finite_score(self, network: NNBaseClass) -> None:
        events = self.events(3)
        for name in ("pdg_input", "decay_input", "particle_input", "mother_pdg_input"):
            events[name][1] = 0
        scores = self.scores(network, events)
        assert np.isfinite(scores).all()

    def test_training_on_nothing_but_empty_events_stays_finite(self, spare: NNBaseClass) -> None:
        network = spare
        events = {name: np.zeros_like(values) for name, values in self.events(4).items()}
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(network.model(events, training=True))
        weights = network.model.trainable_weights
        for gradient in tape.gradient(loss, [weight.value for weight in weights]):
            assert np.isfinite(tf.convert_to_tensor(gradient).numpy()).all()
        # The moving averages have moved.
        assert np.isfinite(self.eager_scores(network, self.events(3))).all()

    @staticmethod
    def read_by(network: NNBaseClass, events: Arrays) -> Arrays:
        """Keep what a network reads."""
        return {name: events[name] for name in network.input_names}

    def test_gradient_reaches_every_weight(self, spare: NNBaseClass) -> None:
        network = spare
        events = self.events(16, seed=5)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.math.softplus(network.model(events, training=True)))
        weights = network.model.trainable_weights
        gradients = tape.gradient(loss, [weight.value for weight in weights])
        for weight, gradient in zip(weights, gradients, strict=True):
            assert gradient is not None, f"no gradient at {weight.path}"
            values = tf.convert_to_tensor(gradient).numpy()
            assert np.isfinite(values).all(), weight.path
            assert np.abs(values).max() > 0, f"the gradient at {weight.path} is zero"

    @pytest.mark.parametrize("precision", ["float16", "bfloat16"])
    def test_mixed_precision(self, network: NNBaseClass, precision: str) -> None:
        policy = keras.config.dtype_policy()
        try:
            keras.config.set_dtype_policy(f"mixed_{precision}")
            mixed = self.make()
        finally:
            keras.config.set_dtype_policy(policy)
        mixed.model.set_weights(network.model.get_weights())
        events = self.events(8)
        scores, expected = self.eager_scores(mixed, events), self.scores(network, events)
        assert scores.dtype == np.float32
        assert {str(weight.dtype) for weight in mixed.model.trainable_weights} == {"float32"}
        hidden = {layer.compute_dtype for layer in mixed.model.layers}
        assert precision in hidden
        tolerance = {"float16": 0.01, "bfloat16": 0.08}[precision]
        assert np.abs(scores - expected).max() < tolerance * max(1.0, np.abs(expected).max())
        assert np.abs(scores - expected).max() > 0, "nothing was computed in low precision"

    def test_xla(self, network: NNBaseClass) -> None:
        events = self.read_by(network, self.events(4))
        compiled = tf.function(lambda x: network.model(x, training=False), jit_compile=True)
        np.testing.assert_allclose(
            compiled(events), self.scores(network, events), atol=1e-4, rtol=1e-4
        )

    def test_onnx_gives_the_same_scores(self, network: NNBaseClass, tmp_path: Path) -> None:
        description = ModelDescription(
            label_names=("first", "second"),
            encoding=EncodingSettings(),
            max_particles=12,
            max_tokens=20,
            vocabulary={"size": VOCABULARY, "digest": ""},
        )
        convert(network.model, tmp_path / "model.onnx", 15)
        checks = compare(network.model, tmp_path / "model.onnx", description, 1e-5)
        assert checks["comparisons"] == 2 * 20 + 1
        if "particle_input" in network.input_names:
            scorer = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
            events = on_a_grid(self.events(2), network.feature_names)
            first, second = (
                scorer.run(None, self.read_by(network, one))[0]
                for one in (events, shifted(events, OFFSETS[1], network.feature_names))
            )
            np.testing.assert_allclose(second, first, atol=1e-5)

    def test_one_compiled_fit_step(self, spare: NNBaseClass) -> None:
        network = spare
        network.compile(TrainingSettings(learning_rate=1e-3))
        events = self.read_by(network, self.events(8, seed=8))
        labels = np.eye(2, dtype=np.float32)[np.arange(8) % 2]
        before = [np.array(weight) for weight in network.model.trainable_weights]
        stream = tf.data.Dataset.from_tensors((events, labels, np.ones_like(labels)))
        history = network.fit(stream, epochs=1).history
        assert np.isfinite(history["loss"]).all()
        for weight, old in zip(network.model.trainable_weights, before, strict=True):
            assert np.isfinite(weight).all(), weight.path
            assert np.abs(weight - old).max() > 0, f"{weight.path} has not moved"

    def test_fit_overfits_64_events(self) -> None:
        network = self.make()
        model = network.compile(
            TrainingSettings(
                learning_rate=5e-3, gradient_clipping=None, optimizer=AdamW(weight_decay=0)
            )
        )
        events = self.read_by(network, self.events(64, seed=8, shortest=4))
        labels = np.random.default_rng(2).integers(0, 2, (64, 2)).astype(np.float32)
        labels[:, 1] = 1 - labels[:, 0]
        stream = tf.data.Dataset.from_tensors((events, labels, np.ones_like(labels))).repeat(20)
        losses = []
        for _ in range(18):
            history = network.fit(stream, epochs=1).history
            assert set(history) == {"loss", "auc", "auc_first", "auc_second"}
            losses += history["loss"]
            scores = np.asarray(model(events, training=False))
            auc = min(roc_auc_score(labels[:, i], scores[:, i]) for i in range(2))
            if auc == 1.0:
                break
        assert auc == 1.0
        assert losses[-1] < 0.69, "the loss of guessing is ln 2"

    def test_summary_counts_the_weights(self, network: NNBaseClass) -> None:
        assert f"{network.model.count_params():,}" in network.summary()
