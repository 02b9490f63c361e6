"""Inputs of the tree baselines, from generated particles alone.

- ``event``: multiplicities and energies of the event's generated particles.
- ``visible``: these, and what a detector may see: tracks, photons, missing momentum, event shapes.
- ``decay``: these, and a block for each B: what is lost of it, its decay chain down to pions,
  kaons, photons and leptons, charmed daughters, visible four-momentum, slowest track. The B that
  loses less comes first (the smaller, the larger and the sum of both sides beside it gained
  nothing on validation events).

- ``skim``: these, and the skim's candidate combinatorics replayed on generated particles
  (`benchmarks.fei_b0.replay`).
- ``candidates``: these, and the skim's candidates behind a detector of roughly guessed efficiencies
  (`benchmarks.fei_b0.candidates`). The other sets know no cut, decay mode or purity of the skim.

GeV, cm, degrees; NaN where a quantity does not exist.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from benchmarks.fei_b0.candidates import candidate_features
from benchmarks.fei_b0.reading import ACCEPTANCE, INVISIBLE, TRACKS, Floats, Groups, Reading
from benchmarks.fei_b0.replay import replay_features
from smartbkg_tf.events.table import EventTable
from smartbkg_tf.generation.observables import fox_wolfram_r2, sphericity_aplanarity
from smartbkg_tf.generation.thrust import thrust

Columns = dict[str, Floats]

#: Momenta and energies that are easily lost, GeV, and angles to the acceptance's edge, degrees.
SLOW, SHALLOW = 0.05, 8.0
#: Charmed hadrons that decay weakly: D+, D0, D_s, Lambda_c, Xi_c, Omega_c.
GROUND = (411, 421, 431, 4122, 4132, 4232, 4332)


def event_features(reading: Reading) -> Columns:
    """Describe the event by its generated particles.

    Parameters
    ----------
    reading : Reading
        The events.

    Returns
    -------
    dict of str to numpy.ndarray [n_events]
        By name.
    """
    r = reading
    events = Groups(r.event, r.n_events)
    energy = r.inside[:, 3]
    stable = {
        **{name: r.track & (r.size == code) for name, code in TRACKS.items()},
        "photon": r.photon,
        **{name: r.invisible(name) for name in INVISIBLE},
    }
    decayed = {"pi0": 111, "short_kaon": 310, "eta": 221, "rho": 213, "lambda": 3122}
    columns = {
        "n_particles": np.diff(r.offsets).astype(np.float64),
        "n_stable": events.count(r.stable),
        "n_tracks": events.count(r.track),
        "n_charm": events.count(r.charm),
        **{f"n_{name}": events.count(chosen) for name, chosen in stable.items()},
        **{f"n_{name}": events.count(r.size == code) for name, code in decayed.items()},
        "energy_tracks": events.sum(r.track, energy),
        **{
            f"energy_{name}": events.sum(stable[name], energy)
            for name in ("photon", "neutrino", "long_kaon", "kaon", "electron", "muon")
        },
        "largest_momentum": -events.ranked(r.stable, -r.momentum, 1)[:, 0],
        "largest_track": -events.ranked(r.track, -r.momentum, 1)[:, 0],
        "largest_photon": -events.ranked(r.photon, -energy, 1)[:, 0],
        "sum_pt": events.sum(r.track, r.pt),
        "mean_momentum": events.sum(r.stable, r.momentum) / np.maximum(events.count(r.stable), 1),
        "momentum_squared": events.sum(r.stable, r.momentum**2),
    }
    return columns


def visible_features(reading: Reading) -> Columns:
    """Describe what a detector may see of the event.

    Parameters
    ----------
    reading : Reading
        The events.

    Returns
    -------
    dict of str to numpy.ndarray [n_events]
        By name.
    """
    r = reading
    events = Groups(r.event, r.n_events)
    track, photon = r.seen_track, r.seen_photon
    seen = track | photon
    sum_seen = events.sum(seen, r.inside)
    missing = np.array([0.0, 0.0, 0.0, 2 * r.beam_energy]) - sum_seen
    missing_momentum = np.linalg.norm(missing[:, :3], axis=1)
    rows = np.flatnonzero(seen)
    momenta, event = np.ascontiguousarray(r.inside[rows, :3]), r.event[rows]
    offsets = np.searchsorted(event, np.arange(r.n_events + 1))
    sphericity, aplanarity = sphericity_aplanarity(momenta, event, r.n_events)
    columns = {
        "seen_tracks": events.count(track),
        "seen_tracks_fast": events.count(track & (r.pt > 0.1)),
        "seen_photons": events.count(photon),
        "seen_photons_hard": events.count(photon & (r.laboratory[:, 3] > 0.1)),
        "lost_tracks": events.count(r.track & ~track),
        "lost_photons": events.count(r.photon & ~photon),
        "seen_energy": sum_seen[:, 3],
        "seen_photon_energy": events.sum(photon, r.laboratory[:, 3]),
        "seen_electron_energy": events.sum(track & (r.size == 11), r.laboratory[:, 3]),
        "seen_charge": events.sum(track, r.charge),
        "missing_energy": missing[:, 3],
        "missing_momentum": missing_momentum,
        "missing_mass_squared": missing[:, 3] ** 2 - missing_momentum**2,
        "missing_cosine": missing[:, 2] / np.maximum(missing_momentum, 1e-9),
        "r2": fox_wolfram_r2(momenta, event, r.n_events),
        "thrust": thrust(momenta, offsets.astype(np.int64)),
        "sphericity": sphericity,
        "aplanarity": aplanarity,
    }
    for name, code in TRACKS.items():
        columns[f"seen_{name}"] = events.count(track & (r.size == code))
    lepton = track & np.isin(r.size, (11, 13))
    columns["largest_lepton"] = -events.ranked(lepton, -r.momentum, 1)[:, 0]
    for i, values in enumerate(events.ranked(track, r.pt, 3).T):
        columns[f"slowest_track_{i}"] = values
    for i, values in enumerate(-events.ranked(track, -r.momentum, 3).T):
        columns[f"fastest_track_{i}"] = values
    for i, values in enumerate(-events.ranked(photon, -r.inside[:, 3], 3).T):
        columns[f"hardest_photon_{i}"] = values
    return columns


def _species(reading: Reading, sides: Groups) -> Columns:
    """Count decaying hadrons of each side."""
    r = reading
    ground = {"d0": (421,), "d_plus": (411,), "d_s": (431,)}
    excited = {"d_star_plus": (413,), "d_star_0": (423,), "d_s_star": (433,)}
    listed = {**ground, **excited}
    known = [code for codes in listed.values() for code in codes]
    baryon = r.charm & (r.size > 1000) & (r.size < 10000) & (r.size // 1000 % 10 == 4)
    hidden = (r.size // 100 % 10 == 4) & (r.size // 10 % 10 == 4) & (r.size // 1000 % 10 == 0)
    return {
        "charm": sides.count(r.charm),
        **{name: sides.count(np.isin(r.size, codes)) for name, codes in listed.items()},
        "charm_baryon": sides.count(baryon),
        "charm_other": sides.count(r.charm & ~baryon & ~np.isin(r.size, known)),
        "charmonium": sides.count(hidden),
        "eta": sides.count(np.isin(r.size, (221, 331))),
        "omega": sides.count(r.size == 223),
        "rho_plus": sides.count(r.size == 213),
        "rho_0": sides.count(r.size == 113),
        "a1": sides.count(r.size == 20213),
        "k_star": sides.count(np.isin(r.size, (313, 323))),
        "lambda": sides.count(r.size == 3122),
        "tau": sides.count(r.size == 15),
    }


def _chain(reading: Reading, sides: Groups) -> Columns:
    """Follow the chain down to pi0, K_S and stable particles, of the B itself and of charm."""
    r = reading
    pi0, short = r.code == 111, r.code == 310
    inner = r.below(pi0 | short)
    under_pi0, under_short = r.below(pi0), r.below(short)
    lost = r.stable & ~(r.seen_track | r.seen_photon)
    broken = np.zeros(len(r.code), dtype=bool)  # has a lost descendant
    rows = np.flatnonzero(lost)
    while len(rows):
        broken[rows] = True
        rows = r.mother[rows[r.has_mother[rows]]]
        rows = np.unique(rows[~broken[rows]])
    neutral_short = np.zeros(len(r.code), dtype=bool)  # K_S -> pi0 pi0
    neutral_short[r.mother[np.flatnonzero(pi0 & r.has_mother)]] = True
    final = {
        "pion": r.track & (r.size == 211) & ~inner,
        "kaon": r.track & (r.size == 321) & ~inner,
        "proton": r.track & (r.size == 2212) & ~inner,
        "lepton": r.track & np.isin(r.size, (11, 13)) & ~inner,
        "pi0": pi0 & ~under_short,
        "short": short,
        "long": r.invisible("long_kaon"),
        "neutron": r.invisible("neutron"),
        "neutrino": r.invisible("neutrino"),
        "photon": r.photon & ~inner,
    }
    below_charm = r.below(r.charm)
    pair = Groups(np.where(r.side >= 0, 2 * r.side + below_charm, -1), 2 * sides.n_groups)
    columns: Columns = {}
    for name, chosen in final.items():
        own, charm = pair.count(chosen).reshape(-1, 2).T
        columns[f"own_{name}"], columns[f"charm_{name}"] = own, charm
        if name not in ("long", "neutron", "neutrino"):
            own, charm = pair.count(chosen & broken).reshape(-1, 2).T
            columns[f"own_{name}_lost"], columns[f"charm_{name}_lost"] = own, charm
    columns["short_neutral"] = sides.count(short & neutral_short)
    columns["short_radius"] = -sides.ranked(under_short & r.track, -r.radius, 1)[:, 0]
    own, charm = pair.count(lost).reshape(-1, 2).T
    columns["own_lost"], columns["charm_lost"] = own, charm
    columns["lost_under_pi0"] = sides.count(lost & under_pi0)
    ground = r.below(r.charm & np.isin(r.size, GROUND))
    for name in ("pion", "kaon", "pi0", "short"):
        columns[f"ground_{name}"] = sides.count(ground & final[name])
    columns["ground_lost"] = sides.count(ground & lost)
    columns["ground_slowest_track"] = sides.ranked(ground & r.track, r.pt, 1)[:, 0]
    columns["softest_pi0"] = sides.ranked(pi0, r.laboratory[:, 3], 1)[:, 0]
    columns["own_momentum_pi0"] = -sides.ranked(pi0 & ~below_charm, -r.momentum, 1)[:, 0]
    own_track = r.track & ~below_charm & ~under_short
    columns["own_largest_track"] = -sides.ranked(own_track, -r.momentum, 1)[:, 0]
    excited = r.has_mother & np.isin(r.size[r.mother], (413, 423))
    columns["slow_pion"] = sides.ranked(r.track & excited & (r.size == 211), r.pt, 1)[:, 0]
    columns["slow_pi0"] = sides.ranked(pi0 & excited, r.laboratory[:, 3], 1)[:, 0]
    columns["slow_photon"] = sides.ranked(r.photon & excited, r.laboratory[:, 3], 1)[:, 0]
    return columns


def side_features(reading: Reading) -> Columns:
    """Describe the two B mesons.

    Parameters
    ----------
    reading : Reading
        The events.

    Returns
    -------
    dict of str to numpy.ndarray [2 * n_events]
        Two entries for each event, in the order of the generator; counts of a missing B are 0.
    """
    r = reading
    sides = Groups(r.side, 2 * r.n_events)
    track, photon = r.seen_track, r.seen_photon
    seen = track | photon
    stable = r.stable
    columns = {
        "n_stable": sides.count(stable),
        "n_tracks": sides.count(r.track),
        "n_photons": sides.count(r.photon),
        "seen_tracks": sides.count(track),
        "seen_photons": sides.count(photon),
        "seen_kaons": sides.count(track & (r.size == 321)),
        "lost": sides.count(stable & ~seen),
        "lost_tracks": sides.count(r.track & ~track),
        "lost_photons": sides.count(r.photon & ~photon),
        "invisible": sides.count(stable & ~r.track & ~r.photon),
        "neutrinos": sides.count(r.invisible("neutrino")),
        "lost_energy": sides.sum(stable & ~seen, r.inside[:, 3]),
        "lost_photon_energy": sides.sum(r.photon & ~photon, r.inside[:, 3]),
        "seen_photon_energy": sides.sum(photon, r.inside[:, 3]),
    }
    visible = sides.sum(seen, r.inside)
    momentum = np.linalg.norm(visible[:, :3], axis=1)
    columns["seen_energy"] = visible[:, 3]
    columns["seen_momentum"] = momentum
    columns["seen_mass"] = np.sqrt(np.maximum(visible[:, 3] ** 2 - momentum**2, 0.0))
    columns["energy_difference"] = visible[:, 3] - r.beam_energy
    columns["beam_constrained_mass"] = np.sqrt(np.maximum(r.beam_energy**2 - momentum**2, 0.0))
    for i, values in enumerate(sides.ranked(track, r.pt, 2).T):
        columns[f"slowest_track_{i}"] = values
    columns["fastest_track"] = -sides.ranked(track, -r.momentum, 1)[:, 0]
    for i, values in enumerate(sides.ranked(photon, r.laboratory[:, 3], 2).T):
        columns[f"softest_photon_{i}"] = values
    edge = np.minimum(r.theta - ACCEPTANCE[0], ACCEPTANCE[1] - r.theta)
    columns["nearest_to_edge"] = sides.ranked(track, edge, 1)[:, 0]
    # Slow tracks, soft photons and shallow angles are easily lost.
    columns["slowness"] = sides.sum(track, np.exp(-r.pt / SLOW))
    columns["softness"] = sides.sum(photon, np.exp(-r.laboratory[:, 3] / SLOW))
    columns["shallowness"] = sides.sum(track, np.exp(-np.abs(edge) / SHALLOW))
    kaon = track & (r.size == 321)
    columns["slowest_kaon"] = sides.ranked(kaon, r.momentum, 1)[:, 0]
    columns["fastest_kaon"] = -sides.ranked(kaon, -r.momentum, 1)[:, 0]
    daughters = np.zeros(2 * r.n_events)
    charged = np.zeros(2 * r.n_events)
    heads = r.heads[r.side[r.heads] >= 0]
    daughters[r.side[heads]] = r.n_daughters[heads]
    charged[r.side[heads]] = r.charge[heads] != 0
    columns["daughters"], columns["charged"] = daughters, charged
    return columns | _species(r, sides) | _chain(r, sides)


def decay_features(reading: Reading) -> Columns:
    """Describe both B mesons, the one that loses less first.

    Parameters
    ----------
    reading : Reading
        The events.

    Returns
    -------
    dict of str to numpy.ndarray [n_events]
        ``first_NAME`` and ``second_NAME``.
    """
    sides = side_features(reading)
    # Invisible particles weigh more than single lost photons; then pi0, then tracks.
    loss = (
        100.0 * (sides["invisible"] + sides["lost"])
        + 10.0 * (sides["own_pi0"] + sides["charm_pi0"])
        + sides["n_stable"]
    ).reshape(-1, 2)
    swap = loss[:, 0] > loss[:, 1]
    columns: Columns = {}
    for name, values in sides.items():
        pair = values.reshape(-1, 2)
        columns[f"first_{name}"] = np.where(swap, pair[:, 1], pair[:, 0])
        columns[f"second_{name}"] = np.where(swap, pair[:, 0], pair[:, 1])
    return columns


#: Sets that know the skim.
KNOW_SKIM = ("skim", "candidates")
#: Feature sets, and the functions whose columns they put together.
SETS: dict[str, tuple[Callable[[Reading], Columns], ...]] = {
    "event": (event_features,),
    "visible": (event_features, visible_features),
    "decay": (event_features, visible_features, decay_features),
    "skim": (event_features, visible_features, decay_features, replay_features),
    "candidates": (
        event_features,
        visible_features,
        decay_features,
        replay_features,
        candidate_features,
    ),
}


def features(table: EventTable, name: str) -> tuple[list[str], Floats]:
    """Compute a feature set.

    Parameters
    ----------
    table : EventTable
        Generated events.
    name : str
        A key of `SETS`.

    Returns
    -------
    names : list of str
        Columns.
    matrix : numpy.ndarray [n_events, columns]
        float64.
    """
    reading = Reading(table)
    columns: Columns = {}
    for function in SETS[name]:
        columns |= function(reading)
    return list(columns), np.stack(list(columns.values()), axis=1)


def drop_empty(parts: Mapping[str, Floats]) -> dict[str, Floats]:
    """Leave out columns that exist for no training event, which trees refuse.

    Parameters
    ----------
    parts : mapping of str to numpy.ndarray [n, ..., columns]
        ``train`` and other parts.

    Returns
    -------
    dict of str to numpy.ndarray [n, ..., fewer columns]
        All parts.
    """
    train = parts["train"]
    kept = ~np.isnan(train.reshape(-1, train.shape[-1])).all(axis=0)
    return {part: values[..., kept] for part, values in parts.items()}
