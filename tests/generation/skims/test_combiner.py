from __future__ import annotations

import itertools

import numpy as np
import pytest

from smartbkg_tf.generation.beams import boost
from smartbkg_tf.generation.skims.combiner import Base, Cuts, find_best
from smartbkg_tf.generation.skims.modes import (
    B_MODES,
    BASE,
    D_MODES,
    D_STAR_MODES,
    LIGHT_MODES,
    Mode,
    compile_modes,
)

M_PI, M_K, M_D, M_B = 0.13957039, 0.493677, 1.86966, 5.27966
BEAM_ENERGY = 5.2898
NUMBER = {name: i for i, name in enumerate(BASE)}


def run(modes, vectors, species, bits, *, floor=-50.0, capacity=64, mbc=5.24, delta_e=0.2):
    reactions = compile_modes(modes)
    base = Base(
        np.ascontiguousarray(vectors, dtype=float),
        np.array([NUMBER[s] for s in species]),
        np.array(bits),
        np.array([0, len(species)]),
        np.zeros(len(species), dtype=np.int64),
    )
    cuts = Cuts(floor, capacity, BEAM_ENERGY, mbc, delta_e)
    results = find_best(base, reactions, cuts)
    weight, best_mbc, best_delta_e, reaction, n = (r[0] for r in results)
    text = reactions.texts[reaction] if reaction >= 0 else ""
    return weight, best_mbc, best_delta_e, text, n


def two_body(parent, m1, m2, direction):
    mass = np.sqrt(parent[3] ** 2 - parent[:3] @ parent[:3])
    p = np.sqrt((mass**2 - (m1 + m2) ** 2) * (mass**2 - (m1 - m2) ** 2)) / (2 * mass)
    unit = np.array(direction) / np.linalg.norm(direction)
    pair = [np.array([*(s * p * unit), np.hypot(p, m)]) for s, m in ((1, m1), (-1, m2))]
    return [boost(v, parent[:3] / parent[3]) for v in pair]


def exact_b():
    """B0 -> D- pi+, D- -> K+ pi- pi- with D- -> (K+ pi-) pi-."""
    p = np.sqrt(BEAM_ENERGY**2 - M_B**2)
    b = np.array([0.0, 0.0, p, BEAM_ENERGY])
    d, pion = two_body(b, M_D, M_PI, [1, 2, 3])
    k_pi, pion2 = two_body(d, 0.95, M_PI, [3, -1, 1])
    kaon, pion3 = two_body(k_pi, M_K, M_PI, [0, 1, 1])
    return [pion, pion2, kaon, pion3], ["pi+", "pi-", "K+", "pi-"]


MODES = LIGHT_MODES + D_MODES + D_STAR_MODES + B_MODES["B0"]


def test_an_exact_decay_is_found_with_its_mass_and_energy():
    vectors, species = exact_b()
    weight, mbc, delta_e, text, n = run(MODES, vectors, species, range(4))
    assert text == "B0 -> D- pi+"
    assert n == 1
    assert mbc == pytest.approx(M_B, abs=1e-9)
    assert delta_e == pytest.approx(0.0, abs=1e-9)
    # Weight: the purities alone, for all masses are exact.
    assert np.exp(weight) == pytest.approx(0.50 * 0.40, rel=1e-5)


def test_its_charge_conjugate_is_found_alike():
    vectors, species = exact_b()
    turned = [s.translate(str.maketrans("+-", "-+")) for s in species]
    assert run(MODES, vectors, turned, range(4))[3] == "anti-B0 -> D+ pi-"


@pytest.mark.parametrize("missing", range(4))
def test_without_one_track_nothing_is_found(missing):
    vectors, species = exact_b()
    del vectors[missing], species[missing]
    weight, mbc, _, text, n = run(MODES, vectors, species, range(3))
    assert (text, n) == ("", 0)
    assert weight == -np.inf
    assert np.isnan(mbc)


def test_one_track_is_never_used_twice():
    vectors, species = exact_b()
    # The two pi- are the same track under two names: no D- any more.
    assert run(MODES, vectors, species, [0, 1, 2, 1])[4] == 0


def test_windows_and_floor_cut():
    vectors, species = exact_b()
    assert run(MODES, vectors, species, range(4), mbc=5.2798)[4] == 0
    assert run(MODES, vectors, species, range(4), floor=np.log(0.21))[4] == 0
    scaled = [v * 1.05 for v in vectors]
    assert run(MODES, scaled, species, range(4), delta_e=0.2)[4] == 0


def brute_force(vectors, species, bits, delta_e, mbc):
    """All B0 -> D- pi+ pi+ pi- and B0 -> D- pi+ with D- -> K+ pi- pi-, by itertools."""
    found = 0
    index = {s: [i for i, t in enumerate(species) if t == s] for s in set(species)}
    window = next(m.half_window for m in D_MODES if m.products == "K- pi+ pi+")
    for k in index.get("K+", []):
        for pair in itertools.combinations(index.get("pi-", []), 2):
            used = {bits[k], bits[pair[0]], bits[pair[1]]}
            d = vectors[k] + vectors[pair[0]] + vectors[pair[1]]
            mass = np.sqrt(max(d[3] ** 2 - d[:3] @ d[:3], 0))
            if len(used) < 3 or abs(mass - M_D) > window:
                continue
            for plus in (
                *itertools.combinations(index.get("pi+", []), 1),
                *itertools.combinations(index.get("pi+", []), 2),
            ):
                minus = index.get("pi-", []) if len(plus) == 2 else [None]
                for m in minus:
                    rest = [*plus] if m is None else [*plus, m]
                    all_bits = [*used, *(bits[i] for i in rest)]
                    if len(set(all_bits)) < len(all_bits):
                        continue
                    b = d + sum(vectors[i] for i in rest)
                    square = BEAM_ENERGY**2 - b[:3] @ b[:3]
                    if abs(b[3] - BEAM_ENERGY) <= delta_e and square >= mbc**2:
                        found += 1
    return found


def test_the_number_of_candidates_equals_brute_force():
    modes = (
        next(m for m in D_MODES if m.products == "K- pi+ pi+"),
        *(m for m in B_MODES["B0"] if m.products in ("D- pi+", "D- pi+ pi+ pi-")),
    )
    random = np.random.default_rng(2)
    total = 0
    for _ in range(80):
        species = [*random.choice(["pi+", "pi-"], 8), "K+", "K+"]
        p = random.normal(0, 0.65, (10, 3))
        mass = np.array([M_K if s == "K+" else M_PI for s in species])
        vectors = np.column_stack([p, np.sqrt((p**2).sum(axis=1) + mass**2)])
        bits = [*range(8), 3, 9]  # one kaon is the same track as a pion
        # K- has no base particle here, so that the conjugate modes are empty.
        found = run(modes, vectors, species, bits, delta_e=2.0, mbc=3.0, floor=-1e9)[4]
        expected = brute_force(vectors, species, bits, 2.0, 3.0)
        assert found == expected
        total += expected
    assert total > 50


def test_a_pi0_is_constrained_to_its_mass_and_d_star_uses_the_difference():
    pi0_mass, d_star = 0.1349768, 2.01026
    parent = np.array([0.3, 0.2, 0.1, np.sqrt(d_star**2 + 0.14)])
    d0, pion = two_body(parent, 1.86484, M_PI, [1, 1, 0])
    kaon, pi0 = two_body(d0, M_K, pi0_mass, [0, 2, 1])
    # K_S pi0 needs displaced tracks; here K- (pi+ pi0): give the D0 three bodies.
    rho, kaon = two_body(d0, 0.8, M_K, [0, 2, 1])
    pion2, pi0 = two_body(rho, M_PI, pi0_mass, [1, 0, 2])
    photons = two_body(pi0, 0.0, 0.0, [1, -1, 2])
    worse = [v * 1.02 for v in photons]  # a photon energy scale of 2 %
    b_like = (*LIGHT_MODES, *D_MODES, *D_STAR_MODES, Mode("B0", "D*+", 1.0, 0.0, 1e3))
    vectors, species = [pion, pion2, kaon, *worse], ["pi+", "pi+", "K-", "gamma", "gamma"]
    energy = float(parent[3])
    _, _, delta_e, text, n = run(
        b_like, vectors, species, [0, 1, 2, 32, 33], delta_e=BEAM_ENERGY, mbc=1.0
    )
    assert text == "B0 -> D*+"
    assert n >= 1
    # The constraint takes the 2 % back.
    assert delta_e + BEAM_ENERGY == pytest.approx(energy, abs=1e-3)


def test_full_lists_keep_the_best():
    # 20 photon pairs of worse and worse pi0 mass; capacity 4 keeps the first ones.
    random = np.random.default_rng(1)
    rows = []
    for i in range(16):
        e = 0.5 + random.random()
        half = np.arcsin((0.1349768 + 0.0008 * i) / (2 * e))
        for s in (1, -1):
            rows.append([e * np.sin(half) * s, 0.0, e * np.cos(half), e])
    modes = (*LIGHT_MODES, Mode("B0", "pi0", 1.0, 0.0, 1e3))
    weights = []
    for capacity in (200, 33):
        weights.append(
            run(modes, rows, ["gamma"] * 32, range(32), capacity=capacity, delta_e=9.0, mbc=0.1)[0]
        )
    assert weights[0] == weights[1] == pytest.approx(np.log(0.25), abs=1e-3)


def test_modes_are_checked():
    with pytest.raises(ValueError, match="did you mean 'K-'"):
        compile_modes((Mode("D0", "Kk- pi+", 0.5, 0.1, 0.1),))
    with pytest.raises(ValueError, match="more than 6 products"):
        compile_modes((Mode("D0", "K- pi+ pi+ pi- pi0 pi0 pi0", 0.5, 0.1, 0.1),))


def test_there_are_enough_modes():
    assert len(D_MODES) >= 8
    reactions = compile_modes(MODES)
    # pi0 and K_S are their own conjugates; D0 -> K+ K- serves both flavours of the D0.
    assert "D0 -> K+ K-" in reactions.texts
    assert "anti-D0 -> K- K+" in reactions.texts
    assert sum(t.startswith("pi0") for t in reactions.texts) == 1
