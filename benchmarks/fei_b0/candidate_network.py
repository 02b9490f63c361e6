"""A detector that the network learns, and what is left of a skim's candidates behind it.

The design is described in the benchmark's README; the columns are those of
`benchmarks.fei_b0.candidate_columns`. The imagined measurements are smooth (a sigmoid in place
of a step), so that gradients reach every probability, and constants, made of a fixed seed: equal
for training and prediction, and for every machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from benchmarks.fei_b0.candidate_columns import (
    BITS,
    IS,
    PREFIX,
    REACTION,
    WAYS,
    candidate_names,
)
from benchmarks.fei_b0.candidate_input import SURVIVAL
from smartbkg_tf.errors import ConfigurationError
from smartbkg_tf.models.configurable import Float32Layer
from smartbkg_tf.models.inputs import OUTPUT
from smartbkg_tf.models.layers import SliceFeatures
from smartbkg_tf.models.network import BranchedNetwork
from smartbkg_tf.models.physics import ACCEPTANCE, PhysicsLayer
from smartbkg_tf.models.pooling import masked_softmax
from smartbkg_tf.models.thresholds import soft_thresholds

#: Steps of transverse momentum, energy and momentum, GeV: a generic tracker and calorimeter reach
#: their full efficiency between 0.05 and 0.5 GeV.
STEPS = (0.05, 0.07, 0.1, 0.14, 0.2, 0.4, 0.8, 2.0)
#: Steps of the transverse displacement, cm: resolution of a vertex detector to a drift chamber.
DISPLACEMENTS = (0.01, 0.03, 0.1, 1.0, 10.0)
#: Near to an edge of the acceptance, degrees.
NEAR_EDGE = 5.0
_SMALLEST = 1e-4

#: Different particles have draws of their own; those of a longer event begin again.
_POSITIONS = 256
#: Reactions that an embedding can tell apart.
_REACTIONS = 128
#: Smallest logarithm of a probability, and smallest distance of a probability from 0 and 1.
_LEAST, _TINY = -20.0, 1e-4
_SEED = 20200
#: Soft steps that tell a candidate's values near whole numbers apart, and how steep they are: at
#: cuts a little decides, and no dense layer is steep enough at first.
_STEPS = (-2.0, -1.0, 0.0, 1.0, 2.0)
_STEEPNESS = 4.0


def _logits_of_draws(rows: int, draws: int, seed: int) -> np.ndarray:
    """Draw evenly spread numbers for each row (a Latin hypercube), as logits."""
    random = np.random.default_rng(seed)
    order = np.argsort(random.random((rows, draws)), axis=1)
    uniform = (order + random.random((rows, draws))) / draws
    return np.asarray(np.log(uniform / (1.0 - uniform)), dtype=np.float32)


@keras.saving.register_keras_serializable(package="fei_b0")
class DetectorVariables(PhysicsLayer):
    """Columns of particles on which the response of a detector depends.

    Input: ``x`` [batch, n, feature], ``mask``. Output: float32 [batch, n, column]:
    ``exp(-d / 5 degrees)`` for the distances d of the polar angle from both edges of the
    acceptance, 1 beyond them; soft steps of the logarithms of transverse momentum, energy and
    momentum at `STEPS`, and of the transverse displacement at `DISPLACEMENTS`. In the laboratory.
    Zero in padding. The package's `PhysicalVariables` are smooth; without edges a network learns of
    rare particles, and of those near the edges, what holds for the many others.
    """

    def __init__(
        self,
        feature_names: Sequence[str],
        acceptance: Sequence[float] = ACCEPTANCE,
        **kwargs: Any,
    ) -> None:
        super().__init__(feature_names, acceptance=acceptance, **kwargs)

    def call(self, x: Any, mask: Any = None) -> Any:
        """Compute the columns, [batch, n, column]."""
        column, _ = self.columns(x, mask)
        squared = ops.square(column["px"]) + ops.square(column["py"])
        transverse = ops.sqrt(squared + _SMALLEST**2)
        momentum = ops.sqrt(squared + ops.square(column["pz"]) + _SMALLEST**2)
        radius = ops.sqrt(ops.square(column["x"]) + ops.square(column["y"]) + _SMALLEST**2)
        degrees = ops.arctan2(transverse, column["pz"]) * (180.0 / math.pi)
        low, high = self.acceptance
        distances = ops.concatenate([degrees - low, high - degrees], axis=-1)
        energy = ops.maximum(column["energy"], _SMALLEST)
        result = ops.concatenate(
            [
                ops.exp(-ops.clip(distances, 0.0, 60.0) / NEAR_EDGE),
                *(
                    soft_thresholds(ops.log(size), np.log(STEPS), 3.0)
                    for size in (transverse, energy, momentum)
                ),
                soft_thresholds(ops.log(radius), np.log(DISPLACEMENTS), 1.5),
            ],
            axis=-1,
        )
        return ops.where(ops.expand_dims(mask, -1), result, 0.0)


@keras.saving.register_keras_serializable(package="fei_b0")
class CandidateSurvival(Float32Layer):
    """Chances of an event's candidates behind a learned detector.

    Input: ``particles`` [batch, particle, column] (what is known of each particle), ``x``
    [batch, particle, feature] (physical values, with candidate columns), ``mask``. Output: float32
    [batch, 3 + 2 units]: logit of the probability that any candidate survives, logarithm of
    one plus their mean number, logarithm of the best one's chance (over three); a mean over the
    candidates weighted by their chances, and a sum. Always float32: probabilities are products
    of many.
    """

    def __init__(
        self,
        feature_names: Sequence[str],
        units: int = 32,
        traits: int = 8,
        draws: int = 64,
        softness: float = 0.5,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.feature_names = [str(name) for name in feature_names]
        self.units = units
        self.traits = traits
        self.draws = draws
        self.softness = softness
        place = {name: i for i, name in enumerate(self.feature_names)}
        self._bits = [
            [place[name] for name in self.feature_names if name.startswith(f"{PREFIX}{way}_")]
            for way in WAYS
        ]
        missing = [name for name in (IS, REACTION) if name not in place]
        missing += [
            f"{PREFIX}{way}_0" for way, found in zip(WAYS, self._bits, strict=True) if not found
        ]
        if missing:
            raise ConfigurationError(
                f"model.head.inputs.candidates: the data have no column {', '.join(missing)}",
                next_step="preprocess with a feature set that writes candidates "
                "(benchmarks.fei_b0.candidate_columns), or leave the candidates out",
            )
        if len({len(found) for found in self._bits}) != 1:
            raise ConfigurationError("the candidates have not as many columns of bits for each way")
        #: Most candidates of an event.
        self.most = BITS * len(self._bits[0])
        self._is, self._reaction = place[IS], place[REACTION]
        bits = {i for found in self._bits for i in found}
        self._values = [
            i
            for name, i in place.items()
            if name.startswith(PREFIX) and i not in bits and name not in (IS, REACTION)
        ]

        self._found_draws, self._displaced_draws = (
            _logits_of_draws(_POSITIONS, draws, _SEED + n) for n in (0, 1)
        )
        self._stays_draws = _logits_of_draws(self.most, draws, _SEED + 2)

    def build(self, particles_shape: Any, x_shape: Any = None) -> None:
        """Make the weights."""
        width = 2 * self.units

        def dense(name: str, units: int, read: int, **options: Any) -> keras.layers.Dense:
            layer = keras.layers.Dense(units, dtype=self.dtype_policy, name=name, **options)
            layer.build((None, None, read))
            return layer

        # At first most particles are found, and few are anything else.
        start = keras.initializers.Constant([2.0, -3.0, -3.0] + [0.0] * self.traits)
        n_chances = len(WAYS) + self.traits
        self.particle_1 = dense("particle_1", width, particles_shape[-1], activation="silu")
        self.particle_2 = dense("particle_2", width, width, activation="silu")
        self.chances = dense("chances", n_chances, width, bias_initializer=start)
        self.embedding = keras.layers.Embedding(
            _REACTIONS, 8, dtype=self.dtype_policy, name="reaction"
        )
        self.embedding.build((None, self.most))
        read = (1 + len(_STEPS)) * len(self._values) + 8 + 3 * self.traits + 3
        self.candidate_1 = dense("candidate_1", width, read, activation="silu")
        self.candidate_2 = dense("candidate_2", width, width, activation="silu")
        # Nearly all stay at first: what the labels say about losses is then learned by the
        # particles, which candidates share.
        self.stays = dense("stays", 1, width, bias_initializer=keras.initializers.Constant(3.0))
        self.vector = dense("vector", self.units, width + 2, activation="silu")

    def _rows(self, x: Any) -> Any:
        """Take the candidates' rows, [batch, most, feature]."""
        padding = ops.zeros_like(x[:, :1, :])
        padding = ops.repeat(padding, self.most, axis=1)
        return ops.concatenate([x, padding], axis=1)[:, : self.most, :]

    def _membership(self, x: Any, columns: Sequence[int]) -> Any:
        """Read bits: 1 where a particle is in a candidate, [batch, most, particle]."""
        # Bit k of v is floor(v / 2^k) - 2 floor(v / 2^(k + 1)). No constant may stand behind a
        # floor: TensorFlow's graph optimiser joins floor(x / a) / b to wrong numbers.
        parts = []
        inverse = np.exp2(-np.arange(BITS + 1, dtype=np.float32))
        for column in columns:
            shifted = ops.floor(x[..., column : column + 1] * inverse)
            above = shifted[..., 1:]
            parts.append(shifted[..., :-1] - above - above)
        return ops.transpose(ops.concatenate(parts, axis=-1), (0, 2, 1))

    def call(self, particles: Any, x: Any, mask: Any = None) -> Any:
        """Draw, [batch, 3 + 2 units]."""
        here = ops.expand_dims(mask, -1)
        x = ops.where(here, ops.cast(x, "float32"), 0.0)
        particles = ops.where(here, ops.cast(particles, "float32"), 0.0)
        members, renamed, displaced = (self._membership(x, columns) for columns in self._bits)
        plain = ops.maximum(members - renamed - displaced, 0.0)
        rows = self._rows(x)
        present = ops.cast(rows[..., self._is] > 0.5, "float32")
        reaction = ops.cast(ops.clip(rows[..., self._reaction], 0, _REACTIONS - 1), "int32")

        of_particle = self.chances(self.particle_2(self.particle_1(particles)))
        found, other, far = (of_particle[..., i : i + 1] for i in range(len(WAYS)))
        traits = of_particle[..., len(WAYS) :]
        ways = (plain, renamed, displaced)
        values = ops.take(rows, self._values, axis=-1)
        columns = [values, soft_thresholds(values, _STEPS, _STEEPNESS), self.embedding(reaction)]
        for way in ways:
            columns += [ops.matmul(way, traits), ops.sum(way, axis=-1, keepdims=True)]
        inner = self.candidate_2(self.candidate_1(ops.concatenate(columns, axis=-1)))
        stays = self.stays(inner)

        def in_every_way(chances: Sequence[Any]) -> Any:
            return sum(ops.matmul(way, one) for way, one in zip(ways, chances, strict=True))

        # The chance of each candidate by itself.
        alone = in_every_way([ops.log_sigmoid(one) for one in (found, other, far)])
        alone = ops.maximum((alone + ops.log_sigmoid(stays))[..., 0], _LEAST)
        chance = ops.exp(alone) * present

        # One draw decides whether a particle is found or renamed, which exclude each other: low
        # numbers find it, high ones rename it. A track that seems displaced may be used as a
        # prompt one as well, so that has a draw of its own.
        places = ops.arange(ops.shape(x)[1]) % _POSITIONS
        drawn = ops.take(self._found_draws, places, axis=0)
        again = ops.take(self._displaced_draws, places, axis=0)
        fails = in_every_way(
            [
                ops.softplus((drawn - found) / self.softness),
                ops.softplus((-drawn - other) / self.softness),
                ops.softplus((again - far) / self.softness),
            ]
        ) + ops.softplus((self._stays_draws - stays) / self.softness)
        alive = ops.where(ops.expand_dims(present, -1) > 0, ops.exp(-fails), 0.0)
        none = ops.exp(ops.sum(ops.log(1.0 - (1.0 - _TINY) * alive), axis=1))
        none = ops.mean(none, axis=-1, keepdims=True)
        logit = ops.log((1.0 + _TINY) - none) - ops.log(none + _TINY)
        expected = ops.log(1.0 + ops.mean(ops.sum(alive, axis=1), axis=-1, keepdims=True))
        best = ops.max(ops.where(present > 0, alone, _LEAST), axis=1, keepdims=True) / 3.0

        pair = ops.stack([alone / 3.0, chance], axis=-1)
        vectors = self.vector(ops.concatenate([inner, pair], axis=-1))
        vectors = vectors * ops.expand_dims(present, -1)
        weights = masked_softmax(
            ops.expand_dims(alone, -1), ops.expand_dims(present, -1) > 0, axis=1
        )
        mean = ops.sum(vectors * weights, axis=1)
        total = 0.3 * ops.sum(vectors * ops.expand_dims(chance, -1), axis=1)
        return ops.concatenate([logit, expected, best, mean, total], axis=-1)


#: The shift counts so many times: with Adam, whose steps do not depend on the size of a gradient,
#: it is learned so much faster than weights.
SHIFT_RATE = 10.0


@keras.saving.register_keras_serializable(package="fei_b0")
class CorrectedEstimate(Float32Layer):
    """The output of a network that estimates: the estimate's logit, and a learned correction.

    ``logit = scale estimate + 10 shift + kernel . x`` for each skim. A new network gives the
    estimate (scale 1, no shift) and a random correction of some half a unit. Training events
    of equal parts passing and failing shift the logit by that of the retention, some units; the
    shift is made to learn fast, lest the estimate bends to make up for it.
    """

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units

    def build(self, x_shape: Any, estimate_shape: Any = None) -> None:
        """Make the weights."""
        self.kernel = self.add_weight(
            name="kernel", shape=(x_shape[-1], self.units), initializer="glorot_uniform"
        )
        # Names that weight decay leaves alone.
        self.scale = self.add_weight(name="gamma", shape=(self.units,), initializer="ones")
        self.shift = self.add_weight(name="bias", shape=(self.units,), initializer="zeros")

    def call(self, x: Any, estimate: Any) -> Any:
        """Correct, [batch, units]."""
        correction = ops.matmul(ops.cast(x, self.compute_dtype), self.kernel)
        estimate = ops.cast(estimate, self.compute_dtype)
        return self.scale * estimate + SHIFT_RATE * self.shift + correction


class NetworkWithCandidates(BranchedNetwork):
    """A network with the head input ``candidates``, whose estimate its output corrects."""

    @property
    def not_for_particles(self) -> list[str]:
        """The columns of candidates, too."""
        return [*super().not_for_particles, *candidate_names(self.feature_names)]

    def build_model(self) -> keras.Model:
        """Build the network, and replace its output: the estimate goes past the head."""
        model = super().build_model()
        estimate = SliceFeatures(0, 1, name="estimate")(model.get_layer(SURVIVAL).output)
        output = CorrectedEstimate(self.n_outputs, name=OUTPUT)
        logits = output(model.get_layer(OUTPUT).input, estimate)
        return keras.Model(model.inputs, logits, name=model.name)
