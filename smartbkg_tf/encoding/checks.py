"""Which events cannot be used, and why: found all together, told all together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

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

#: Columns that must be finite; the position is the bit in the kernel's first mask.
_CHECKED = ("energy", "prodTime", "x", "y", "z", "px", "py", "pz", "charge")

_IN_GEV = tuple(column in ("energy", "px", "py", "pz") for column in _CHECKED)

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


@dataclass
class Findings:
    """Faults of many chunks and files, added up by reason."""

    by_reason: dict[str, Finding] = field(default_factory=dict)

    def add(self, finding: Finding) -> None:
        """Add events with one fault; counts add up, the first keys stay the first ones."""
        old = self.by_reason.get(finding.reason)
        if old is None:
            self.by_reason[finding.reason] = finding
            return
        self.by_reason[finding.reason] = Finding(
            reason=finding.reason,
            count=old.count + finding.count,
            first=(old.first + finding.first)[:SHOWN],
            detail=tuple(c for c in _CHECKED if c in old.detail or c in finding.detail),
        )

    def extend(self, findings: Iterable[Finding]) -> None:
        """Add several, in the order of the events."""
        for finding in findings:
            self.add(finding)

    def __iter__(self) -> Iterator[Finding]:
        """Iterate in the order of `REASONS`."""
        return (self.by_reason[reason] for reason in REASONS if reason in self.by_reason)

    def __len__(self) -> int:
        """Count the different faults."""
        return len(self.by_reason)

    @property
    def counts(self) -> dict[str, int]:
        """Reason -> number of events."""
        return {finding.reason: finding.count for finding in self}


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

    lengths = np.diff(table.offsets)
    if table.particles:
        bits, columns = _faults(
            np.asarray(table.offsets, dtype=np.int64),
            np.asarray(table.particles["motherIndex"]),
            *(np.asarray(table.particles[c], dtype=np.float64) for c in _CHECKED),
        )
        detail = tuple(c for i, c in enumerate(_CHECKED) if columns & (1 << i))
        for bit, reason in enumerate(
            ("not_finite", "negative_energy", "mother_index", "charge", "too_large")
        ):
            note(reason, (bits & (1 << bit)) != 0, detail if reason == "not_finite" else ())
        note("too_many_particles", lengths > np.iinfo(np.int16).max)
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


@kernel
def _faults(
    offsets: npt.NDArray[np.int64],
    mother: npt.NDArray[np.int64],
    energy: npt.NDArray[np.float64],
    time: npt.NDArray[np.float64],
    x: npt.NDArray[np.float64],
    y: npt.NDArray[np.float64],
    z: npt.NDArray[np.float64],
    px: npt.NDArray[np.float64],
    py: npt.NDArray[np.float64],
    pz: npt.NDArray[np.float64],
    charge: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.uint8], int]:
    """Event bits (0 not finite, 1 energy, 2 mother, 3 charge, 4 size); bits of columns."""
    largest = 3.4028234e38  # what float32 holds
    bits = np.zeros(len(offsets) - 1, dtype=np.uint8)
    columns = 0
    for event in range(len(offsets) - 1):
        begin = offsets[event]
        n = offsets[event + 1] - begin
        for i in range(n):
            row = begin + i
            thirds = charge[row] * 3.0
            # Written so that NaN fails every comparison. One test for the many sound rows.
            if not (
                abs(energy[row]) <= LARGEST_GEV
                and abs(time[row]) <= largest
                and abs(x[row]) <= largest
                and abs(y[row]) <= largest
                and abs(z[row]) <= largest
                and abs(px[row]) <= LARGEST_GEV
                and abs(py[row]) <= LARGEST_GEV
                and abs(pz[row]) <= LARGEST_GEV
                and abs(charge[row]) <= largest
            ):
                for bit, value in enumerate(
                    (
                        energy[row],
                        time[row],
                        x[row],
                        y[row],
                        z[row],
                        px[row],
                        py[row],
                        pz[row],
                        charge[row],
                    )
                ):
                    if not abs(value) <= largest:
                        bits[event] |= 1
                        columns |= 1 << bit
                    elif _IN_GEV[bit] and abs(value) > LARGEST_GEV:
                        bits[event] |= 16
            if abs(thirds) <= 3.0 * largest and (
                abs(thirds - np.rint(thirds)) > 1e-3 or abs(thirds) > 127.5
            ):
                bits[event] |= 8
            if energy[row] < 0.0:
                bits[event] |= 2
            m = mother[row]
            if m < -1 or m >= n:
                bits[event] |= 4
            elif m >= i:
                # Mothers usually stand before their daughters; only a chain that does
                # not can be a circle.
                steps = 0
                while 0 <= m < n and steps <= n:
                    m = mother[begin + m]
                    steps += 1
                if steps > n:
                    bits[event] |= 4
    return bits, columns
