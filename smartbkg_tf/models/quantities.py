"""Generic quantities of an event and of its two sides, computed in a model, for boosted trees.

No skim's cut, channel or candidate is in them. GeV, cm; a quantity that an event does not have
is `MISSING`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from smartbkg_tf.models.codes import CODE_COLUMNS
from smartbkg_tf.models.physics import (
    ACCEPTANCE,
    BEAMS,
    PhysicsLayer,
    beam_mass,
    to_centre_of_mass,
    within_acceptance,
)
from smartbkg_tf.models.tree import tree_shape, under_a_head

#: Kinds of particles that are counted, by the absolute PDG codes; deuterons count as protons.
KINDS: dict[str, tuple[int, ...]] = {
    "electron": (11,),
    "muon": (13,),
    "pion": (211,),
    "kaon": (321,),
    "proton": (2212, 1000010020),
    "photon": (22,),
    "neutrino": (12, 14, 16),
    "long_kaon": (130,),
    "neutron": (2112,),
    "pi0": (111,),
    "short_kaon": (310,),
    "eta": (221, 331),
    "rho_plus": (213,),
    "rho_0": (113,),
    "omega": (223,),
    "a1": (20213,),
    "k_star": (313, 323),
    "lambda": (3122,),
    "d_0": (421,),
    "d_plus": (411,),
    "d_s": (431,),
    "d_star_plus": (413,),
    "d_star_0": (423,),
    "d_s_star": (433,),
    "charm_baryon": (4122, 4132, 4232, 4332),
    "charmonium": (441, 443, 445, 10441, 20443, 100443),
    "tau": (15,),
}

#: Stands for what an event does not have: below every value of the quantities.
MISSING = -100.0

#: What a generic detector finds: tracks above this transverse momentum, photons above this energy.
_SLOWEST_TRACK, _SOFTEST_PHOTON = 0.05, 0.03
#: Momenta and energies that are easily lost (GeV), and angles to the acceptance's edge (degrees).
_SLOW, _SHALLOW = 0.05, 8.0

_TINY = 1e-6
_CHARM = CODE_COLUMNS.index("charm")
_TRACKS = ("electron", "muon", "pion", "kaon", "proton")

#: Groups of particles: the event, its sides, and of each what is and is not below charm.
_GROUPS = ("event", "first", "second")
_PARTS = ("first_own", "second_own", "first_charm", "second_charm")
#: Summed over the groups and the parts: the chain down to pi0, K_S and stable particles.
_CHAIN = (
    *(
        f"n_{name}{end}"
        for name in (*_TRACKS, "pi0", "short_kaon", "loose_photon")
        for end in ("", "_lost")
    ),
    *(f"n_{name}" for name in ("neutrino", "long_kaon", "neutron")),
    "n_lost",
    "n_lost_under_pi0",
)
_SUMS = (
    *("n_stable", "n_track", "n_photon", "n_found_track", "n_found_photon", "n_lost_track"),
    *("n_lost_photon", "n_invisible", "n_found_kaon", "n_found_lepton", "n_charm"),
    *("lost_energy", "lost_photon_energy", "found_photon_energy", "found_charge", "sum_pt"),
    *("slowness", "softness", "shallowness", "ground_pion", "ground_kaon", "ground_pi0"),
    *("ground_short_kaon", "ground_lost"),
    *(f"n_{name}" for name in list(KINDS)[list(KINDS).index("eta") :]),
    *("found_energy", "found_px", "found_py", "found_pz"),
)
_EXTREMES = (
    *("slowest_track", "fastest_track", "softest_photon", "hardest_photon", "nearest_to_edge"),
    *("slowest_kaon", "fastest_lepton", "softest_pi0", "fastest_own_pi0", "fastest_own_track"),
    *("slow_pion", "slow_pi0", "slow_photon", "ground_slowest_track", "short_kaon_radius"),
)
#: The second largest or smallest is there, too.
_SECOND = ("slowest_track", "fastest_track", "softest_photon", "hardest_photon")
_OF_SIDES = ("energy_difference", "beam_constrained_mass", "daughters", "charged")
_OF_EVENT = (
    *("n_particles", "missing_energy", "missing_momentum", "missing_mass_squared"),
    *("missing_cosine", "r2", "thrust", "flatness", "sides"),
)

#: Names of the quantities, in their order.
QUANTITIES = (
    *(f"{group}_{name}" for group in (*_GROUPS, *_PARTS) for name in _CHAIN),
    *(f"{group}_{name}" for group in _GROUPS for name in _SUMS),
    *(f"{group}_{name}" for group in _GROUPS for name in _EXTREMES),
    *(f"{group}_second_{name}" for group in _GROUPS for name in _SECOND),
    *(f"{group}_{name}" for group in _GROUPS for name in ("found_momentum", "found_mass")),
    *(f"{group}_{name}" for group in _GROUPS[1:] for name in _OF_SIDES),
    *(f"event_{name}" for name in _OF_EVENT),
)


def _length(vector: Any) -> Any:
    return ops.sqrt(ops.sum(ops.square(vector), axis=-1, keepdims=True))


def thrust(momenta: Any) -> Any:
    """Give the thrust of momenta [batch, n, 3] (zero where there is none), [batch, 1].

    From the three axes of the coordinate system, six steps each to the nearest maximum, of which
    the largest counts: what a search over all axes finds is at most some per cent larger.
    """
    axes = ops.expand_dims(ops.eye(3, dtype="float32"), 0)
    for _ in range(6):
        signs = ops.sign(ops.matmul(momenta, ops.transpose(axes, (0, 2, 1))))
        total = ops.matmul(ops.transpose(signs, (0, 2, 1)), momenta)
        axes = total / (_length(total) + _TINY)
    largest = ops.max(_length(total), axis=1)
    return largest / (ops.sum(_length(momenta), axis=1) + _TINY)


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class EventQuantities(PhysicsLayer):
    """Counts, energies, extremes, event shapes and missing momentum; names are `QUANTITIES`.

    Counted are found and lost particles of a generic detector (all of `acceptance`), of the whole
    event and of its two sides (`smartbkg_tf.models.treenet.Sides`; the one that loses less comes
    first), for each what is below a charmed hadron and what is not. Input: ``x``
    [batch, n, feature], ``kinds`` (`smartbkg_tf.models.codes.CodeProperties` of `KINDS`),
    ``properties``, ``matrix`` (`MotherMatrix`), ``sides``, ``mask``. Output: float32
    [batch, quantity].
    """

    def __init__(
        self,
        feature_names: Sequence[str],
        beams: Sequence[float] = BEAMS,
        acceptance: Sequence[float] = ACCEPTANCE,
        **kwargs: Any,
    ) -> None:
        super().__init__(feature_names, beams, acceptance, **kwargs)

    def call(
        self, x: Any, kinds: Any, properties: Any, matrix: Any, sides: Any, mask: Any = None
    ) -> Any:
        """Compute them, [batch, quantity]."""
        matrix = ops.cast(matrix, "float32")
        filled = ops.cast(ops.expand_dims(mask, -1), "float32")
        column, momentum = self.columns(x, mask)
        kind = {name: filled * kinds[..., i : i + 1] for i, name in enumerate(KINDS)}
        charm = filled * properties[..., _CHARM : _CHARM + 1]
        energy, p = to_centre_of_mass(column["energy"], momentum, self.beams)
        size, pt = _length(p), _length(momentum[..., :2])
        _, daughters = tree_shape(matrix, steps=0)
        daughters = ops.expand_dims(daughters, -1)
        stable = filled * ops.cast(ops.equal(daughters, 0), "float32")
        accepted = within_acceptance(momentum, self.acceptance)
        final = {name: stable * kind[name] for name in _TRACKS}
        track, photon = sum(final.values()), stable * kind["photon"]
        found_track = track * accepted * ops.cast(pt > _SLOWEST_TRACK, "float32")
        found_photon = photon * accepted * ops.cast(column["energy"] > _SOFTEST_PHOTON, "float32")
        found = found_track + found_photon
        lost = stable - found
        invisible = stable * (kind["neutrino"] + kind["long_kaon"] + kind["neutron"])
        charge = column.get("charge", ops.zeros_like(track))
        degrees = ops.arctan2(pt, column["pz"] + _TINY) * (180.0 / math.pi)
        edge = ops.minimum(degrees - self.acceptance[0], self.acceptance[1] - degrees)
        # -- relations -----------------------------------------------------------------------
        ground = kind["d_0"] + kind["d_plus"] + kind["d_s"] + kind["charm_baryon"]
        heads = [charm, ground, kind["pi0"], kind["short_kaon"]]
        under = under_a_head(matrix, ops.concatenate(heads, axis=-1))
        below_charm, below_ground, in_pi0, in_short = (under[..., i : i + 1] for i in range(4))
        outer = 1.0 - ops.maximum(in_pi0, in_short)
        # A particle that is lost, or of which a descendant is.
        broken = under_a_head(ops.transpose(matrix, (0, 2, 1)), lost)
        excited = ops.matmul(matrix, kind["d_star_plus"] + kind["d_star_0"] + kind["d_s_star"])
        pi0 = kind["pi0"] * (1.0 - in_short)
        chain = {
            **{name: one * outer for name, one in final.items()},
            "pi0": pi0,
            "short_kaon": kind["short_kaon"],
            "loose_photon": photon * outer,
        }
        # -- sums ----------------------------------------------------------------------------
        slowness = track * ops.exp(-pt / _SLOW)
        softness = photon * ops.exp(-column["energy"] / _SLOW)
        shallowness = track * ops.exp(-ops.abs(edge) / _SHALLOW)
        added = [
            *(part for one in chain.values() for part in (one, one * broken)),
            *(stable * kind[name] for name in ("neutrino", "long_kaon", "neutron")),
            lost,
            lost * in_pi0,
            stable,
            track,
            photon,
            found_track,
            found_photon,
            track - found_track,
            photon - found_photon,
            invisible,
            found_track * kind["kaon"],
            found_track * (kind["electron"] + kind["muon"]),
            charm,
            lost * energy,
            (photon - found_photon) * energy,
            found_photon * energy,
            found_track * charge,
            found_track * pt,
            slowness,
            softness,
            shallowness,
            *(below_ground * chain[name] for name in ("pion", "kaon", "pi0", "short_kaon")),
            below_ground * lost,
            *(kind[name] for name in list(KINDS)[list(KINDS).index("eta") :]),
            found * energy,
            found * p,
        ]
        members = sides[..., 2:]
        groups = ops.concatenate([filled, members], axis=-1)
        parts = ops.concatenate([members * (1.0 - below_charm), members * below_charm], axis=-1)
        columns = ops.concatenate(added, axis=-1)
        sums = ops.matmul(ops.transpose(groups, (0, 2, 1)), columns)
        of_parts = ops.matmul(ops.transpose(parts, (0, 2, 1)), columns[..., : len(_CHAIN)])
        # -- extremes ------------------------------------------------------------------------
        own = 1.0 - below_charm
        lepton = final["electron"] + final["muon"]
        radius = _length(ops.concatenate([column["x"], column["y"]], axis=-1))
        looked = [
            (track, -pt),
            (track, size),
            (photon, -column["energy"]),
            (photon, energy),
            (track, -edge),
            (final["kaon"], -size),
            (lepton, size),
            (kind["pi0"], -column["energy"]),
            (kind["pi0"] * own, size),
            (track * own * (1.0 - in_short), size),
            (final["pion"] * excited, -pt),
            (kind["pi0"] * excited, -column["energy"]),
            (photon * excited, -column["energy"]),
            (track * below_ground, -pt),
            (track * in_short, radius),
        ]
        chosen = ops.concatenate([one for one, _ in looked], axis=-1)
        values = ops.concatenate([value for _, value in looked], axis=-1)
        inside = ops.expand_dims(groups, -1) * ops.expand_dims(chosen, 2)
        ranked = ops.where(inside > 0, ops.expand_dims(values, 2), MISSING)
        largest = ops.max(ranked, axis=1)  # [batch, group, extreme]
        first = ranked[..., : len(_SECOND)]
        without = ops.where(
            ops.equal(first, ops.expand_dims(largest[..., : len(_SECOND)], 1)), MISSING, first
        )
        second = ops.max(without, axis=1)
        # -- what is made of the sums ----------------------------------------------------------
        visible, vector = sums[..., -4:-3], sums[..., -3:]
        squared = ops.sum(ops.square(vector), axis=-1, keepdims=True)
        mass = ops.sqrt(ops.maximum(ops.square(visible) - squared, 0.0))
        made = ops.concatenate([ops.sqrt(squared), mass], axis=-1)
        half = 0.5 * beam_mass(self.beams)
        leaders = sides[..., :2]
        of_leaders = ops.matmul(
            ops.transpose(leaders, (0, 2, 1)),
            ops.concatenate([daughters, ops.abs(charge)], axis=-1),
        )
        of_sides = ops.concatenate(
            [
                visible[:, 1:] - half,
                ops.sqrt(ops.maximum(half * half - squared[:, 1:], 0.0)),
                of_leaders,
            ],
            axis=-1,
        )
        # Invisible particles weigh more than lost ones; then pi0, then everything.
        weights = {"n_invisible": 100.0, "n_lost": 100.0, "n_pi0": 10.0, "n_stable": 1.0}
        names = (*_CHAIN, *_SUMS)
        loss = sum(
            weight * sums[:, 1:, names.index(name)] for name, weight in weights.items()
        ) + 1e6 * (1.0 - ops.sum(leaders, axis=1))
        order = _Order(loss)
        of_event = self._of_event(filled, found * p, visible[:, 0], vector[:, 0], leaders)
        blocks = [
            order.groups(sums[..., : len(_CHAIN)]),
            order.parts(of_parts),
            order.groups(sums[..., len(_CHAIN) :]),
            order.groups(largest),
            order.groups(second),
            order.groups(made),
            order.sides(of_sides),
            of_event,
        ]
        return ops.concatenate(blocks, axis=-1)

    def _of_event(self, filled: Any, p: Any, visible: Any, vector: Any, leaders: Any) -> Any:
        """Missing momentum and event shapes from the momenta p [batch, n, 3] that are found."""
        missing = beam_mass(self.beams) - visible
        size = _length(vector)
        length = _length(p)
        tensor = ops.matmul(ops.transpose(p / (length + _TINY), (0, 2, 1)), p)
        squared = ops.matmul(tensor, tensor)
        trace, of_square, of_cube = (
            ops.sum(one * ops.eye(3, dtype="float32"), axis=(1, 2), keepdims=True)[:, 0]
            for one in (tensor, squared, ops.matmul(squared, tensor))
        )
        share = trace + _TINY
        # The determinant by the traces of powers; 0 for events in a plane, 1 / 27 for round ones.
        flatness = (
            (trace / share) ** 3 - 3 * trace * of_square / share**3 + 2 * of_cube / share**3
        ) / 6.0
        columns = [
            ops.sum(filled, axis=1),
            missing,
            size,
            ops.square(missing) - ops.square(size),
            -vector[:, 2:] / (size + _TINY),
            1.5 * of_square / share**2 - 0.5 * trace / share,
            thrust(p),
            flatness,
            ops.sum(leaders, axis=(1, 2), keepdims=True)[:, 0],
        ]
        return ops.concatenate(columns, axis=-1)


class _Order:
    """Puts the side of smaller loss [batch, 2] first, in blocks that become rows of columns."""

    def __init__(self, loss: Any) -> None:
        self._swap = ops.expand_dims(ops.cast(loss[:, :1] > loss[:, 1:], "float32"), -1)

    def sides(self, x: Any) -> Any:
        """Order [batch, 2, column] into [batch, 2 column]."""
        first, second = x[:, :1], x[:, 1:]
        swap, keep = self._swap, 1.0 - self._swap
        pair = [first * keep + second * swap, second * keep + first * swap]
        return ops.concatenate([one[:, 0] for one in pair], axis=-1)

    def groups(self, x: Any) -> Any:
        """Order event and sides [batch, 3, column] into [batch, 3 column]."""
        return ops.concatenate([x[:, 0], self.sides(x[:, 1:])], axis=-1)

    def parts(self, x: Any) -> Any:
        """Order two parts of each side [batch, 4, column] into [batch, 4 column]."""
        return ops.concatenate([self.sides(x[:, :2]), self.sides(x[:, 2:])], axis=-1)
