"""Tables built by hand for the tests of the encoding."""

from __future__ import annotations

from typing import Any

import numpy as np

from smartbkg_tf.encoding.events import Events
from smartbkg_tf.events.table import PARTICLE_COLUMNS, EventTable

COLUMNS = {"t": "prodTime", "E": "energy", "pdg": "PDG", "mother": "motherIndex"}


def particle(pdg: int = 211, mother: int | None = None, **values: float) -> dict[str, Any]:
    """Give one particle; what is not given is 0 (energy: 1 GeV)."""
    plain = dict.fromkeys(("t", "x", "y", "z", "px", "py", "pz", "charge", "mass"), 0.0)
    return {"pdg": pdg, "mother": mother, "status": 1, "E": 1.0, **plain, **values}


def table_of(
    events: list[list[dict[str, Any]]],
    labels: dict[str, list[int]] | None = None,
    keys: dict[str, list[int]] | None = None,
    strings: list[str] | None = None,
) -> EventTable:
    """Make a table of events of particles."""
    rows = []
    for event in events:
        for p in event:
            row = {COLUMNS.get(name, name): value for name, value in p.items()}
            row["motherIndex"] = -1 if p["mother"] is None else p["mother"]
            known = p["mother"] is not None and 0 <= p["mother"] < len(event)
            row.setdefault("motherPDG", event[p["mother"]]["pdg"] if known else 0)
            row.setdefault("nDaughters", 0)
            rows.append(row)
    n = len(events)
    all_keys = {
        "experiment": [1003] * n,
        "run": [1] * n,
        "event": list(range(1, n + 1)),
        "production": [0] * n,
        **(keys or {}),
    }
    return EventTable(
        particles={
            name: np.array([row[name] for row in rows]).astype(dtype)
            for name, dtype in PARTICLE_COLUMNS.items()
        },
        offsets=np.cumsum([0, *(len(event) for event in events)]).astype(np.int64),
        keys={name: np.array(values, dtype=np.int64) for name, values in all_keys.items()},
        event_type=np.zeros(n, dtype=np.int8),
        labels={name: np.array(v, dtype=np.int8) for name, v in (labels or {}).items()},
        decay_strings=None if strings is None else np.array(strings, dtype=object),
    )


def features_of(encoded: Events) -> np.ndarray:
    """Give all features [n_particles, n_features], the charge (in e) last."""
    values = encoded["particle_input"]
    if "charge" not in encoded.columns:
        return values
    return np.concatenate([values, encoded["charge"][:, None] / np.float32(3)], axis=1)
