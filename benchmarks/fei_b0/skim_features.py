"""Particle columns that know the skim: what its combiner finds, with and without each particle.

The counterpart, for networks, of the trees' inputs in `benchmarks.fei_b0.replay`. The combiner runs
on the generated particles that a detector may see; then once more without each of them. So
a network learns of every particle how much depends on its being found, which it can weigh
with its momentum and direction. Columns of the whole event stand at each of its particles.

    python -m smartbkg_tf.preprocess features=benchmarks.fei_b0.skim_features.SkimReplay \
        input='bench/sample/*.h5' output=bench/dataset_skim
"""

from __future__ import annotations

import numpy as np

from benchmarks.fei_b0.reading import Floats, Integers, Reading
from benchmarks.fei_b0.replay import VARIATIONS, Replay
from smartbkg_tf.encoding.feature_sets import FeatureSet
from smartbkg_tf.events.table import EventTable
from smartbkg_tf.generation.skims.combiner import Base
from smartbkg_tf.settings.encoding import FEATURE_SETS, FEATURE_UNITS

#: Natural logarithm of the probability of no candidate: below that of any.
NOTHING = -20.0
#: Replays of which the number of candidates is a column.
COUNTED = tuple(name for name in VARIATIONS if name != "loose")
_PLAIN = FEATURE_SETS["original"][:-1]


def without_each(base: Base) -> tuple[Base, Integers, Integers]:
    """Copy every event once for each bit that occurs in it, without the rows of that bit.

    Parameters
    ----------
    base : Base
        Particles to begin with.

    Returns
    -------
    base : Base
        Of the copies.
    event : numpy.ndarray [n_copies]
        Which event a copy was made of.
    bit : numpy.ndarray [n_copies]
        Which bit it lacks.
    """
    vectors, species, bits, offsets, marks = base
    n_rows = np.diff(offsets)
    row_event = np.repeat(np.arange(len(n_rows)), n_rows)
    event, bit = np.divmod(np.unique(row_event * 64 + bits), 64)
    # Row numbers of all copies, one after the other.
    size = n_rows[event]
    starts = np.concatenate([[0], np.cumsum(size)])
    rows = np.arange(starts[-1]) - np.repeat(starts[:-1] - offsets[event], size)
    left = bits[rows] != np.repeat(bit, size)
    kept = np.concatenate([[0], np.cumsum(left)])[starts]
    rows = rows[left]
    copies = Base(vectors[rows], species[rows], bits[rows], kept.astype(np.int64), marks[rows])
    return copies, event, bit


class SkimReplay(FeatureSet):
    """The eight physical values, and what the skim's combiner finds.

    ``best``: natural logarithm of the best candidate's probability (`NOTHING`: no candidate);
    ``mass_defect``: 5.29 GeV minus its Mbc, ``energy_difference``: its deltaE (0 without one);
    ``candidates`` and ``candidates_NAME``: ln(1 + their number) in the replay of that name;
    ``selected``: the event passes the cuts on the whole event; ``lost_best``: how much ``best``
    falls if this particle is lost; ``lost_candidates``: how much ``candidates`` falls.
    """

    names = (
        *_PLAIN,
        "best",
        "mass_defect",
        "energy_difference",
        "candidates",
        *(f"candidates_{name}" for name in COUNTED),
        "selected",
        "lost_best",
        "lost_candidates",
        "charge",
    )
    units = (
        *(FEATURE_UNITS[name] for name in _PLAIN),
        *("", "GeV", "GeV", ""),
        *("" for _ in COUNTED),
        *("", "", ""),
        "e",
    )
    #: The skim treats particles and antiparticles alike, and looks at masses and energies.
    symmetries = ("charge_conjugation", "mirror")

    def compute(self, table: EventTable) -> Floats:
        """Compute all columns.

        Parameters
        ----------
        table : EventTable
            Many events.

        Returns
        -------
        numpy.ndarray [n_particles, columns]
            Physical values.
        """
        reading = Reading(table)
        run = Replay(reading, VARIATIONS["loose"])
        weight, mbc, delta_e, _, number = run.combine()
        best = np.maximum(weight, NOTHING)
        candidates = np.log1p(number)
        events = [
            best,
            np.nan_to_num(5.29 - mbc),
            np.nan_to_num(delta_e),
            candidates,
            *(np.log1p(Replay(reading, VARIATIONS[name]).combine()[4]) for name in COUNTED),
            run.selected.astype(np.float64),
        ]
        base, event, bit = without_each(run.base)
        weight, _, _, _, number = run.combine(base)
        lost = np.zeros((2, len(reading.code)))
        row = run.named[event, bit]
        lost[0, row] = best[event] - np.maximum(weight, NOTHING)
        lost[1, row] = candidates[event] - np.log1p(number)
        plain = [np.asarray(table.particles[name], dtype=np.float64) for name in _PLAIN]
        wide = [values[reading.event] for values in events]
        return np.stack([*plain, *wide, *lost, reading.charge], axis=1)
