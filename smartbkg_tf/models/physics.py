"""Physical variables of particles, and sums over the particles that a detector can see.

Everything is float32 under every precision. Energies and momenta in GeV, lengths in cm,
times in ns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from smartbkg_tf.errors import ConfigurationError
from smartbkg_tf.models.codes import CODE_COLUMNS
from smartbkg_tf.models.configurable import Float32Layer
from smartbkg_tf.models.tree import tree_shape

#: Total px, py, pz, E of the beams in GeV: electrons of 7.004 GeV and positrons of 4.002 GeV,
#: each at 41.5 mrad to the z axis, as in `smartbkg_tf.settings.generation.BeamSettings`.
BEAMS = (11.006 * math.sin(0.0415), 0.0, 3.002 * math.cos(0.0415), 11.006)

#: Polar angles that drift chamber and calorimeter cover, degrees (the same report).
ACCEPTANCE = (17.0, 150.0)

#: Columns that must be there.
NEEDED = ("energy", "prodTime", "x", "y", "z", "px", "py", "pz")

_TINY = 1e-4


def checked_beams(beams: Sequence[float]) -> list[float]:
    """Refuse what is not px, py, pz, E of two beams."""
    values = [float(one) for one in beams]
    if len(values) != 4 or not values[3] > math.hypot(*values[:3]):
        raise ConfigurationError(
            f"beams: {values} is not the sum of two beams: px, py, pz, E in GeV, with E larger "
            "than the momentum"
        )
    return values


def checked_acceptance(acceptance: Sequence[float]) -> list[float]:
    """Refuse what is not two polar angles."""
    values = [float(one) for one in acceptance]
    if len(values) != 2 or not 0 <= values[0] < values[1] <= 180:
        raise ConfigurationError(
            f"acceptance: {values} is not two increasing polar angles between 0 and 180 degrees"
        )
    return values


def beam_mass(beams: Sequence[float]) -> float:
    """Energy of the collision in its own system, GeV."""
    return math.sqrt(beams[3] ** 2 - sum(p * p for p in beams[:3]))


def to_centre_of_mass(
    energy: Any, momentum: Any, beams: Sequence[float] = BEAMS
) -> tuple[Any, Any]:
    """Boost energy [..., 1] and momentum [..., 3] from the laboratory to the beams' system."""
    mass = beam_mass(beams)
    total = ops.convert_to_tensor(beams[:3], dtype="float32")
    along = ops.sum(momentum * total, axis=-1, keepdims=True)
    boosted = (beams[3] * energy - along) / mass
    return boosted, momentum + total * ((along / (beams[3] + mass) - energy) / mass)


def _length(vector: Any) -> Any:
    return ops.sqrt(ops.sum(ops.square(vector), axis=-1, keepdims=True))


def _log(value: Any) -> Any:
    return ops.log(ops.maximum(value, _TINY))


class PhysicsLayer(Float32Layer):
    """Reads the columns `NEEDED` of particles, refuses data without them, and keeps constants.

    `beams` and `acceptance` are as `BEAMS` and `ACCEPTANCE`; they are saved in the model.
    """

    def __init__(
        self,
        feature_names: Sequence[str],
        beams: Sequence[float] = BEAMS,
        acceptance: Sequence[float] = ACCEPTANCE,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.feature_names = [str(name) for name in feature_names]
        self.beams = checked_beams(beams)
        self.acceptance = checked_acceptance(acceptance)
        missing = [name for name in NEEDED if name not in self.feature_names]
        if missing:
            raise ConfigurationError(
                f"physical variables need the columns {', '.join(missing)}, which the data lack",
                next_step="preprocess with features=original or features=smartbackground",
            )

    def columns(self, x: Any, mask: Any) -> tuple[dict[str, Any], Any]:
        """Give columns [batch, n, 1] by name and momenta [batch, n, 3], zero in padding."""
        x = ops.where(ops.expand_dims(mask, -1), ops.cast(x, "float32"), 0.0)
        column = {name: x[..., i : i + 1] for i, name in enumerate(self.feature_names)}
        return column, ops.concatenate([column["px"], column["py"], column["pz"]], axis=-1)


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class PhysicalVariables(PhysicsLayer):
    """What a detector would measure of each particle, and its place in the decay tree.

    Input: ``particle_input`` [batch, n, feature], ``properties`` (`CodeProperties`), ``matrix``
    (`smartbkg_tf.models.tree.MotherMatrix`) and ``mask``. Output: float32 [batch, n, column]:
    log E, log pT, cosine of the polar angle and direction of pT in the laboratory; log p and
    cosine in the centre-of-mass system; within the acceptance; transverse and longitudinal
    displacement and time (asinh); the code's properties; depth and number of daughters;
    stable (no daughters); detectable (stable, a track or photon, within the acceptance).
    Zero in padding.
    """

    def call(self, x: Any, properties: Any, matrix: Any, mask: Any = None) -> Any:
        """Compute the variables, [batch, n, column]."""
        column, momentum = self.columns(x, mask)
        energy_cms, momentum_cms = to_centre_of_mass(column["energy"], momentum, self.beams)
        transverse, total = _length(momentum[..., :2]), _length(momentum)
        total_cms = _length(momentum_cms)
        accepted = within_acceptance(momentum, self.acceptance)
        radius = ops.sqrt(ops.square(column["x"]) + ops.square(column["y"]))
        depth, daughters = tree_shape(ops.cast(matrix, "float32"))
        stable = ops.cast(ops.equal(ops.expand_dims(daughters, -1), 0), "float32")
        seen = properties[..., :1] + properties[..., 1:2]
        columns = [
            0.6 * _log(column["energy"]) + 0.5,
            0.6 * _log(transverse) + 0.8,
            column["pz"] / ops.maximum(total, _TINY),
            column["px"] / ops.maximum(transverse, _TINY),
            column["py"] / ops.maximum(transverse, _TINY),
            0.6 * _log(energy_cms) + 0.5,
            0.6 * _log(total_cms) + 0.7,
            momentum_cms[..., 2:] / ops.maximum(total_cms, _TINY),
            accepted,
            0.4 * ops.arcsinh(radius / 0.003) - 0.8,
            0.3 * ops.arcsinh(column["z"] / 0.01),
            0.4 * ops.arcsinh(column["prodTime"] / 0.001) - 0.6,
            properties,
            0.3 * ops.expand_dims(depth, -1) - 1.0,
            0.5 * ops.expand_dims(daughters, -1),
            stable,
            stable * seen * accepted,
        ]
        result = ops.clip(ops.concatenate(columns, axis=-1), -10.0, 10.0)
        return ops.where(ops.expand_dims(mask, -1), result, 0.0)


def within_acceptance(momentum: Any, acceptance: Sequence[float] = ACCEPTANCE) -> Any:
    """Say which momenta [..., 3] the detector covers, as 0 or 1 [..., 1]."""
    cosine = momentum[..., 2:] / ops.maximum(_length(momentum), _TINY)
    lowest, highest = (math.cos(math.radians(angle)) for angle in reversed(acceptance))
    return ops.cast(ops.logical_and(cosine > lowest, cosine < highest), "float32")


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class Summaries(PhysicsLayer):
    """Sums and counts over the detectable particles of groups of particles.

    For each group: numbers of tracks and photons; visible and photon energy; total visible
    energy, momentum and mass in the centre-of-mass system; what is missing to the beams;
    charge of the tracks; electrons and muons, kaons, protons; stable neutrinos and K_L or
    neutrons; charmed hadrons, neutral pions and K_S; particles that no detector covers;
    Fox-Wolfram R2 (from the tensor ``sum p p^T / |p|``: R2 = (3 tr T^2 / (tr T)^2 - 1) / 2);
    largest momentum, smallest pT of a track. Input: as `PhysicalVariables`, and ``groups``
    [batch, n, group]. Output: float32 [batch, group, 21].
    """

    def call(
        self, x: Any, properties: Any, matrix: Any, groups: Any = None, mask: Any = None
    ) -> Any:
        """Add up, [batch, group, 21]."""
        filled = ops.cast(ops.expand_dims(mask, -1), "float32")
        column, momentum = self.columns(x, mask)
        kind = {name: properties[..., i : i + 1] for i, name in enumerate(CODE_COLUMNS)}
        energy_cms, momentum_cms = to_centre_of_mass(column["energy"], momentum, self.beams)
        _, daughters = tree_shape(ops.cast(matrix, "float32"), steps=0)
        stable = filled * ops.cast(ops.equal(ops.expand_dims(daughters, -1), 0), "float32")
        accepted = stable * within_acceptance(momentum, self.acceptance)
        transverse = _length(momentum[..., :2])
        track = accepted * kind["track"] * ops.cast(transverse > 0.1, "float32")
        photon = accepted * kind["photon"] * ops.cast(column["energy"] > 0.05, "float32")
        seen = track + photon
        length = _length(momentum_cms)
        # sum p p^T / |p|: its six different entries.
        pairs = [(i, j) for i in range(3) for j in range(i, 3)]
        tensor = [
            momentum_cms[..., i : i + 1] * momentum_cms[..., j : j + 1] / (length + _TINY)
            for i, j in pairs
        ]
        hidden = stable * (kind["track"] + kind["photon"]) - seen
        # Without the column (smartbackground) the sum of charges is left at zero.
        charge = column.get("charge", ops.zeros_like(track))
        added = ops.concatenate(
            [
                track,
                photon,
                track * kind["lepton"],
                track * kind["kaon"],
                track * kind["proton"],
                stable * kind["neutrino"],
                stable * kind["long_lived_neutral"],
                filled * kind["charm"],
                filled * kind["neutral_pion"],
                filled * kind["short_kaon"],
                hidden,
                track * charge,
                hidden * column["energy"],
                seen * energy_cms,
                photon * column["energy"],
                *(seen * entry for entry in tensor),
                seen * momentum_cms,
            ],
            axis=-1,
        )
        groups = filled if groups is None else ops.cast(groups, "float32")
        sums = ops.matmul(ops.transpose(groups, (0, 2, 1)), added)
        counts, rest = sums[..., :12], sums[..., 12:]
        energy, shape, visible = rest[..., :3], rest[..., 3:9], rest[..., 9:]
        norm = ops.sum(ops.square(visible), axis=-1, keepdims=True)
        visible_energy = energy[..., 1:2]
        mass = ops.sqrt(ops.maximum(ops.square(visible_energy) - norm, 0.0) + _TINY)
        trace = sum(shape[..., k : k + 1] for k, (i, j) in enumerate(pairs) if i == j)
        squares = sum(
            (1.0 if i == j else 2.0) * ops.square(shape[..., k : k + 1])
            for k, (i, j) in enumerate(pairs)
        )
        r2 = 1.5 * squares / (ops.square(trace) + _TINY) - 0.5
        beam = beam_mass(self.beams)
        missing = ops.square(beam - visible_energy) - norm
        inside = ops.expand_dims(ops.transpose(groups, (0, 2, 1)), -1)
        largest = ops.max(inside * ops.expand_dims(seen * length, 1), axis=2)
        slow = ops.expand_dims(track * ops.maximum(2.0 - transverse, 0.0), 1)
        slowest = ops.max(inside * slow, axis=2)
        result = ops.concatenate(
            [
                0.2 * counts,
                0.5 * energy,
                0.5 * mass,
                0.5 * ops.sqrt(norm + _TINY),
                r2,
                0.3 * ops.arcsinh(missing),
                largest,
                slowest,
            ],
            axis=-1,
        )
        return ops.clip(result, -10.0, 10.0)
