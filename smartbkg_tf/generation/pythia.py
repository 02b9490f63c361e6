"""Pythia 8 as the source of events.

Mixed and charged events: Pythia does not know the Y(4S) -> B B step (its angles, its coherent
oscillation), so that is done here and Pythia decays the B mesons. Many pairs share one
event record, which ``nextBatch`` hands over as arrays: the loop over single events and
the call per attribute, which cost three times the generation itself, fall away.

Continuum and tau pairs: e+ e- -> gamma* in the centre-of-mass system, then boosted.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from smartbkg_tf.errors import UserError
from smartbkg_tf.events.table import EVENT_TYPES
from smartbkg_tf.generation.arrays import Floats, Mask
from smartbkg_tf.generation.b_pairs import b_momenta, oscillate
from smartbkg_tf.generation.beams import nominal_collision, random_collisions
from smartbkg_tf.generation.decay_table import apply_decay_table, read_decay_table
from smartbkg_tf.generation.extract import LIGHT_SPEED, charges_of
from smartbkg_tf.generation.inclusive import InclusiveDecays
from smartbkg_tf.generation.record import UPSILON_4S, Record, join_records, read_batch

if TYPE_CHECKING:
    from smartbkg_tf.generation.pythia_source import PythiaSource


#: B pairs in one event record: the fixed cost of handing over a record falls with their
#: number (measured: 50 9 700, 200 12 200, 400 13 800, 1000 12 900 events/s).
PAIRS_PER_RECORD = 400

#: So many failures are never too many: one record that Pythia gives up holds hundreds.
_FORGIVEN_FAILURES = 1000

#: Reason, and no failure: see `smartbkg_tf.generation.inclusive`.
LISTED = "inclusive decay is a listed channel"

#: Largest violation of four-momentum conservation of an event, GeV. Pythia's own limit is
#: 1e-4 of the total energy.
MOMENTUM_TOLERANCE = 1e-4

_QUARKS = {"uubar": 2, "ddbar": 1, "ssbar": 3, "ccbar": 4, "taupair": 15}
_B_MESON = {"mixed": 511, "charged": 521}


class PythiaEngine:
    """Make event records of one of `smartbkg_tf.events.table.EVENT_TYPES`.

    ``lost`` is the branching that Belle II's decay table has and Pythia cannot hold.
    """

    def __init__(self, event_type: str, source: PythiaSource) -> None:
        self.event_type = event_type
        self.source = source
        self.collision = nominal_collision(source.beams)
        self.lost: dict[int, float] = {}
        self._inclusive: InclusiveDecays | None = None
        self._again = np.zeros((0, 2), dtype=np.int64)
        self._pythia = self._start()
        self._used = False

    @property
    def _radiates(self) -> bool:
        return self.source.initial_state_radiation and self.event_type not in _B_MESON

    def _start(self) -> Any:
        try:
            import pythia8mc
        except ModuleNotFoundError as error:
            raise UserError(
                "source=pythia needs the package pythia8mc, which is not installed",
                next_step="pip install 'smartbkg_tf[generate]'",
            ) from error
        pythia = pythia8mc.Pythia("", False)
        energy, species = float(self.collision.mass), _B_MESON.get(self.event_type)
        if species is not None and energy <= 2.0 * pythia.particleData.m0(species):
            raise UserError(
                f"the beams' {energy:.4f} GeV make no B pairs",
                next_step="raise source.beams.energy_her or energy_ler "
                "(nominal: 7.004 and 4.002 GeV)",
            )
        if self.source.decay_table == "belle2":
            table = read_decay_table()
            avoid = self.source.inclusive == "avoid_listed" and species in table
            self.lost = apply_decay_table(pythia, table, species if avoid else None)
            if avoid and species is not None:
                self._inclusive = InclusiveDecays(pythia, species, table[species])
        for line in self._settings():
            if not pythia.readString(line):
                raise UserError(f"Pythia refuses the setting '{line}'")
        if not pythia.init():
            raise UserError(
                f"Pythia cannot be initialised for {self.event_type} events",
                next_step="look at its messages above; is the collision energy sensible?",
            )
        return pythia

    def _settings(self) -> list[str]:
        source = self.source
        inside = max(abs(z) for z in source.detector_z)
        lines = [
            "Print:quiet = on",
            "Random:setSeed = on",
            "Random:seed = 1",
            # Conservation is checked per event in `_faulty`, not per record.
            "Check:event = off",
            "ParticleDecays:mixB = off",
            "ParticleDecays:limitCylinder = on",
            # mm. Twice the volume: continuum is decayed before its boost to the laboratory,
            # and what lies outside is cut off afterwards.
            f"ParticleDecays:xyMax = {20.0 * source.detector_radius}",
            f"ParticleDecays:zMax = {20.0 * inside}",
            f"HadronLevel:QED = {'on' if source.final_state_radiation else 'off'}",
            f"130:mayDecay = {'on' if source.k_long == 'detector' else 'off'}",
        ]
        if not source.tau_spin_correlations:
            lines.append("TauDecays:mode = 0")
        if self.event_type in _B_MESON:
            return [
                *lines,
                "ProcessLevel:all = off",
                "PartonLevel:FSRinResonances = off",
                f"{UPSILON_4S}:new = Upsilon(4S) void 3 0 0 10.5794 0.0 0.0 0.0 0.0",
                f"{UPSILON_4S}:mayDecay = off",
            ]
        return [
            *lines,
            "Beams:idA = 11",
            "Beams:idB = -11",
            f"Beams:eCM = {float(self.collision.mass)!r}",
            "WeakSingleBoson:ffbar2gmZ = on",
            "WeakZ0:gmZmode = 1",
            "23:onMode = off",
            f"23:onIfAny = {_QUARKS[self.event_type]}",
            # Beams that radiate may leave less than 10 GeV, below which Pythia makes no Z0.
            "PhaseSpace:mHatMin = 4.0",
            "23:mMin = 4.0",
            f"PDF:lepton = {'on' if source.initial_state_radiation else 'off'}",
        ]

    def generate(
        self, n_events: int, seed: int, random: np.random.Generator, failures: Counter[str]
    ) -> Record:
        """Make events 0 to n_events - 1, with Pythia's `seed` (1 to 900 000 000).

        `random` serves the steps that are made here; `failures` counts, by reason, the events that
        are thrown away and generated again.
        """
        # The phase-space search for radiating beams remembers earlier events.
        if self._used and self._radiates:
            self._pythia = self._start()
        self._used = True
        self._pythia.rndm.init(seed)
        records: list[Record] = []
        done = tried = 0
        self._again = self._again[:0]
        before = failures[LISTED]
        while done < n_events:
            wanted = n_events - done
            if self.event_type in _B_MESON:
                record, made = self._pairs(min(wanted, PAIRS_PER_RECORD), random, failures)
                tried += min(wanted, PAIRS_PER_RECORD)
            else:
                record, made = self._continuum(min(wanted, 500), failures)
                tried += min(wanted, 500)
            if made:
                record.event = np.where(record.event >= 0, record.event + done, -1)
                records.append(record)
                done += made
            failed = tried - done - (failures[LISTED] - before)
            if failed > max(_FORGIVEN_FAILURES, self.source.maximum_failures * tried):
                raise UserError(
                    f"{failed} of {tried} {self.event_type} events failed ({dict(failures)})",
                    next_step="raise source.maximum_failures or use source.decay_table=pythia",
                )
        return join_records(records)

    def _pairs(
        self, n: int, random: np.random.Generator, failures: Counter[str]
    ) -> tuple[Record, int]:
        """Make one record of B pairs; return it and the number of good events."""
        pythia = self._pythia
        species = _B_MESON[self.event_type]
        mass = pythia.particleData.m0(species)
        lifetime = pythia.particleData.tau0(species)
        collisions = random_collisions(self.source.beams, n, 2.0 * mass, random)
        momenta = b_momenta(collisions, mass, random)
        tau = random.exponential(lifetime, (n, 2))
        codes = np.tile([species, -species], (n, 1))
        if species == 511:
            frequency = self.source.mixing_frequency * 1000.0 / LIGHT_SPEED  # per mm
            codes = oscillate(codes, frequency * (tau[:, 0] - tau[:, 1]), random)
        if self._inclusive is not None:
            drawn = self._inclusive.draw(n - len(self._again), random)
            kinds = np.concatenate([self._again, drawn])
            codes = np.sign(codes) * self._inclusive.codes[kinds]

        event = pythia.event
        event.reset()
        upsilon = collisions.total.tolist()
        masses = collisions.mass.tolist()
        pairs, lives, names = momenta.tolist(), tau.tolist(), codes.tolist()
        # One call per entry is the only way into Pythia's record: three per event.
        for i in range(n):
            row = event.append(
                UPSILON_4S, -22, 0, 0, 3 * i + 2, 3 * i + 3, 0, 0, *upsilon[i], masses[i]
            )
            for b in (0, 1):
                event.append(names[i][b], 1, row, 0, 0, 0, 0, 0, *pairs[i][b], mass)
                event.back().tau(lives[i][b])
        record = _next(pythia, 1, pairs=True)
        if record is None:
            failures["Pythia gave up"] += n
            self._again = self._again[:0]
            return _empty_record(), 0
        good = self._good(record, collisions.total, failures)
        if self._inclusive is not None:
            listed = np.zeros(n, dtype=np.bool_)
            listed[self._inclusive.listed(record)] = True
            listed &= good
            self._again = kinds[listed]
            failures[LISTED] += int(listed.sum())
            good &= ~listed
        return _keep(record, good)

    def _continuum(self, n: int, failures: Counter[str]) -> tuple[Record, int]:
        """Make continuum or tau-pair events; return them and the number of good events."""
        record = _next(self._pythia, n, pairs=False)
        if record is None:
            failures["Pythia gave up"] += n
            return _empty_record(), 0
        made = int(record.event.max()) + 1
        failures["Pythia gave up"] += n - made
        record.to_laboratory(self.collision)
        total = np.tile(self.collision.total, (made, 1))
        return _keep(record, self._good(record, total, failures))

    def _good(self, record: Record, total: Floats, failures: Counter[str]) -> Mask:
        """Tell which events keep conservation laws."""
        momentum_bad, charge_bad = _faulty(record, total)
        failures["four-momentum not conserved"] += int(momentum_bad.sum())
        failures["charge not conserved"] += int((charge_bad & ~momentum_bad).sum())
        good: Mask = ~(momentum_bad | charge_bad)
        return good


def _keep(record: Record, good: Mask) -> tuple[Record, int]:
    """Throw the other events away and number these anew; return their number."""
    number = np.where(good, np.cumsum(good) - 1, -1)
    record.event = np.where(record.event >= 0, number[record.event], -1)
    return record, int(good.sum())


def _next(pythia: Any, n: int, *, pairs: bool) -> Record | None:
    """Call Pythia and read what it made; None if it made nothing."""
    batch = None
    # Pythia itself tries ten times; rarely it raises an error instead.
    with contextlib.suppress(RuntimeError, IndexError):
        batch = pythia.nextBatch(n, "skip")
    if batch is None or len(batch) == 0:
        return None
    return read_batch(batch, pairs=pairs)


def _faulty(record: Record, total: Floats) -> tuple[Mask, Mask]:
    """Events whose final particles do not carry the initial four-momentum or charge."""
    rows = np.flatnonzero(record.final & (record.event >= 0))
    event = record.event[rows]
    n = len(total)
    sums = np.stack(
        [np.bincount(event, record.momentum[rows, i], minlength=n) for i in range(4)], axis=-1
    )
    # A comparison that is false for NaN, so that NaN counts as a fault.
    kept = np.asarray((np.abs(sums - total) < MOMENTUM_TOLERANCE).all(axis=-1))
    charge = np.bincount(event, charges_of(record.code[rows]), minlength=n)
    return ~kept, np.abs(charge) > 0.5


def _empty_record() -> Record:
    none = np.zeros(0, dtype=np.int64)
    return Record(none, none, none, none, np.zeros((0, 4)), np.zeros(0), np.zeros((0, 4)))


assert set(_QUARKS) | set(_B_MESON) == set(EVENT_TYPES)
