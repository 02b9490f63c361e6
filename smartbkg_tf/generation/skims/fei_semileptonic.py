"""The semileptonic tag: a D or D* and a lepton that fit a B and a neutrino.

After the Belle II skims ``feiSLB0`` and ``feiSLBplus`` (basf2, ``skim.WGs.fei``): the event cuts of
the hadronic tag, a lepton of more than 1 GeV in the CMS, -4 < cos(theta_BY) < 3, and a signal
probability above a threshold, which the product of the modes' purities stands for (see
`smartbkg_tf.generation.skims.modes`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from smartbkg_tf.generation.observables import EventView
from smartbkg_tf.generation.skims.base import Skim, SkimResult
from smartbkg_tf.generation.skims.modes import (
    D_MODES,
    D_STAR_MODES,
    LIGHT_MODES,
    SEMILEPTONIC_MODES,
    compile_modes,
)
from smartbkg_tf.generation.skims.tag import TagSettings, base_particles, cleaned, preselection
from smartbkg_tf.settings.base import Field, settings


class FeiSemileptonic(Skim):
    """Events with a semileptonic B tag.

    Observables: ``cosThetaBY_<name>`` and ``sigProb_<name>`` of the best candidate.

    Parameters
    ----------
    name : str
        Name of the label.
    settings : FeiSemileptonic.Settings
        The cuts.
    """

    @settings
    class Settings(TagSettings):
        """Cuts of the semileptonic tag, beside those of `TagSettings`.

        Parameters
        ----------
        tag : {"B0", "B+", "any"}
            The B that is reconstructed (with its antiparticle), default "any".
        minimum_lepton_momentum : float
            In the CMS, GeV, default 1.
        minimum_cosine, maximum_cosine : float
            Window of cos(theta_BY), defaults -4 and 3.
        minimum_probability : float
            Smallest probability of the candidate (product of purities, see `modes`), default 0.004
            (Belle II: 10^-2.4 of its classifiers).
        """

        tag: Literal["B0", "B+", "any"] = "any"
        minimum_lepton_momentum: float = Field(default=1.0, ge=0)
        minimum_cosine: float = -4.0
        maximum_cosine: float = 3.0
        minimum_probability: float = Field(default=0.004, gt=0, le=1)

    def select(self, events: EventView) -> SkimResult:
        """Choose events.

        Parameters
        ----------
        events : EventView
            Tracks and clusters.

        Returns
        -------
        SkimResult
            Which pass, and the best candidate's observables.
        """
        from smartbkg_tf.generation.skims.combiner import (
            BY_ANGLE,
            MOST_DAUGHTERS,
            Cuts,
            find_best,
        )

        cuts = self.settings
        selected = preselection(cleaned(events, cuts), cuts)
        tags = ("B0", "B+") if cuts.tag == "any" else (cuts.tag,)
        modes = tuple(mode for tag in tags for mode in SEMILEPTONIC_MODES[tag])
        reactions = compile_modes(LIGHT_MODES + D_MODES + D_STAR_MODES + modes, MOST_DAUGHTERS)
        angle = reactions.kinds == BY_ANGLE
        reactions = replace(
            reactions,
            low=np.where(angle, cuts.minimum_cosine, reactions.low),
            high=np.where(angle, cuts.maximum_cosine, reactions.high),
        )
        base = base_particles(events, cuts, cuts.minimum_lepton_momentum)
        beam_energy = 0.5 * float(events.collision.mass)
        limits = Cuts(float(np.log(cuts.minimum_probability)), cuts.capacity, beam_energy)
        weight, cosine, _, _, _ = find_best(base, reactions, limits, selected)
        found = np.isfinite(weight)
        return SkimResult(
            passes=selected & found,
            observables={
                f"cosThetaBY_{self.name}": cosine,
                f"sigProb_{self.name}": np.where(found, np.exp(weight), np.nan),
            },
        )
