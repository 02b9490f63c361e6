"""Events with few tracks: two-photon, tau and dark-sector physics."""

from __future__ import annotations

from smartbkg_tf.generation.observables import Cleaning, EventView
from smartbkg_tf.generation.skims.base import Skim, SkimResult
from smartbkg_tf.settings.base import Field, settings


@settings
class LowMultiplicity(Skim):
    """Few tracks near the beams, after Belle II's low-multiplicity skims.

    Parameters
    ----------
    minimum_tracks, maximum_tracks : int
        Tracks that count. Defaults 2 and 4.
    minimum_track_pt, maximum_d0, maximum_z0 : float
        Which tracks count, GeV and cm. Defaults 0.2, 0.5, 2.
    maximum_net_charge : float
        Largest absolute sum of charges. Default 2.
    """

    minimum_tracks: int = Field(default=2, ge=0)
    maximum_tracks: int = Field(default=4, ge=0)
    minimum_track_pt: float = Field(default=0.2, ge=0)
    maximum_d0: float = Field(default=0.5, gt=0)
    maximum_z0: float = Field(default=2.0, gt=0)
    maximum_net_charge: float = Field(default=2.0, ge=0)

    def select(self, events: EventView) -> SkimResult:
        """Choose events with few tracks."""
        summary = events.summary(
            Cleaning(
                minimum_track_pt=self.minimum_track_pt,
                maximum_d0=self.maximum_d0,
                maximum_z0=self.maximum_z0,
            )
        )
        return SkimResult(
            (summary.n_tracks >= self.minimum_tracks)
            & (summary.n_tracks <= self.maximum_tracks)
            & (abs(summary.net_charge) <= self.maximum_net_charge)
        )
