"""The rules of basf2's SmartBackground module, read once more, in plain Python.

Written from `smartbackground_rules.md` alone, event by event and with dictionaries, so
that nothing is shared with the package but the rules.
"""

from __future__ import annotations

from typing import Any


def smartbackground_event(particles: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Apply rules 1 to 7 and 10 to one event, one particle after the other.

    Every particle has pdg, status, mother (0-based, None for none), t, x, y, z, E, px, py, pz.
    """
    followed: dict[int, int] = {}
    new_index: dict[int, int] = {}
    mothers: list[int] = []
    rows: list[list[float]] = []
    pdg: list[int] = []
    reference: dict[str, Any] = {}
    for i, p in enumerate(particles):
        m = p["mother"] if p["mother"] is not None else 0
        if p["status"] & 32 or p["x"] >= 10 or p["y"] >= 10 or p["z"] >= 10:
            continue
        if p["pdg"] == 21 or abs(p["pdg"]) <= 5:
            followed[i] = m
            continue
        if not new_index:
            reference = p
        new_index[i] = len(new_index)
        pdg.append(p["pdg"])
        rows.append(
            [p[c] - reference[c] for c in ("t", "x", "y", "z")]
            + [p[c] for c in ("E", "px", "py", "pz")]
        )
        # What stands after this particle is in neither dictionary yet (rule 10).
        while m > 0 and m in followed:
            m = followed[m]
        mothers.append(new_index.get(m, -1))
    return {"x": rows, "pdg": pdg, "mother": mothers}
