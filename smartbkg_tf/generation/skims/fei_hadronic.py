"""The hadronic tag: one B fully reconstructed from hadrons.

After the Belle II skims ``feiHadronicB0`` and ``feiHadronicBplus``: event cuts on cleaned tracks
and clusters, then a B candidate with Mbc > 5.24 GeV, |deltaE| < 0.2 GeV and a signal probability
above a threshold. The probability of the Full Event Interpretation's classifiers is stood
for by the product of the modes' purities and of Gaussian factors for masses and deltaE (see
`smartbkg_tf.generation.skims.modes`).
"""

from __future__ import annotations

from typing import Literal

from smartbkg_tf.generation.observables import EventView
from smartbkg_tf.generation.skims.base import SkimResult
from smartbkg_tf.generation.skims.modes import (
    B_MODES,
    D_MODES,
    D_STAR_MODES,
    LIGHT_MODES,
    compile_modes,
)
from smartbkg_tf.generation.skims.tag import TagSkim
from smartbkg_tf.settings.base import Field, settings


@settings
class FeiHadronic(TagSkim):
    """Events with a hadronic B tag.

    Observables: ``Mbc`` and ``deltaE`` (GeV) and ``sigProb`` of the best candidate.

    Parameters
    ----------
    tag : {"B0", "B+"}
        The B that is reconstructed (with its antiparticle).
    minimum_mbc : float
        Beam-constrained mass, GeV. Default 5.24.
    maximum_delta_e : float
        Largest |deltaE|, GeV. Default 0.2.
    minimum_probability : float
        Smallest probability of the candidate (product of purities, see `modes`). Default 3e-5; not
        the 0.001 of the classifiers.
    """

    tag: Literal["B0", "B+"] = "B0"
    minimum_mbc: float = Field(default=5.24, ge=0)
    maximum_delta_e: float = Field(default=0.2, gt=0)
    minimum_probability: float = Field(default=3e-5, gt=0, le=1)

    def select(self, events: EventView) -> SkimResult:
        """Choose events with a B candidate."""
        best, found, probability = self.best(
            events,
            compile_modes(LIGHT_MODES + D_MODES + D_STAR_MODES + B_MODES[self.tag]),
            self.minimum_probability,
            minimum_mbc=self.minimum_mbc,
            maximum_delta_e=self.maximum_delta_e,
        )
        observables = {"Mbc": best.mbc, "deltaE": best.delta_e, "sigProb": probability}
        return SkimResult(found, observables)
