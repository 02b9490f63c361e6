"""The hadronic tag: one B fully reconstructed from hadrons.

After the Belle II skims ``feiHadronicB0`` and ``feiHadronicBplus``: event cuts on cleaned tracks
and clusters, then a B candidate with Mbc > 5.24 GeV, |deltaE| < 0.2 GeV and a signal probability
above a threshold. The probability of the Full Event Interpretation's classifiers is stood
for by the product of the modes' purities and of Gaussian factors for masses and deltaE (see
`smartbkg_tf.generation.skims.modes`).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from smartbkg_tf.generation.observables import EventView, Summary
from smartbkg_tf.generation.skims.base import Skim, SkimResult
from smartbkg_tf.generation.skims.modes import (
    B_MODES,
    D_MODES,
    D_STAR_MODES,
    LIGHT_MODES,
    compile_modes,
)
from smartbkg_tf.generation.skims.tag import TagSettings, base_particles, cleaned, preselection
from smartbkg_tf.settings.base import Field, settings


class FeiHadronic(Skim):
    """Events with a hadronic B tag.

    Observables: ``Mbc_<name>`` and ``deltaE_<name>`` (GeV) and ``sigProb_<name>`` of the best
    candidate.

    Parameters
    ----------
    name : str
        Name of the label.
    settings : FeiHadronic.Settings
        The cuts.
    """

    @settings
    class Settings(TagSettings):
        """Cuts of the hadronic tag, beside those of `TagSettings`.

        Parameters
        ----------
        tag : {"B0", "B+"}
            The B that is reconstructed (with its antiparticle).
        minimum_mbc : float
            Beam-constrained mass, GeV, default 5.24.
        maximum_delta_e : float
            Largest |deltaE|, GeV, default 0.2.
        minimum_probability : float
            Smallest probability of the candidate (product of purities, see `modes`), default 3e-5.
        """

        tag: Literal["B0", "B+"] = "B0"
        minimum_mbc: float = Field(default=5.24, ge=0)
        maximum_delta_e: float = Field(default=0.2, gt=0)
        minimum_probability: float = Field(default=3e-5, gt=0, le=1)

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
        from smartbkg_tf.generation.skims.combiner import MOST_DAUGHTERS, Cuts, find_best

        cuts = self.settings
        selected = self.preselection(cleaned(events, cuts))
        reactions = compile_modes(
            LIGHT_MODES + D_MODES + D_STAR_MODES + B_MODES[cuts.tag], MOST_DAUGHTERS
        )
        limits = Cuts(
            float(np.log(cuts.minimum_probability)),
            cuts.capacity,
            0.5 * float(events.collision.mass),
            cuts.minimum_mbc,
            cuts.maximum_delta_e,
        )
        weight, mbc, delta_e, _, _ = find_best(
            base_particles(events, cuts), reactions, limits, selected
        )
        found = np.isfinite(weight)
        return SkimResult(
            passes=selected & found,
            observables={
                f"Mbc_{self.name}": mbc,
                f"deltaE_{self.name}": delta_e,
                f"sigProb_{self.name}": np.where(found, np.exp(weight), np.nan),
            },
        )

    def preselection(self, summary: Summary) -> npt.NDArray[np.bool_]:
        """Apply the event cuts.

        Parameters
        ----------
        summary : Summary
            Event-level quantities.

        Returns
        -------
        numpy.ndarray [n_events]
            bool.
        """
        return preselection(summary, self.settings)
