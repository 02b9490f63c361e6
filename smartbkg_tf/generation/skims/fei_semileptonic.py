"""The semileptonic tag: a D or D* and a lepton that fit a B and a neutrino.

After the Belle II skims ``feiSLB0`` and ``feiSLBplus`` (basf2, ``skim.WGs.fei``): the event cuts of
the hadronic tag, a lepton of more than 1 GeV in the CMS, -4 < cos(theta_BY) < 3, and a signal
probability above a threshold, replaced by the product of the modes' purities (see
`smartbkg_tf.generation.skims.modes`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from smartbkg_tf.generation.observables import EventView
from smartbkg_tf.generation.skims.base import SkimResult
from smartbkg_tf.generation.skims.modes import (
    BY_ANGLE,
    D_MODES,
    D_STAR_MODES,
    LIGHT_MODES,
    SEMILEPTONIC_MODES,
    compile_modes,
)
from smartbkg_tf.generation.skims.tag import TagSkim
from smartbkg_tf.settings.base import Field, settings


@settings
class FeiSemileptonic(TagSkim):
    """Events with a semileptonic B tag.

    Observables: ``cosThetaBY`` and ``sigProb`` of the best candidate.

    Parameters
    ----------
    tag : {"B0", "B+", "any"}
        The B that is reconstructed (with its antiparticle). Default "any".
    minimum_lepton_momentum : float
        In the CMS, GeV. Default 1.
    minimum_cosine, maximum_cosine : float
        Window of cos(theta_BY), the angle between the visible part and the B. Defaults -4 and 3.
    minimum_probability : float
        Smallest probability of the candidate (product of purities, see `modes`). Default 0.004
        (Belle II: 10^-2.4 of its classifiers).
    """

    tag: Literal["B0", "B+", "any"] = "any"
    minimum_lepton_momentum: float = Field(default=1.0, ge=0)
    minimum_cosine: float = -4.0
    maximum_cosine: float = 3.0
    minimum_probability: float = Field(default=0.004, gt=0, le=1)

    def select(self, events: EventView) -> SkimResult:
        """Choose events with a B candidate."""
        tags = ("B0", "B+") if self.tag == "any" else (self.tag,)
        modes = tuple(mode for tag in tags for mode in SEMILEPTONIC_MODES[tag])
        reactions = compile_modes(LIGHT_MODES + D_MODES + D_STAR_MODES + modes)
        angle = reactions.kinds == BY_ANGLE
        reactions = replace(
            reactions,
            low=np.where(angle, self.minimum_cosine, reactions.low),
            high=np.where(angle, self.maximum_cosine, reactions.high),
        )
        best, found, probability = self.best(
            events,
            reactions,
            self.minimum_probability,
            minimum_lepton_momentum=self.minimum_lepton_momentum,
        )
        return SkimResult(found, {"cosThetaBY": best.mbc, "sigProb": probability})
