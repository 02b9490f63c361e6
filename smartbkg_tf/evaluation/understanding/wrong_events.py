"""The events that a model is most wrong about: failing ones that score high, and vice versa."""

from __future__ import annotations

from typing import Any

import numpy as np

from smartbkg_tf.encoding.events import Events
from smartbkg_tf.evaluation.understanding.names import formula
from smartbkg_tf.evaluation.understanding.trees import trees_of
from smartbkg_tf.events.table import EVENT_TYPES, KEY_COLUMNS
from smartbkg_tf.filtering.predictions import Predictions

#: Failing events with the highest, passing events with the lowest scores.
KINDS = ("false_positive", "false_negative")


def most_wrong(predictions: Predictions, skim: str, number: int) -> list[dict[str, Any]]:
    """List `number` events of each of `KINDS`, the worst first: key, type, score and position."""
    values = predictions.skims[skim]
    result = []
    for kind, label, sign in zip(KINDS, (0, 1), (-1, 1), strict=True):
        rows = np.flatnonzero(values.label == label)
        worst = rows[np.argsort(sign * values.score[rows], kind="stable")[:number]]
        for rank, row in enumerate(worst.tolist(), 1):
            code = int(predictions.event_type[row])
            result.append(
                {
                    "kind": kind,
                    "rank": rank,
                    **{name: int(predictions.keys[name][row]) for name in KEY_COLUMNS},
                    "event_type": EVENT_TYPES[code] if code >= 0 else "unknown",
                    "score": float(values.score[row]),
                    "probability": float(values.probability[row]),
                    "row": row,
                }
            )
    return result


def tree_data(
    events: Events, i: int, features: tuple[str, ...], max_particles: int | None
) -> list[dict[str, Any]]:
    """List the particles of event i: formula, PDG code, mother in the list, energy [GeV], read.

    ``read`` is false for what the network never sees, because the list is cut at `max_particles`.
    """
    trees = trees_of(events.take(np.array([i])))
    assert trees is not None
    energies: list[float | None] = [None] * len(trees.token)
    if "particle_input" in events.columns and "energy" in features:
        begin = int(events.offsets["particles"][i])
        column = events["particle_input"][begin:, features.index("energy")]
        energies = [float(value) for value in column[: len(trees.token)]]
    return [
        {
            "name": formula(code) if code else "unknown",
            "pdg": code,
            "mother": mother,
            "energy": energy,
            "read": max_particles is None or position < max_particles,
        }
        for position, (code, mother, energy) in enumerate(
            zip(trees.code.tolist(), trees.mother.tolist(), energies, strict=True)
        )
    ]
