"""A feature set of one's own, in a module outside of the package.

In this folder (or with it on PYTHONPATH):

    python -m smartbkg_tf.preprocess features._target_=transverse_features.Transverse \
        input='tables/*.h5' output=dataset
    python -m smartbkg_tf.train data.path=dataset

Constants of the new columns come from the data (mean and spread), unless
`normalisation.features` names them.
"""

from __future__ import annotations

import numpy as np

from smartbkg_tf.encoding.feature_sets import FeatureSet
from smartbkg_tf.events.table import EventTable


class Transverse(FeatureSet):
    """Momentum along and across the beam, and the flight distance; no neutrinos."""

    names = ("pt", "pz", "energy", "distance", "charge")
    units = ("GeV", "GeV", "GeV", "cm", "e")

    def keep(self, table: EventTable) -> np.ndarray:
        """Leave neutrinos out: no detector sees them."""
        return ~np.isin(np.abs(table.particles["PDG"]), (12, 14, 16))

    def compute(self, table: EventTable) -> np.ndarray:
        """Compute all columns at once, for many events."""
        p = table.particles
        return np.stack(
            [
                np.hypot(p["px"], p["py"]),
                p["pz"],
                p["energy"],
                np.sqrt(p["x"] ** 2 + p["y"] ** 2 + p["z"] ** 2),
                p["charge"],
            ],
            axis=1,
        )
