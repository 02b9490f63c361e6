"""Small random samples with the structure of real events, for tests without a generator."""

from __future__ import annotations

import numpy as np

from smartbkg_tf.events.table import PARTICLE_COLUMNS, EventTable

CHARGES = {
    300553: 0,
    511: 0,
    521: 1,
    421: 0,
    411: 1,
    413: 1,
    211: 1,
    321: 1,
    111: 0,
    22: 0,
    310: 0,
    13: -1,
    14: 0,
}
STABLE = (211, -211, 321, -321, 22, 310, 13, -13, 14)
DAUGHTERS = {511: (411, 421, 413), 521: (421, 411), 421: (), 411: (), 413: (421,), 111: (22, 22)}


def make_events(
    n_events: int,
    seed: int = 0,
    skims: tuple[str, ...] = ("fei_hadronic_b0",),
    passing: float = 0.3,
    with_strings: bool = True,
    empty: tuple[int, ...] = (),
) -> EventTable:
    """Make random decay trees with labels that a network can partly learn.

    Parameters
    ----------
    n_events : int
        How many.
    seed : int
        Same seed, same events.
    skims : tuple of str
        Label names.
    passing : float
        Approximate retention.
    with_strings : bool
        Build decay strings.
    empty : tuple of int
        Positions of events without particles.

    Returns
    -------
    EventTable
        Events with run = seed.
    """
    random = np.random.default_rng(seed)
    rows: list[dict[str, float]] = []
    offsets = [0]
    strings = []
    scores = []
    for event in range(n_events):
        start = len(rows)
        if event not in empty:
            _add(rows, start, 300553, -1, random, depth=0)
        offsets.append(len(rows))
        strings.append(_string(rows[start:]))
        charged = sum(abs(r["charge"]) * (r["nDaughters"] == 0) for r in rows[start:])
        scores.append(charged + 2.0 * random.normal())
    cut = np.quantile(scores, 1 - passing) if n_events else 0.0
    first = (np.asarray(scores) > cut).astype(np.int8)
    labels = {}
    for i, skim in enumerate(skims):
        flip = random.random(n_events) < (0.0 if i == 0 else 0.2)
        labels[skim] = np.where(flip, 1 - first, first).astype(np.int8)
    return EventTable(
        particles={
            name: np.array([row[name] for row in rows]).astype(dtype)
            for name, dtype in PARTICLE_COLUMNS.items()
        },
        offsets=np.asarray(offsets, dtype=np.int64),
        keys={
            "experiment": np.full(n_events, 1003, dtype=np.int64),
            "run": np.full(n_events, seed, dtype=np.int64),
            "event": np.arange(1, n_events + 1, dtype=np.int64),
            "production": np.full(n_events, 7, dtype=np.int64),
        },
        event_type=random.integers(0, 2, n_events).astype(np.int8),
        labels=labels,
        decay_strings=np.array(strings, dtype=object) if with_strings else None,
    )


def _add(
    rows: list[dict[str, float]],
    start: int,
    code: int,
    mother: int,
    random: np.random.Generator,
    depth: int,
) -> None:
    position = len(rows)
    momentum = random.normal(0, 0.5, 3) + np.array([0.05, 0.0, 0.3])
    mass = {300553: 10.58, 511: 5.28, 521: 5.28}.get(abs(code), 0.14)
    sign = -1 if code < 0 else 1
    rows.append(
        {
            "PDG": code,
            "mass": mass,
            "charge": sign * CHARGES[abs(code)],
            "energy": float(np.sqrt(mass**2 + momentum @ momentum)),
            "prodTime": float(random.exponential(0.01) * depth),
            "x": float(random.normal(0, 0.01 * (1 + depth))),
            "y": float(random.normal(0, 0.01 * (1 + depth))),
            "z": float(random.normal(0, 0.03 * (1 + depth))),
            "px": float(momentum[0]),
            "py": float(momentum[1]),
            "pz": float(momentum[2]),
            "nDaughters": 0,
            "status": 1,
            "motherPDG": rows[start + mother]["PDG"] if mother >= 0 else 0,
            "motherIndex": mother,
        }
    )
    if code in STABLE:
        return
    if code == 300553:
        flavour = int(random.choice([511, 521]))
        daughters = [flavour, -flavour]
    elif code == 111:
        daughters = [22, 22]
    else:
        daughters = list(
            random.choice([211, -211, 321, -321, 111, 310, 13, 14], random.integers(2, 5))
        )
        if abs(code) in (511, 521):
            daughters.insert(0, -sign * int(random.choice([411, 421, 413])))
    rows[position]["nDaughters"] = len(daughters)
    # Breadth first, as generators write it: all daughters stand behind their mother.
    for daughter in daughters:
        _add(rows, start, int(daughter), position - start, random, depth + 1)


def _string(rows: list[dict[str, float]]) -> str:
    children: dict[int, list[int]] = {}
    for i, row in enumerate(rows):
        children.setdefault(int(row["motherIndex"]), []).append(i)

    def text(i: int) -> str:
        below = children.get(i, [])
        inside = "".join(text(j) for j in below)
        return f" {int(rows[i]['PDG'])}" + (f" (-->{inside} <--)" if below else "")

    return "".join(text(i) for i in children.get(-1, []))
