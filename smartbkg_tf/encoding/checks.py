"""Which events cannot be used, and why: found all together, told all together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.encoding.events import Events
from smartbkg_tf.events.table import EventTable
from smartbkg_tf.runtime.kernels import kernel
from smartbkg_tf.settings.encoding import PARTICLES, TOKENS

#: No particle of an accelerator has more energy or momentum, in GeV: beyond it a unit is wrong.
LARGEST_GEV = 1e4

#: What can be wrong with an event, in words. The order is that of the reports.
REASONS: dict[str, str] = {
    "not_finite": "NaN, infinite or too large values",
    "too_large": f"energies or momenta above {LARGEST_GEV:g} GeV",
    "negative_energy": "negative energies",
    "mother_index": "mother indices out of range or circular",
    "charge": "charges that are not a multiple of e/3 within 42 e",
    "too_many_particles": "more than 32767 particles",
    "no_particles": "no particles",
    "none_kept": "no particles that the feature set keeps",
    "no_tokens": "no decay tokens",
    "decay_string": "decay strings whose brackets do not fit together",
    "label_value": "labels other than 1, 0 and -1 (unknown)",
    "no_label": "no known label, where other events have one",
    "duplicate": "a key that another, identical event has",
    "conflict": "a key that another, different event has (particles or labels differ)",
}

#: Columns that must be finite, and what float32 holds.
_CHECKED = ("energy", "prodTime", "x", "y", "z", "px", "py", "pz", "charge")
_LARGEST = float(np.finfo(np.float32).max)
_MOST_PARTICLES = int(np.iinfo(np.int16).max)
_IN_GEV = ("energy", "px", "py", "pz")

#: So many offending keys are named.
SHOWN = 3


@dataclass(frozen=True)
class Finding:
    """Events with the same fault: a key of `REASONS`, how many, the first (file, key), columns."""

    reason: str
    count: int
    first: tuple[tuple[str, int, int, int, int], ...] = ()
    detail: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Say it in one line."""
        events = "1 event" if self.count == 1 else f"{self.count} events"
        columns = f" in {', '.join(self.detail)}" if self.detail else ""
        keys = "; ".join(
            f"{file}: experiment {e}, run {r}, event {n}, production {p}"
            for file, e, r, n, p in self.first
        )
        more = ", ..." if self.count > len(self.first) else ""
        return f"{events} with {REASONS[self.reason]}{columns} ({keys}{more})"


def summed(findings: Iterable[Finding]) -> list[Finding]:
    """Add up findings by reason, in the order of `REASONS`; the first keys stay the first ones."""
    by_reason: dict[str, list[Finding]] = {}
    for finding in findings:
        by_reason.setdefault(finding.reason, []).append(finding)
    return [
        Finding(
            reason,
            sum(finding.count for finding in same),
            tuple(key for finding in same for key in finding.first)[:SHOWN],
            tuple(name for name in _CHECKED if any(name in finding.detail for finding in same)),
        )
        for reason in REASONS
        if (same := by_reason.get(reason))
    ]


def finding_of(
    reason: str,
    where: npt.NDArray[np.bool_] | npt.NDArray[np.int64],
    keys: Mapping[str, npt.NDArray[np.int64]],
    file: str | npt.NDArray[np.object_],
    detail: tuple[str, ...] = (),
) -> Finding:
    """Describe events chosen by a mask [n_events] or positions; `file` may differ for each."""
    positions = np.flatnonzero(where) if where.dtype == bool else where
    first = tuple(
        (
            file if isinstance(file, str) else str(file[i]),
            int(keys["experiment"][i]),
            int(keys["run"][i]),
            int(keys["event"][i]),
            int(keys["production"][i]),
        )
        for i in positions[:SHOWN]
    )
    return Finding(reason, len(positions), first, detail)


def find_unusable_events(
    table: EventTable, *, file: str = ""
) -> tuple[npt.NDArray[np.bool_], list[Finding]]:
    """Find the events that must not reach a network: usable, bool [n_events], and every fault.

    An event with several faults counts in each. Without particle columns (``key=decay_strings``)
    events without particles are legal. Decay strings are looked at when they are tokens
    (`find_unusable_encoded`); duplicate keys and missing labels need all files
    (`dataset.duplicates`).
    """
    n = len(table)
    usable = np.ones(n, dtype=np.bool_)
    findings: list[Finding] = []

    def note(reason: str, mask: npt.NDArray[np.bool_], detail: tuple[str, ...] = ()) -> None:
        if mask.any():
            findings.append(finding_of(reason, mask, table.keys, file, detail))
            usable[mask] = False

    if table.particles and not all_sound(table):
        lengths = np.diff(table.offsets)
        faults, detail = _faults(table)
        for reason, mask in faults.items():
            note(reason, mask, detail if reason == "not_finite" else ())
        note("too_many_particles", lengths > _MOST_PARTICLES)
        note("no_particles", lengths == 0)
    if table.labels:
        wrong = np.zeros(n, dtype=np.bool_)
        for label in table.labels.values():
            wrong |= (label != 0) & (label != 1) & (label != -1)
        note("label_value", wrong)
    return usable, findings


def find_unusable_encoded(
    encoded: Events, table: EventTable, *, file: str = ""
) -> tuple[npt.NDArray[np.bool_], list[Finding]]:
    """Find the events whose decay string is empty or garbled, or that kept no particle.

    Gives usable, bool [n_events], and every fault. Not usable are events whose brackets do not fit
    together, or open without a particle before them, those without tokens although there are
    particles or may have been, and those of whose particles the feature set keeps none. `encoded`
    is what `encode` made of the `table`.
    """
    broken = encoded.report.broken_strings
    if broken is None:
        broken = np.zeros(len(encoded), dtype=np.bool_)
    empty = encoded.lengths(TOKENS) == 0
    none_kept = np.zeros(len(encoded), dtype=np.bool_)
    if table.particles:
        some = np.diff(table.offsets) > 0
        empty &= some
        none_kept = some & (encoded.lengths(PARTICLES) == 0)
    findings = [
        finding_of(reason, mask, table.keys, file)
        for reason, mask in (
            ("none_kept", none_kept),
            ("no_tokens", empty),
            ("decay_string", broken),
        )
        if mask.any()
    ]
    return ~(broken | empty | none_kept), findings


def all_sound(table: EventTable) -> bool:
    """Tell whether every event has particles, and none of them a fault."""
    sound: bool = _sound(
        table.offsets,
        table.particles["motherIndex"],
        tuple([np.asarray(table.particles[name], dtype=np.float64) for name in _CHECKED]),
    )
    return sound


def _faults(table: EventTable) -> tuple[dict[str, npt.NDArray[np.bool_]], tuple[str, ...]]:
    """Give the events with each fault of their particles, and the columns that are not finite."""
    offsets = np.asarray(table.offsets, dtype=np.int64)
    columns = {n: np.asarray(table.particles[n], dtype=np.float64) for n in _CHECKED}
    faults = {
        reason: np.zeros(len(table), dtype=np.bool_)
        for reason in ("not_finite", "negative_energy", "mother_index", "charge", "too_large")
    }
    _broken_links(offsets, np.asarray(table.particles["motherIndex"]), faults["mother_index"])

    def note(reason: str, wrong: npt.NDArray[np.bool_]) -> None:
        rows = np.flatnonzero(wrong)
        faults[reason][np.searchsorted(offsets, rows, side="right") - 1] = True

    detail = []
    for name, values in columns.items():
        finite = np.abs(values) <= _LARGEST  # not for NaN
        note("not_finite", ~finite)
        if not finite.all():
            detail.append(name)
        if name in _IN_GEV:
            note("too_large", finite & (np.abs(values) > LARGEST_GEV))
    note("negative_energy", columns["energy"] < 0)
    thirds = np.where(np.abs(columns["charge"]) <= _LARGEST, columns["charge"], 0.0) * 3.0
    note("charge", (np.abs(thirds - np.rint(thirds)) > 1e-3) | (np.abs(thirds) > 127.5))
    return faults, tuple(detail)


@kernel
def _sound(offsets: npt.NDArray[np.int64], mother: npt.NDArray[np.int64], columns: Any) -> bool:
    """Tell whether there is no fault; columns in the order of `_CHECKED`."""
    energy, time, x, y, z, px, py, pz, charge = columns
    broken = np.zeros(len(offsets) - 1, dtype=np.bool_)
    _broken_links(offsets, mother, broken)
    for event in range(len(broken)):
        n = offsets[event + 1] - offsets[event]
        if broken[event] or n == 0 or n > _MOST_PARTICLES:
            return False
    for i in range(len(energy)):
        thirds = charge[i] * 3.0
        # Written so that NaN fails every comparison.
        if not (
            0.0 <= energy[i] <= LARGEST_GEV
            and abs(time[i]) <= _LARGEST
            and abs(x[i]) <= _LARGEST
            and abs(y[i]) <= _LARGEST
            and abs(z[i]) <= _LARGEST
            and abs(px[i]) <= LARGEST_GEV
            and abs(py[i]) <= LARGEST_GEV
            and abs(pz[i]) <= LARGEST_GEV
            and abs(thirds) <= 127.5
            and abs(thirds - np.rint(thirds)) <= 1e-3
        ):
            return False
    return True


@kernel
def _broken_links(
    offsets: npt.NDArray[np.int64],
    mother: npt.NDArray[np.int64],
    broken: npt.NDArray[np.bool_],
) -> None:
    """Mark the events in which a mother is out of range, or a particle its own ancestor."""
    for event in range(len(offsets) - 1):
        begin = offsets[event]
        n = offsets[event + 1] - begin
        for i in range(n):
            m = mother[begin + i]
            if m < -1 or m >= n:
                broken[event] = True
            elif m >= i:
                # Mothers usually stand before their daughters; only a chain that does
                # not can be a circle.
                steps = 0
                while 0 <= m < n and steps <= n:
                    m = mother[begin + m]
                    steps += 1
                if steps > n:
                    broken[event] = True
