"""Which fraction of the events passes each skim, by event type."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from smartbkg_tf.events.table import EVENT_TYPES
from smartbkg_tf.runtime.text_table import text_table


def retention(chunks: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Sum up the records of tables (event_type, n_events, passing).

    ``{event type: {"n_events", "skims": {name: {"passing", "retention", "error"}}}}``; the error is
    binomial.
    """
    result: dict[str, Any] = {}
    for kind in (*EVENT_TYPES, "unknown"):
        mine = [chunk for chunk in chunks if chunk["event_type"] == kind]
        if not mine:
            continue
        n = sum(chunk["n_events"] for chunk in mine)
        skims = {}
        for name in dict.fromkeys(name for chunk in mine for name in chunk["passing"]):
            passing = sum(chunk["passing"].get(name, 0) for chunk in mine)
            share = passing / n if n else 0.0
            error = math.sqrt(share * (1.0 - share) / n) if n else 0.0
            skims[name] = {"passing": passing, "retention": share, "error": error}
        result[kind] = {"n_events": n, "skims": skims}
    return result


def retention_table(values: dict[str, Any]) -> str:
    """Print `retention` in per cent, one column for each event type and one line for each skim.

    Where nothing passes, the limit at 95 % confidence (3 / n) is given.
    """
    names = dict.fromkeys(name for row in values.values() for name in row["skims"])
    events = ["(events)", *(str(row["n_events"]) for row in values.values())]
    skims = [
        [name, *(_cell(row["skims"].get(name), row["n_events"]) for row in values.values())]
        for name in names
    ]
    return text_table(["retention, %", *values], [events, *skims])


def _cell(skim: dict[str, Any] | None, n_events: int) -> str:
    if skim is None:
        return "-"
    if skim["passing"] == 0 and n_events:
        return f"< {300 / n_events:.3f}"
    return f"{100 * skim['retention']:.2f} +- {100 * skim['error']:.2f}"
